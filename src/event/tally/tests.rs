use std::collections::HashMap;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::diagnostic::Source as File;
use crate::name::DomainName;
use crate::policy::compile::{Options, load};
use crate::policy::judge::Asker;
use crate::policy::snapshot::Snapshot;

const POLICY: &str = "version = 1\n[[registry]]\nname = \"lab\"\nhosts = [\"registry.example\", \"*.cdn.example\"]\n\
                      [[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\nregistries = [\"lab\"]\n";

/// A registry with an exact name and a wildcard, for the group `ci`.
pub(crate) fn in_force() -> Arc<InForce> {
    let source = File::new("p.toml", POLICY.to_owned());
    let compiled = load(vec![source], &Options::default(), SystemTime::UNIX_EPOCH);
    let snapshot: Snapshot = compiled.unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot;
    Arc::new(InForce { snapshot, generation: 1, since: SystemTime::UNIX_EPOCH })
}

fn client(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// What the policy says of a name, as the path of a query counts it.
pub(crate) fn count(tallies: &Tallies, policy: &Arc<InForce>, client: IpAddr, name: &str) {
    let name: DomainName = name.parse().unwrap();
    let judgement = policy.snapshot.judge(&Asker { client, listener: None }, name.as_name());
    let decision = if judgement.verdict.resolves() { Decision::Allow } else { Decision::Deny };
    let decided = Decided {
        policy,
        client,
        name: name.as_name(),
        group: judgement.group,
        decision,
        reason: Reason::from(&judgement.verdict),
        rule: judgement.verdict.rule(),
        wanted: Wanted::A,
        carrier: Carrier::Udp,
    };
    tallies.open().add(&decided, Source::Local);
}

/// The rows as text, sorted.
fn taken(tallies: &Tallies) -> Vec<String> {
    let mut shown = Vec::new();
    tallies.take(|table| {
        for row in table.rows() {
            let about = row.about.map_or("various".to_owned(), |(client, name)| format!("{client} {name}"));
            let group = row.group().map_or("-", GroupRef::name).to_owned();
            let rule = row.rule().map_or("-".to_owned(), |rule| rule.pattern().to_string());
            shown.push(format!("{about} {group} {} {rule} {}", row.facts.reason.word(), row.count));
        }
    });
    shown.sort();
    shown
}

#[test]
fn equal_decisions_are_one_row_with_client_group_and_rule() {
    let (tallies, policy) = (Tallies::default(), in_force());
    for name in ["registry.example", "a.cdn.example", "registry.example", "elsewhere.example"] {
        count(&tallies, &policy, client(1), name);
    }
    count(&tallies, &policy, client(2), "registry.example");
    assert_eq!(
        taken(&tallies),
        [
            "10.0.0.1 a.cdn.example ci rule *.cdn.example 1",
            "10.0.0.1 elsewhere.example ci unlisted - 1",
            "10.0.0.1 registry.example ci rule registry.example 2",
            "10.0.0.2 registry.example ci rule registry.example 1",
        ]
    );
    assert_eq!(taken(&tallies), [""; 0], "what was taken is not there any more");
}

#[test]
fn a_flood_of_names_is_bounded_and_costs_the_numbers_of_no_rule() {
    let (tallies, policy) = (Tallies::default(), in_force());
    for number in 0..3 * ROWS {
        count(&tallies, &policy, client(1), &format!("n{number}.cdn.example"));
    }
    for _ in 0..5 {
        count(&tallies, &policy, client(1), "registry.example");
    }
    let mut by_rule: HashMap<String, u64> = HashMap::new();
    let (mut rows, mut lost) = (0, 0);
    tallies.take(|table| {
        lost += table.lost();
        for row in table.rows() {
            rows += 1;
            *by_rule.entry(row.rule().unwrap().pattern().to_string()).or_default() += row.count;
        }
    });
    assert_eq!((by_rule["*.cdn.example"], by_rule["registry.example"], lost), (3 * ROWS as u64, 5, 0));
    assert_eq!(rows, ROWS_WITH_NAMES + 2);
}

#[test]
fn of_what_a_thread_under_load_decides_all_is_counted_and_one_in_sixty_four_with_its_name() {
    let (tallies, policy) = (Tallies::default(), in_force());
    for _ in 0..EACH_NAMED + 10 * NAMED_PART {
        count(&tallies, &policy, client(1), "registry.example");
    }
    let named = format!("10.0.0.1 registry.example ci rule registry.example {}", EACH_NAMED + 10);
    let various = format!("various ci rule registry.example {}", 10 * (NAMED_PART - 1));
    assert_eq!(taken(&tallies), [named, various]);
    count(&tallies, &policy, client(1), "registry.example");
    assert_eq!(
        taken(&tallies),
        ["10.0.0.1 registry.example ci rule registry.example 1"],
        "the next second is a new one"
    );
}

#[test]
fn what_two_policies_decide_under_load_is_kept_apart() {
    let (tallies, before, after) = (Tallies::default(), in_force(), in_force());
    for number in 0..2 * EACH_NAMED {
        count(&tallies, if number.is_multiple_of(2) { &before } else { &after }, client(1), "registry.example");
    }
    let mut counted = [0, 0];
    tallies.take(|table| {
        for row in table.rows() {
            counted[usize::from(Arc::ptr_eq(row.policy, &after))] += row.count;
        }
    });
    assert_eq!(counted, [u64::from(EACH_NAMED); 2]);
}

#[test]
fn more_policies_than_a_table_has_room_for_are_counted_as_lost() {
    let tallies = Tallies::default();
    for _ in 0..POLICIES + 2 {
        count(&tallies, &in_force(), client(1), "registry.example");
    }
    let mut lost = 0;
    tallies.take(|table| lost += table.lost());
    assert_eq!(lost, 2);
}

#[test]
fn what_answers_took_is_said_once_for_all_of_a_turn() {
    let (tallies, policy) = (Tallies::default(), in_force());
    count(&tallies, &policy, client(1), "registry.example");
    count(&tallies, &policy, client(1), "registry.example");
    tallies.open().settle(Duration::from_micros(20));
    tallies.open().settle(Duration::from_secs(9));
    let mut latencies = Latencies::default();
    tallies.take(|table| latencies.merge(table.latencies()));
    let (_, local) = latencies.all().find(|(source, _)| *source == "local").unwrap();
    assert_eq!((local.counts.iter().sum::<u64>(), local.counts[1]), (2, 2));
}

proptest! {
    /// The table against a map.
    #[test]
    fn counts_are_those_of_a_map(asked in prop::collection::vec((0u8..4, 0usize..6), 0..200)) {
        let (tallies, policy) = (Tallies::default(), in_force());
        let names = ["registry.example", "a.cdn.example", "b.cdn.example", "x.example", "cdn.example", "a.b.cdn.example"];
        let mut expected: HashMap<(IpAddr, String), u64> = HashMap::new();
        for (from, name) in asked {
            count(&tallies, &policy, client(from), names[name]);
            *expected.entry((client(from), names[name].to_owned())).or_default() += 1;
        }
        let mut counted = HashMap::new();
        tallies.take(|table| {
            for row in table.rows() {
                let (client, name) = row.about.unwrap();
                counted.insert((client, name.to_string()), row.count);
            }
        });
        prop_assert_eq!(counted, expected);
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a thread opens its table while it has one open")]
fn a_second_ledger_of_a_thread_is_a_defect_that_tests_see() {
    let tallies = Tallies::default();
    let _first = tallies.open();
    let _second = tallies.open();
}

#[test]
fn a_thread_opens_its_table_again_when_it_has_closed_it() {
    let tallies = Tallies::default();
    drop(tallies.open());
    drop(tallies.open());
}
