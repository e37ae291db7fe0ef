//! The control API: who asks what, answered from what is in force. Changes come about through the reload handle alone.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

use crate::control::caller;
use crate::control::denied;
use crate::control::diff;
use crate::control::explain::{self, ImageQuestion, OnBehalf, Question};
use crate::control::overlay;
use crate::control::past::{self, Ago};
use crate::control::report::{
    DryRunReport, ExceptionReport, FaultReport, KeptReport, ListenReport, LogReport, OverlayOutcomeReport,
    OverlayReport, OverlaysReport, PolicyHistoryReport, ReloadReport, RollbackReport, SignalReport, SignalsReport,
    State, StatusReport,
};
use crate::observe::http::{self, Head, Limits, Reply};
use crate::observe::log::timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::recent::{CAPACITY, Filter, Recent};
use crate::observe::signals::Tester;
use crate::policy::document::Unlisted;
use crate::policy::image_reference::ImageReference;
use crate::policy::images::{Access, Badge};
use crate::policy::kept::KeptPolicy;
use crate::policy::overlay::{Change, Order};
use crate::policy::reload::{Cause, ReloadOutcome};
use crate::policy::rollback::Rollback;
use crate::policy::store::{InForce, PolicyState, PolicyStatus, PolicyStore};
use crate::policy::watch::ReloadHandle;
use crate::record_type;

/// What the API speaks about.
pub struct Api {
    /// What is in force.
    pub policy: Arc<PolicyStore>,
    /// What takes the files anew.
    pub reload: ReloadHandle,
    /// The last questions.
    pub recent: Arc<Recent>,
    /// Every number.
    pub metrics: Metrics,
    /// What is listened on.
    pub listen: Vec<ListenReport>,
    /// The record types handed out where an entry does not say.
    pub record_types: Vec<u16>,
    /// Whom people ask about the policy.
    pub contact: Option<String>,
    /// What tries the signals, if this process sends any.
    pub signals: Option<Tester>,
    /// Who knows the badges of Docker Hub's namespaces, if anybody does.
    pub badges: Option<Arc<dyn Badges>>,
}

/// Knows which namespaces of Docker Hub are verified publishers or sponsored projects.
pub trait Badges: Send + Sync + 'static {
    /// The badge of a namespace; `None`: it could not be found out.
    fn badge(&self, namespace: String) -> Pin<Box<dyn Future<Output = Option<Badge>> + Send + '_>>;
}

/// Why a request is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("there is no parameter `{0}` here")]
    Unknown(String),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{parameter}` is not {expected}")]
    Wrong { parameter: &'static str, expected: &'static str },
    #[error(transparent)]
    Group(#[from] explain::UnknownGroup),
}

/// Serves the API until dropped.
pub async fn serve(listener: UnixListener, api: Arc<Api>) {
    http::serve(listener, LIMITS, move |head| answer(Arc::clone(&api), head)).await;
}

async fn answer(api: Arc<Api>, head: Head) -> Reply {
    let (path, query) = (head.uri().path(), Parameters::of(&head));
    if path == "/v1/overlay" {
        return overlay(&api, &head, &query).await.unwrap_or_else(bad_request);
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
        "/v1/status" => query.only(&[]).map(|()| http::json(StatusCode::OK, &status(&api))),
        "/v1/check" => check(&api, &query).await,
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

#[expect(clippy::needless_pass_by_value, reason = "the end of a chain of results")]
pub(super) fn bad_request(bad: BadRequest) -> Reply {
    http::failure(StatusCode::BAD_REQUEST, &bad.to_string())
}

/// What is on top of the policy files: shown, added, ended.
async fn overlay(api: &Api, head: &Head, query: &Parameters) -> Result<Reply, BadRequest> {
    let outcome = match *head.method() {
        Method::GET => {
            query.only(&[])?;
            return Ok(http::json(StatusCode::OK, &OverlaysReport { overlays: overlays(api) }));
        }
        Method::POST => {
            query.only(&["kind", "what", "group", "client", "for", "ticket", "reason"])?;
            let text = |name| query.value(name).map(str::to_owned);
            let time = query.value("for").map(|text| overlay::time(text).ok_or(NO_TIME)).transpose()?;
            let by = caller::name(head).await;
            let (group, ticket, reason) = (text("group"), text("ticket"), text("reason"));
            let client = query.parsed("client", "an address")?;
            api.reload.put_overlay(Order { change: query.change()?, group, client, by, time, ticket, reason }).await
        }
        Method::DELETE => {
            query.only(&["kind", "what", "group", "client"])?;
            let (group, client) = (query.value("group").map(str::to_owned), query.parsed("client", "an address")?);
            let by = caller::name(head).await;
            api.reload.end_overlay(query.change()?, group, client, by).await
        }
        _ => return Ok(http::wrong_method("GET, POST, DELETE")),
    };
    let report = OverlayOutcomeReport::from(outcome);
    let status = match report {
        OverlayOutcomeReport::InForce { .. } | OverlayOutcomeReport::Ended { .. } => StatusCode::OK,
        OverlayOutcomeReport::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok(http::json(status, &report))
}

pub(super) fn overlays(api: &Api) -> Vec<OverlayReport> {
    api.policy.status().overlays.iter().map(OverlayReport::from).collect()
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
        let changes = diff::changes(&explain::policy(old, None), &explain::policy(new, None), &warnings);
        let replay = replay.and_then(|ago| past::replay(&api, &ago, old, new));
        DryRunReport::WouldApply { changes, replay, warnings }
    });
    report.await.map_or_else(defect, |report| http::json(StatusCode::OK, &report))
}

pub(super) fn status(api: &Api) -> StatusReport {
    let status = api.policy.status();
    let PolicyStatus { state, generation, digest, since, rules, rollback, overlays, faults, warnings, .. } = status;
    StatusReport {
        state: State::from(state),
        generation,
        digest: digest.to_string(),
        since: timestamp(since),
        listen: api.listen.clone(),
        rules,
        forwards_unlisted: forwarding_groups(&api.policy.current()),
        rollback: rollback.map(RollbackReport::from),
        overlays: overlays.iter().map(OverlayReport::from).collect(),
        exceptions: exceptions(&api.policy.current()),
        faults: FaultReport::all(&faults),
        warnings: FaultReport::all(&warnings),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: timestamp(api.metrics.started),
    }
}

fn exceptions(policy: &InForce) -> Vec<ExceptionReport> {
    let now = SystemTime::now();
    policy.snapshot.exceptions().iter().map(|exception| ExceptionReport::of(exception, now)).collect()
}

fn forwarding_groups(policy: &InForce) -> Vec<String> {
    let forwarding = policy.snapshot.groups().filter(|group| group.unlisted() == Unlisted::Forward);
    forwarding.map(|group| group.name().to_owned()).collect()
}

pub(super) async fn check(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    if query.value("image").is_some() {
        return check_image(api, query).await;
    }
    query.only(&["name", "client", "group", "type"])?;
    let question = Question {
        name: query.parsed("name", "a name")?.ok_or(BadRequest::Missing("name"))?,
        record_type: query.record_type()?,
        on_behalf: query.on_behalf()?,
    };
    let client = match question.on_behalf {
        OnBehalf::Client(client) => Some(client.to_canonical()),
        OnBehalf::Group(_) => None,
    };
    let api = Arc::clone(api);
    let report = aside(move || {
        let report = explain::check(&api.policy.current().snapshot, &question, &api.record_types)?;
        let filter = Filter { name: Some(question.name), ..Filter::default() };
        let report = report.with_log(&api.recent.last(CAPACITY, &filter));
        let report = report.with_overlays(&overlays(&api), client).with_contact(api.contact.as_deref());
        Ok::<_, explain::UnknownGroup>(report)
    });
    Ok(match report.await {
        Some(report) => http::json(StatusCode::OK, &report?),
        None => defect(),
    })
}

async fn check_image(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["image", "push", "client", "group"])?;
    let question = ImageQuestion {
        image: query.image()?,
        access: if query.parsed("push", "true or false")? == Some(true) { Access::Push } else { Access::Pull },
        on_behalf: query.on_behalf()?,
    };
    let in_force = api.policy.current();
    let namespace = explain::undecided_namespace(&in_force.snapshot, &question)?;
    let badge = match (namespace, &api.badges) {
        (Some(namespace), Some(badges)) => badges.badge(namespace).await,
        _ => None,
    };
    match aside(move || explain::check_image(&in_force.snapshot, &question, badge)).await {
        Some(report) => Ok(http::json(StatusCode::OK, &report?.with_contact(api.contact.as_deref()))),
        None => Ok(defect()),
    }
}

async fn policy(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&[])?;
    let api = Arc::clone(api);
    let report = move || {
        let in_force = api.policy.current();
        http::json(StatusCode::OK, &explain::policy(&in_force.snapshot, Some(in_force.generation)))
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

/// Work over thousands of entries or a million rules, off the threads that answer queries; `None` if it panicked.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.ok()
}

pub(super) fn defect() -> Reply {
    http::failure(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the program; see its log")
}

fn events(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["client", "name"])?;
    Ok(match api.recent.follow(query.filter()?) {
        Ok(events) => http::stream("text/event-stream", events),
        Err(full) => http::failure(StatusCode::SERVICE_UNAVAILABLE, &full.to_string()),
    })
}

/// The parameters of a request line.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(head: &Head) -> Self {
        let query = head.uri().query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Refuses parameters that mean nothing here: a misspelt filter must not pass for none.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), BadRequest> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |(name, _)| Err(BadRequest::Unknown(name.clone())))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        parameter: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, BadRequest> {
        let parse = |text: &str| text.parse().map_err(|_| BadRequest::Wrong { parameter, expected });
        self.value(parameter).map(parse).transpose()
    }

    fn change(&self) -> Result<Change, BadRequest> {
        let kind = self.value("kind").ok_or(BadRequest::Missing("kind"))?;
        let what = self.value("what").ok_or(BadRequest::Missing("what"))?;
        overlay::change(kind, what).ok_or(NO_CHANGE)
    }

    fn image(&self) -> Result<ImageReference, BadRequest> {
        let text = self.value("image").ok_or(BadRequest::Missing("image"))?;
        ImageReference::parse(text).map_err(|_| BadRequest::Wrong { parameter: "image", expected: "an image" })
    }

    fn record_type(&self) -> Result<Option<u16>, BadRequest> {
        let number = |text: &str| {
            record_type::number(text).ok_or(BadRequest::Wrong { parameter: "type", expected: "a record type" })
        };
        self.value("type").map(number).transpose()
    }

    fn on_behalf(&self) -> Result<OnBehalf, BadRequest> {
        if let Some(group) = self.value("group") {
            return Ok(OnBehalf::Group(group.to_owned()));
        }
        let client = self.parsed("client", "an address")?;
        Ok(OnBehalf::Client(client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))))
    }

    fn filter(&self) -> Result<Filter, BadRequest> {
        Ok(Filter { client: self.parsed("client", "an address")?, name: self.parsed("name", "a name")? })
    }
}

impl From<PolicyState> for State {
    fn from(state: PolicyState) -> Self {
        match state {
            PolicyState::Ok => Self::Ok,
            PolicyState::Degraded => Self::Degraded,
            PolicyState::RolledBack => Self::RolledBack,
            PolicyState::DenyAll => Self::DenyAll,
        }
    }
}

impl From<Rollback> for RollbackReport {
    fn from(rollback: Rollback) -> Self {
        let Rollback { generation, since, by } = rollback;
        Self { generation, since: timestamp(since), by }
    }
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

const NO_TIME: BadRequest = BadRequest::Wrong { parameter: "for", expected: "a time such as `2h`" };
const NO_REPLAY: BadRequest = BadRequest::Wrong { parameter: "replay", expected: "a time such as `24h`" };
const NO_CHANGE: BadRequest = BadRequest::Wrong {
    parameter: "what",
    expected: "what that kind is about: a name to `allow`, a pattern to `block`, a `mode`, enforce or audit",
};
/// The socket is for the machine's own administrators; the limits keep a mistake of theirs from the resolver.
const LIMITS: Limits = Limits {
    connections: 128,
    head: Duration::from_secs(1),
    handling: Duration::from_secs(50),
    stall: Duration::from_secs(5),
    whole: Duration::from_secs(90),
};
