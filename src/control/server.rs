//! The control API: who asks what, answered from what is in force. Changes come about through the reload handle alone.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::net::UnixListener;

use crate::control::api::{Api, BadRequest, Parameters, aside, bad_request, defect};
use crate::control::past::{self, Ago};
use crate::control::report::{
    DryRunReport, FaultReport, KeptReport, LogReport, PolicyHistoryReport, ReloadReport, RollbackReport, SignalReport,
    SignalsReport,
};
use crate::control::{caller, check, denied, diff, effective, overlay, status};
use crate::observe::http::{self, Head, Limits, Reply};
use crate::observe::log::timestamp;
use crate::observe::recent::CAPACITY;
use crate::policy::kept::KeptPolicy;
use crate::policy::reload::{Cause, ReloadOutcome};
use crate::policy::store::{PolicyState, PolicyStatus};

/// Serves the API until dropped.
pub async fn serve(listener: UnixListener, api: Arc<Api>) {
    http::serve(listener, LIMITS, move |head| answer(Arc::clone(&api), head)).await;
}

async fn answer(api: Arc<Api>, head: Head) -> Reply {
    let (path, query) = (head.uri().path(), Parameters::of(&head));
    if path == "/v1/overlay" {
        return overlay::overlay(&api, &head, &query).await.unwrap_or_else(bad_request);
    }
    let allowed = match path {
        "/v1/reload" | "/v1/policy/rollback" | "/v1/signal/test" => Method::POST,
        "/v1/policy/history" | "/v1/status" | "/v1/check" | "/v1/policy" | "/v1/log" | "/v1/events" | "/v1/metrics"
        | "/v1/history" | "/v1/stats" | "/v1/unused" | "/v1/denied" | "/v1/numbers" | "/v1/rollout" | "/v1/asked" => {
            Method::GET
        }
        _ => return http::failure(StatusCode::NOT_FOUND, "there is nothing here; /v1/status is a start"),
    };
    if head.method() != allowed {
        return http::wrong_method(if allowed == Method::POST { "POST" } else { "GET" });
    }
    let reply = match path {
        "/v1/reload" => reload(&api, &query).await,
        "/v1/policy/rollback" => roll_back(&api, &query, caller::name(&head).await).await,
        "/v1/signal/test" => test_signals(&api, &query).await,
        "/v1/policy/history" => history(&api, &query).await,
        "/v1/status" => query.only(&[]).map(|()| http::json(StatusCode::OK, &status::status(&api))),
        "/v1/check" => check::check(&api, &query).await,
        "/v1/policy" => policy(&api, &query).await,
        "/v1/log" => log(&api, &query).await,
        "/v1/events" => events(&api, &query),
        "/v1/history" => past::history(&api, &query).await,
        "/v1/stats" => past::stats(&api, &query).await,
        "/v1/unused" => past::unused(&api, &query).await,
        "/v1/denied" => denied::denied(&api, &query).await,
        "/v1/numbers" => numbers(&api, &query).await,
        "/v1/rollout" => past::rollout(&api, &query).await,
        "/v1/asked" => past::asked(&api, &query).await,
        _ => match query.only(&[]) {
            Ok(()) => Ok(api.metrics.reply().await),
            Err(bad) => Err(bad),
        },
    };
    reply.unwrap_or_else(bad_request)
}

async fn reload(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["dry-run", "replay"])?;
    if query.parsed("dry-run", "true or false")? == Some(true) {
        let replay = query.value("replay").map(|text| past::ago(text).ok_or(NO_REPLAY)).transpose()?;
        return Ok(dry_run(api, replay).await);
    }
    // As at SIGHUP: it is what `systemctl reload` does, and so what rotates logs.
    api.metrics.lines.reopen().ask();
    Ok(outcome(api.reload.reload(Cause::Control).await))
}

async fn roll_back(api: &Api, query: &Parameters, by: String) -> Result<Reply, BadRequest> {
    query.only(&["generation", "end"])?;
    let generation = query.parsed("generation", "a number")?;
    Ok(outcome(match (generation, query.parsed("end", "true or false")?) {
        (None, Some(true)) => api.reload.end_rollback(by).await,
        (Some(generation), None | Some(false)) => api.reload.roll_back(generation, by).await,
        _ => return Err(BadRequest::Missing("generation")),
    }))
}

fn outcome(outcome: ReloadOutcome) -> Reply {
    let report = ReloadReport::from(outcome);
    let status = match report {
        ReloadReport::Applied { .. } | ReloadReport::Unchanged { .. } => StatusCode::OK,
        ReloadReport::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    http::json(status, &report)
}

/// Sends each receiver of signals a test.
async fn test_signals(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&[])?;
    let told = match &api.signals {
        Some(tester) => tester.send().await,
        None => Vec::new(),
    };
    let report = |(to, sent): (String, Result<(), String>)| SignalReport { to, error: sent.err() };
    Ok(http::json(StatusCode::OK, &SignalsReport { signals: told.into_iter().map(report).collect() }))
}

async fn history(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&[])?;
    let kept = api.reload.kept().await;
    let PolicyStatus { state, rollback, .. } = api.policy.status();
    let in_force = match &rollback {
        Some(rollback) => Some(rollback.generation),
        None if state == PolicyState::DenyAll => None,
        None => kept.first().map(|newest| newest.generation),
    };
    let report = |KeptPolicy { generation, since, digest }: KeptPolicy| KeptReport {
        generation,
        since: timestamp(since),
        digest,
        in_force: in_force == Some(generation),
    };
    let generations = kept.into_iter().map(report).collect();
    let rollback = rollback.map(RollbackReport::from);
    Ok(http::json(StatusCode::OK, &PolicyHistoryReport { generations, rollback }))
}

/// What a reload would come to, and what it would have made of the questions since then.
async fn dry_run(api: &Arc<Api>, replay: Option<Ago>) -> Reply {
    let compiled = match api.reload.preview().await {
        Ok(compiled) => compiled,
        Err(faults) => {
            let report = DryRunReport::Refused { faults: FaultReport::all(&faults) };
            return http::json(StatusCode::UNPROCESSABLE_ENTITY, &report);
        }
    };
    let api = Arc::clone(api);
    let report = aside(move || {
        let warnings = FaultReport::all(&compiled.warnings);
        let (old, new) = (&api.policy.current().snapshot, &compiled.snapshot);
        if old.digest() == new.digest() {
            return DryRunReport::Unchanged { warnings };
        }
        let changes = diff::changes(&effective::policy(old, None), &effective::policy(new, None), &warnings);
        let replay = replay.and_then(|ago| past::replay(&api, &ago, old, new));
        DryRunReport::WouldApply { changes, replay, warnings }
    });
    report.await.map_or_else(defect, |report| http::json(StatusCode::OK, &report))
}

async fn policy(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&[])?;
    let api = Arc::clone(api);
    let report = move || {
        let in_force = api.policy.current();
        http::json(StatusCode::OK, &effective::policy(&in_force.snapshot, Some(in_force.generation)))
    };
    Ok(aside(report).await.unwrap_or_else(defect))
}

async fn log(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["limit", "client", "name"])?;
    let limit = query.parsed("limit", "a number")?.unwrap_or(CAPACITY);
    let (api, filter) = (Arc::clone(api), query.filter()?);
    let report = move || http::json(StatusCode::OK, &LogReport { entries: api.recent.last(limit, &filter) });
    Ok(aside(report).await.unwrap_or_else(defect))
}

async fn numbers(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["seen"])?;
    let seen = query.parsed("seen", "a number")?.unwrap_or(0);
    let metrics = api.metrics.clone();
    Ok(aside(move || http::json(StatusCode::OK, &metrics.numbers(seen))).await.unwrap_or_else(defect))
}

fn events(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["client", "name"])?;
    Ok(match api.recent.follow(query.filter()?) {
        Ok(events) => http::stream("text/event-stream", events),
        Err(full) => http::failure(StatusCode::SERVICE_UNAVAILABLE, &full.to_string()),
    })
}

impl From<ReloadOutcome> for ReloadReport {
    fn from(outcome: ReloadOutcome) -> Self {
        match outcome {
            ReloadOutcome::Applied { generation, warnings } => {
                Self::Applied { generation, warnings: FaultReport::all(&warnings) }
            }
            ReloadOutcome::Unchanged { generation, warnings } => {
                Self::Unchanged { generation, warnings: FaultReport::all(&warnings) }
            }
            ReloadOutcome::Refused { faults } => Self::Refused { faults: FaultReport::all(&faults) },
        }
    }
}

const NO_REPLAY: BadRequest = BadRequest::Wrong { parameter: "replay", expected: "a time such as `24h`" };
/// The socket is for the machine's own administrators; the limits keep a mistake of theirs from the resolver.
const LIMITS: Limits = Limits {
    connections: 128,
    head: Duration::from_secs(1),
    handling: Duration::from_secs(50),
    stall: Duration::from_secs(5),
    whole: Duration::from_secs(90),
};
