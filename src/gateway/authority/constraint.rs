//! What an authority is to be for: the names that the gateway inspects, as the constraints of a certificate can say it.

use std::fmt;

use super::Subtree;
use crate::name::{DomainName, NameRef};
use crate::policy::document::DataPath;
use crate::policy::pattern::{LabelPattern, Pattern};
use crate::policy::shared_suffix;
use crate::policy::snapshot::Snapshot;

/// A name that an authority may sign for, and with it all below: constraints know no other form (RFC 5280 §4.2.1.10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint(DomainName);

/// A constraint that strangers have names under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTail {
    /// The constraint.
    pub constraint: Constraint,
    /// The pattern it comes from.
    pub pattern: Pattern,
}

/// The patterns whose names a policy has inspected, in file order.
pub fn inspected(policy: &Snapshot) -> Vec<Pattern> {
    let rules = policy.rules().filter(|rule| rule.data_path() == DataPath::Inspect);
    rules.filter_map(|rule| Pattern::parse(&rule.pattern().to_string()).ok()).collect()
}

/// The constraints that cover patterns, none twice and none below another; and those that reach strangers' names.
pub fn constraints<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> (Vec<Constraint>, Vec<SharedTail>) {
    let mut shared = Vec::new();
    let mut all: Vec<Constraint> = Vec::new();
    for pattern in patterns {
        let Some(constraint) = Constraint::of(pattern) else { continue };
        if constraint.is_shared() {
            shared.push(SharedTail { constraint: constraint.clone(), pattern: pattern.clone() });
        }
        all.push(constraint);
    }
    all.sort();
    all.dedup();
    let is_below_another = |one: &Constraint| all.iter().any(|other| other != one && other.permits(one.0.as_name()));
    (all.iter().filter(|one| !is_below_another(one)).cloned().collect(), shared)
}

impl Constraint {
    /// The narrowest that covers a pattern: its name, or what is written out at its end. A pattern always has such an
    /// end; `None` is for those that could be made without.
    pub fn of(pattern: &Pattern) -> Option<Self> {
        let literal = |label| match label {
            LabelPattern::Literal(text) => std::str::from_utf8(text).ok(),
            LabelPattern::Glob(_) => None,
        };
        let mut labels: Vec<&str> = pattern.labels().rev().map_while(literal).collect();
        labels.reverse();
        labels.join(".").parse().ok().map(Self)
    }

    /// The name itself.
    pub fn name(&self) -> NameRef<'_> {
        self.0.as_name()
    }

    /// Whether it lets an authority sign for a name.
    pub fn permits(&self, name: NameRef<'_>) -> bool {
        name.is_within(self.0.as_name())
    }

    /// Whether strangers have names under it: a public suffix, or one where a vendor's customers get theirs.
    fn is_shared(&self) -> bool {
        Pattern::parse(&format!(".{}", self.0)).map_or(true, |below| shared_suffix::warning(&below).is_some())
    }
}

impl From<&Subtree> for Constraint {
    /// The narrowest that covers what another certificate is for.
    fn from(subtree: &Subtree) -> Self {
        Self(subtree.base().clone())
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SharedTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { constraint, pattern } = self;
        write!(f, "for `{pattern}` the authority may sign for all of {constraint}, where others have names as well")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(patterns: &[&str]) -> (Vec<String>, Vec<String>) {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let (all, shared) = constraints(&patterns);
        let text = |constraint: &Constraint| constraint.to_string();
        (all.iter().map(text).collect(), shared.iter().map(|shared| shared.pattern.to_string()).collect())
    }

    #[test]
    fn a_name_is_its_own_constraint_and_a_wildcard_s_is_its_literal_tail() {
        for (pattern, constraint) in [
            ("registry-1.docker.io", "registry-1.docker.io"),
            ("*.registry.corp.example", "registry.corp.example"),
            (".registry.corp.example", "registry.corp.example"),
            ("eu-*.registry.corp.example", "registry.corp.example"),
            ("*.r-*.corp.example", "corp.example"),
        ] {
            assert_eq!(made(&[pattern]), (vec![constraint.to_owned()], Vec::new()), "{pattern}");
        }
    }

    #[test]
    fn a_tail_where_strangers_have_names_is_told() {
        for pattern in
            ["*-registry.cloudfront.net", "prod-*.s3.eu-west-1.amazonaws.com", "registry-*.co.uk", "*.jfrog.io"]
        {
            assert_eq!(made(&[pattern]).1, [pattern], "{pattern}");
        }
        assert_eq!(made(&["company.jfrog.io", "ghcr.io"]).1, [""; 0]);
    }

    #[test]
    fn what_another_constraint_covers_is_left_out() {
        let (all, _) = made(&["a.corp.example", ".corp.example", "ghcr.io", "ghcr.io", "xcorp.example"]);
        assert_eq!(all, ["corp.example", "ghcr.io", "xcorp.example"].map(str::to_owned).to_vec());
    }
}
