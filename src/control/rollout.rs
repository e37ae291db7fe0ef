//! What enforcing the policy in force would mean to each group, by what its clients asked in the last days. Rows and a
//! policy in, numbers out: no clock, no file.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::effective::mode_word;
use super::report::{GroupRollout, HistoryRow, ImageOfRow, Lack, LackedName, OverlayReport, VerdictWord};
use crate::name::DomainName;
use crate::policy::document::Mode;
use crate::policy::images::{Badge, ImageVerdict};
use crate::policy::judge::{Denial, Judgement, Verdict};
use crate::policy::replay::AskedImage;
use crate::policy::snapshot::{GroupRef, Snapshot};

/// What is added up, group by group.
pub(super) struct Rollout<'s> {
    snapshot: &'s Snapshot,
    /// By name; without groups one, for everyone.
    groups: Vec<(Option<GroupRef<'s>>, Sums)>,
    numbers: HashMap<Option<&'s str>, usize>,
}

/// The days that are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// How many were wanted.
    pub(super) days: u32,
    /// How long of them the history knows.
    pub(super) span: Duration,
}

#[derive(Debug, Default)]
struct Sums {
    clients: HashSet<IpAddr>,
    asked: u64,
    denied: u64,
    would_deny: u64,
    /// Of those, for names that were not kept.
    various: u64,
    last_would_deny: Option<String>,
    names: HashMap<String, (u64, String)>,
    /// The same of images, which somebody wanted to pull or push.
    images: HashMap<String, (u64, String)>,
}

impl<'s> Rollout<'s> {
    /// Begins with nothing asked.
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let mut groups: Vec<_> = snapshot.groups().map(|group| (Some(group), Sums::default())).collect();
        if groups.is_empty() {
            groups.push((None, Sums::default()));
        }
        let name = |group: &Option<GroupRef<'s>>| group.map(GroupRef::name);
        let numbers = groups.iter().enumerate().map(|(number, (group, _))| (name(group), number)).collect();
        Self { snapshot, groups, numbers }
    }

    /// Adds a row. What was decided then does not matter but where the name is not known: what would be denied is judged
    /// by the policy in force. Rows of groups that are gone say nothing of those that are there.
    pub(super) fn add(&mut self, row: &HistoryRow) {
        let Some(number) = self.numbers.get(&row.group.as_deref()) else { return };
        let (group, sums) = &mut self.groups[*number];
        sums.clients.extend(row.client);
        sums.asked = sums.asked.saturating_add(row.count);
        if row.verdict == VerdictWord::Deny {
            sums.denied = sums.denied.saturating_add(row.count);
        }
        let name = row.name.as_ref().map(|text| text.parse::<DomainName>());
        let is_lacking = match &name {
            Some(Ok(name)) => {
                let judgement = self.snapshot.judge_as(*group, name.as_name());
                match &row.image {
                    Some(image) => would_deny_image(self.snapshot, judgement, row, image),
                    None => would_deny(judgement.verdict),
                }
            }
            Some(Err(_)) => false,
            // Names that are kept of a client only as various ones may be on trial, or allowed by now: who knows.
            None => row.verdict == VerdictWord::Audit && row.reason != "on-trial",
        };
        if is_lacking {
            sums.add_lacking(row);
        }
    }

    /// What it comes to, in the order of the files.
    pub(super) fn finish(self, window: Window, overlays: &[OverlayReport]) -> Vec<GroupRollout> {
        let snapshot = self.snapshot;
        let groups = self.groups.into_iter();
        groups
            .map(|(group, sums)| sums.finish(group, group.map_or(snapshot.mode(), GroupRef::mode), window, overlays))
            .collect()
    }
}

/// Whether audit, the group's own, is all that lets a name through, or enforcement all that does not.
fn would_deny(verdict: Verdict<'_>) -> bool {
    match verdict {
        Verdict::Allow(_) => false,
        // A `[[deny]]` holds in any mode, and a registry on trial is a matter of its own.
        Verdict::Deny(denial) | Verdict::Audit(denial) => !matches!(denial, Denial::Listed(_) | Denial::OnTrial(_)),
    }
}

/// The same of an image; one of a registry that is not inspected is let through as its name is.
fn would_deny_image(snapshot: &Snapshot, judgement: Judgement<'_>, row: &HistoryRow, image: &ImageOfRow) -> bool {
    let Some(rules) = snapshot.inspected_images(judgement, row.client).filter(|rules| !rules.is_on_trial()) else {
        return false;
    };
    let asked = AskedImage::read(&image.repository, &image.action, Badge::told_by(&row.reason));
    match asked.as_ref().map(|asked| rules.judge(&asked.repository, asked.access, asked.badge)) {
        Some(ImageVerdict::Allow(_)) => false,
        Some(ImageVerdict::Deny(_) | ImageVerdict::Audit(_)) => true,
        // What only the Hub knows, and lists of repositories: as it was.
        Some(ImageVerdict::NeedsBadge) | None => row.verdict == VerdictWord::Audit,
    }
}

impl Sums {
    fn add_lacking(&mut self, row: &HistoryRow) {
        self.would_deny = self.would_deny.saturating_add(row.count);
        if self.last_would_deny.as_ref().is_none_or(|last| *last < row.last) {
            self.last_would_deny = Some(row.last.clone());
        }
        let Some(wanted) = row.wanted() else {
            self.various = self.various.saturating_add(row.count);
            return;
        };
        let lacked = if row.image.is_some() { &mut self.images } else { &mut self.names };
        let (count, last) = lacked.entry(wanted).or_default();
        *count = count.saturating_add(row.count);
        if *last < row.last {
            last.clone_from(&row.last);
        }
    }

    fn finish(
        self,
        group: Option<GroupRef<'_>>,
        mode: Mode,
        window: Window,
        overlays: &[OverlayReport],
    ) -> GroupRollout {
        let overlay = overlay_of(group, mode, overlays);
        let missing = if mode == Mode::Audit { self.missing(window, overlay.is_some()) } else { Vec::new() };
        let Self { clients, asked, denied, would_deny, various: _, last_would_deny, names, images } = self;
        let place = group.map(GroupRef::place);
        GroupRollout {
            group: group.map(|group| group.name().to_owned()),
            mode: mode_word(mode).to_owned(),
            overlay,
            path: place.map(|place| place.path.to_path_buf()),
            line: place.map(|place| place.line),
            clients: clients.len(),
            asked_a_day: window.a_day(asked),
            denied_a_day: window.a_day(denied),
            would_deny_a_day: window.a_day(would_deny),
            last_would_deny,
            names_in_all: names.len(),
            names: most(names),
            images_in_all: images.len(),
            images: most(images),
            missing,
        }
    }

    fn missing(&self, window: Window, is_overlaid: bool) -> Vec<Lack> {
        let lacks = [
            (!self.names.is_empty()).then_some(Lack::Names { count: self.names.len() }),
            (!self.images.is_empty()).then_some(Lack::Images { count: self.images.len() }),
            (self.various > 0).then_some(Lack::VariousNames { times: self.various }),
            (self.asked == 0).then_some(Lack::Silence),
            (!window.is_whole()).then(|| Lack::History { days: window.whole_days() }),
            is_overlaid.then_some(Lack::Overlay),
        ];
        lacks.into_iter().flatten().collect()
    }
}

impl Window {
    /// How many a day; of less than a day as many as there were: nobody knows the rest of it.
    fn a_day(self, count: u64) -> u64 {
        let seconds = self.span.as_secs().max(DAY);
        let a_day = u128::from(count) * u128::from(DAY);
        u64::try_from(a_day.div_ceil(u128::from(seconds))).unwrap_or(u64::MAX)
    }

    fn whole_days(self) -> u32 {
        u32::try_from(self.span.as_secs() / DAY).unwrap_or(u32::MAX)
    }

    /// Whether the history reaches back far enough, an hour or so aside: it is kept by the hour.
    fn is_whole(self) -> bool {
        self.span.as_secs() + SLACK >= u64::from(self.days) * DAY
    }
}

/// Those that were asked for most.
fn most(lacked: HashMap<String, (u64, String)>) -> Vec<LackedName> {
    let mut lacked: Vec<_> = lacked.into_iter().map(|(name, (count, last))| LackedName { name, count, last }).collect();
    lacked.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
    lacked.truncate(NAMES);
    lacked
}

/// The overlay that a group has its mode of.
fn overlay_of(group: Option<GroupRef<'_>>, mode: Mode, overlays: &[OverlayReport]) -> Option<OverlayReport> {
    let name = group.map(GroupRef::name);
    let is_its = |overlay: &&OverlayReport| {
        let is_for = overlay.group.is_none() || overlay.group.as_deref() == name;
        overlay.kind == "mode" && overlay.client.is_none() && is_for && overlay.what == mode_word(mode)
    };
    overlays.iter().find(is_its).cloned()
}

const DAY: u64 = 24 * 60 * 60;
const SLACK: u64 = 2 * 60 * 60;
/// Names of a group in a report.
const NAMES: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    const POLICY: &str = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n[[registry]]\nname = \"t\"\n\
        hosts = [\"trial.example\"]\nmode = \"audit\"\n[[deny]]\nhosts = [\"bad.example\"]\n[[group]]\nname = \"ci\"\n\
        clients = [\"10.0.0.0/8\"]\nmode = \"audit\"\nregistries = [\"*\"]\n[[group]]\nname = \"dev\"\nregistries = [\"*\"]\n";

    fn policy(text: &str) -> Snapshot {
        load(vec![Source::new("a.toml", text)], &Options::default(), SystemTime::UNIX_EPOCH).unwrap().snapshot
    }

    fn row(group: &str, name: Option<&str>, verdict: VerdictWord, last: &str) -> HistoryRow {
        HistoryRow {
            hour: String::new(),
            client: Some("10.0.0.7".parse().unwrap()),
            group: Some(group.to_owned()),
            name: name.map(str::to_owned),
            image: None,
            verdict,
            reason: "unlisted".to_owned(),
            rule: None,
            after: None,
            count: 14,
            first: last.to_owned(),
            last: last.to_owned(),
        }
    }

    fn days(days: u64) -> Window {
        Window { days: 7, span: Duration::from_secs(days * DAY) }
    }

    fn rolled_out(rows: &[HistoryRow], window: Window) -> Vec<GroupRollout> {
        let snapshot = policy(POLICY);
        let mut rollout = Rollout::of(&snapshot);
        for row in rows {
            rollout.add(row);
        }
        rollout.finish(window, &[])
    }

    #[test]
    fn what_would_be_denied_is_judged_by_the_policy_in_force_and_named() {
        let rows = [
            row("ci", Some("r.example"), VerdictWord::Audit, "1"),
            row("ci", Some("x.example"), VerdictWord::Audit, "2"),
            row("ci", Some("y.example"), VerdictWord::Allow, "4"),
            row("ci", Some("y.example"), VerdictWord::Audit, "3"),
            row("ci", Some("trial.example"), VerdictWord::Audit, "5"),
            row("ci", Some("bad.example"), VerdictWord::Deny, "6"),
            row("ci", None, VerdictWord::Audit, "3"),
            row("gone", Some("z.example"), VerdictWord::Audit, "9"),
        ];
        let [ci, dev] = &rolled_out(&rows, days(7))[..] else { panic!() };
        let names: Vec<_> = ci.names.iter().map(|name| (name.name.as_str(), name.count, name.last.as_str())).collect();
        assert_eq!(names, [("y.example", 28, "4"), ("x.example", 14, "2")]);
        assert_eq!((ci.asked_a_day, ci.denied_a_day, ci.would_deny_a_day), (14, 2, 8));
        assert_eq!((ci.clients, ci.last_would_deny.as_deref(), ci.mode.as_str()), (1, Some("4"), "audit"));
        assert_eq!(ci.missing, [Lack::Names { count: 2 }, Lack::VariousNames { times: 14 }]);
        assert_eq!((dev.mode.as_str(), dev.missing.len()), ("enforce", 0), "nothing is missing where it is enforced");
    }

    #[test]
    fn a_group_that_asked_for_nothing_it_lacks_for_long_enough_lacks_nothing() {
        let rows = [row("ci", Some("r.example"), VerdictWord::Allow, "1")];
        assert_eq!(rolled_out(&rows, days(7))[0].missing, []);
        let soon = Window { days: 7, span: Duration::from_secs(7 * DAY - 3600) };
        assert_eq!(rolled_out(&rows, soon)[0].missing, [], "it is kept by the hour");
        assert_eq!(rolled_out(&rows, days(2))[0].missing, [Lack::History { days: 2 }]);
        assert_eq!(rolled_out(&[], days(7))[0].missing, [Lack::Silence]);
    }

    #[test]
    fn less_than_a_day_is_not_made_more_of() {
        let window = Window { days: 7, span: Duration::from_secs(3600) };
        let group = &rolled_out(&[row("ci", Some("x.example"), VerdictWord::Audit, "2")], window)[0];
        assert_eq!(group.would_deny_a_day, 14);
        assert_eq!(days(28).a_day(14), 1, "what is seldom is not never");
    }

    #[test]
    fn without_groups_everyone_is_one() {
        let options = Options { mode: Mode::Audit, ..Options::default() };
        let text = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n";
        let snapshot = load(vec![Source::new("a.toml", text)], &options, SystemTime::UNIX_EPOCH).unwrap().snapshot;
        let mut rollout = Rollout::of(&snapshot);
        rollout.add(&HistoryRow { group: None, ..row("", Some("x.example"), VerdictWord::Audit, "2") });
        let groups = rollout.finish(days(7), &[]);
        assert_eq!((groups.len(), groups[0].group.as_deref(), groups[0].names_in_all), (1, None, 1));
    }

    #[test]
    fn an_overlay_s_audit_is_told_as_such() {
        let snapshot = policy(POLICY);
        let overlay = |group: Option<&str>, client: Option<&str>| OverlayReport {
            id: 1,
            kind: "mode".to_owned(),
            what: "audit".to_owned(),
            group: group.map(str::to_owned),
            client: client.map(|client| client.parse().unwrap()),
            by: "alice".to_owned(),
            since: String::new(),
            until: None,
            ticket: None,
            reason: None,
        };
        let of = |overlay| Rollout::of(&snapshot).finish(days(7), &[overlay])[0].overlay.is_some();
        assert_eq!(
            [(Some("ci"), None), (Some("dev"), None), (None, None), (None, Some("10.0.0.7"))]
                .map(|(group, client)| of(overlay(group, client))),
            [true, false, true, false]
        );
    }

    const IMAGES: &str = "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\npath = \"inspect\"\n\
        [[registry]]\nname = \"t\"\nhosts = [\"trial.example\"]\npath = \"inspect\"\n\
        [[images]]\nregistry = \"r\"\nallow = [\"team/*\"]\ndeny = [\"team/old\"]\n\
        [[images]]\nregistry = \"t\"\nmode = \"audit\"\n\
        [[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\nmode = \"audit\"\nregistries = [\"*\"]\n";

    fn wanted(host: &str, repository: &str, action: &str) -> HistoryRow {
        let image = ImageOfRow { repository: repository.to_owned(), action: action.to_owned() };
        HistoryRow { image: Some(image), ..row("ci", Some(host), VerdictWord::Audit, "2") }
    }

    #[test]
    fn images_that_would_be_denied_are_missing_as_names_are() {
        let options = Options { has_gateway: true, ..Options::default() };
        let snapshot = load(vec![Source::new("a.toml", IMAGES)], &options, SystemTime::UNIX_EPOCH).unwrap().snapshot;
        let mut rollout = Rollout::of(&snapshot);
        for row in [
            wanted("r.example", "team/app", "pull"),
            wanted("r.example", "team/old", "pull"),
            wanted("r.example", "other/app", "pull"),
            wanted("r.example", "team/app", "push"),
            wanted("r.example", "", "catalog"),
            wanted("trial.example", "other/app", "pull"),
            row("ci", Some("r.example"), VerdictWord::Allow, "1"),
        ] {
            rollout.add(&row);
        }
        let group = &rollout.finish(days(7), &[])[0];
        let images: Vec<_> = group.images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(
            images,
            ["r.example (catalog)", "r.example/other/app", "r.example/team/app (push)", "r.example/team/old"]
        );
        assert_eq!((group.names_in_all, group.images_in_all), (0, 4));
        assert_eq!(group.missing, [Lack::Images { count: 4 }]);
        assert_eq!(group.missing[0].to_string(), "4 images would be denied");
    }
}
