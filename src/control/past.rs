//! What the control API says of the last days: the history, sums over it, the rules that nobody needed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;

use super::api::{Api, BadRequest, Parameters, aside, defect};
use super::effective;
use super::overlay::overlays;
use super::replay::Topics;
use super::report::{HistoryReport, PolicyRule, ReplayReport, RolloutReport, UnusedReport};
use super::rollout::{Rollout, Window};
use crate::observe::history::{History, HistoryError, Search, parse_since};
use crate::observe::http::{self, Reply};
use crate::observe::log::timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::recent::VerdictWord;
use crate::observe::rule_hits::RuleKey;
use crate::policy::document::DataPath;
use crate::policy::images::Key;
use crate::policy::snapshot::{RuleRef, Snapshot};

/// `GET /v1/history`.
pub(super) async fn history(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["since", "client", "group", "name", "verdict", "limit"])?;
    let (search, limit) = (search(query)?, query.parsed("limit", "a number")?.unwrap_or(MAX_ROWS).min(MAX_ROWS));
    Ok(of_history(api, move |_, history| {
        let rows = history.rows(&search, limit)?;
        Ok(HistoryReport { reaches_back_to: timestamp(history.reaches_back_to()), rows })
    })
    .await)
}

/// `GET /v1/stats`.
pub(super) async fn stats(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["since", "client", "group", "name", "verdict", "top"])?;
    let (search, top) = (search(query)?, query.parsed("top", "a number")?.unwrap_or(TOP).min(MAX_ROWS));
    Ok(of_history(api, move |_, history| history.stats(&search, top)).await)
}

/// `GET /v1/unused`.
pub(super) async fn unused(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["days", "limit"])?;
    let days: u32 = query.parsed("days", "a number of days")?.unwrap_or(DAYS);
    let limit = query.parsed("limit", "a number")?.unwrap_or(usize::MAX);
    Ok(of_history(api, move |api, history| {
        let since = days_before(SystemTime::now(), days);
        let used: HashSet<RuleKey> =
            history.rules()?.into_iter().filter(|(_, last)| *last >= since).map(|(key, _)| key).collect();
        let reach = history.reaches_back_to();
        let mut rules = unused_rules(&api.policy.current().snapshot, &used, &api.metrics);
        let left_out = rules.len().saturating_sub(limit);
        rules.truncate(limit);
        Ok(UnusedReport { days, reaches_back_to: timestamp(reach), is_complete: reach <= since, rules, left_out })
    })
    .await)
}

/// `GET /v1/asked`.
pub(super) async fn asked(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["since"])?;
    let ago = ago(query.value("since").unwrap_or(REPLAYED)).ok_or(NO_TIME)?;
    // What is on top of the files is on top of any that take their place.
    let Some(files) = api.reload.files_alone().await else {
        return Ok(http::failure(StatusCode::SERVICE_UNAVAILABLE, "no policy files are in force"));
    };
    Ok(of_history(api, move |_, history| {
        let reach = timestamp(history.reaches_back_to());
        Ok(topics(history, &ago)?.judged(&files.snapshot, reach))
    })
    .await)
}

/// What the questions since then come to under another policy; `None`: no history is kept, or it cannot be read.
pub(super) fn replay(api: &Api, ago: &Ago, old: &Snapshot, new: &Snapshot) -> Option<ReplayReport> {
    let history = whole_history(api)?;
    let topics = topics(history, ago).ok()?;
    Some(topics.replayed(old, new).finish(ago.text.clone(), timestamp(history.reaches_back_to())))
}

fn topics(history: &History, ago: &Ago) -> Result<Topics, HistoryError> {
    let since = SystemTime::now().checked_sub(ago.time);
    let mut topics = Topics::default();
    history.each(&Search { since, ..Search::default() }, |row| topics.add(row))?;
    Ok(topics)
}

/// A stretch of time up to now, as it was written.
#[derive(Clone, Debug)]
pub(super) struct Ago {
    text: String,
    time: Duration,
}

/// Reads one: `24h`.
pub(super) fn ago(text: &str) -> Option<Ago> {
    let time = humantime::parse_duration(text).ok()?;
    Some(Ago { text: text.to_owned(), time })
}

/// `GET /v1/rollout`.
pub(super) async fn rollout(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["days"])?;
    let days: u32 = query.parsed("days", "a number of days")?.unwrap_or(DAYS);
    Ok(of_history(api, move |api, history| {
        let now = SystemTime::now();
        let since = days_before(now, days);
        let in_force = api.policy.current();
        let reach = history.reaches_back_to();
        let span = now.duration_since(reach.max(since)).unwrap_or_default();
        let mut rollout = Rollout::of(&in_force.snapshot);
        history.each(&Search { since: Some(since), ..Search::default() }, |row| rollout.add(&row))?;
        let groups = rollout.finish(Window { days, span }, &overlays(api));
        Ok(RolloutReport { days, reaches_back_to: timestamp(reach), groups })
    })
    .await)
}

fn days_before(now: SystemTime, days: u32) -> SystemTime {
    let time = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    now.checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Of a gateway by itself only the rules of what is reached through it, and images only where the gateway is: what another
/// process decides is in its own history.
fn unused_rules(snapshot: &Snapshot, used: &HashSet<RuleKey>, process: &Metrics) -> Vec<PolicyRule> {
    let (answers, has_gateway) = (process.pipeline.is_some(), process.gateway.is_some());
    let is_ours = |rule: &RuleRef<'_>| answers || rule.data_path() != DataPath::Direct;
    let unused = snapshot.rules().filter(is_ours).filter(|rule| !used.contains(&RuleKey::of(*rule)));
    let unused = unused.map(|rule| effective::policy_rule(snapshot, rule));
    let of_images = snapshot.images().filter(|_| has_gateway).flat_map(|images| {
        let unused = move |key: &&Key| !used.contains(&RuleKey::of_images(images, key));
        images.rules().into_iter().filter(unused).map(move |key| effective::image_rule(images, key))
    });
    unused.chain(of_images).collect()
}

/// The history with all that happened until now, if one is kept.
pub(super) fn whole_history(api: &Api) -> Option<&History> {
    let totals = &api.metrics.totals;
    let history = totals.history()?;
    totals.read(|_| ());
    Some(history)
}

/// What `report` makes of the history, when all that happened until now is in it.
async fn of_history<T: serde::Serialize + Send + 'static>(
    api: &Arc<Api>,
    report: impl FnOnce(&Api, &History) -> Result<T, HistoryError> + Send + 'static,
) -> Reply {
    let api = Arc::clone(api);
    let reply = move || {
        let Some(history) = whole_history(&api) else {
            return http::failure(StatusCode::SERVICE_UNAVAILABLE, NO_HISTORY);
        };
        match report(&api, history) {
            Ok(report) => http::json(StatusCode::OK, &report),
            Err(error) => http::failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    };
    aside(reply).await.unwrap_or_else(defect)
}

pub(super) fn search(query: &Parameters) -> Result<Search, BadRequest> {
    let since = match query.value("since") {
        Some(text) => Some(parse_since(text, SystemTime::now()).ok_or(BadRequest::Wrong {
            parameter: "since",
            expected: "a time ago such as `2d`, or a moment such as `2026-11-27T08:00:00Z`",
        })?),
        None => None,
    };
    let verdict = match query.value("verdict") {
        Some("allow") => Some(VerdictWord::Allow),
        Some("deny") => Some(VerdictWord::Deny),
        Some("audit") => Some(VerdictWord::Audit),
        Some(_) => return Err(BadRequest::Wrong { parameter: "verdict", expected: "allow, deny or audit" }),
        None => None,
    };
    Ok(Search {
        since,
        client: query.parsed("client", "an address")?,
        group: query.value("group").map(str::to_owned),
        name: query.parsed("name", "a name")?,
        verdict,
    })
}

const NO_HISTORY: &str = "no history is kept: `[history] enabled` is false, or the state directory cannot be used (the \
                          log says which)";
/// Rows of one answer: some 30 MB.
const MAX_ROWS: usize = 100_000;
/// Denied names of one answer, if nobody says.
const TOP: usize = 20;
const NO_TIME: BadRequest = BadRequest::Wrong { parameter: "since", expected: "a time such as `24h`" };
/// How far a replay goes back, if nobody says.
const REPLAYED: &str = "24h";
/// How long a rule may go without a hit before it counts as unused, if nobody says.
const DAYS: u32 = 7;
