use std::sync::Arc;

use super::*;
use crate::event::images::{ImageDecided, ImageSubject};
use crate::event::tally::tests::{count, in_force};
use crate::event::tally::{Counted, Tallies};
use crate::observe::recent::VerdictWord;
use crate::observe::rule_hits::RuleKind;
use crate::policy::store::InForce;

const SETTINGS: config::History = config::History { keep: Duration::from_secs(7 * 24 * 3600), size: 8 << 20 };

struct Lab {
    folder: tempfile::TempDir,
    history: History,
    policy: Arc<InForce>,
    tallies: Tallies,
}

impl Lab {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: config::History) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("state/history.redb"), &settings).unwrap();
        Self { folder, history, policy: in_force(), tallies: Tallies::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state/history.redb")
    }

    /// Closes the file and opens it again.
    fn reopened(self) -> Self {
        let Self { folder, history, policy, tallies } = self;
        history.write();
        drop(history);
        let history = History::open(&folder.path().join("state/history.redb"), &SETTINGS).unwrap();
        Self { folder, history, policy, tallies }
    }

    fn ask(&self, client: [u8; 4], name: &str, now: SystemTime) {
        count(&self.tallies, &self.policy, client.into(), name);
        self.take(now);
    }

    /// Takes what was counted, as of `now`.
    fn take(&self, now: SystemTime) {
        let rule = |row: &Counted<'_>| row.rule().map(RuleKey::of).map(Arc::new);
        self.tallies.take(|table| {
            for row in table.rows() {
                self.history.add(Fact::of(&row, rule(&row).as_ref()), row.count, now);
            }
        });
    }

    fn rows(&self, search: &Search) -> Vec<String> {
        let shown = |row: &HistoryRow| {
            let text = |text: &Option<String>| text.clone().unwrap_or("various".to_owned());
            format!("{} {} {} {} {}", row.client.unwrap(), text(&row.name), row.verdict, row.reason, row.count)
        };
        let mut rows: Vec<_> = self.history.rows(search, usize::MAX).unwrap().iter().map(shown).collect();
        rows.sort();
        rows
    }
}

const CI: [u8; 4] = [10, 0, 0, 1];

#[test]
fn what_was_asked_is_there_after_a_restart_added_up_by_the_hour() {
    let now = SystemTime::now();
    let lab = Lab::new();
    lab.ask(CI, "registry.example", now);
    lab.ask(CI, "cdn.elsewhere.example", now);
    let lab = lab.reopened();
    lab.ask(CI, "registry.example", now);
    lab.ask([10, 0, 0, 2], "registry.example", now);
    assert_eq!(
        lab.rows(&Search::default()),
        [
            "10.0.0.1 cdn.elsewhere.example deny unlisted 1",
            "10.0.0.1 registry.example allow rule 2",
            "10.0.0.2 registry.example allow rule 1",
        ]
    );
    let rules = lab.history.rules().unwrap();
    assert_eq!(rules.iter().map(|(key, _)| key.pattern.as_str()).collect::<Vec<_>>(), ["registry.example"]);
}

#[test]
fn a_search_takes_what_it_names_and_no_look_alike() {
    let now = SystemTime::now();
    let lab = Lab::new();
    for (client, name) in [(CI, "a.example"), (CI, "b.a.example"), (CI, "xa.example"), ([192, 0, 2, 1], "a.example")] {
        lab.ask(client, name, now);
    }
    let found = |search: Search| lab.rows(&search).len();
    assert_eq!(found(Search { name: Some("a.example".parse().unwrap()), ..Search::default() }), 3);
    assert_eq!(found(Search { client: Some(CI.into()), ..Search::default() }), 3);
    assert_eq!(found(Search { group: Some("ci".to_owned()), ..Search::default() }), 3);
    assert_eq!(found(Search { group: Some(String::new()), ..Search::default() }), 1);
    assert_eq!(found(Search { verdict: Some(VerdictWord::Allow), ..Search::default() }), 0);
    assert_eq!(found(Search { since: Some(now + Duration::from_secs(5)), ..Search::default() }), 0);
    assert_eq!(lab.history.rows(&Search::default(), 2).unwrap().len(), 2);
}

#[test]
fn an_unlisted_name_has_the_registry_that_was_asked_for_before_however_late_that_is_told() {
    let lab = Lab::new();
    let pull = Pull { name: "registry.example".to_owned(), registry: "lab".to_owned(), rule: None };
    let now = SystemTime::now();
    lab.ask(CI, "cdn.elsewhere.example", now);
    lab.history.write();
    lab.history.note(&event("cdn.elsewhere.example", now), &pull);
    lab.history.note(&event("later.elsewhere.example", now), &pull);
    lab.history.write();
    lab.ask(CI, "later.elsewhere.example", now);
    let lab = lab.reopened();
    lab.ask(CI, "cdn.elsewhere.example", now);
    let stats = lab.history.stats(&Search::default(), 10).unwrap();
    let denied = &stats.denied[0];
    assert_eq!((denied.count, denied.after.as_ref(), denied.clients.as_slice()), (2, Some(&pull), &[CI.into()][..]));
    assert_eq!(denied.line.as_deref(), Some(r#"redirects = ["cdn.elsewhere.example"]"#));
    assert_eq!((stats.denied[1].count, stats.denied[1].after.as_ref()), (1, Some(&pull)));
}

/// What the log is told of a denied question of [`CI`]'s.
fn event(name: &str, at: SystemTime) -> Event {
    let address = |ip: [u8; 4]| std::net::SocketAddr::from((ip, 53));
    Event {
        at,
        client: address(CI),
        listener: address([127, 0, 0, 1]),
        transport: "udp",
        name: name.parse().unwrap(),
        subject: crate::event::Subject::Question { record_type: 1, rcode: 3 },
        decision: crate::event::Decision::Deny,
        bearing: crate::event::Bearing::Unlisted,
        wanted: true,
        reason: String::new(),
        group: Some("ci".to_owned()),
        entry: None,
        rule: None,
    }
}

#[test]
fn sums_are_by_group_verdict_and_reason_and_the_most_frequent_come_first() {
    let lab = Lab::new();
    for (client, name, times) in
        [(CI, "registry.example", 3), (CI, "x.example", 1), (CI, "y.example", 4), ([192, 0, 2, 1], "x.example", 1)]
    {
        (0..times).for_each(|_| lab.ask(client, name, SystemTime::now()));
    }
    let stats = lab.history.stats(&Search::default(), 1).unwrap();
    let totals = stats.totals.iter().map(|sum| format!("{:?} {} {}", sum.group, sum.reason, sum.count));
    assert_eq!(totals.collect::<Vec<_>>(), [r#"Some("ci") unlisted 5"#, r#"Some("ci") rule 3"#, "None no-group 1"]);
    assert_eq!(
        stats.denied.iter().map(|name| (name.name.as_str(), name.count)).collect::<Vec<_>>(),
        [("y.example", 4)]
    );
    assert_eq!(
        stats.rules.iter().map(|used| (used.rule.pattern.as_str(), used.count)).collect::<Vec<_>>(),
        [("registry.example", 3)]
    );
}

#[test]
fn hours_are_summed_each_for_itself_oldest_first() {
    let lab = Lab::new();
    let now = SystemTime::now();
    for (name, ago) in [("registry.example", 0), ("x.example", 2), ("x.example", 0), ("y.example", 0)] {
        lab.ask(CI, name, now - Duration::from_secs(ago * 3600));
    }
    let hours = lab.history.stats(&Search::default(), 1).unwrap().hours;
    let sums: Vec<_> = hours.iter().map(|hour| (hour.allowed, hour.denied, hour.audited)).collect();
    assert_eq!(sums, [(0, 1, 0), (1, 2, 0)]);
    assert!(hours[0].hour < hours[1].hour, "{hours:?}");
}

#[test]
fn hours_that_are_over_their_time_go() {
    let lab = Lab::with(config::History { keep: Duration::from_secs(7200), ..SETTINGS });
    let now = SystemTime::now();
    lab.ask(CI, "old.example", now - Duration::from_secs(4 * 3600));
    lab.history.write();
    lab.ask(CI, "new.example", now);
    assert_eq!(lab.rows(&Search::default()), ["10.0.0.1 new.example deny unlisted 1"]);
}

#[test]
fn a_client_that_asks_for_ever_new_names_fills_a_row_and_not_the_file() {
    let lab = Lab::new();
    let now = SystemTime::now();
    for number in 0..1010 {
        lab.ask(CI, &format!("n{number}.example"), now);
    }
    lab.ask([10, 0, 0, 2], "x.example", now);
    let rows = lab.rows(&Search::default());
    assert_eq!(rows.len(), 1002);
    assert!(rows.contains(&"10.0.0.1 various deny unlisted 10".to_owned()), "{rows:?}");
    assert!(rows.contains(&"10.0.0.2 x.example deny unlisted 1".to_owned()));
}

#[test]
fn the_file_never_outgrows_its_size_and_the_newest_hours_stay() {
    const SIZE: u64 = 4 << 20;
    const HOURS: u64 = 5;
    let lab = Lab::with(config::History { size: SIZE, ..SETTINGS });
    let begin = SystemTime::now() - Duration::from_secs(HOURS * 3600);
    let padding = "x".repeat(60);
    for hour in 0..HOURS {
        let now = begin + Duration::from_secs(hour * 3600);
        for number in 0..900u16 {
            let [high, low] = number.to_be_bytes();
            count(&lab.tallies, &lab.policy, [10, 1, high, low].into(), &format!("{padding}.{padding}.example"));
        }
        lab.take(now);
        lab.history.write();
        assert!(lab.history.bytes() <= SIZE, "{} bytes in hour {hour}", lab.history.bytes());
    }
    let rows = lab.history.rows(&Search::default(), usize::MAX).unwrap();
    let last = crate::observe::log::timestamp(begin + Duration::from_secs((HOURS - 1) * 3600));
    assert!(rows.len() > 900 && rows.last().unwrap().hour[..13] == last[..13], "{} rows", rows.len());
    assert_eq!(lab.history.dropped(), 0);
}

#[test]
fn a_damaged_file_is_put_aside_and_a_new_one_begun() {
    for damage in [b"this is no database".to_vec(), vec![0; 1 << 16]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.redb");
        std::fs::write(&path, &damage).unwrap();
        let history = History::open(&path, &SETTINGS).unwrap();
        assert_eq!(history.rows(&Search::default(), 10).unwrap(), []);
        assert_eq!(std::fs::read(folder.path().join("history.redb.damaged")).unwrap(), damage);
    }
}

#[test]
fn a_file_cut_short_or_overwritten_in_part_never_keeps_the_service_from_starting() {
    let lab = Lab::new();
    for number in 0..200 {
        lab.ask(CI, &format!("n{number}.example"), SystemTime::now());
    }
    lab.history.write();
    let whole = std::fs::read(lab.path()).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 23) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.redb");
        let mut damaged = whole.clone();
        if at % 2 == 0 {
            damaged.truncate(at);
        } else {
            let end = (at + 5000).min(whole.len());
            damaged[at..end].fill(0xa5);
        }
        std::fs::write(&path, &damaged).unwrap();
        let history = History::open(&path, &SETTINGS).unwrap();
        let _rows_or_fault =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.rows(&Search::default(), 10).is_ok()));
    }
}

#[test]
fn a_second_process_does_not_get_the_file_and_does_not_put_it_aside() {
    let lab = Lab::new();
    assert!(History::open(&lab.path(), &SETTINGS).is_err());
    assert!(lab.path().exists() && !lab.path().with_extension("redb.damaged").exists());
}

// ── images ──

impl Lab {
    fn want(&self, repository: &str, count: u64, now: SystemTime) {
        let subject = ImageSubject {
            client: CI.into(),
            host: "registry.example".parse().unwrap(),
            repository: repository.to_owned(),
        };
        let decided = ImageDecided {
            about: Some(subject),
            group: Some("ci".to_owned()),
            action: "pull",
            decision: crate::event::Decision::Deny,
            reason: "community",
            key: None,
        };
        let rule =
            RuleKey { kind: RuleKind::Images, entry: "lab".to_owned(), pattern: "community = \"deny\"".to_owned() };
        self.history.add(Fact::of_image(&decided, Some(&Arc::new(rule))), count, now);
    }
}

#[test]
fn images_are_kept_beside_the_names_of_their_registries_with_the_key_that_decided() {
    let now = SystemTime::now();
    let lab = Lab::new();
    lab.ask(CI, "registry.example", now);
    lab.want("team/app", 2, now);
    let lab = lab.reopened();
    lab.want("team/app", 1, now);
    lab.want("team/other", 1, now);
    let rows = lab.history.rows(&Search::default(), usize::MAX).unwrap();
    let mut told: Vec<_> = rows.iter().map(|row| (row.wanted().unwrap(), row.reason.as_str(), row.count)).collect();
    told.sort();
    assert_eq!(
        told,
        [
            ("registry.example".to_owned(), "rule", 1),
            ("registry.example/team/app".to_owned(), "community", 3),
            ("registry.example/team/other".to_owned(), "community", 1),
        ]
    );
    let stats = lab.history.stats(&Search::default(), 10).unwrap();
    let denied: Vec<_> = stats.denied.iter().map(|denied| (denied.wanted(), denied.count)).collect();
    assert_eq!(denied, [("registry.example/team/app".to_owned(), 3), ("registry.example/team/other".to_owned(), 1)]);
    let rules = lab.history.rules().unwrap();
    assert!(rules.iter().any(|(key, _)| key.kind == RuleKind::Images && key.pattern == "community = \"deny\""));
}

#[test]
fn repositories_without_end_are_kept_as_various_ones_of_their_client() {
    let (now, lab) = (SystemTime::now(), Lab::new());
    for number in 0..1500 {
        lab.want(&format!("team/app-{number}"), 1, now);
    }
    let rows = lab.history.rows(&Search::default(), usize::MAX).unwrap();
    let various: Vec<_> = rows.iter().filter(|row| row.name.is_none()).collect();
    assert_eq!((rows.len(), various.len(), various[0].count, various[0].client), (1001, 1, 500, Some(CI.into())));
    assert_eq!(various[0].wanted(), None);
}

#[test]
fn what_was_wanted_of_an_image_is_told_where_it_was_no_pull() {
    let image = |repository: &str, action: &str| ImageOfRow { repository: repository.into(), action: action.into() };
    for (image, told) in [
        (image("team/app", "pull"), "r.example/team/app"),
        (image("team/app", "push"), "r.example/team/app (push)"),
        (image("", "catalog"), "r.example (catalog)"),
    ] {
        assert_eq!(image.at("r.example"), told);
    }
}
