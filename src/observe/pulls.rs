//! Which registry a client asked for shortly before a name that nothing lists: most likely the one that sent it there.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::event::{Bearing, Event};
use crate::observe::recent::RuleReport;
use crate::policy::why::redirects;

/// A registry that a client asked for shortly before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The name that it asked for.
    pub name: String,
    /// The registry's entry in the policy.
    pub registry: String,
    /// The rule that allowed it.
    pub rule: Option<RuleReport>,
}

impl Pull {
    /// The line of policy with which `name` would be a redirect host of the registry.
    pub fn line(name: &str) -> String {
        redirects(name)
    }

    /// Where that line goes.
    pub fn place(&self) -> impl fmt::Display {
        let file = self.rule.as_ref().and_then(|rule| rule.path.as_ref().zip(rule.line));
        let place = file.map(|(path, line)| format!(" ({}:{line})", path.display())).unwrap_or_default();
        format!("registry `{}`{place}", self.registry)
    }
}

/// The registry that each client asked for last, for as long as a pull may take to get from there to somewhere else.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    last: HashMap<IpAddr, (SystemTime, Pull)>,
}

impl Pulls {
    /// Takes an event, in the order in which they happened; for a name that nothing lists, says what may have led there.
    pub(super) fn follow(&mut self, event: &Event) -> Option<Pull> {
        match event.bearing {
            Bearing::Registry => {
                self.remember(event);
                None
            }
            Bearing::Unlisted => {
                let (at, pull) = self.last.get(&event.client.ip())?;
                is_recent(*at, event.at).then(|| pull.clone())
            }
            Bearing::None => None,
        }
    }

    fn remember(&mut self, event: &Event) {
        let client = event.client.ip();
        if self.last.len() >= MAX_CLIENTS && !self.last.contains_key(&client) {
            self.last.retain(|_, (at, _)| is_recent(*at, event.at));
        }
        let Some(registry) = event.entry.clone() else { return };
        if self.last.len() < MAX_CLIENTS || self.last.contains_key(&client) {
            let pull = Pull { name: event.name.to_string(), registry, rule: event.rule.clone().map(RuleReport::from) };
            self.last.insert(client, (event.at, pull));
        }
    }
}

fn is_recent(then: SystemTime, now: SystemTime) -> bool {
    now.duration_since(then).is_ok_and(|passed| passed <= WINDOW)
}

/// From a registry's answer to the question for the host it names there is less than a second; a token service, a proxy
/// or a busy client may come between.
const WINDOW: Duration = Duration::from_secs(5);
/// Clients that are remembered at a time.
const MAX_CLIENTS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::event::{Decision, EventRule, Subject};

    fn event(bearing: Bearing, client: u32, name: &str, second: u64) -> Event {
        let (decision, entry) = match bearing {
            Bearing::Registry => (Decision::Allow, Some("lab".to_owned())),
            Bearing::Unlisted | Bearing::None => (Decision::Deny, None),
        };
        let rule = entry.as_ref().map(|_| EventRule { pattern: name.to_owned(), place: None });
        let client = SocketAddr::new(std::net::Ipv4Addr::from_bits(client).into(), 4000);
        Event {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            client,
            listener: client,
            transport: "udp",
            name: name.parse().unwrap(),
            subject: Subject::Question { record_type: 1, rcode: 0 },
            decision,
            bearing,
            wanted: true,
            reason: String::new(),
            group: None,
            entry,
            rule,
        }
    }

    fn registry(client: u32, name: &str, second: u64) -> Event {
        event(Bearing::Registry, client, name, second)
    }

    fn unlisted(client: u32, name: &str, second: u64) -> Event {
        event(Bearing::Unlisted, client, name, second)
    }

    /// What an unlisted name is said to have been asked after, when these came before.
    fn after(before: &[Event], asked: &Event) -> Option<String> {
        let mut pulls = Pulls::default();
        for event in before {
            pulls.follow(event);
        }
        pulls.follow(asked).map(|pull| pull.name)
    }

    #[test]
    fn a_name_that_nothing_lists_is_asked_after_the_registry_before_it() {
        let before = [registry(1, "a.example", 100), registry(1, "b.example", 101)];
        assert_eq!(after(&before, &unlisted(1, "cdn.example", 103)).as_deref(), Some("b.example"));
    }

    #[test]
    fn another_clients_registry_has_nothing_to_do_with_it() {
        assert_eq!(after(&[registry(2, "a.example", 100)], &unlisted(1, "cdn.example", 100)), None);
    }

    #[test]
    fn a_registry_asked_for_long_ago_or_by_a_clock_set_back_does_not_count() {
        let before = [registry(1, "a.example", 100)];
        let asked = |second| after(&before, &unlisted(1, "cdn.example", second)).is_some();
        assert_eq!([100, 105, 106, 99].map(asked), [true, true, false, false]);
    }

    #[test]
    fn what_is_denied_for_another_reason_belongs_to_no_pull() {
        assert_eq!(after(&[registry(1, "a.example", 100)], &event(Bearing::None, 1, "x.example", 100)), None);
    }

    #[test]
    fn many_clients_are_forgotten_rather_than_kept() {
        let mut pulls = Pulls::default();
        for client in 0..2 * u32::try_from(MAX_CLIENTS).unwrap() {
            pulls.follow(&registry(client, "a.example", 100));
        }
        assert_eq!(pulls.last.len(), MAX_CLIENTS);
        pulls.follow(&registry(u32::MAX, "a.example", 200));
        assert_eq!(pulls.last.len(), 1, "those that no longer count make room");
    }
}
