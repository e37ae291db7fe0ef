//! Any lines as what clients asked for in vain (`NAME [REGISTRY [GROUP [REPOSITORY ACTION REASON]]]`): what is drafted of it is
//! a policy file of exact names and of patterns within a label, for whatever names, registries and images there were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::control::report::{
    GroupReport, HistoryRow, ImageKeyReport, ImageOfRow, ImagesReport, PolicyReport, PolicyRule, Pull, VerdictWord,
};
use pullgate::diagnostic::{Diagnostic, Source};
use pullgate::inspect::learn::learn;
use pullgate::policy::document::Document;
use pullgate::policy::pattern::Reach;

fuzz_target!(|text: &str| {
    let rows: Vec<HistoryRow> = text.lines().map(row).collect();
    for policy in [PolicyReport::default(), with_a_group()] {
        for all in [false, true] {
            let draft = learn(&rows, &policy, all).draft(text).to_string();
            let (document, complaints) = Document::parse(Source::new("learned.toml", draft.as_str()));
            assert!(!complaints.iter().any(Diagnostic::is_fault), "{draft}\n{complaints:?}");
            let mut patterns = document.entries.iter().flat_map(|entry| &entry.patterns);
            assert!(patterns.all(|pattern| pattern.value.reach() == Reach::Exact), "{draft}");
        }
    }
});

fn row(line: &str) -> HistoryRow {
    let mut words = line.split(' ');
    let name = words.next().map(str::to_owned);
    let pull = |registry: &str| Pull { name: "r.example".to_owned(), registry: registry.to_owned(), rule: None };
    let (after, group) = (words.next().map(pull), words.next().map(str::to_owned));
    let image = words.next().zip(words.next());
    HistoryRow {
        hour: String::new(),
        client: None,
        name,
        image: image.map(|(repository, action)| ImageOfRow { repository: repository.into(), action: action.into() }),
        verdict: VerdictWord::Deny,
        reason: words.next().unwrap_or("unlisted").to_owned(),
        rule: None,
        after,
        group,
        count: line.len() as u64,
        first: line.chars().take(20).collect(),
        last: line.chars().rev().take(20).collect(),
    }
}

fn with_a_group() -> PolicyReport {
    let (path, line) = (Some("a.toml".into()), Some(4));
    let rule = PolicyRule {
        pattern: "registry.example".to_owned(),
        kind: "registry".to_owned(),
        entry: "lab".to_owned(),
        groups: vec!["ci".to_owned()],
        mode: "enforce".to_owned(),
        data_path: "inspect".to_owned(),
        path,
        line,
        overlay: None,
    };
    let key = |key: &str, value: &str| ImageKeyReport {
        key: key.into(),
        value: value.into(),
        path: "a.toml".into(),
        line: 8,
    };
    let images = ImagesReport {
        registry: "lab".to_owned(),
        groups: vec!["ci".to_owned()],
        mode: "enforce".to_owned(),
        keys: vec![
            key("allow", "team/*"),
            key("deny", "team/old"),
            key("organizations", "org"),
            key("community", "allow"),
        ],
        path: "a.toml".into(),
        line: 7,
    };
    let group = GroupReport {
        name: "ci".to_owned(),
        mode: "enforce".to_owned(),
        unlisted: "deny".to_owned(),
        clients: Vec::new(),
        path: None,
        line: None,
    };
    PolicyReport { groups: vec![group], rules: vec![rule], images: vec![images], ..PolicyReport::default() }
}
