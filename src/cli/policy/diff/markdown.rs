//! Changes and faults as Markdown, for a comment on a pull request. What is quoted of a policy stands between backticks,
//! where nothing of it is markup.

use std::fmt::Write as _;

use super::super::super::output::counted;
use super::{ONLY_TERMS, Review};
use crate::cli::replay;
use crate::control::diff::{Change, Direction};
use crate::control::report::{FlipReport, ReplayReport};
use crate::diagnostic::Diagnostic;

/// The changes as a table, those that open more first.
pub(super) fn changes(review: &Review<'_>) -> String {
    let Review { changes, is_same, replay, .. } = review;
    if changes.is_empty() {
        let rest = if *is_same { "no verdict differs" } else { ONLY_TERMS };
        return format!("### Policy: {rest}\n{}", replay.as_ref().map(replayed).unwrap_or_default());
    }
    let opening = changes.iter().filter(|change| change.direction == Direction::Opens).count();
    let mut sorted: Vec<&Change> = changes.iter().collect();
    sorted.sort_by_key(|change| (change.strangers.is_none(), change.direction));
    let mut text = format!("### Policy: {}, {opening} of them open more\n\n{HEAD}", counted(changes.len(), "change"));
    sorted.iter().take(MAX_ROWS).for_each(|change| text.push_str(&row(change)));
    text.push_str(&rest(changes.len()));
    text.extend(replay.as_ref().map(replayed));
    text
}

/// What was asked and would be decided otherwise, as a table.
fn replayed(replay: &ReplayReport) -> String {
    let mut text = format!("\n{}\n", replay::headline(replay));
    if !replay.flips.is_empty() {
        text.extend(["\n", REPLAY_HEAD]);
    }
    for flip in replay.flips.iter().take(MAX_FLIPS) {
        let FlipReport { group, old, new, reason, .. } = flip;
        let whose = group.as_ref().map_or("everyone".to_owned(), |group| code(group));
        // A string takes all text.
        let _ = writeln!(
            text,
            "| {} | {whose} | {old} | {new} | {} | {} |",
            code(&flip.wanted()),
            replay::asked(flip),
            code(reason)
        );
    }
    match replay.flips_in_all.saturating_sub(MAX_FLIPS) {
        0 => {}
        more => text.extend(["\nand ", &more.to_string(), " more\n"]),
    }
    text
}

/// The faults of a policy that a server would refuse.
pub(super) fn faults(found: &[Diagnostic]) -> String {
    let faults: Vec<&Diagnostic> = found.iter().filter(|diagnostic| diagnostic.is_fault()).collect();
    let mut text = format!("### Policy: {}, a server refuses it whole\n\n", counted(faults.len(), "fault"));
    for fault in faults.iter().take(MAX_ROWS) {
        let line = fault.excerpt.as_ref().map(|excerpt| format!(":{}", excerpt.line)).unwrap_or_default();
        let place = code(&format!("{}{line}", fault.path.display()));
        let hint = fault.hint.as_ref().map(|hint| format!("; {}", code(hint))).unwrap_or_default();
        text.extend(["* ", &place, ": ", &code(&fault.message), &hint, "\n"]);
    }
    text.push_str(&rest(faults.len()));
    text
}

fn row(change: &Change) -> String {
    let Change { group, subject, old, new, direction, strangers, path, line } = change;
    let what = match direction {
        Direction::Opens if strangers.is_some() => "**opens to strangers**",
        Direction::Opens => "**opens**",
        Direction::Closes => "closes",
        Direction::Changes => "changes",
    };
    let or_none = |text: &Option<String>| text.as_ref().map_or("–".to_owned(), |text| code(text));
    let place = path.as_ref().map(|path| {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        code(&format!("{}{line}", path.display()))
    });
    let mut row = format!(
        "| {what} | {} | {} ",
        code(subject),
        group.as_ref().map_or("everyone".to_owned(), |group| code(group))
    );
    let (old, new, place) = (or_none(old), or_none(new), place.unwrap_or_default());
    // A string takes all text.
    let _ = writeln!(row, "| {old} | {new} | {place} |");
    row
}

/// Text between as many backticks as it takes, on one line, and no end of a table's cell.
fn code(text: &str) -> String {
    let plain: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let longest = plain.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", plain.replace('|', "\\|"))
}

fn rest(all: usize) -> String {
    match all.saturating_sub(MAX_ROWS) {
        0 => String::new(),
        more => format!("\nand {more} more\n"),
    }
}

const HEAD: &str = "| | what | for | before | after | where |\n|---|---|---|---|---|---|\n";
const REPLAY_HEAD: &str = "| asked for | by | now | then | how often | why |\n|---|---|---|---|---|---|\n";
/// Names of a replay in a comment, beside as many changes as it may have.
const MAX_FLIPS: usize = 50;
/// A comment may have 65,536 characters.
const MAX_ROWS: usize = 200;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::replay::tests::flip;
    use crate::diagnostic::Source;

    fn change(subject: &str, direction: Direction) -> Change {
        Change {
            group: None,
            subject: subject.to_owned(),
            old: None,
            new: Some("allow".to_owned()),
            direction,
            strangers: None,
            path: Some("policy.d/a.toml".into()),
            line: Some(4),
        }
    }

    fn shown(changes: Vec<Change>) -> String {
        super::changes(&Review { folder: Path::new("policy.d"), changes, is_same: true, replay: None })
    }

    #[test]
    fn what_opens_stands_before_what_closes() {
        let stranger = Change { strangers: Some("x".to_owned()), ..change("c.example", Direction::Opens) };
        let text = shown(vec![change("a.example", Direction::Closes), change("b.example", Direction::Opens), stranger]);
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert!(text.starts_with("### Policy: 3 changes, 2 of them open more\n"), "{text}");
        assert_eq!(
            rows,
            [
                "| **opens to strangers** | `c.example` | everyone | – | `allow` | `policy.d/a.toml:4` |",
                "| **opens** | `b.example` | everyone | – | `allow` | `policy.d/a.toml:4` |",
                "| closes | `a.example` | everyone | – | `allow` | `policy.d/a.toml:4` |",
            ]
        );
    }

    #[test]
    fn nothing_of_a_policy_is_markup_or_ends_a_cell() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!(code("a\nb"), "`a b`");
    }

    #[test]
    fn a_comment_stays_within_what_a_comment_may_have() {
        let text = shown((0..1000).map(|index| change(&format!("{index}.example"), Direction::Opens)).collect());
        assert!(text.len() < 65_536 && text.ends_with("\nand 800 more\n"), "{}", text.len());
    }

    #[test]
    fn what_was_asked_and_would_be_decided_otherwise_is_a_table_of_its_own() {
        let flips = vec![flip("a.example"), flip("b|c.example")];
        let replay =
            ReplayReport { since: "24h".into(), replayed: 20, flips, flips_in_all: 70, ..ReplayReport::default() };
        let review = Review { folder: Path::new("p"), changes: Vec::new(), is_same: true, replay: Some(replay) };
        let text = super::changes(&review);
        let why = "9 times by 10.0.0.1, 10.0.0.2, last 2026-11-28 14:02 | `denied by the policy`";
        for part in [
            "### Policy: no verdict differs\n\nof 20 questions in the last 24h",
            &format!("| `a.example` | `ci` | allow | deny | {why} |\n"),
            "| `b\\|c.example` |",
            "\nand 20 more\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn faults_are_listed_with_their_places() {
        let fault = Source::new("a.toml", "version = 2\n").fault(0..1, "a `fault`").hint("mend it");
        assert_eq!(
            faults(&[fault]),
            "### Policy: 1 fault, a server refuses it whole\n\n* `a.toml:1`: `` a `fault` ``; `mend it`\n"
        );
    }
}
