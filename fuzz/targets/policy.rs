//! Any text as a policy file, in all of its forms: parsed, compiled, every complaint shown, and names and images judged by
//! it if it is good.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use pullgate::diagnostic::Source;
use pullgate::name::DomainName;
use pullgate::policy::compile::{Options, load};
use pullgate::policy::images::{Access, Badge, ImageRules, ImageVerdict};
use pullgate::policy::judge::{Asker, Permit, Verdict};
use pullgate::policy::repository::Repository;

fuzz_target!(|text: &str| {
    let options = Options { has_gateway: true, ..Options::default() };
    for path in ["fuzz.toml", "fuzz.json", "registry.json"] {
        let source = Source::new(path, text);
        match load(vec![source], &options, SystemTime::UNIX_EPOCH) {
            Ok(compiled) => {
                let asker = Asker { client: IpAddr::V4(Ipv4Addr::LOCALHOST), listener: None };
                let name: DomainName = "registry-1.docker.io".parse().expect("a name");
                let judgement = compiled.snapshot.judge(&asker, name.as_name());
                if let Verdict::Allow(Permit::Rule(rule)) = judgement.verdict {
                    judge_images(compiled.snapshot.image_rules(rule, judgement.group, Some(asker.client)));
                }
                show(&compiled.warnings, text);
            }
            Err(complaints) => {
                assert!(complaints.iter().any(pullgate::diagnostic::Diagnostic::is_fault), "refused without a fault");
                show(&complaints, text);
            }
        }
    }
});

/// Judges images: a verdict that a badge decides is one with any badge.
fn judge_images(rules: ImageRules<'_>) {
    for name in ["library/nginx", "foo/bar", "foo", "a/b/c"] {
        let repository: Repository = name.parse().expect("a name");
        for access in [Access::Pull, Access::Push] {
            let verdict = rules.judge(&repository, access, None);
            assert!(rules.looks_up_badges() || !matches!(verdict, ImageVerdict::NeedsBadge));
            for badge in [Badge::VerifiedPublisher, Badge::SponsoredOss, Badge::Unbadged] {
                let told = rules.judge(&repository, access, Some(badge));
                assert!(!matches!(told, ImageVerdict::NeedsBadge));
                assert!(matches!(verdict, ImageVerdict::NeedsBadge) || verdict.word() == told.word());
            }
        }
    }
}

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
