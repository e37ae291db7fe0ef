//! What was asked in the last hours, under a policy that is not in force: which names would be decided otherwise, for whom,
//! how often. Rows and policies in, reports out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::diff::Direction;
use super::report::{AskedReport, AskedTopic, FlipReport, HistoryRow, ReplayReport, RuleReport, VerdictWord};
use crate::name::DomainName;
use crate::policy::judge::Verdict;
use crate::policy::replay::{Asked, By, Flip, Replayed};
use crate::policy::snapshot::Snapshot;

/// What was asked, added up over the hours.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: HashMap<Who, (u64, String)>,
    unnamed: u64,
}

/// A client, its group, and a name in presentation form.
type Who = (Option<IpAddr>, Option<String>, String);
/// A question, how often it was asked, and when last.
type Counted = (Asked, u64, String);

/// Flips, added up over clients.
#[derive(Debug, Default)]
pub struct Replaying {
    flips: BTreeMap<(Option<String>, String, VerdictWord, VerdictWord), Sum>,
    replayed: u64,
    not_replayed: u64,
}

#[derive(Debug, Default)]
struct Sum {
    count: u64,
    clients: BTreeSet<IpAddr>,
    last: String,
    reason: String,
    rule: Option<RuleReport>,
}

impl Topics {
    /// Adds a row; one about an image is no question.
    pub(super) fn add(&mut self, row: HistoryRow) {
        if row.image.is_some() {
            return;
        }
        let Some(name) = row.name else {
            self.unnamed = self.unnamed.saturating_add(row.count);
            return;
        };
        let (count, last) = self.topics.entry((row.client, row.group, name)).or_default();
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
        for ((client, group, name), (count, last)) in topics {
            match name.parse::<DomainName>() {
                Ok(name) if questions.len() < limit => questions.push((Asked { client, group, name }, count, last)),
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
            let Some(judgement) = asked.judge(policy, by) else {
                left_out = left_out.saturating_add(count);
                continue;
            };
            let Asked { client, group, name } = asked;
            let (name, is_by_address) = (name.to_string(), by == By::Address);
            topics.push(AskedTopic {
                client,
                group,
                is_by_address,
                name,
                verdict: judgement.verdict.into(),
                count,
                last,
            });
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
                    replaying.add(&asked, (old.verdict.into(), new.verdict), (count, last));
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
            let AskedTopic { client, group, is_by_address, name, verdict, count, last } = topic;
            let asked = name.parse::<DomainName>().ok().map(|name| Asked { client, group, name });
            let by = if is_by_address { By::Address } else { By::Group };
            let judged = asked.as_ref().and_then(|asked| Some((asked, asked.judge(new, by)?.verdict)));
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

    fn add(&mut self, asked: &Asked, (old, new): (VerdictWord, Verdict<'_>), (count, last): (u64, String)) {
        let key = (asked.group.clone(), asked.name.to_string(), old, new.into());
        let sum = self.flips.entry(key).or_default();
        sum.count = sum.count.saturating_add(count);
        if sum.clients.len() < MAX_CLIENTS {
            sum.clients.extend(asked.client);
        }
        if sum.last < last {
            sum.last = last;
        }
        sum.reason = new.to_string();
        sum.rule = new.rule().map(super::explain::rule_report);
    }

    /// The flips, those of most questions first.
    pub fn finish(self, since: String, reaches_back_to: String) -> ReplayReport {
        let Self { flips, replayed, not_replayed } = self;
        let flips_in_all = flips.len();
        let mut flips: Vec<FlipReport> = flips
            .into_iter()
            .map(|((group, name, old, new), sum)| {
                let Sum { count, clients, last, reason, rule } = sum;
                let clients = clients.into_iter().collect();
                FlipReport { name, group, old, new, direction: direction(old, new), count, clients, last, reason, rule }
            })
            .collect();
        flips.sort_by_key(|flip| std::cmp::Reverse(flip.count));
        flips.truncate(MAX_FLIPS);
        ReplayReport { since, reaches_back_to, replayed, not_replayed, flips, flips_in_all }
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
}
