//! What was denied most: how often, for whom, whether it still is, and the lines that would change that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use hyper::StatusCode;

use super::addition::Addition;
use super::api::{Api, BadRequest, Parameters, aside, defect};
use super::explain::{self, ImageQuestion, OnBehalf, Question};
use super::past;
use super::report::{CheckReport, DeniedName, DeniedReport, DeniedSource, DeniedToday, ImageOfRow, LogEntry, Pull};
use crate::observe::history::{HistoryError, Search};
use crate::observe::http::{self, Reply};
use crate::observe::recent::{CAPACITY, Filter, VerdictWord};
use crate::policy::image_reference::ImageReference;
use crate::policy::images::{Access, Badge};
use crate::policy::snapshot::Snapshot;

/// `GET /v1/denied`.
pub(super) async fn denied(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["since", "top"])?;
    let (search, top) = (past::search(query)?, query.parsed("top", "a number")?.unwrap_or(TOP).min(MAX_TOP));
    let api = Arc::clone(api);
    Ok(match aside(move || report(&api, &search, top)).await {
        Some(Ok(report)) => http::json(StatusCode::OK, &report),
        Some(Err(error)) => http::failure(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        None => defect(),
    })
}

/// Of the history; where none is kept, of the entries in memory.
fn report(api: &Api, search: &Search, top: usize) -> Result<DeniedReport, HistoryError> {
    let (source, names, hours) = match past::whole_history(api) {
        Some(history) => {
            let stats = history.stats(search, top)?;
            (DeniedSource::History, stats.denied, stats.hours)
        }
        None => {
            (DeniedSource::Log, most(&api.recent.last(CAPACITY, &Filter::default()), search.since, top), Vec::new())
        }
    };
    let policy = api.policy.current();
    let today = |denied| today(&policy.snapshot, denied, &api.record_types);
    Ok(DeniedReport { source, hours, names: names.into_iter().map(today).collect() })
}

/// What the policy in force says of it, for one of its clients.
fn today(snapshot: &Snapshot, denied: DeniedName, record_types: &[u16]) -> DeniedToday {
    let client = denied.clients.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let on_behalf = OnBehalf::Client(client);
    let check = match &denied.image {
        Some(image) => check_image(snapshot, &denied, image, on_behalf),
        None => denied.name.parse().ok().and_then(|name| {
            let question = Question { name, record_type: None, on_behalf };
            explain::check(snapshot, &question, record_types).ok()
        }),
    };
    let Some(check) = check else {
        return DeniedToday { verdict_now: denied.verdict, why: None, hint: None, add: None, denied };
    };
    let after = denied.after.as_ref().filter(|_| check.add.is_some());
    let add = after.map(|pull| Addition::after(&denied.name, pull)).or(check.add);
    DeniedToday { verdict_now: check.verdict, why: Some(check.reason), hint: check.hint, add, denied }
}

/// `None`: it is no image that could be pulled or pushed.
fn check_image(
    snapshot: &Snapshot,
    denied: &DeniedName,
    image: &ImageOfRow,
    on_behalf: OnBehalf,
) -> Option<CheckReport> {
    let access = Access::from_word(&image.action)?;
    let badge = Badge::told_by(&denied.reason);
    let image = ImageReference::parse(&format!("{}/{}", denied.name, image.repository)).ok()?;
    explain::check_image(snapshot, &ImageQuestion { image, access, on_behalf }, badge).ok()
}

/// The names of `entries`, oldest first, that were denied most.
fn most(entries: &[LogEntry], since: Option<SystemTime>, top: usize) -> Vec<DeniedName> {
    let since = since.map(crate::observe::log::timestamp).unwrap_or_default();
    let mut names: HashMap<_, DeniedName> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.verdict != VerdictWord::Allow && entry.at >= since) {
        let known = names.entry((&entry.name, &entry.image, &entry.action)).or_insert_with(|| first(entry));
        known.count += 1;
        (known.last, known.verdict) = (entry.at.clone(), entry.verdict);
        if known.clients.len() < MAX_CLIENTS && !known.clients.contains(&entry.client) {
            known.clients.push(entry.client);
        }
        if let Some(pull) = &entry.after {
            (known.after, known.line) = (Some(pull.clone()), Some(Pull::line(&entry.name)));
        }
    }
    let mut names: Vec<DeniedName> = names.into_values().collect();
    names.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
    names.truncate(top);
    names
}

fn first(entry: &LogEntry) -> DeniedName {
    DeniedName {
        name: entry.name.clone(),
        image: entry
            .image
            .clone()
            .zip(entry.action.clone())
            .map(|(repository, action)| ImageOfRow { repository, action }),
        verdict: entry.verdict,
        reason: entry.reason.clone(),
        count: 0,
        first: entry.at.clone(),
        last: entry.at.clone(),
        clients: Vec::new(),
        after: None,
        line: None,
    }
}

/// Names of one answer, if nobody says.
const TOP: usize = 20;
/// Names of one answer at most: each is judged anew.
const MAX_TOP: usize = 200;
/// Clients that are named for a name, as the history does.
const MAX_CLIENTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::explain::tests::{HUB, snapshot};
    use crate::observe::recent::tests::denied;

    #[test]
    fn names_in_memory_are_counted_each_with_its_clients_and_its_last_time() {
        let of =
            |name: &str, client: [u8; 4], at: &str| LogEntry { client: client.into(), at: at.into(), ..denied(name) };
        let entries = [
            of("old.example", [10, 0, 0, 1], "2026-11-19T08:00:00Z"),
            of("a.example", [10, 0, 0, 1], "2026-11-20T08:00:00Z"),
            of("b.example", [10, 0, 0, 1], "2026-11-20T08:00:01Z"),
            of("b.example", [10, 0, 0, 2], "2026-11-20T08:00:02Z"),
            LogEntry { verdict: VerdictWord::Allow, ..of("c.example", [10, 0, 0, 1], "2026-11-20T08:00:03Z") },
        ];
        let since = "2026-11-20T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let found = most(&entries, Some(since.into()), 9);
        let shown = found.iter().map(|name| (name.name.as_str(), name.count, name.last.as_str(), name.clients.len()));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [("b.example", 2, "2026-11-20T08:00:02Z", 2), ("a.example", 1, "2026-11-20T08:00:00Z", 1)]
        );
        assert_eq!(most(&entries, None, 1).len(), 1);
    }

    #[test]
    fn an_image_is_no_denial_of_its_registry_and_is_judged_as_one() {
        let image = |repository: &str, at: &str| LogEntry {
            image: Some(repository.to_owned()),
            action: Some("pull".to_owned()),
            at: at.to_owned(),
            ..denied("registry-1.docker.io")
        };
        let entries = [image("foo/bar", "1"), image("foo/bar", "2"), image("foo/other", "3"), denied("quay.io")];
        let found = most(&entries, None, 9);
        let wanted: Vec<_> = found.iter().map(|denied| (denied.wanted(), denied.count)).collect();
        let at_hub = |repository: &str| format!("registry-1.docker.io/{repository}");
        assert_eq!(wanted, [(at_hub("foo/bar"), 2), ("quay.io".to_owned(), 1), (at_hub("foo/other"), 1)]);

        let community = DeniedName { reason: "community".to_owned(), ..found[0].clone() };
        let told = today(&snapshot(HUB), community, &[1]);
        assert_eq!((told.verdict_now, told.why.as_deref()), (VerdictWord::Deny, Some("community images not allowed")));
        assert!(told.hint.unwrap().contains("`allow = [\"foo/bar\"]`") && told.add.is_none());
        let verified = DeniedName { reason: "verified-publisher".to_owned(), ..found[0].clone() };
        assert_eq!(today(&snapshot(HUB), verified, &[1]).verdict_now, VerdictWord::Allow, "the policy has them now");
    }
}
