//! Any text as a file of an organization's settings, taken for what it seems to be and for each kind: read, every complaint
//! shown, and what is drafted is TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::diagnostic::{Diagnostic, Source};
use pullgate::inspect::import::{Kind, import};

fuzz_target!(|text: &str| {
    for from in [None, Some(Kind::RegistryJson), Some(Kind::OrganizationSettings), Some(Kind::Terraform)] {
        match import(&[Source::new("fuzz", text)], from, &[]) {
            Ok(imported) => {
                let policy = imported.draft.to_string();
                assert!(policy.parse::<toml::Table>().is_ok(), "{policy}");
                imported.warnings.iter().for_each(|warning| assert!(!warning.to_string().is_empty()));
            }
            Err(faults) => {
                assert!(faults.iter().any(Diagnostic::is_fault), "refused without a fault");
                faults.iter().for_each(|fault| assert!(!fault.to_string().is_empty()));
            }
        }
    }
});
