//! Changes and faults as SARIF 2.1.0 (OASIS), in the parts that code scanning reads: a rule for each kind of change, a
//! level, a message, and one place in a file of the new policy.

use std::path::{Component, Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Review;
use crate::cli::replay;
use crate::control::diff::{Change, Direction};
use crate::control::report::FlipReport;
use crate::diagnostic::Diagnostic;

/// One kind of result.
struct Kind {
    id: &'static str,
    level: &'static str,
    short: &'static str,
    full: &'static str,
}

/// The changes as one run; those that open most first.
pub(super) fn changes(review: &Review<'_>) -> Value {
    let mut sorted: Vec<(&Kind, &Change)> = review.changes.iter().map(|change| (kind(change), change)).collect();
    sorted.sort_by_key(|(kind, _)| KINDS.iter().position(|other| other.id == kind.id));
    let changes = sorted.into_iter().map(|(kind, change)| {
        let (path, line) = place(change, review.folder);
        let fingerprint = [change.group.as_deref().unwrap_or_default(), &change.subject, kind.id];
        result(kind, &message(change), &path, line, &fingerprint)
    });
    let flips = review.replay.iter().flat_map(|replay| &replay.flips);
    log(changes.chain(flips.map(|flip| flipped(flip, review.folder))))
}

/// A name that was asked for and would be decided otherwise.
fn flipped(flip: &FlipReport, folder: &Path) -> Value {
    let FlipReport { group, old, new, direction, reason, rule, .. } = flip;
    let kind = if *direction == Direction::Closes { &WOULD_BE_MISSED } else { &WAS_ASKED };
    let whose = group.as_ref().map_or("everyone".to_owned(), |group| format!("group `{group}`"));
    let wanted = flip.wanted();
    let message =
        format!("`{wanted}` was asked for {}: for {whose} {old} becomes {new}: {reason}", replay::asked(flip));
    let place = rule.as_ref().and_then(|rule| rule.path.clone().zip(rule.line));
    let (path, line) = place.unwrap_or_else(|| (first_file(folder), 1));
    result(kind, &message, &path, line, &[group.as_deref().unwrap_or_default(), &wanted, kind.id])
}

/// The faults of a policy that a server would refuse, as one run.
pub(super) fn faults(folder: &Path, found: &[Diagnostic]) -> Value {
    let faults = found.iter().filter(|diagnostic| diagnostic.is_fault());
    log(faults.map(|fault| {
        let line = fault.excerpt.as_ref().map_or(1, |excerpt| excerpt.line);
        let path = if fault.path.is_dir() { first_file(folder) } else { fault.path.to_path_buf() };
        let hint = fault.hint.as_ref().map(|hint| format!(". {hint}")).unwrap_or_default();
        result(&FAULT, &format!("{}{hint}", fault.message), &path, line, &[&fault.message])
    }))
}

fn log(results: impl Iterator<Item = Value>) -> Value {
    let rules: Vec<Value> = KINDS.iter().copied().map(rule).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "pullgate",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results.take(MAX_RESULTS).collect::<Vec<_>>(),
        }],
    })
}

fn rule(kind: &Kind) -> Value {
    json!({
        "id": kind.id,
        "shortDescription": { "text": kind.short },
        "fullDescription": { "text": kind.full },
        "help": { "text": kind.full },
        "defaultConfiguration": { "level": kind.level },
    })
}

fn result(kind: &Kind, message: &str, path: &Path, line: u32, fingerprint: &[&str]) -> Value {
    json!({
        "ruleId": kind.id,
        "ruleIndex": KINDS.iter().position(|other| other.id == kind.id),
        "level": kind.level,
        "message": { "text": message },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(path) },
                "region": { "startLine": line.max(1) },
            },
        }],
        "partialFingerprints": { "pullgate/v1": hash(fingerprint) },
    })
}

fn kind(change: &Change) -> &'static Kind {
    let Change { subject, new, direction, strangers, .. } = change;
    match (direction, new.as_deref()) {
        (Direction::Opens, Some("audit")) if subject == "mode" => &STOPS_ENFORCING,
        (Direction::Opens, Some("forward")) => &STOPS_ENFORCING,
        (Direction::Opens, _) if strangers.is_some() => &OPENS_TO_STRANGERS,
        (Direction::Opens, _) => &OPENS,
        (Direction::Closes, _) => &CLOSES,
        (Direction::Changes, _) => &CHANGES,
    }
}

fn message(change: &Change) -> String {
    let Change { group, subject, old, new, strangers, path, line, .. } = change;
    let whose = group.as_ref().map_or("everyone".to_owned(), |group| format!("group `{group}`"));
    let or_none = |text: &Option<String>| text.as_ref().map_or("no rule".to_owned(), |text| format!("`{text}`"));
    let strangers = strangers.as_ref().map(|strangers| format!(". It opens to strangers: {strangers}"));
    let was = match (new, path, line) {
        (None, Some(path), Some(line)) => format!(" (it was at {}:{line})", path.display()),
        _ => String::new(),
    };
    format!("`{subject}` for {whose}: {} becomes {}{was}{}", or_none(old), or_none(new), strangers.unwrap_or_default())
}

/// Where a change is shown. What is gone is in no file of the new policy: then in the file of the same name, at its
/// beginning.
fn place(change: &Change, folder: &Path) -> (PathBuf, u32) {
    let Change { new, path, line, .. } = change;
    match (new, path) {
        (Some(_), Some(path)) => (path.clone(), line.unwrap_or(1)),
        (_, path) => {
            let same = path.as_ref().and_then(|path| path.file_name()).map(|name| folder.join(name));
            (same.filter(|same| same.exists()).unwrap_or_else(|| first_file(folder)), 1)
        }
    }
}

fn first_file(folder: &Path) -> PathBuf {
    let files = crate::policy::document::read_directory(folder).unwrap_or_default();
    files.first().map_or_else(|| folder.to_owned(), |source| source.path().to_path_buf())
}

/// A path as a relative reference (RFC 3986), below the folder that the command runs in where it is.
fn uri(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    let encoded = path.components().filter_map(|component| match component {
        Component::RootDir => Some(String::new()),
        Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir => Some("..".to_owned()),
        Component::Normal(name) => Some(percent_encoded(name.as_encoded_bytes())),
    });
    let reference = encoded.collect::<Vec<_>>().join("/");
    if path.is_absolute() { format!("file://{reference}") } else { reference }
}

fn percent_encoded(bytes: &[u8]) -> String {
    let encode = |&byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize()[..16])
}

const FAULT: Kind = Kind {
    id: "fault",
    level: "error",
    short: "A server refuses the policy",
    full: "A policy with a fault is refused whole, and the policy in force stays.",
};
const OPENS_TO_STRANGERS: Kind = Kind {
    id: "opens-to-strangers",
    level: "error",
    short: "A pattern over a shared suffix opens",
    full: "Names below a shared suffix are given to anybody: whoever has one is let in as well.",
};
const STOPS_ENFORCING: Kind = Kind {
    id: "stops-enforcing",
    level: "error",
    short: "A group's denials end",
    full: "Under audit every name resolves and is counted; with `unlisted = \"forward\"` whatever nothing lists does.",
};
const OPENS: Kind = Kind {
    id: "opens",
    level: "warning",
    short: "More is let through than before",
    full: "Names or images that were denied are let through, or with less looked into.",
};
const CHANGES: Kind = Kind {
    id: "changes",
    level: "note",
    short: "Who or how changes",
    full: "A group has other clients, or a term changes that neither opens nor closes.",
};
const CLOSES: Kind = Kind {
    id: "closes",
    level: "note",
    short: "Less is let through than before",
    full: "Names or images that were let through are denied.",
};
const WOULD_BE_MISSED: Kind = Kind {
    id: "would-be-missed",
    level: "warning",
    short: "What clients asked for would be denied",
    full: "Clients of the running server asked for a name in the last hours that resolved, and would not any more.",
};
const WAS_ASKED: Kind = Kind {
    id: "was-asked",
    level: "note",
    short: "What clients asked for would be decided otherwise",
    full: "Clients of the running server asked for a name in the last hours that would resolve, or be counted otherwise.",
};
/// The worst first.
const KINDS: [&Kind; 8] =
    [&FAULT, &OPENS_TO_STRANGERS, &STOPS_ENFORCING, &OPENS, &WOULD_BE_MISSED, &CHANGES, &CLOSES, &WAS_ASKED];
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Code scanning shows no more of a run.
const MAX_RESULTS: usize = 5000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::replay::tests::flip;
    use crate::control::report::ReplayReport;
    use crate::diagnostic::Source;

    fn change(subject: &str, old: Option<&str>, new: Option<&str>, direction: Direction) -> Change {
        Change {
            group: Some("ci".to_owned()),
            subject: subject.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            direction,
            strangers: None,
            path: Some("policy.d/a b.toml".into()),
            line: Some(4),
        }
    }

    fn results(changes: Vec<Change>, folder: &Path) -> Vec<Value> {
        let log = super::changes(&Review { folder, changes, is_same: false, replay: None });
        assert_eq!(log["version"], "2.1.0");
        log["runs"][0]["results"].as_array().unwrap().clone()
    }

    #[test]
    fn the_more_a_change_opens_the_higher_its_level() {
        let strangers = Change {
            strangers: Some("anybody".to_owned()),
            ..change("*.s3.amazonaws.com", None, Some("allow"), Direction::Opens)
        };
        let all = vec![
            change("gone.example", Some("allow"), None, Direction::Closes),
            change("clients", Some("none"), Some("10.0.0.0/8"), Direction::Changes),
            change("new.example", None, Some("allow"), Direction::Opens),
            change("mode", Some("enforce"), Some("audit"), Direction::Opens),
            change("unlisted", Some("deny"), Some("forward"), Direction::Opens),
            strangers,
        ];
        let results = results(all, Path::new("policy.d"));
        let told: Vec<_> = results.iter().map(|result| (result["ruleId"].as_str(), result["level"].as_str())).collect();
        let expected = [
            ("opens-to-strangers", "error"),
            ("stops-enforcing", "error"),
            ("stops-enforcing", "error"),
            ("opens", "warning"),
            ("changes", "note"),
            ("closes", "note"),
        ];
        assert_eq!(told, expected.map(|(id, level)| (Some(id), Some(level))));
        let rules =
            super::changes(&Review { folder: Path::new("."), changes: Vec::new(), is_same: true, replay: None });
        let rules = rules["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
    }

    #[test]
    fn a_result_stands_in_a_file_of_the_new_policy_by_a_reference_that_is_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.toml"), "version = 1\n").unwrap();
        let gone = change("gone.example", Some("allow"), None, Direction::Closes);
        let location = |result: &Value| {
            let place = &result["locations"][0]["physicalLocation"];
            (place["artifactLocation"]["uri"].as_str().unwrap().to_owned(), place["region"]["startLine"].as_u64())
        };
        let shown = results(vec![gone.clone()], folder.path());
        let (uri, line) = location(&shown[0]);
        assert!(uri.starts_with("file:///") && uri.ends_with("/b.toml") && line == Some(1), "{uri}");
        assert!(shown[0]["message"]["text"].as_str().unwrap().ends_with("(it was at policy.d/a b.toml:4)"));
        let new = Change { new: Some("deny".to_owned()), ..gone };
        assert_eq!(location(&results(vec![new], folder.path())[0]), ("policy.d/a%20b.toml".to_owned(), Some(4)));
    }

    #[test]
    fn a_path_is_shown_below_the_folder_that_the_command_runs_in() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(uri(&here.join("policy.d/ä.toml")), "policy.d/%C3%A4.toml");
        assert_eq!(uri(Path::new("./a.toml")), "a.toml");
        assert_eq!(uri(Path::new("../a.toml")), "../a.toml");
    }

    #[test]
    fn equal_changes_have_equal_fingerprints_wherever_they_stand() {
        let one = change("a.example", None, Some("allow"), Direction::Opens);
        let moved = Change { line: Some(9), ..one.clone() };
        let other = Change { subject: "b.example".to_owned(), ..one.clone() };
        let results = results(vec![one, moved, other], Path::new("."));
        let [one, moved, other] = [0, 1, 2].map(|index: usize| results[index]["partialFingerprints"].clone());
        assert_eq!(one, moved);
        assert_ne!(one, other);
    }

    #[test]
    fn what_clients_would_miss_is_a_warning_at_the_rule_that_denies_it() {
        let opened = FlipReport { direction: Direction::Opens, rule: None, ..flip("b.example") };
        let replay = ReplayReport { flips: vec![flip("a.example"), opened], ..ReplayReport::default() };
        let review = Review { folder: Path::new("policy.d"), changes: Vec::new(), is_same: true, replay: Some(replay) };
        let log = super::changes(&review);
        let results = log["runs"][0]["results"].as_array().unwrap();
        let told: Vec<_> = results.iter().map(|result| (result["ruleId"].as_str(), result["level"].as_str())).collect();
        assert_eq!(told, [(Some("would-be-missed"), Some("warning")), (Some("was-asked"), Some("note"))]);
        let region = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(
            (&region["artifactLocation"]["uri"], &region["region"]["startLine"]),
            (&"policy.d/a.toml".into(), &4.into())
        );
        assert!(results[0]["message"]["text"].as_str().unwrap().contains("for group `ci` allow becomes deny"));
    }

    #[test]
    fn faults_are_errors_at_their_lines() {
        let fault =
            Source::new("policy.d/a.toml", "version = 1\nx = 2\n").fault(12..13, "unknown key").hint("leave it out");
        let log = faults(Path::new("policy.d"), &[fault]);
        let result = &log["runs"][0]["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&"fault".into(), &"error".into()));
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
        assert_eq!(result["message"]["text"], "unknown key. leave it out");
    }
}
