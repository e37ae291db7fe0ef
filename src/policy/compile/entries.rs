//! Entries as they will be in force: presets expanded, names unique, warnings given; groups come later.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::SystemTime;

use crate::diagnostic::{Diagnostic, Place, Source};
use crate::policy::document::{
    CnamePolicy, DataPath, DenySpec, Document, EntryKindSpec, EntrySpec, Mode, PresetUse, Written,
};
use crate::policy::exceptions::{Exception, SOON, in_utc};
use crate::policy::pattern::{LabelPattern, Pattern, Reach};
use crate::policy::preset::{self, Preset, PresetHost, Purpose, Subject, WarningKind};
use crate::policy::snapshot::{Entry, EntryKind, Grant, Groups, Statics};

/// An entry on its way into a snapshot.
pub(super) struct Draft<'d> {
    pub(super) source: &'d Source,
    /// The number of the overlay it belongs to.
    pub(super) overlay: Option<u64>,
    spec: Spec<'d>,
    /// The preset, where its id is written, and its hosts.
    preset: Option<Expanded>,
}

#[derive(Clone, Copy)]
enum Spec<'d> {
    Entry(&'d EntrySpec),
    Deny(&'d DenySpec),
}

/// Reads the entries of all documents, in file order.
pub(super) fn draft<'d>(documents: &'d [Document], complaints: &mut Vec<Diagnostic>) -> Vec<Draft<'d>> {
    let mut drafts = Vec::new();
    for document in documents {
        let Document { source, overlay, .. } = document;
        let overlay = *overlay;
        for spec in &document.entries {
            let preset = expand_preset(source, spec, complaints);
            drafts.push(Draft { source, overlay, spec: Spec::Entry(spec), preset });
        }
        let denies = document.denies.iter();
        drafts.extend(denies.map(|spec| Draft { source, overlay, spec: Spec::Deny(spec), preset: None }));
    }
    refuse_equal_names(&drafts, complaints);
    drafts
}

/// A `[[deny]]` that covers a name the resolver answers itself would never have an effect.
pub(super) fn check_statics(drafts: &[Draft<'_>], statics: &Statics, complaints: &mut Vec<Diagnostic>) {
    for draft in drafts.iter().filter(|draft| draft.kind() == EntryKind::Deny) {
        for written in draft.written_patterns() {
            if covers_why(&written.value) {
                let message = format!("`{}` covers names such as `why.quay.io.pullgate`", written.value);
                let hint = "the resolver answers them itself: there, clients ask about names";
                complaints.push(draft.source.fault(written.span.clone(), message).hint(hint));
            }
            if let Some(name) = statics.names.iter().filter(|name| covers(&written.value, name)).min() {
                let message = format!("`{}` covers `{name}`, which the resolver answers itself", written.value);
                let hint = "take the name out of `[static]`, or deny less: built-in names are always answered";
                complaints.push(draft.source.fault(written.span.clone(), message).hint(hint));
            }
        }
    }
}

/// Expired entries are left out, others soon will be; says so, though never as a fault: then the policy before, with the
/// entry still in it, would stay in force.
pub(super) fn warn_of_ends(drafts: &[Draft<'_>], now: SystemTime) -> Vec<Diagnostic> {
    let ending = drafts.iter().filter(|draft| draft.overlay.is_none() && draft.is_expired(now + SOON));
    let warning = |draft: &Draft<'_>| {
        let Spec::Entry(EntrySpec { name, expires: Some(expires), .. }) = draft.spec else { return None };
        let message = if draft.is_expired(now) {
            format!("`{}` has expired and is left out", name.value)
        } else {
            format!("`{}` ends soon, at {}", name.value, in_utc(expires.value))
        };
        Some(draft.source.warning(expires.span.clone(), message).hint("remove the entry, or give it a later date"))
    };
    ending.filter_map(warning).collect()
}

/// The entries of policy files that end, with whom they are for; the soonest first.
pub(super) fn exceptions(drafts: &[Draft<'_>], grants: &[Grant], groups: &Groups) -> Box<[Exception]> {
    let exception = |(draft, grant): (&Draft<'_>, &Grant)| {
        let Spec::Entry(spec) = draft.spec else { return None };
        let expires = spec.expires.as_ref().filter(|_| draft.overlay.is_none())?;
        let holders = (0..).zip(&groups.list).filter(|(number, _)| grant.includes(Some(*number)));
        Some(Exception {
            entry: spec.name.value.clone(),
            kind: draft.kind(),
            expires: expires.value,
            owner: spec.owner.clone(),
            ticket: spec.ticket.clone(),
            groups: holders.map(|(_, group)| group.name.clone()).collect(),
            place: draft.source.place(expires.span.start),
        })
    };
    let mut exceptions: Vec<_> = drafts.iter().zip(grants).filter_map(exception).collect();
    exceptions.sort_by_key(|exception| exception.expires);
    exceptions.into()
}

impl<'d> Draft<'d> {
    pub(super) fn kind(&self) -> EntryKind {
        match self.spec {
            Spec::Entry(EntrySpec { kind: EntryKindSpec::Registry { .. }, .. }) => EntryKind::Registry,
            Spec::Entry(EntrySpec { kind: EntryKindSpec::Service { .. }, .. }) => EntryKind::Service,
            Spec::Deny(_) => EntryKind::Deny,
        }
    }

    /// The name of a registry or service.
    pub(super) fn name(&self) -> Option<&'d Written<String>> {
        match self.spec {
            Spec::Entry(spec) => Some(&spec.name),
            Spec::Deny(_) => None,
        }
    }

    /// `groups`, as written.
    pub(super) fn groups(&self) -> &'d [Written<String>] {
        match self.spec {
            Spec::Entry(spec) => &spec.groups,
            Spec::Deny(spec) => &spec.groups,
        }
    }

    pub(super) fn expires(&self) -> Option<SystemTime> {
        match self.spec {
            Spec::Entry(spec) => spec.expires.as_ref().map(|expires| expires.value),
            Spec::Deny(_) => None,
        }
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires().is_some_and(|moment| moment <= now)
    }

    fn written_patterns(&self) -> &'d [Written<Pattern>] {
        match self.spec {
            Spec::Entry(spec) => &spec.patterns,
            Spec::Deny(spec) => &spec.patterns,
        }
    }

    /// Its patterns with their offsets, the preset's where it is named, then those written out; and how each is reached.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&Pattern, usize, DataPath)> {
        let from_preset = self.preset.iter().flat_map(|(_, span, patterns)| {
            patterns.iter().map(|(pattern, is_api)| (pattern, span.start, self.path_of(*is_api)))
        });
        let written = self.written_patterns().iter().enumerate();
        from_preset.chain(
            written.map(|(index, written)| {
                (&written.value, written.span.start, self.path_of(index < self.written_hosts()))
            }),
        )
    }

    /// `path` as written.
    pub(super) fn data_path(&self) -> Option<&'d Written<DataPath>> {
        match self.spec {
            Spec::Entry(EntrySpec { kind: EntryKindSpec::Registry { data_path, .. }, .. }) => data_path.as_ref(),
            Spec::Entry(_) | Spec::Deny(_) => None,
        }
    }

    /// The id of the preset in use.
    pub(super) fn preset(&self) -> Option<&'static str> {
        self.preset.as_ref().map(|(preset, ..)| preset.id.as_str())
    }

    /// Whether its names are answered as if they were not allowed by it alone.
    pub(super) fn is_on_trial(&self) -> bool {
        match self.spec {
            Spec::Entry(EntrySpec { kind: EntryKindSpec::Registry { mode, .. }, .. }) => *mode == Some(Mode::Audit),
            Spec::Entry(_) | Spec::Deny(_) => false,
        }
    }

    /// How many of the written patterns are `hosts`.
    fn written_hosts(&self) -> usize {
        match self.spec {
            Spec::Entry(EntrySpec { kind: EntryKindSpec::Registry { hosts, .. }, .. }) => *hosts,
            Spec::Entry(_) | Spec::Deny(_) => 0,
        }
    }

    /// How a host is reached: of an inspected registry, tokens and downloads are directly.
    fn path_of(&self, is_api: bool) -> DataPath {
        match self.data_path().map(|path| path.value) {
            Some(DataPath::Inspect) if is_api => DataPath::Inspect,
            Some(DataPath::Pass) => DataPath::Pass,
            None | Some(DataPath::Direct | DataPath::Inspect) => DataPath::Direct,
        }
    }

    /// The entry, for the clients of `grant`.
    pub(super) fn entry(&self, grant: u32) -> Entry {
        match self.spec {
            Spec::Entry(spec) => self.allowing_entry(spec, grant),
            Spec::Deny(spec) => {
                Entry { reason: spec.reason.clone(), overlay: self.overlay, ..blank(EntryKind::Deny, grant) }
            }
        }
    }

    fn allowing_entry(&self, spec: &EntrySpec, grant: u32) -> Entry {
        let preset = self.preset.as_ref().map(|(preset, ..)| *preset);
        let shared = Entry {
            name: spec.name.value.clone(),
            preset: preset.map(|preset| preset.id.as_str()),
            expires: self.expires(),
            owner: spec.owner.clone(),
            ticket: spec.ticket.clone(),
            overlay: self.overlay,
            ..blank(self.kind(), grant)
        };
        match &spec.kind {
            EntryKindSpec::Registry { preset: _, mode, cname, data_path: _, hosts: _ } => {
                let self_hosted = preset.filter(|preset| preset.self_hosted).map(|_| true);
                let private_addresses = spec.private_addresses.or(self_hosted);
                Entry { mode: mode.unwrap_or_default(), cname: *cname, private_addresses, ..shared }
            }
            EntryKindSpec::Service { servers, types } => {
                let addresses = servers.iter().map(|server| SocketAddr::new(server.value.ip, server.value.port));
                let servers: Box<[SocketAddr]> = addresses.collect();
                let own_servers = (!servers.is_empty()).then_some(true);
                let private_addresses = spec.private_addresses.or(own_servers);
                Entry { servers, types: types.clone(), private_addresses, ..shared }
            }
        }
    }
}

fn blank(kind: EntryKind, grant: u32) -> Entry {
    Entry {
        kind,
        name: String::new(),
        preset: None,
        mode: Mode::default(),
        cname: CnamePolicy::default(),
        private_addresses: None,
        servers: Box::default(),
        types: None,
        reason: None,
        expires: None,
        owner: None,
        ticket: None,
        overlay: None,
        grant,
    }
}

fn refuse_equal_names(drafts: &[Draft<'_>], complaints: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&str, Place> = HashMap::new();
    for draft in drafts {
        let Some(name) = draft.name().filter(|name| !name.value.is_empty()) else { continue };
        match first.get(name.value.as_str()) {
            None => {
                first.insert(&name.value, draft.source.place(name.span.start));
            }
            Some(place) => {
                let message = format!("a second entry named `{}`", name.value);
                let hint = format!("the first is at {place}; put the hosts there, or give one another name");
                complaints.push(draft.source.fault(name.span.clone(), message).hint(hint));
            }
        }
    }
}

/// A preset, where its id is written, and its patterns, each with whether requests for images go there.
type Expanded = (&'static Preset, Range<usize>, Vec<(Pattern, bool)>);

fn expand_preset(source: &Source, spec: &EntrySpec, complaints: &mut Vec<Diagnostic>) -> Option<Expanded> {
    let EntryKindSpec::Registry { preset: Some(used), .. } = &spec.kind else { return None };
    let id = &used.id;
    let Some(preset) = preset::find(&id.value) else {
        let message = format!("unknown preset `{}`", id.value);
        let hint = match preset::nearest(&id.value) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`pullgate preset list` shows all; other registries are written with `name` and `hosts`".to_owned(),
        };
        complaints.push(source.fault(id.span.clone(), message).hint(hint));
        return None;
    };
    let include: Vec<&str> = used.include.iter().map(|word| word.value.as_str()).collect();
    let values: BTreeMap<&str, Vec<&str>> =
        used.values.iter().map(|(key, values)| (key.value.as_str(), text_of(values))).collect();
    match preset.expand(&include, &values) {
        Ok(expansion) => {
            // Whoever uses a preset takes its shared suffixes as its maintainers judged them.
            let notable = expansion.warnings.iter().filter(|warning| warning.kind != WarningKind::SharedSuffix);
            complaints.extend(notable.map(|warning| {
                source.warning(span_of(used, &warning.subject), &*warning.message).hint(&*warning.hint)
            }));
            let is_api = |host: &PresetHost| host.purposes.contains(&Purpose::Api);
            let patterns = expansion.hosts.into_iter().map(|(pattern, host)| (pattern, is_api(host))).collect();
            Some((preset, id.span.clone(), patterns))
        }
        Err(faults) => {
            complaints.extend(
                faults
                    .into_iter()
                    .map(|fault| source.fault(span_of(used, &fault.subject), fault.message).hint(fault.hint)),
            );
            None
        }
    }
}

fn text_of(values: &[Written<String>]) -> Vec<&str> {
    values.iter().map(|value| value.value.as_str()).collect()
}

/// Where the subject of a preset's complaint is written.
fn span_of(used: &PresetUse, subject: &Subject) -> Range<usize> {
    let key = |key: &str| used.values.iter().find(|(written, _)| written.value == key);
    let found = match subject {
        Subject::Preset => None,
        Subject::Include(index) => used.include.get(*index).map(|word| &word.span),
        Subject::Key(name) => key(name).map(|(written, _)| &written.span),
        Subject::Value(name, index) => key(name).and_then(|(_, values)| values.get(*index)).map(|value| &value.span),
    };
    found.unwrap_or(&used.id.span).clone()
}

/// Whether a pattern matches a static name; the last labels are compared first, since hardly any are alike.
fn covers(pattern: &Pattern, name: &crate::name::DomainName) -> bool {
    let last = pattern.labels().next_back();
    name.as_name().labels().last().is_some_and(|label| last == Some(LabelPattern::Literal(label)))
        && pattern.matches(name.as_name())
}

/// Whether a pattern matches names that ask about others.
fn covers_why(pattern: &Pattern) -> bool {
    let is_first = || pattern.labels().next().is_some_and(|label| label.matches(b"why"));
    pattern.labels().next_back() == Some(LabelPattern::Literal(b"pullgate"))
        && (pattern.reach() != Reach::Exact || is_first())
}

/// Turns ascending offsets into lines and columns in one pass over the file: a file may be a single line with a million
/// hosts.
pub(super) struct Cursor<'s> {
    pub(super) source: &'s Source,
    offset: usize,
    line: u32,
    column: u32,
}

impl<'s> Cursor<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, offset: 0, line: 1, column: 1 }
    }

    /// Line and column of an offset, both from 1.
    pub(super) fn advance(&mut self, offset: usize) -> (u32, u32) {
        let Some(passed) = self.source.text().get(self.offset..offset) else {
            let Place { path: _, line, column } = self.source.place(offset);
            (self.offset, self.line, self.column) = (offset, line, column);
            return (line, column);
        };
        for character in passed.chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
        }
        self.offset = offset;
        (self.line, self.column)
    }
}
