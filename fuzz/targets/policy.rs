//! Any text as a policy file, in both of its forms: parsed, compiled, every complaint shown, and judged by if it is good.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use pullgate::diagnostic::Source;
use pullgate::name::DomainName;
use pullgate::policy::compile::{Options, load};
use pullgate::policy::judge::Asker;

fuzz_target!(|text: &str| {
    for path in ["fuzz.toml", "fuzz.json"] {
        let source = Source::new(path, text);
        match load(vec![source], &Options::default(), SystemTime::UNIX_EPOCH) {
            Ok(compiled) => {
                let asker = Asker { client: IpAddr::V4(Ipv4Addr::LOCALHOST), listener: None };
                let name: DomainName = "registry-1.docker.io".parse().expect("a name");
                let _ = compiled.snapshot.judge(&asker, name.as_name());
                show(&compiled.warnings, text);
            }
            Err(complaints) => {
                assert!(complaints.iter().any(pullgate::diagnostic::Diagnostic::is_fault), "refused without a fault");
                show(&complaints, text);
            }
        }
    }
});

/// Shows every complaint: none may panic, and each place has to be within the text.
fn show(complaints: &[pullgate::diagnostic::Diagnostic], text: &str) {
    let lines = text.split('\n').count();
    for complaint in complaints {
        assert!(!complaint.to_string().is_empty());
        if let Some(excerpt) = &complaint.excerpt {
            assert!(excerpt.line as usize <= lines, "line {} of {lines}", excerpt.line);
        }
    }
}
