//! Which images the gateway refused, or would have, and the line of an `[[images]]` that lets each through.

use std::fmt;

use serde::Serialize;

use super::asked::Asked;
use super::report::{Evidence, Place};
use crate::control::report::{ImageOfRow, ImagesReport, PolicyReport};
use crate::policy::repository::{Repository, RepositoryPattern};

/// An image that a group's clients wanted in vain.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedImage {
    /// As people write it: `registry.example/team/app`, with what was to be done if that was no pull.
    pub image: String,
    /// The clients' group; `None`: there are no groups.
    pub group: Option<String>,
    /// Why, in a word.
    pub reason: String,
    /// The line that lets it through; `None`: it is denied by name, or no registry has such a thing.
    pub line: Option<String>,
    /// The `[[images]]` that the line belongs into; `None`: the registry has none for the group.
    pub table: Option<Place>,
    /// How often, and by whom.
    #[serde(flatten)]
    pub evidence: Evidence,
}

impl RefusedImage {
    /// Where its line belongs.
    pub fn home(&self) -> String {
        match &self.table {
            Some(Place { path: Some(path), line: Some(line) }) => format!("`[[images]]` ({}:{line})", path.display()),
            Some(_) => "`[[images]]`".to_owned(),
            None => "a new `[[images]]`".to_owned(),
        }
    }
}

impl fmt::Display for RefusedImage {
    /// In a line: the image, for whom, what to add where, and what speaks for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, group, reason, line, evidence, .. } = self;
        let whose = group.as_ref().map(|group| format!(" (group {group})")).unwrap_or_default();
        let remedy = line.as_ref().map_or_else(|| reason.clone(), |line| format!("{line} in {}", self.home()));
        write!(f, "{image}{whose}: {remedy}; {evidence}")
    }
}

/// What of `asked` the policy in force refuses still, as far as its words say; those asked for most first.
pub(super) fn refused(asked: Vec<(ImageOfRow, Asked)>, policy: &PolicyReport) -> (Vec<RefusedImage>, usize) {
    let in_all = asked.len();
    let of = |(image, asked): (ImageOfRow, Asked)| {
        let table = table_of(&asked, policy);
        if table.is_some_and(|table| allows(table, &image, &asked.reason)) {
            return None;
        }
        Some(RefusedImage {
            image: image.at(&asked.name),
            line: line(&image, &asked.reason),
            table: table.map(|table| Place { path: Some(table.path.clone()), line: Some(table.line) }),
            evidence: Evidence::of(&[&asked]),
            group: asked.group,
            reason: asked.reason,
        })
    };
    let mut refused: Vec<RefusedImage> = asked.into_iter().filter_map(of).collect();
    refused.sort_by_key(|image| std::cmp::Reverse(image.evidence.count));
    let allowed_by_now = in_all - refused.len();
    (refused, allowed_by_now)
}

/// The `[[images]]` of the registry for the clients' group.
fn table_of<'p>(asked: &Asked, policy: &'p PolicyReport) -> Option<&'p ImagesReport> {
    let of_host = || policy.rules.iter().find(|rule| rule.data_path == "inspect" && rule.pattern == asked.name);
    let registry = asked.entry.as_ref().or_else(|| of_host().map(|rule| &rule.entry))?;
    let is_for = |table: &&ImagesReport| {
        let has_group = asked.group.as_ref().is_none_or(|group| table.groups.contains(group));
        table.registry == *registry && (has_group || policy.groups.is_empty())
    };
    policy.images.iter().find(is_for)
}

/// Whether the table's words let it through by now.
fn allows(table: &ImagesReport, image: &ImageOfRow, reason: &str) -> bool {
    let of_keys = |names: &'static [&str]| table.keys.iter().filter(move |key| names.contains(&key.key.as_str()));
    let Ok(repository) = Repository::parse(&image.repository) else {
        return of_keys(&["catalog", "search"]).any(|key| key.key == reason && key.value == ALLOW);
    };
    let matches = |pattern: &str| RepositoryPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&repository));
    if of_keys(&["deny"]).any(|key| matches(&key.value)) {
        return false;
    }
    let listing: &[&str] = if image.action == "push" { &["push"] } else { &["push", "allow"] };
    let is_pull = image.action == "pull";
    of_keys(listing).any(|key| matches(&key.value))
        || is_pull && of_keys(&["organizations"]).any(|key| repository.namespace() == Some(&key.value))
        || is_pull && table.keys.iter().any(|key| key.key == category_key(reason) && key.value == ALLOW)
}

/// The key that decides on a category.
fn category_key(reason: &str) -> &str {
    if reason == "verified-publisher" { "verified-publishers" } else { reason }
}

fn line(image: &ImageOfRow, reason: &str) -> Option<String> {
    let ImageOfRow { repository, action } = image;
    match (action.as_str(), reason) {
        (_, "listed") => None,
        ("pull", _) => Some(format!("allow = [\"{repository}\"]")),
        ("push", _) => Some(format!("push = [\"{repository}\"]")),
        ("catalog" | "search", _) => Some(format!("{action} = \"{ALLOW}\"")),
        _ => None,
    }
}

const ALLOW: &str = "allow";
