//! From the text of a policy file to a [`Document`]: every key, and every fault at once.

mod asserts;
mod images;

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::{
    AssertSpec, CnamePolicy, DataPath, DenySpec, Document, EntryKindSpec, EntrySpec, GroupSpec, ImagesSpec, Mode,
    PresetUse, RecordTypes, ServerAddress, Unlisted, Written,
};
use crate::address::{self, AddressFault, DNS_PORT};
use crate::diagnostic::{Diagnostic, Source};
use crate::policy::pattern::{Parsed, Pattern};
use crate::policy::shared_suffix;
use crate::record_type;
use crate::tree::{self, Format, MAX_INPUT, Node, Report, Table};

impl Document {
    /// Reads a file, by its extension: `.json` is JSON, anything else TOML. A `registry.json` without a `version` is
    /// Docker's own. The document holds what could be read; the file is refused when a fault is among the diagnostics.
    pub fn parse(source: Source) -> (Self, Vec<Diagnostic>) {
        let mut report = Report::new(&source);
        let format = Format::of(source.path()).unwrap_or(Format::Toml);
        let mut parts = Parts::default();
        if let Some(table) = tree::parse(&source, format, &mut report) {
            if images::is_dockers(&source, &table) {
                parts.docker_organizations = Some(images::read_registry_json(table, &mut report));
            } else {
                read_document(table, &mut parts, &mut report);
            }
        }
        let diagnostics = report.finish();
        let Parts { entries, denies, groups, images, asserts, docker_organizations } = parts;
        (Self { source, entries, denies, groups, images, asserts, docker_organizations, overlay: None }, diagnostics)
    }
}

/// Every `*.toml` and `*.json` of a policy directory in name order; dotfiles and subfolders are passed over.
///
/// # Errors
/// A directory that is missing, unreadable or holds no policy file, and every file that cannot be read, is too large or is
/// not UTF-8.
pub fn read_directory(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let mut files = policy_files(path).map_err(|fault| vec![fault])?;
    files.sort();
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match read_file(&file) {
            Ok(text) => sources.push(Source::new(file, text)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(sources) } else { Err(faults) }
}

/// What a document is made of, while it is read.
#[derive(Default)]
struct Parts {
    entries: Vec<EntrySpec>,
    denies: Vec<DenySpec>,
    groups: Vec<GroupSpec>,
    images: Vec<ImagesSpec>,
    asserts: Vec<AssertSpec>,
    docker_organizations: Option<Vec<Written<String>>>,
}

fn read_document(mut table: Table<'_>, parts: &mut Parts, report: &mut Report<'_>) {
    if let Some(version) = table.require("version", "1", report) {
        read_version(version, report);
    }
    let mut entries: Vec<(usize, EntrySpec)> = Vec::new();
    for registry in tables(&mut table, "registry", report) {
        entries.push((registry.span().start, read_registry(registry, report)));
    }
    for service in tables(&mut table, "service", report) {
        entries.push((service.span().start, read_service(service, report)));
    }
    entries.sort_by_key(|&(start, _)| start);
    parts.entries = entries.into_iter().map(|(_, entry)| entry).collect();
    parts.denies = tables(&mut table, "deny", report).into_iter().map(|deny| read_deny(deny, report)).collect();
    parts.groups = tables(&mut table, "group", report).into_iter().map(|group| read_group(group, report)).collect();
    parts.images = tables(&mut table, "images", report).into_iter().map(|table| images::read(table, report)).collect();
    parts.asserts =
        tables(&mut table, "assert", report).into_iter().map(|table| asserts::read(table, report)).collect();
    table.finish(report);
}

fn read_version(version: Node<'_>, report: &mut Report<'_>) {
    let Some(version) = version.integer(report, i64::MIN..=i64::MAX) else { return };
    if version.value != VERSION {
        let message = format!("version {} of the policy language is not known", version.value);
        report.fault(version.span, message, format!("this program reads `version = {VERSION}`"));
    }
}

/// The tables of an array of tables; one table alone is a fault that says how to write it.
fn tables<'s>(table: &mut Table<'s>, key: &'static str, report: &mut Report<'_>) -> Vec<Table<'s>> {
    let Some(node) = table.take(key) else { return Vec::new() };
    if let tree::Value::Table(_) = node.value {
        report.fault(
            node.span,
            format!("`{key}` is one table"),
            format!("write `[[{key}]]` (in JSON an array), since there may be several"),
        );
        return Vec::new();
    }
    node.list(report, Node::table).unwrap_or_default()
}

fn read_registry(mut table: Table<'_>, report: &mut Report<'_>) -> EntrySpec {
    let span = table.span();
    let has_preset = table.get("preset").is_some();
    let preset = read_preset(&mut table, report);
    let name = table.take("name").map(|name| name.name(report));
    if !has_preset && !lists_any(&table, "hosts") {
        report.fault(
            span.clone(),
            "a registry without hosts",
            "write `hosts = [\"registry.example\"]` or `preset = …`",
        );
    }
    if !has_preset && name.is_none() {
        report.fault(span.clone(), "a registry without a name", "write `name = \"…\"`: logs and groups call it so");
    }
    let mut patterns = take_patterns(&mut table, "hosts", report);
    let hosts = patterns.len();
    patterns.extend(take_patterns(&mut table, "redirects", report));
    let name = name.flatten().or_else(|| preset.as_ref().map(|preset| preset.id.clone()));
    let kind = EntryKindSpec::Registry {
        preset,
        mode: table.take("mode").and_then(|mode| mode.choice(report, MODES)),
        cname: table.take("cname").and_then(|cname| cname.choice(report, CNAME_POLICIES)).unwrap_or_default(),
        data_path: table.take("path").and_then(|path| choice(path, DATA_PATHS, report)),
        hosts,
    };
    finish_entry(table, kind, name, patterns, report)
}

fn read_service(mut table: Table<'_>, report: &mut Report<'_>) -> EntrySpec {
    let span = table.span();
    let name = table.require("name", "\"…\"", report).and_then(|name| name.name(report));
    if !lists_any(&table, "names") {
        report.fault(span, "a service without names", "write `names = [\".corp.example\"]`");
    }
    let kind = EntryKindSpec::Service {
        servers: table.take("servers").and_then(|servers| servers.list(report, read_server)).unwrap_or_default(),
        types: table.take("types").and_then(|types| read_types(types, report)),
    };
    let names = take_patterns(&mut table, "names", report);
    finish_entry(table, kind, name, names, report)
}

/// One of a few words, with its place.
fn choice<T: Copy>(node: Node<'_>, choices: &[(&str, T)], report: &mut Report<'_>) -> Option<Written<T>> {
    let span = node.span.clone();
    node.choice(report, choices).map(|value| Written { value, span })
}

/// Whether something is written under `key`, right or wrong: what is wrong is a fault of its own.
fn lists_any(table: &Table<'_>, key: &str) -> bool {
    table.get(key).is_some_and(|list| !list.is_empty_array())
}

fn take_patterns(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<Written<Pattern>> {
    table.take(key).map(|list| read_patterns(list, report)).unwrap_or_default()
}

/// What registries and services have in common.
fn finish_entry(
    mut table: Table<'_>,
    kind: EntryKindSpec,
    name: Option<Written<String>>,
    patterns: Vec<Written<Pattern>>,
    report: &mut Report<'_>,
) -> EntrySpec {
    let span = table.span();
    let accept = table.take("accept-shared-suffix").and_then(|accept| accept.boolean(report)).unwrap_or_default();
    if !accept {
        for pattern in &patterns {
            warn_of_strangers(pattern, report);
        }
    }
    let entry = EntrySpec {
        kind,
        name: name.unwrap_or(Written { value: String::new(), span }),
        patterns,
        groups: read_names(&mut table, "groups", report),
        private_addresses: table.take("private-addresses").and_then(|private| private.boolean(report)),
        expires: table.take("expires").and_then(|expires| expires.moment(report)),
        owner: read_prose(&mut table, "owner", report),
        ticket: read_prose(&mut table, "ticket", report),
        accept_shared_suffix: accept,
    };
    table.finish(report);
    entry
}

fn read_preset(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<PresetUse> {
    let id = table.take("preset").map(|id| id.name(report));
    let include = table.take("include");
    let values = table.take("values");
    if id.is_none() {
        for node in [&include, &values].into_iter().flatten() {
            report.fault(node.span.clone(), "this belongs to a preset", "write `preset = …` as well, or leave it out");
        }
    }
    let include = include.and_then(|include| include.list(report, Node::name)).unwrap_or_default();
    let values = values.and_then(|values| values.table(report)).map(|values| read_values(values, report));
    Some(PresetUse { id: id??, include, values: values.unwrap_or_default() })
}

/// Each placeholder's values, of which one may be written without brackets.
fn read_values(mut values: Table<'_>, report: &mut Report<'_>) -> Vec<(Written<String>, Vec<Written<String>>)> {
    let read = |member: tree::Member<'_>| {
        let values = match member.value.value {
            tree::Value::Array(_) => member.value.list(report, read_value)?,
            _ => vec![read_value(member.value, report)?],
        };
        Some((Written { value: member.key.into_owned(), span: member.key_span }, values))
    };
    values.take_all().into_iter().filter_map(read).collect()
}

fn read_value(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<String>> {
    if let tree::Value::Integer(_) | tree::Value::Number = node.value {
        let digits = report.quote(node.span.clone()).to_owned();
        report.fault(
            node.span,
            "a number where text belongs",
            format!("write `\"{digits}\"`, so that no zero is lost"),
        );
        return None;
    }
    node.name(report)
}

fn read_deny(mut table: Table<'_>, report: &mut Report<'_>) -> DenySpec {
    let span = table.span();
    if !lists_any(&table, "hosts") {
        report.fault(span, "a deny without hosts", "write `hosts = [\"*.untrusted.example\"]`");
    }
    let deny = DenySpec {
        patterns: take_patterns(&mut table, "hosts", report),
        groups: read_names(&mut table, "groups", report),
        reason: read_prose(&mut table, "reason", report),
    };
    table.finish(report);
    deny
}

fn read_group(mut table: Table<'_>, report: &mut Report<'_>) -> GroupSpec {
    let span = table.span();
    let name = table.require("name", "\"…\"", report).and_then(|name| name.name(report));
    let group = GroupSpec {
        name: name.unwrap_or(Written { value: String::new(), span }),
        clients: table.take("clients").and_then(|clients| clients.list(report, read_range)).unwrap_or_default(),
        listen: table.take("listen").and_then(|listen| listen.list(report, read_listener)).unwrap_or_default(),
        registries: read_names(&mut table, "registries", report),
        services: read_names(&mut table, "services", report),
        inherits: table.take("inherits").and_then(|inherits| inherits.name(report)),
        mode: table.take("mode").and_then(|mode| mode.choice(report, MODES)),
        unlisted: table.take("unlisted").and_then(|unlisted| unlisted.choice(report, UNLISTED)).unwrap_or_default(),
    };
    table.finish(report);
    group
}

fn read_patterns(node: Node<'_>, report: &mut Report<'_>) -> Vec<Written<Pattern>> {
    node.list(report, read_pattern).unwrap_or_default()
}

fn read_pattern(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<Pattern>> {
    let read = |text: &str| Pattern::parse_unicode(text).map_err(|fault| (fault.message, fault.hint));
    let Written { value: Parsed { pattern, converted }, span } = node.parsed(report, read)?;
    if converted {
        let message = format!("a name outside ASCII: it stands for `{pattern}`");
        report.warning(span.clone(), message, "write that instead, since many characters look alike");
    }
    Some(Written { value: pattern, span })
}

fn warn_of_strangers(pattern: &Written<Pattern>, report: &mut Report<'_>) {
    if let Some(warning) = shared_suffix::warning(&pattern.value) {
        report.warning(pattern.span.clone(), warning.message, warning.hint);
    }
}

fn read_names(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Vec<Written<String>> {
    let names = table.take(key).and_then(|names| names.list(report, Node::name)).unwrap_or_default();
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name.value.as_str()) {
            report.warning(name.span.clone(), format!("`{}` is listed twice", name.value), "keep one of them");
        }
    }
    names
}

fn read_prose(table: &mut Table<'_>, key: &'static str, report: &mut Report<'_>) -> Option<String> {
    table.take(key)?.prose(report).map(|text| text.value)
}

fn read_range(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<ipnet::IpNet>> {
    node.parsed(report, |text| address::parse_range(text).map_err(in_words))
}

fn read_listener(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<std::net::SocketAddr>> {
    node.parsed(report, |text| address::parse_socket(text, DNS_PORT).map_err(in_words))
}

fn read_server(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<ServerAddress>> {
    node.parsed(report, |text| match address::parse_socket(text, DNS_PORT).map_err(in_words)? {
        server if server.port() == 0 => Err(("port 0 takes no questions".to_owned(), "leave `:0` out".to_owned())),
        server if server.ip().is_unspecified() => {
            Err((format!("`{text}` is no server's address"), "write the server's own address".to_owned()))
        }
        server => Ok(ServerAddress { ip: server.ip(), port: server.port() }),
    })
}

fn in_words(fault: AddressFault) -> (String, String) {
    (fault.message, fault.hint)
}

fn read_types(node: Node<'_>, report: &mut Report<'_>) -> Option<RecordTypes> {
    if let tree::Value::String(_) = node.value {
        return node.choice(report, &[("any", ())]).map(|()| RecordTypes::Any);
    }
    if node.is_empty_array() {
        report.fault(
            node.span,
            "an empty list",
            "no name would have records: write types, \"any\", or leave the key out",
        );
        return None;
    }
    let types = node.list(report, |item, report| item.parsed(report, record_type::parse))?;
    let mut numbers: Vec<u16> = types.into_iter().map(|written| written.value).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Some(RecordTypes::Only(numbers))
}

fn policy_files(path: &Path) -> Result<Vec<std::path::PathBuf>, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::about(path, format!("the policy directory cannot be read: {}", reason(&error))).hint(
            match error.kind() {
                ErrorKind::NotADirectory => "name the directory that holds the policy files",
                ErrorKind::PermissionDenied => "let the user that runs pullgate read it",
                _ => "make it, and put at least one `*.toml` or `*.json` file into it",
            },
        )
    };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && Format::of(&file).is_some() && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Diagnostic::about(path, "no `*.toml` or `*.json` file in the policy directory")
            .hint("an empty policy is refused, since it would deny everything: write one file at least"));
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, Diagnostic> {
    let unreadable = |error: std::io::Error| Diagnostic::about(path, format!("cannot be read: {}", reason(&error)));
    // Before it is opened: to open a pipe is to wait for its writer.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(Diagnostic::about(path, "not a regular file").hint("write a file, or a link to one"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_INPUT as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Diagnostic::about(path, format!("not UTF-8 at byte {at}")).hint("save the file as UTF-8")
    })
}

/// An I/O error in words, without the number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The one version of the policy language there is.
const VERSION: i64 = 1;
const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];
const CNAME_POLICIES: &[(&str, CnamePolicy)] = &[("trust", CnamePolicy::Trust), ("inspect", CnamePolicy::Inspect)];
const DATA_PATHS: &[(&str, DataPath)] =
    &[("direct", DataPath::Direct), ("pass", DataPath::Pass), ("inspect", DataPath::Inspect)];
const UNLISTED: &[(&str, Unlisted)] = &[("deny", Unlisted::Deny), ("forward", Unlisted::Forward)];

#[cfg(test)]
mod tests;
