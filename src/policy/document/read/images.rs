//! The `[[images]]` tables of a policy file, and Docker's own `registry.json`.

use std::borrow::Cow;

use super::{MODES, choice, read_names, read_range};
use crate::diagnostic::Source;
use crate::policy::document::{BadgeLookup, HubSpec, Images, ImagesSpec, Permission, PublishersSpec, Written};
use crate::policy::image_set;
use crate::policy::repository::{Repository, RepositoryFault, RepositoryPattern};
use crate::tree::{Node, Report, Table};

pub(super) fn read(mut table: Table<'_>, report: &mut Report<'_>) -> ImagesSpec {
    let span = table.span();
    let registry = table.require("registry", "\"docker-hub\"", report).and_then(|registry| registry.name(report));
    let images = ImagesSpec {
        registry: registry.unwrap_or(Written { value: String::new(), span: span.clone() }),
        groups: read_names(&mut table, "groups", report),
        mode: table.take("mode").and_then(|mode| mode.choice(report, MODES)),
        hub: read_hub(&mut table, report),
        organizations: read_namespaces(&mut table, "organizations", report),
        allow: table.take("allow").and_then(|list| list.list(report, read_images)).unwrap_or_default(),
        deny: table.take("deny").and_then(|list| list.list(report, read_images)).unwrap_or_default(),
        push: table.take("push").and_then(|list| list.list(report, read_push)).unwrap_or_default(),
        exempt_clients: table.take("exempt-clients").and_then(|list| list.list(report, read_range)).unwrap_or_default(),
        catalog: permission(&mut table, "catalog", report),
        search: permission(&mut table, "search", report),
        span,
    };
    table.finish(report);
    images
}

/// Whether a file is Docker's own `registry.json`, which requires sign-in to an organization.
pub(super) fn is_dockers(source: &Source, table: &Table<'_>) -> bool {
    source.path().file_name().is_some_and(|name| name == DOCKERS_FILE) && table.get("version").is_none()
}

/// The organizations of Docker's own `registry.json`.
pub(super) fn read_registry_json(mut table: Table<'_>, report: &mut Report<'_>) -> Vec<Written<String>> {
    let organizations = table.require("allowedOrgs", "[\"mycompany\"]", report);
    table.finish(report);
    organizations.and_then(|list| list.list(report, read_namespace)).unwrap_or_default()
}

fn read_hub(table: &mut Table<'_>, report: &mut Report<'_>) -> HubSpec {
    HubSpec {
        official: permission(table, "official", report),
        verified_publishers: permission(table, "verified-publishers", report),
        sponsored_oss: permission(table, "sponsored-oss", report),
        community: permission(table, "community", report),
        publishers: table.take("publishers").and_then(|publishers| read_publishers(publishers, report)),
        badges: table.take("badges").and_then(|badges| choice(badges, BADGES, report)),
    }
}

fn read_publishers(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<PublishersSpec>> {
    let span = node.span.clone();
    let mut table = node.table(report)?;
    let publishers = PublishersSpec {
        verified: read_namespaces(&mut table, "verified", report),
        sponsored: read_namespaces(&mut table, "sponsored", report),
    };
    table.finish(report);
    Some(Written { value: publishers, span })
}

fn permission(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Option<Written<Permission>> {
    choice(table.take(key)?, PERMISSIONS, report)
}

fn read_namespaces(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<Written<String>> {
    table.take(key).and_then(|list| list.list(report, read_namespace)).unwrap_or_default()
}

/// The first segment of repositories' names.
fn read_namespace(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<String>> {
    let text = lowered(node.text(report)?, report);
    let hint = match text.value.split_once('/') {
        Some((namespace, _)) => {
            format!("an organization has no `/`: write `{namespace}`, or list repositories in `allow`")
        }
        None => "write the name that stands before the `/` of its repositories".to_owned(),
    };
    match Repository::parse(&text.value) {
        Ok(name) if name.namespace().is_none() => Some(text),
        Ok(_) => refuse(text, "a repository where an organization belongs".to_owned(), hint, report),
        Err(fault) => refuse(text, fault.to_string(), hint, report),
    }
}

fn read_images(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<Images>> {
    let text = node.text(report)?;
    let Some(name) = text.value.strip_prefix('@') else {
        return read_pattern(text, report).map(|pattern| pattern.map(Images::Pattern));
    };
    let Some(set) = image_set::find(name) else {
        let message = format!("unknown set `{}`", text.value);
        return refuse(text, message, format!("the program has {}", image_set::names()), report);
    };
    Some(Written { value: Images::Set(set), span: text.span })
}

fn read_push(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<RepositoryPattern>> {
    let text = node.text(report)?;
    if text.value.starts_with('@') {
        let hint = "write the repositories that may be pushed to; a set of images is for `allow` and `deny`";
        return refuse(text, "a set of images of others".to_owned(), hint.to_owned(), report);
    }
    read_pattern(text, report)
}

fn read_pattern(text: Written<Cow<'_, str>>, report: &mut Report<'_>) -> Option<Written<RepositoryPattern>> {
    let text = lowered(text, report);
    match RepositoryPattern::parse(&text.value) {
        Ok(pattern) => Some(Written { value: pattern, span: text.span }),
        Err(fault) => {
            let (message, hint) = explain(&text.value, fault);
            refuse(text, message, hint, report)
        }
    }
}

/// The text in lower case, with a warning if it was not: no repository has an upper-case letter.
fn lowered(text: Written<Cow<'_, str>>, report: &mut Report<'_>) -> Written<String> {
    let lower = text.value.to_ascii_lowercase();
    if lower != text.value {
        let message = format!("upper-case letters, which no repository's name has: it stands for `{lower}`");
        report.warning(text.span.clone(), message, "write that instead");
    }
    Written { value: lower, span: text.span }
}

/// Why a text is no pattern, by the most likely slip.
fn explain(text: &str, fault: RepositoryFault) -> (String, String) {
    if let Some((_, rest)) = text.split_once("://") {
        return (
            format!("`{text}` is a URL"),
            format!("a repository without its registry: write `{}`", after_host(rest)),
        );
    }
    if let Some((repository, _)) = text.split_once('@').or_else(|| text.split_once(':')) {
        let hint =
            format!("repositories are allowed with all of their tags and digests: write `{}`", after_host(repository));
        return (format!("`{text}` has a tag, a digest or a port"), hint);
    }
    (format!("`{text}`: {fault}"), "write it as in `prom/*`, `mycompany/**` or `library/nginx`".to_owned())
}

/// What follows a registry's host, if the text begins with one.
fn after_host(text: &str) -> &str {
    match text.split_once('/') {
        Some((host, rest)) if host.contains('.') => rest,
        _ => text,
    }
}

fn refuse<T, U>(text: Written<T>, message: String, hint: String, report: &mut Report<'_>) -> Option<Written<U>> {
    report.fault(text.span, message, hint);
    None
}

/// How Docker calls the file in which organizations are named that users have to sign in to.
const DOCKERS_FILE: &str = "registry.json";
const PERMISSIONS: &[(&str, Permission)] = &[("allow", Permission::Allow), ("deny", Permission::Deny)];
const BADGES: &[(&str, BadgeLookup)] = &[("lookup", BadgeLookup::Lookup), ("off", BadgeLookup::Off)];
