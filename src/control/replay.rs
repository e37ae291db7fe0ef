//! What was asked in the last hours, under a policy that is not in force: which names would be decided otherwise, for whom,
//! how often. Rows and policies in, reports out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::diff::Direction;
use super::effective::{key_report, rule_report};
use super::report::{
    AskedReport, AskedTopic, FlipReport, HistoryRow, ImageOfRow, ReplayReport, RuleReport, VerdictWord,
};
use crate::policy::images::Badge;
use crate::policy::replay::{Answer, Asked, AskedImage, By, Flip, Replayed};
use crate::policy::snapshot::Snapshot;

/// What was asked, added up over the hours.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: HashMap<Who, (u64, String)>,
    unnamed: u64,
}

/// A client, its group, and a name in presentation form; the image there, and what the Hub said of its namespace.
type Who = (Option<IpAddr>, Option<String>, String, Option<(ImageOfRow, Option<Badge>)>);
/// A question, how often it was asked, and when last.
type Counted = (Asked, u64, String);

/// Flips, added up over clients.
#[derive(Debug, Default)]
pub struct Replaying {
    flips: BTreeMap<Turn, Sum>,
    replayed: u64,
    not_replayed: u64,
}

/// A group, a name, the image there, and the verdicts.
type Turn = (Option<String>, String, Option<ImageOfRow>, VerdictWord, VerdictWord);

#[derive(Debug, Default)]
struct Sum {
    count: u64,
    clients: BTreeSet<IpAddr>,
    last: String,
    reason: String,
    rule: Option<RuleReport>,
}

impl Topics {
    /// Adds a row.
    pub(super) fn add(&mut self, row: HistoryRow) {
        let Some(name) = row.name else {
            self.unnamed = self.unnamed.saturating_add(row.count);
            return;
        };
        let badge = Badge::told_by(&row.reason);
        let image = row.image.map(|image| (image, badge));
        let (count, last) = self.topics.entry((row.client, row.group, name, image)).or_default();
        *count = count.saturating_add(row.count);
        if *last < row.last {
            *last = row.last;
        }
    }

    /// The questions, those asked most first and not more than `limit`; how often names were asked for that are left out
    /// or not known.
    fn into_questions(self, limit: usize) -> (Vec<Counted>, u64) {
        let mut unknown = self.unnamed;
        let mut questions = Vec::new();
        let mut topics: Vec<_> = self.topics.into_iter().collect();
        topics.sort_by(|(one, (count, _)), (other, (others, _))| others.cmp(count).then_with(|| one.cmp(other)));
        for (who, (count, last)) in topics {
            match question(who) {
                Some(asked) if questions.len() < limit => questions.push((asked, count, last)),
                _ => unknown = unknown.saturating_add(count),
            }
        }
        (questions, unknown)
    }

    /// The questions with what `policy` says to each.
    pub(super) fn judged(self, policy: &Snapshot, reaches_back_to: String) -> AskedReport {
        let (questions, mut left_out) = self.into_questions(MAX_TOPICS);
        let mut topics = Vec::new();
        for (asked, count, last) in questions {
            let by = asked.by(policy);
            let Some(verdict) = asked.judge(policy, by).map(VerdictWord::from) else {
                left_out = left_out.saturating_add(count);
                continue;
            };
            let badge = asked.image.as_ref().and_then(|image| image.badge);
            let (image, name, is_by_address) = (image_of(&asked), asked.name.to_string(), by == By::Address);
            let Asked { client, group, .. } = asked;
            topics.push(AskedTopic { client, group, is_by_address, name, image, badge, verdict, count, last });
        }
        AskedReport { reaches_back_to, topics, left_out }
    }

    /// What becomes of the questions when `new` takes the place of `old`.
    pub(super) fn replayed(self, old: &Snapshot, new: &Snapshot) -> Replaying {
        let (questions, unknown) = self.into_questions(usize::MAX);
        let mut replaying = Replaying { not_replayed: unknown, ..Replaying::default() };
        for (asked, count, last) in questions {
            match asked.replay(old, new) {
                Replayed::Same => replaying.replayed = replaying.replayed.saturating_add(count),
                Replayed::Unknown => replaying.not_replayed = replaying.not_replayed.saturating_add(count),
                Replayed::Flipped(Flip { old, new }) => {
                    replaying.replayed = replaying.replayed.saturating_add(count);
                    replaying.add(&asked, (old.into(), new), (count, last));
                }
            }
        }
        replaying
    }
}

impl Replaying {
    /// What becomes of the questions of a running server, whose verdicts are known, under `new`.
    pub fn of(asked: AskedReport, new: &Snapshot) -> Self {
        let mut replaying = Self { not_replayed: asked.left_out, ..Self::default() };
        for topic in asked.topics {
            let AskedTopic { client, group, is_by_address, name, image, badge, verdict, count, last } = topic;
            let asked = question((client, group, name, image.map(|image| (image, badge))));
            let by = if is_by_address { By::Address } else { By::Group };
            let judged = asked.as_ref().and_then(|asked| Some((asked, asked.judge(new, by)?)));
            let Some((asked, judged)) = judged else {
                replaying.not_replayed = replaying.not_replayed.saturating_add(count);
                continue;
            };
            replaying.replayed = replaying.replayed.saturating_add(count);
            if verdict != VerdictWord::from(judged) {
                replaying.add(asked, (verdict, judged), (count, last));
            }
        }
        replaying
    }

    fn add(&mut self, asked: &Asked, (old, new): (VerdictWord, Answer<'_>), (count, last): (u64, String)) {
        let key = (asked.group.clone(), asked.name.to_string(), image_of(asked), old, new.into());
        let sum = self.flips.entry(key).or_default();
        sum.count = sum.count.saturating_add(count);
        if sum.clients.len() < MAX_CLIENTS {
            sum.clients.extend(asked.client);
        }
        if sum.last < last {
            sum.last = last;
        }
        (sum.reason, sum.rule) = match new {
            Answer::Name(verdict) => (verdict.to_string(), verdict.rule().map(rule_report)),
            Answer::Image(verdict) => (verdict.to_string(), verdict.key().map(key_report)),
        };
    }

    /// The flips, those of most questions first.
    pub fn finish(self, since: String, reaches_back_to: String) -> ReplayReport {
        let Self { flips, replayed, not_replayed } = self;
        let flips_in_all = flips.len();
        let mut flips: Vec<FlipReport> = flips
            .into_iter()
            .map(|((group, name, image, old, new), sum)| {
                let Sum { count, clients, last, reason, rule } = sum;
                let (clients, direction) = (clients.into_iter().collect(), direction(old, new));
                FlipReport { name, image, group, old, new, direction, count, clients, last, reason, rule }
            })
            .collect();
        flips.sort_by_key(|flip| std::cmp::Reverse(flip.count));
        flips.truncate(MAX_FLIPS);
        ReplayReport { since, reaches_back_to, replayed, not_replayed, flips, flips_in_all }
    }
}

/// A question as it is judged; `None`: it is for what is no name, or for no image that could be pulled or pushed.
fn question((client, group, name, image): Who) -> Option<Asked> {
    let image = match image {
        Some((ImageOfRow { repository, action }, badge)) => Some(AskedImage::read(&repository, &action, badge)?),
        None => None,
    };
    Some(Asked { client, group, name: name.parse().ok()?, image })
}

fn image_of(asked: &Asked) -> Option<ImageOfRow> {
    let AskedImage { repository, access, badge: _ } = asked.image.as_ref()?;
    Some(ImageOfRow { repository: repository.as_str().to_owned(), action: access.word().to_owned() })
}

impl From<Answer<'_>> for VerdictWord {
    fn from(answer: Answer<'_>) -> Self {
        match answer {
            Answer::Name(verdict) => verdict.into(),
            Answer::Image(verdict) => verdict.into(),
        }
    }
}

/// Which way a verdict goes.
fn direction(old: VerdictWord, new: VerdictWord) -> Direction {
    match (old, new) {
        (VerdictWord::Deny, VerdictWord::Allow | VerdictWord::Audit) => Direction::Opens,
        (VerdictWord::Allow | VerdictWord::Audit, VerdictWord::Deny) => Direction::Closes,
        _ => Direction::Changes,
    }
}

/// Questions of one answer: some 10 MB.
const MAX_TOPICS: usize = 50_000;
/// Flips of a report.
const MAX_FLIPS: usize = 1000;
/// Clients that are named for a flip.
const MAX_CLIENTS: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    fn policy(hosts: &str) -> Snapshot {
        let text = format!(
            "version = 1\n[[registry]]\nname = \"r\"\nhosts = [{hosts}]\n[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\n\
             registries = [\"*\"]\n[[group]]\nname = \"default\"\n"
        );
        load(vec![Source::new("a.toml", text)], &Options::default(), SystemTime::UNIX_EPOCH).unwrap().snapshot
    }

    fn row(client: &str, group: &str, name: Option<&str>, last: &str) -> HistoryRow {
        HistoryRow {
            hour: String::new(),
            client: Some(client.parse().unwrap()),
            group: Some(group.to_owned()),
            name: name.map(str::to_owned),
            image: None,
            verdict: VerdictWord::Audit,
            reason: String::new(),
            rule: None,
            after: None,
            count: 3,
            first: last.to_owned(),
            last: last.to_owned(),
        }
    }

    fn topics() -> Topics {
        let mut topics = Topics::default();
        for row in [
            row("10.0.0.1", "ci", Some("a.example"), "1"),
            row("10.0.0.1", "ci", Some("a.example"), "3"),
            row("10.0.0.2", "ci", Some("a.example"), "2"),
            row("10.0.0.2", "ci", Some("b.example"), "2"),
            row("10.0.0.2", "ci", Some("c.example"), "2"),
            row("10.0.0.2", "ci", None, "2"),
            row("10.0.0.2", "ci", Some("no..name"), "2"),
        ] {
            topics.add(row);
        }
        topics
    }

    #[test]
    fn what_would_flip_is_told_by_name_and_group_with_who_asked_how_often() {
        let report =
            topics().replayed(&policy("\"a.example\""), &policy("\"b.example\"")).finish("1d".into(), "0".into());
        let told: Vec<_> = report
            .flips
            .iter()
            .map(|flip| (flip.name.as_str(), flip.old, flip.new, flip.count, flip.clients.len(), flip.last.as_str()))
            .collect();
        let (allow, deny) = (VerdictWord::Allow, VerdictWord::Deny);
        assert_eq!(told, [("a.example", allow, deny, 9, 2, "3"), ("b.example", deny, allow, 3, 1, "2")]);
        assert_eq!((report.flips[0].direction, report.flips[1].direction), (Direction::Closes, Direction::Opens));
        assert_eq!(
            (report.flips[0].reason.as_str(), report.flips[0].group.as_deref()),
            ("not on the allowlist", Some("ci"))
        );
        assert_eq!(report.flips[1].rule.as_ref().map(|rule| rule.pattern.as_str()), Some("b.example"));
        assert_eq!((report.replayed, report.not_replayed, report.flips_in_all), (15, 6, 2));
    }

    #[test]
    fn a_server_s_verdicts_and_its_policy_lead_to_the_same() {
        let (old, new) = (policy("\"a.example\""), policy("\"b.example\""));
        let direct = topics().replayed(&old, &new).finish(String::new(), String::new());
        let asked = topics().judged(&old, String::new());
        let json = serde_json::to_string(&asked).unwrap();
        let told = Replaying::of(serde_json::from_str(&json).unwrap(), &new).finish(String::new(), String::new());
        assert_eq!(told, direct);
    }

    #[test]
    fn of_too_many_questions_those_asked_most_are_kept() {
        let (questions, unknown) = topics().into_questions(1);
        assert_eq!((questions[0].0.name.to_string().as_str(), questions[0].1, unknown), ("a.example", 6, 15));
    }

    #[test]
    fn images_flip_by_what_is_done_with_them_and_as_a_server_tells_of_them() {
        let of = |allow: &str| {
            let text = format!(
                "version = 1\n[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\npath = \"inspect\"\n\
                 [[images]]\nregistry = \"r\"\n{allow}"
            );
            let options = Options { has_gateway: true, ..Options::default() };
            load(vec![Source::new("a.toml", text)], &options, SystemTime::UNIX_EPOCH).unwrap().snapshot
        };
        let (old, new) = (of("allow = [\"team/*\"]"), of("allow = [\"team/app\"]\npush = [\"team/tool\"]"));
        let topics = || {
            let mut topics = Topics::default();
            for (repository, action) in [
                ("team/app", "pull"),
                ("team/tool", "pull"),
                ("team/tool", "push"),
                ("team/web", "pull"),
                ("", "catalog"),
            ] {
                let image = ImageOfRow { repository: repository.to_owned(), action: action.to_owned() };
                let row = row("10.0.0.1", "ci", Some("r.example"), "2");
                topics.add(HistoryRow { group: None, image: Some(image), ..row });
            }
            topics
        };
        let report = topics().replayed(&old, &new).finish(String::new(), String::new());
        let told: Vec<_> = report
            .flips
            .iter()
            .map(|flip| {
                let rule = flip.rule.as_ref().map_or("", |rule| rule.pattern.as_str());
                format!("{} {} {} by {rule}", flip.wanted(), flip.old, flip.new)
            })
            .collect();
        assert_eq!(
            told,
            [
                "r.example/team/tool (push) deny allow by push = \"team/tool\"",
                "r.example/team/web allow deny by [[images]] of r",
            ]
        );
        assert_eq!((report.replayed, report.not_replayed), (12, 3));
        let json = serde_json::to_string(&topics().judged(&old, String::new())).unwrap();
        let told = Replaying::of(serde_json::from_str(&json).unwrap(), &new).finish(String::new(), String::new());
        assert_eq!(told, report);
    }
}
