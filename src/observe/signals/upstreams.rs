//! Whether servers answer: told from how they stand now and how they stood a while ago.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Details, News, Status};
use crate::config::SignalKind;
use crate::name::DomainName;
use crate::upstream::Standing;

/// The servers of which none answers, and since when.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    failing: HashMap<Vec<DomainName>, Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    /// How many attempts had failed by then.
    failures: u64,
    is_told: bool,
}

impl Upstreams {
    /// What is new, now that it stands so: servers count as down when all of them rest for a while, and attempts go on
    /// to fail.
    pub(super) fn follow(&mut self, standings: &[Standing], now: Instant) -> Vec<News> {
        self.failing.retain(|domains, _| standings.iter().any(|standing| standing.domains == *domains));
        standings.iter().filter_map(|standing| self.look(standing, now)).collect()
    }

    fn look(&mut self, standing: &Standing, now: Instant) -> Option<News> {
        let Standing { domains, servers } = standing;
        if servers.is_empty() || servers.iter().any(|server| !server.resting) {
            let was = self.failing.remove(domains)?;
            return was.is_told.then(|| news(standing, Status::Resolved));
        }
        let failures = servers.iter().map(|server| server.failed + server.timed_out).sum();
        let first = Failing { since: now, failures, is_told: false };
        let failing = self.failing.entry(domains.clone()).or_insert(first);
        let is_down = now.saturating_duration_since(failing.since) >= DOWN_AFTER && failures > failing.failures;
        if failing.is_told || !is_down {
            return None;
        }
        failing.is_told = true;
        Some(news(standing, Status::Firing))
    }
}

fn news(standing: &Standing, status: Status) -> News {
    let domains: Vec<String> = standing.domains.iter().map(ToString::to_string).collect();
    let servers: Vec<String> = standing.servers.iter().map(|server| server.server.clone()).collect();
    let whose = if domains.is_empty() { String::new() } else { format!(" for {}", domains.join(", ")) };
    let summary = match status {
        Status::Firing => format!("no upstream server{whose} answers: {}", servers.join(", ")),
        Status::Resolved => format!("an upstream server{whose} answers again: {}", servers.join(", ")),
    };
    let key = domains.join(" ");
    let details = Details { servers, domains, ..Details::default() };
    News { kind: SignalKind::UpstreamDown, key, status, summary, details }
}

/// Long enough for a server to be started again.
const DOWN_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::ServerCounters;

    fn standing(servers: &[(bool, u64)]) -> Standing {
        let server = |&(resting, failed): &(bool, u64)| ServerCounters {
            server: "192.0.2.1:53".to_owned(),
            asked: 0,
            answered: 0,
            failed,
            timed_out: 0,
            streams: 0,
            near_misses: 0,
            round_trip: None,
            resting,
        };
        Standing { domains: Vec::new(), servers: servers.iter().map(server).collect() }
    }

    #[test]
    fn servers_are_down_when_all_of_them_fail_for_a_while_and_up_when_one_answers() {
        let mut upstreams = Upstreams::default();
        let begin = Instant::now();
        for (seconds, servers, expected) in [
            (0, &[(true, 1), (false, 0)][..], None),
            (1, &[(true, 1), (true, 1)], None),
            (7, &[(true, 1), (true, 1)], None),
            (8, &[(true, 2), (true, 1)], Some(Status::Firing)),
            (9, &[(true, 3), (true, 1)], None),
            (20, &[(false, 3), (true, 1)], Some(Status::Resolved)),
            (21, &[(false, 3), (true, 1)], None),
        ] {
            let told = upstreams.follow(&[standing(servers)], begin + Duration::from_secs(seconds));
            assert_eq!(told.iter().map(|news| news.status).next(), expected, "{seconds}");
        }
    }

    #[test]
    fn a_host_without_any_server_yet_is_no_news() {
        let mut upstreams = Upstreams::default();
        assert_eq!(upstreams.follow(&[standing(&[])], Instant::now()), []);
    }
}
