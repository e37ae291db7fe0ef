//! What a question and a rule cost, as the number of rules grows: `cargo bench --bench matcher`.
//!
//! Half of the rules are exact, half `*.` wildcards, one in a hundred is a glob. A question is judged whole: matched,
//! ranked, and, where nothing allows it, looked up in the catalogue of known registries.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use pullgate::diagnostic::Source;
use pullgate::name::DomainName;
use pullgate::policy::compile::{Options, compile};
use pullgate::policy::document::Document;
use pullgate::policy::snapshot::Snapshot;

fn main() {
    println!(
        "{:>9} {:>9} {:>10} {:>10} | {:>6} {:>9} {:>6} {:>6} {:>10}   ns a question",
        "rules", "parse ms", "compile ms", "bytes/rule", "exact", "wildcard", "glob", "miss", "near miss"
    );
    for rules in [10, 10_000, 1_000_000] {
        row(rules);
    }
    println!("bytes/rule: beyond the text of the patterns; place, entry, indexes and ancestors included");
}

/// Prints the figures for a policy of `count` rules.
fn row(count: usize) {
    let rules: Vec<Rule> = (0..count).map(Rule::numbered).collect();
    let (snapshot, parse, compile) = build(&rules);
    assert_eq!(snapshot.rule_count(), count);
    let text: usize = rules.iter().map(|rule| rule.pattern.len()).sum();
    let beyond = (snapshot.memory() - text) / count;
    let nanoseconds =
        |name: fn(&Rule, usize) -> Option<String>, resolves: bool| measure(&snapshot, &rules, name, resolves);
    println!(
        "{count:>9} {:>9} {:>10} {beyond:>10} | {:>6} {:>9} {:>6} {:>6} {:>10}",
        parse.as_millis(),
        compile.as_millis(),
        nanoseconds(|rule, _| (rule.kind == Kind::Exact).then(|| rule.pattern.clone()), true),
        nanoseconds(|rule, n| (rule.kind == Kind::Wildcard).then(|| rule.pattern.replace('*', &format!("h{n}"))), true),
        nanoseconds(|rule, n| (rule.kind == Kind::Glob).then(|| rule.pattern.replace('*', &format!("h{n}"))), true),
        nanoseconds(|_, n| Some(format!("www{n}.nowhere{}.org", scatter(n) % 100_000)), false),
        nanoseconds(|rule, _| (rule.kind == Kind::Exact).then(|| format!("no.{}", rule.pattern)), false),
    );
}

/// A rule as it is written.
struct Rule {
    kind: Kind,
    pattern: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Wildcard,
    Glob,
}

impl Rule {
    /// The rule with this number, always the same.
    fn numbered(number: usize) -> Self {
        let domain = format!("d{}.example{}.com", scatter(number) % 1_000_000, number % 97);
        let (kind, head) = match number % 100 {
            1 => (Kind::Glob, format!("r{number}-*.")),
            even if even % 2 == 0 => (Kind::Exact, format!("r{number}.")),
            _ => (Kind::Wildcard, format!("*.w{number}.")),
        };
        Self { kind, pattern: format!("{head}{domain}") }
    }
}

/// Parses and compiles the rules, a thousand to an entry, and how long each took.
fn build(rules: &[Rule]) -> (Snapshot, Duration, Duration) {
    let mut text = "version = 1\n".to_owned();
    for (index, chunk) in rules.chunks(1000).enumerate() {
        let hosts: Vec<String> = chunk.iter().map(|rule| format!("  \"{}\",\n", rule.pattern)).collect();
        text.extend([format!("[[registry]]\nname = \"r{index}\"\nhosts = [\n"), hosts.concat(), "]\n".to_owned()]);
    }
    let began = Instant::now();
    let (document, complaints) = Document::parse(Source::new("bench.toml", text));
    let parsed = began.elapsed();
    assert!(complaints.is_empty(), "{}", complaints[0]);
    let began = Instant::now();
    let compiled = compile(&[document], &Options::default(), SystemTime::UNIX_EPOCH);
    let compiled = compiled.unwrap_or_else(|faults| panic!("{}", faults[0]));
    (compiled.snapshot, parsed, began.elapsed())
}

/// Nanoseconds a question for names made from rules taken at random; the median round.
fn measure(snapshot: &Snapshot, rules: &[Rule], name: fn(&Rule, usize) -> Option<String>, resolves: bool) -> u128 {
    let names: Vec<DomainName> = (0..)
        .take(QUESTIONS * 1000)
        .filter_map(|number| name(&rules[scatter(number) % rules.len()], number))
        .take(QUESTIONS)
        .map(|name| name.parse().expect("names are made valid"))
        .collect();
    assert_eq!(names.len(), QUESTIONS);
    let mut rounds = [0; ROUNDS];
    for round in &mut rounds {
        let began = Instant::now();
        for name in &names {
            assert_eq!(snapshot.judge_as(None, black_box(name.as_name())).verdict.resolves(), resolves);
        }
        *round = began.elapsed().as_nanos() / QUESTIONS as u128;
    }
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

/// A number that looks random but is the same in every run (the finaliser of `SplitMix64`).
fn scatter(number: usize) -> usize {
    let mut mixed = (number as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(usize::MAX)
}

const QUESTIONS: usize = 100_000;
const ROUNDS: usize = 7;
