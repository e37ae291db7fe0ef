//! Patterns and names, a line each with an empty line between: the compiled policy and the plain loop over the patterns
//! have to agree on every name.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use pullgate::diagnostic::Source;
use pullgate::name::DomainName;
use pullgate::policy::compile::{Options, load};
use pullgate::policy::judge::{Asker, Permit, Verdict};
use pullgate::policy::pattern::Pattern;

const ASKER: Asker = Asker { client: IpAddr::V4(Ipv4Addr::LOCALHOST), listener: None };

fuzz_target!(|text: &str| {
    let Some((patterns, names)) = text.split_once("\n\n") else { return };
    let patterns: Vec<Pattern> = patterns.lines().filter_map(|line| Pattern::parse(line).ok()).collect();
    if patterns.is_empty() {
        return;
    }
    for pattern in &patterns {
        assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(pattern), "the canonical form of {pattern}");
    }
    let hosts: Vec<String> = patterns.iter().map(|pattern| format!("{:?}", pattern.to_string())).collect();
    let policy = format!("version = 1\n[[registry]]\nname = \"r\"\nhosts = [{}]\n", hosts.join(","));
    let Ok(compiled) = load(vec![Source::new("fuzz.toml", policy)], &Options::default(), SystemTime::UNIX_EPOCH) else {
        return; // a pattern twice, for one
    };
    for name in names.lines().filter_map(|line| line.parse::<DomainName>().ok()) {
        let judgement = compiled.snapshot.judge(&ASKER, name.as_name());
        let allowed = matches!(judgement.verdict, Verdict::Allow(Permit::Rule(_)));
        let wanted = patterns.iter().any(|pattern| pattern.matches(name.as_name()));
        let is_static = matches!(judgement.verdict, Verdict::Allow(Permit::Static));
        assert!(
            is_static || allowed == wanted,
            "{name}: compiled says {allowed}, the plain loop {wanted}, of {patterns:?}"
        );
    }
});
