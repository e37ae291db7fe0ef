//! What of the last hours' questions another policy would decide otherwise: asked for by `policy diff` and
//! `reload --dry-run`, and shown by both.

use std::io::Write;
use std::net::IpAddr;

use super::failure::Failure;
use super::output::{Output, counted};
use crate::control::report::{Direction, FlipReport, ReplayReport};
use crate::observe::log::to_the_minute;

/// Whether the history is replayed, and how far back.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Terms {
    /// Judge what was asked in so long by the new policy as well, and tell what would be decided otherwise; 0: do not
    /// [default: 24h, where the running server keeps a history]
    #[arg(long, value_name = "TIME", value_parser = time)]
    replay: Option<String>,
    /// Do not judge what was asked
    #[arg(long, conflicts_with = "replay")]
    no_replay: bool,
}

impl Terms {
    /// How far back; `None`: not at all.
    pub(super) fn since(&self) -> Option<&str> {
        let since = self.replay.as_deref().unwrap_or(REPLAYED);
        (!self.no_replay && since != "0").then_some(since)
    }

    /// Whether somebody asks for it, and not only the default.
    pub(super) fn is_given(&self) -> bool {
        self.replay.is_some() || self.no_replay
    }

    /// Says that there is no replay where somebody asked for one.
    pub(super) fn regret(&self, why: &str) {
        if self.replay.is_some() && self.since().is_some() {
            eprintln!("not replayed: {why}");
        }
    }
}

/// Prints what would be decided otherwise.
pub(super) fn print(replay: &ReplayReport, output: &mut Output) -> Result<(), Failure> {
    let ReplayReport { not_replayed, flips, flips_in_all, .. } = replay;
    writeln!(output, "{}", headline(replay))?;
    flips.iter().take(MAX_FLIPS).try_for_each(|flip| writeln!(output, "{}", line(flip)))?;
    match flips_in_all.saturating_sub(MAX_FLIPS) {
        0 => {}
        more => writeln!(output, "and {more} more (--json has them)")?,
    }
    if *not_replayed > 0 {
        writeln!(output, "{not_replayed} could not be judged again: the history has not kept their names or clients")?;
    }
    Ok(())
}

/// `of 120 questions in the last 24h, 2 names would be decided otherwise`.
pub(super) fn headline(replay: &ReplayReport) -> String {
    let ReplayReport { since, reaches_back_to, replayed, flips, flips_in_all, .. } = replay;
    let has_images = flips.iter().any(|flip| flip.image.is_some());
    let questions = counted(usize::try_from(*replayed).unwrap_or(usize::MAX), "question");
    let names = match flips_in_all {
        0 => "none".to_owned(),
        1 if has_images => "1 image".to_owned(),
        some if has_images => format!("{some} names or images"),
        some => counted(*some, "name"),
    };
    format!(
        "of {questions} in the last {since} (the history reaches back to {reaches_back_to}), {names} would be decided \
         otherwise"
    )
}

/// `- a.example: allow -> deny  group ci  9 times by 10.0.0.1, last 2026-11-28 14:02: not on the allowlist`.
fn line(flip: &FlipReport) -> String {
    let FlipReport { group, old, new, direction, reason, .. } = flip;
    let sign = match direction {
        Direction::Opens => '+',
        Direction::Closes => '-',
        Direction::Changes => '~',
    };
    let whose = group.as_ref().map(|group| format!("  group {group}")).unwrap_or_default();
    let wanted = flip.wanted();
    format!("{sign} {wanted}: {old} -> {new}{whose}  {}: {reason}", asked(flip))
}

/// `9 times by 10.0.0.1 and others, last 2026-11-28 14:02`.
pub(super) fn asked(flip: &FlipReport) -> String {
    let FlipReport { count, clients, last, .. } = flip;
    let shown: Vec<String> = clients.iter().take(MAX_CLIENTS).map(IpAddr::to_string).collect();
    let others = if clients.len() > MAX_CLIENTS { " and others" } else { "" };
    let by = if shown.is_empty() { "various clients".to_owned() } else { format!("{}{others}", shown.join(", ")) };
    let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    format!("{times} by {by}, last {}", to_the_minute(last))
}

fn time(text: &str) -> Result<String, String> {
    match text {
        "0" => Ok(text.to_owned()),
        _ => humantime::parse_duration(text)
            .map(|_| text.to_owned())
            .map_err(|_| "not a time: write it as in 30m, 24h, 7d; 0 for none".to_owned()),
    }
}

/// How far back, if nobody says.
const REPLAYED: &str = "24h";
/// Names that are shown.
const MAX_FLIPS: usize = 50;
/// Clients that are shown for a name.
const MAX_CLIENTS: usize = 3;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::report::{RuleReport, VerdictWord};

    /// A name that was allowed and would be denied.
    pub(in crate::cli) fn flip(name: &str) -> FlipReport {
        FlipReport {
            name: name.to_owned(),
            image: None,
            group: Some("ci".to_owned()),
            old: VerdictWord::Allow,
            new: VerdictWord::Deny,
            direction: Direction::Closes,
            count: 9,
            clients: ["10.0.0.1", "10.0.0.2"].map(|client| client.parse().unwrap()).to_vec(),
            last: "2026-11-28T14:02:03.000Z".to_owned(),
            reason: "denied by the policy".to_owned(),
            rule: Some(RuleReport { pattern: name.to_owned(), path: Some("policy.d/a.toml".into()), line: Some(4) }),
        }
    }

    #[test]
    fn a_flip_is_a_line_with_who_asked_and_why() {
        assert_eq!(
            line(&flip("a.example")),
            "- a.example: allow -> deny  group ci  9 times by 10.0.0.1, 10.0.0.2, last 2026-11-28 14:02: denied by the policy"
        );
        let various = FlipReport { clients: Vec::new(), count: 1, ..flip("a.example") };
        assert_eq!(asked(&various), "once by various clients, last 2026-11-28 14:02");
    }

    #[test]
    fn a_replay_is_the_last_day_s_unless_somebody_says_otherwise() {
        let terms = |replay: Option<&str>, no_replay| Terms { replay: replay.map(str::to_owned), no_replay };
        assert_eq!(terms(None, false).since(), Some("24h"));
        assert_eq!(terms(Some("7d"), false).since(), Some("7d"));
        assert_eq!((terms(Some("0"), false).since(), terms(None, true).since()), (None, None));
        assert!(time("0").is_ok() && time("24h").is_ok() && time("24").is_err() && time("a day").is_err());
    }
}
