//! Any text as a settings file: read, or refused with at least one fault; every complaint can be shown.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use pullgate::config::{Environment, Settings};
use pullgate::diagnostic::{Diagnostic, Source};

fuzz_target!(|text: &str| {
    let environment = Environment::default();
    let complaints = match Settings::parse(&Source::new(PathBuf::from("fuzz.toml"), text), &environment) {
        Ok((settings, warnings)) => {
            assert!(settings.server.workers >= 1);
            assert!(!settings.upstream.servers.is_empty());
            warnings
        }
        Err(complaints) => {
            assert!(complaints.iter().any(Diagnostic::is_fault), "refused without a fault");
            complaints
        }
    };
    assert!(complaints.iter().all(|complaint| !complaint.to_string().is_empty()));
});
