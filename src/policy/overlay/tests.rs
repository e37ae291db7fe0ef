//! What an overlay may be, and what comes back from the disk.

use proptest::prelude::*;

use super::*;

fn order(change: Change, time: Option<u64>) -> Order {
    let time = time.map(Duration::from_secs);
    Order { change, group: None, client: None, by: "alice".into(), time, ticket: None, reason: None }
}

fn allow(name: &str) -> Change {
    Change::Allow(name.parse().unwrap())
}

fn block(pattern: &str) -> Change {
    Change::Block(Pattern::parse(pattern).unwrap())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const DAY: u64 = 86_400;

#[test]
fn what_opens_has_to_end_within_a_week_and_what_closes_need_not() {
    for (change, time, expected) in [
        (allow("a.example"), Some(7 * DAY), None),
        (allow("a.example"), Some(7 * DAY + 1), Some(OrderFault::TooLong(MAX_OPENING))),
        (allow("a.example"), None, Some(OrderFault::Endless)),
        (Change::Mode(Mode::Audit), None, Some(OrderFault::Endless)),
        (allow("a.example"), Some(0), Some(OrderFault::NoTime)),
        (block("*.a.example"), None, None),
        (Change::Mode(Mode::Enforce), Some(30 * DAY), None),
        (block("a.example"), Some(1000 * DAY), Some(OrderFault::TooLong(MAX_CLOSING))),
    ] {
        assert_eq!(order(change.clone(), time).accept(1, at(0)).err(), expected, "{change:?} {time:?}");
    }
}

#[test]
fn one_client_is_given_a_mode_and_nothing_else() {
    let for_client = |change, group: Option<&str>| {
        let client = Some("::ffff:10.0.0.7".parse().unwrap());
        Order { client, group: group.map(str::to_owned), ..order(change, Some(60)) }.accept(1, at(0))
    };
    let audited = for_client(Change::Mode(Mode::Audit), None).unwrap();
    assert_eq!(audited.to_string(), "mode audit for client 10.0.0.7 by alice");
    for (change, group) in
        [(allow("a.example"), None), (block("a.example"), None), (Change::Mode(Mode::Audit), Some("ci"))]
    {
        assert_eq!(for_client(change, group), Err(OrderFault::Client));
    }
}

#[test]
fn texts_that_would_forge_a_line_of_the_log_are_refused() {
    for text in ["a\nb", "\u{1b}[31m", &"x".repeat(201)] {
        let order = Order { ticket: Some(text.to_owned()), ..order(allow("a.example"), Some(60)) };
        assert_eq!(order.accept(1, at(0)), Err(OrderFault::Text("ticket")));
    }
}

#[test]
fn an_overlay_ends_at_its_time_and_when_the_clock_says_that_it_lasts_too_long() {
    let overlay = order(allow("a.example"), Some(3600)).accept(1, at(100 * DAY)).unwrap();
    assert!(!overlay.has_ended(at(100 * DAY)));
    assert!(overlay.has_ended(at(100 * DAY + 3600)));
    assert!(!overlay.has_ended(at(100 * DAY - 1800)), "a clock that was set right");
    assert!(overlay.has_ended(at(10 * DAY)));
    let endless = order(block("a.example"), None).accept(1, at(0)).unwrap();
    assert!(!endless.has_ended(at(1000 * DAY)));
}

#[test]
fn a_later_one_takes_the_place_of_one_like_it_and_there_are_a_hundred_at_most() {
    let root = tempfile::tempdir().unwrap();
    let (mut overlays, _) = Overlays::load(root.path());
    let add = |overlays: &mut Overlays, change, time| {
        let overlay = order(change, Some(time)).accept(overlays.next_id(), at(0)).unwrap();
        let list = overlays.with(&overlay)?;
        overlays.set(list);
        Some(overlays.list().len())
    };
    assert_eq!(add(&mut overlays, allow("a.example"), 60), Some(1));
    assert_eq!(add(&mut overlays, allow("a.example"), 120), Some(1));
    assert_eq!(overlays.list()[0].until, Some(at(120)));
    assert_eq!(add(&mut overlays, Change::Mode(Mode::Audit), 60), Some(2));
    assert_eq!(add(&mut overlays, Change::Mode(Mode::Enforce), 60), Some(2), "one mode at a time");
    for number in 2..100 {
        assert_eq!(add(&mut overlays, allow(&format!("{number}.example")), 60), Some(number + 1));
    }
    assert_eq!(add(&mut overlays, allow("one.more.example"), 60), None);
    let client = Some("10.0.0.7".parse().unwrap());
    assert_eq!(overlays.without(&allow("2.example"), None, client).len(), 100, "that of one client");
    assert_eq!(overlays.without(&allow("2.example"), None, None).len(), 99);
    assert_eq!(overlays.without(&allow("2.example"), Some("ci"), None).len(), 100, "that of another group");
}

#[test]
fn what_is_kept_comes_back_and_a_damaged_one_is_left_out_with_a_warning() {
    let root = tempfile::tempdir().unwrap();
    let (mut overlays, _) = Overlays::load(root.path());
    let mut orders = vec![order(allow("a.example"), Some(60)), order(block(".b.example"), None)];
    orders[0].ticket = Some("T \"1\"".into());
    orders[1].group = Some("ci".into());
    let list: Vec<_> = (1..).zip(orders).map(|(id, order)| order.accept(id, at(5)).unwrap()).collect();
    assert_eq!(overlays.set(list.clone()), None);
    let (again, warnings) = Overlays::load(root.path());
    assert_eq!((again.list(), warnings.len()), (&list[..], 0));

    let file = root.path().join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("a.example", "a..example")).unwrap();
    let (again, warnings) = Overlays::load(root.path());
    assert_eq!((again.list(), warnings.len()), (&list[1..], 1));
    assert!(!warnings[0].is_fault());
    std::fs::write(&file, &text[1..]).unwrap();
    let (again, warnings) = Overlays::load(root.path());
    assert_eq!((again.list().len(), warnings.len()), (0, 1));
}

fn stored() -> impl Strategy<Value = Stored> {
    let kind = prop::sample::select(vec![Kind::Allow, Kind::Block, Kind::Mode]);
    let client = prop::option::of(any::<[u8; 16]>().prop_map(IpAddr::from));
    let text = || prop::option::of("\\PC{0,8}|a\nb");
    let what = "(\\*\\.)?[a-z]{1,5}\\.example|enforce|audit|\\PC{0,8}";
    let moments = (any::<u64>(), prop::option::of(any::<u64>()));
    (any::<u64>(), kind, what, text(), client, moments, text(), text()).prop_map(
        |(id, kind, what, group, client, (since, until), ticket, reason)| Stored {
            id,
            kind,
            what,
            group,
            client,
            by: "alice".into(),
            since,
            until,
            ticket,
            reason,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_stored_is_an_overlay_within_its_bounds_or_refused(stored in stored(), now in any::<u32>()) {
        if let Ok(overlay) = Overlay::try_from(stored) {
            prop_assert!(!overlay.change.opens() || overlay.until.is_some());
            prop_assert!(!overlay.to_string().contains('\n'));
            let _ = (overlay.has_ended(at(u64::from(now))), overlay.source());
            let again = Overlay::try_from(Stored::from(&overlay));
            prop_assert_eq!(again, Ok(overlay));
        }
    }

    #[test]
    fn any_file_is_read_or_reported(text in "\\PC{0,60}|\\[\\{\"id\":1[\\PC]{0,40}\\}\\]") {
        let root = tempfile::tempdir().map_err(|_| TestCaseError::fail("a folder"))?;
        std::fs::write(root.path().join(FILE), &text).map_err(|_| TestCaseError::fail("a file"))?;
        let (overlays, warnings) = Overlays::load(root.path());
        prop_assert!(overlays.list().is_empty());
        prop_assert!(warnings.len() == 1 || text.trim() == "[]");
    }
}
