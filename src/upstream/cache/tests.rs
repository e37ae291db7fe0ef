//! What is held, for how long, and what has to leave.

use proptest::prelude::*;

use super::super::testing::{Packet, name, question, soa};
use super::super::wire::kind;
use super::*;

const NO_DNSSEC: Dnssec = Dnssec { ok: false, checking_disabled: false };
const DAY: Duration = Duration::from_secs(86_400);

fn cache(entries: usize) -> Cache {
    Cache::new(&config::Cache { entries, max_ttl: Duration::from_secs(3600), stale: DAY })
}

fn key(name: &DomainName) -> Key<'_> {
    Key { name: name.as_name(), record_type: kind::A, dnssec: NO_DNSSEC, route: 0 }
}

/// An answer of one address that holds for so many seconds.
fn answer(ttl: u32) -> Arc<Answer> {
    let question = question("any.example", kind::A);
    Arc::new(Packet::answering(&question).answer("any.example", kind::A, ttl, &[1, 1, 1, 1]).read(&question).unwrap())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a probe found, in short.
fn found(cache: &Cache, name: &DomainName, now: Instant) -> &'static str {
    match cache.probe(key(name), now) {
        Probe::Hit(held) if held.stale => "stale",
        Probe::Hit(held) if held.refresh_due => "due",
        Probe::Hit(_) => "fresh",
        Probe::Failed(_) => "failed",
        Probe::Miss => "miss",
    }
}

#[test]
fn an_answer_is_held_for_its_lifetime_and_not_a_second_longer() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    cache.store(key(&name), &answer(100), now);
    let Probe::Hit(held) = cache.probe(key(&name), now + seconds(40)) else { panic!("a miss") };
    assert_eq!((held.age, held.stale), (seconds(40), false));
    assert_eq!(found(&cache, &name, now + seconds(100)), "miss");
}

#[test]
fn an_entry_is_due_for_renewal_in_its_last_tenth_if_it_was_in_use_before() {
    let now = Instant::now();
    let (cache, used, unused) = (cache(10), name("used.example"), name("unused.example"));
    for name in [&used, &unused] {
        cache.store(key(name), &answer(100), now);
    }
    assert_eq!(found(&cache, &used, now + seconds(89)), "fresh");
    assert_eq!(found(&cache, &used, now + seconds(90)), "due");
    assert_eq!(found(&cache, &unused, now + seconds(90)), "fresh");
}

#[test]
fn an_answer_without_lifetime_is_not_held() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    cache.store(key(&name), &answer(0), now);
    assert_eq!((found(&cache, &name, now), cache.len()), ("miss", 0));
}

#[test]
fn a_negative_answer_is_held_as_long_as_its_soa_says() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    let question = question("a.example", kind::A);
    let negative = Packet::answering(&question).rcode(3).authority("example", kind::SOA, 900, &soa(30));
    cache.store(key(&name), &Arc::new(negative.read(&question).unwrap()), now);
    assert_eq!([29, 30].map(|age| found(&cache, &name, now + seconds(age))), ["fresh", "miss"]);
}

#[test]
fn failures_are_remembered_for_one_second_then_longer_up_to_thirty() {
    let (cache, name, mut now) = (cache(10), name("a.example"), Instant::now());
    for lasts in [1, 2, 4, 8, 16, 30, 30] {
        cache.fail(key(&name), Failure::Unreachable, now);
        now += seconds(lasts);
        assert_eq!(found(&cache, &name, now - Duration::from_millis(1)), "failed");
        assert_eq!(found(&cache, &name, now), "miss");
    }
    cache.store(key(&name), &answer(1), now);
    now += seconds(1);
    cache.fail(key(&name), Failure::Failing, now);
    assert!(cache.stale(key(&name), now + DAY).is_none());
    assert_eq!(found(&cache, &name, now + DAY), "miss", "an answer between makes the next failure a first one");
}

#[test]
fn while_a_failure_is_remembered_what_is_past_its_time_is_served() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    cache.store(key(&name), &answer(60), now);
    let later = now + seconds(61);
    assert_eq!(found(&cache, &name, later), "miss", "first the servers are asked");
    cache.fail(key(&name), Failure::Unreachable, later);
    assert_eq!(found(&cache, &name, later), "stale");
    assert!(cache.stale(key(&name), now + seconds(60) + DAY - seconds(1)).is_some());
    let too_late = now + seconds(60) + DAY;
    cache.fail(key(&name), Failure::Unreachable, too_late);
    assert_eq!(found(&cache, &name, too_late), "failed");
}

#[test]
fn a_renewal_that_fails_does_not_take_a_fresh_answer_away_and_is_not_repeated_at_once() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    cache.store(key(&name), &answer(100), now);
    cache.fail(key(&name), Failure::Unreachable, now + seconds(95));
    assert_eq!(found(&cache, &name, now + seconds(95)), "fresh");
    assert_eq!(found(&cache, &name, now + seconds(97)), "due");
}

#[test]
fn type_dnssec_bits_and_route_keep_answers_apart() {
    let (cache, name, now) = (cache(10), name("a.example"), Instant::now());
    cache.store(key(&name), &answer(60), now);
    let signed = Dnssec { ok: true, ..NO_DNSSEC };
    for other in [
        Key { record_type: kind::AAAA, ..key(&name) },
        Key { dnssec: signed, ..key(&name) },
        Key { route: 1, ..key(&name) },
    ] {
        assert!(matches!(cache.probe(other, now), Probe::Miss), "{other:?}");
    }
}

#[test]
fn a_flood_of_names_asked_once_does_not_wash_out_those_in_use() {
    let (cache, now) = (cache(2000), Instant::now());
    let hot: Vec<DomainName> = (0..50).map(|index| name(&format!("hot{index}.example"))).collect();
    let (answer, mut misses) = (answer(300), 0);
    for index in 0..100_000u32 {
        let unique = name(&format!("x{index}.example"));
        cache.store(key(&unique), &answer, now);
        let hot = &hot[index as usize % hot.len()];
        if found(&cache, hot, now) == "miss" {
            misses += 1;
            cache.store(key(hot), &answer, now);
        }
    }
    assert!(misses <= 1000, "{misses} of 100000 missed");
    assert!(cache.len() <= 2000);
    assert!(cache.evictions() >= 98_000);
}

#[test]
fn names_that_were_in_use_outlast_a_flood_during_which_nobody_asks_for_them() {
    let (cache, now) = (cache(2000), Instant::now());
    let hot: Vec<DomainName> = (0..50).map(|index| name(&format!("hot{index}.example"))).collect();
    for hot in &hot {
        cache.store(key(hot), &answer(300), now);
        assert_eq!(found(&cache, hot, now), "fresh");
    }
    for index in 0..20_000u32 {
        cache.store(key(&name(&format!("x{index}.example"))), &answer(300), now);
    }
    assert!(hot.iter().all(|hot| found(&cache, hot, now) == "fresh"));
}

#[test]
fn answers_that_are_large_fill_the_cache_by_their_bytes() {
    let (cache, now) = (cache(1000), Instant::now());
    let question = question("any.example", kind::A);
    let large =
        (0..100).fold(Packet::answering(&question), |packet, _| packet.answer("any.example", kind::A, 60, &[1; 4]));
    let large = Arc::new(large.read(&question).unwrap());
    for index in 0..1000 {
        cache.store(key(&name(&format!("x{index}.example"))), &large, now);
    }
    assert!((50..400).contains(&cache.len()), "{} held", cache.len());
}

#[test]
fn a_cache_of_no_entries_holds_nothing() {
    let (cache, name, now) = (cache(0), name("a.example"), Instant::now());
    for _ in 0..3 {
        cache.store(key(&name), &answer(60), now);
        cache.fail(key(&name), Failure::Failing, now);
    }
    assert_eq!(cache.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bounds_hold_and_books_balance_whatever_is_done(steps in prop::collection::vec((0..300u32, 0..3u8), 0..2000)) {
        let (cache, answer, now) = (cache(100), answer(60), Instant::now());
        for (which, what) in steps {
            let name = name(&format!("n{which}.example"));
            match what {
                0 => cache.store(key(&name), &answer, now),
                1 => cache.fail(key(&name), Failure::Unreachable, now),
                _ => drop(cache.probe(key(&name), now)),
            }
        }
        prop_assert!(cache.len() <= 100);
        for shard in &cache.shards {
            let shard = lock(shard);
            prop_assert_eq!(shard.small.len() + shard.main.len(), shard.table.len());
            prop_assert_eq!(shard.slots.len() - shard.free.len(), shard.table.len());
            let live = shard.small.iter().chain(&shard.main).map(|index| shard.slots[*index as usize].weight());
            prop_assert_eq!(live.sum::<usize>(), shard.bytes);
            prop_assert!(shard.ghosts.len() <= shard.capacity.max(1) && shard.ghost_table.len() <= shard.ghosts.len());
        }
    }
}
