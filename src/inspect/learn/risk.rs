//! How much a pattern lets in beside what it is for, with the words that say why.

use std::fmt;

use serde::Serialize;

use crate::inspect::lines::shared;
use crate::name::DomainName;
use crate::policy::pattern::Pattern;
use crate::policy::preset;
use crate::policy::shared_suffix;

/// How much somebody should think before adding a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// One name below a suffix that belongs to one owner.
    Low,
    /// One tenant's name among strangers', names that nobody has asked for yet, or little that speaks for it.
    Medium,
    /// Strangers get in, or a registry of everybody's does.
    High,
}

/// How often a name was asked for, and how often shortly after the registry that it is proposed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) count: u64,
    pub(super) explained: u64,
}

/// The grade of a pattern, and why.
pub(super) fn grade(pattern: &Pattern, told: Told) -> (Risk, Vec<String>) {
    let mut grade = (Risk::Low, Vec::new());
    match pattern.exact() {
        Some(name) => grade_name(&name, &mut grade),
        None => grade_glob(pattern, &mut grade),
    }
    if told.explained == 0 {
        raise(&mut grade, Risk::Medium, "no registry was asked for before it: what needs it is not known");
    } else if told.explained * 2 < told.count {
        raise(&mut grade, Risk::Medium, "mostly asked for without the registry before it");
    }
    if grade.1.is_empty() {
        grade.1.push("one name, under a suffix of one owner".to_owned());
    }
    grade
}

fn grade_name(name: &DomainName, grade: &mut (Risk, Vec<String>)) {
    if let Some(recognized) = preset::recognize(name) {
        let whose = &recognized.preset.id;
        raise(grade, Risk::High, format!("a registry by itself: whatever anybody has on `{whose}` could be pulled"));
    }
    match shared(name) {
        Some(shared) if shared.exact => raise(grade, Risk::High, shared.message),
        Some(shared) => {
            let why = format!("one owner's name among strangers': a wildcard there ({})", shared.message);
            raise(grade, Risk::Medium, why);
        }
        None => {}
    }
}

fn grade_glob(pattern: &Pattern, grade: &mut (Risk, Vec<String>)) {
    match shared_suffix::warning(pattern) {
        Some(warning) => raise(grade, Risk::High, format!("{}; the exact names would not", warning.message)),
        None => raise(grade, Risk::Medium, "stands for names that nobody has asked for yet"),
    }
}

fn raise((risk, why): &mut (Risk, Vec<String>), to: Risk, because: impl Into<String>) {
    *risk = (*risk).max(to);
    why.push(because.into());
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_a_pattern_lets_in_the_higher_its_grade() {
        for (pattern, explained, risk, why) in [
            ("layers.corp.example", 4, Risk::Low, "one name, under a suffix of one owner"),
            ("layers.corp.example", 0, Risk::Medium, "no registry was asked for before it"),
            ("layers.corp.example", 1, Risk::Medium, "mostly asked for without"),
            ("blob-*.corp.example", 4, Risk::Medium, "nobody has asked for yet"),
            ("bucket.s3.eu-west-1.amazonaws.com", 4, Risk::Medium, "one owner's name among strangers'"),
            ("d1abc.cloudfront.net", 4, Risk::Medium, "everyone who has a CloudFront distribution"),
            ("prod-*-layers.s3.amazonaws.com", 4, Risk::High, "anyone who makes an S3 bucket"),
            ("storage.googleapis.com", 4, Risk::High, "the path tells them apart"),
            ("quay.io", 4, Risk::High, "a registry by itself"),
        ] {
            let (graded, words) = grade(&Pattern::parse(pattern).unwrap(), Told { count: 4, explained });
            assert_eq!(graded, risk, "{pattern}: {words:?}");
            assert!(words.iter().any(|word| word.contains(why)), "{pattern}: {words:?}");
        }
    }
}
