//! `[[images]]` as they will be in force: registry and groups found, lists put together, warnings given.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::Options;
use super::entries::Draft;
use super::groups::suggest;
use crate::diagnostic::{Diagnostic, Place, Source};
use crate::policy::document::{
    BadgeLookup, DataPath, Document, HubSpec, Images, ImagesSpec, Mode, Permission, PublishersSpec, Span, Written,
};
use crate::policy::image_set;
use crate::policy::images::{
    Access, Badge, Hub, ImageTable, ImageTables, ImageVerdict, Key, RepositoryList, Ruling, TABLE,
};
use crate::policy::repository::RepositoryPattern;
use crate::policy::snapshot::{EntryKind, Groups, Snapshot};

/// An `[[images]]` on its way into a snapshot.
pub(super) struct ImagesDraft<'d> {
    source: &'d Source,
    spec: &'d ImagesSpec,
    /// The registry's draft.
    pub(super) registry: usize,
    /// The groups it names.
    groups: Vec<u32>,
    is_hub: bool,
    /// `allowedOrgs` of Docker's own file, for Docker Hub.
    docker_organizations: Vec<(&'d Source, &'d Written<String>)>,
}

/// Finds the registry and the groups of every table, in file order.
pub(super) fn resolve<'d>(
    documents: &'d [Document],
    drafts: &[Draft<'_>],
    groups: &Groups,
    complaints: &mut Vec<Diagnostic>,
) -> Vec<ImagesDraft<'d>> {
    let mut found = Vec::new();
    for document in documents {
        for spec in &document.images {
            let source = &document.source;
            let groups = spec.groups.iter().filter_map(|name| find_group(source, name, groups, complaints)).collect();
            let Some(registry) = find_registry(source, &spec.registry, drafts, complaints) else { continue };
            let is_hub = drafts[registry].preset() == Some(HUB);
            found.push(ImagesDraft { source, spec, registry, groups, is_hub, docker_organizations: Vec::new() });
        }
    }
    for draft in &found {
        draft.check(&drafts[draft.registry], complaints);
    }
    refuse_equal_clients(&found, complaints);
    hand_out_organizations(documents, &mut found, complaints);
    found
}

/// Whether every `path` can be taken, and says what it is for.
pub(super) fn check_paths(
    drafts: &[Draft<'_>],
    images: &[ImagesDraft<'_>],
    options: &Options,
    complaints: &mut Vec<Diagnostic>,
) {
    for (number, draft) in drafts.iter().enumerate() {
        let Some(path) = draft.data_path().filter(|path| path.value != DataPath::Direct) else { continue };
        let name = draft.name().map(|name| name.value.as_str()).unwrap_or_default();
        let mut fault = |message: String, hint: String| {
            complaints.push(draft.source.fault(path.span.clone(), message).hint(hint));
        };
        if !options.has_gateway {
            let hint = "write `[gateway]` with its `address` in the settings, or leave `path` out";
            fault("a path through the gateway, and there is none".to_owned(), hint.to_owned());
        }
        if path.value == DataPath::Inspect && images.iter().all(|images| images.registry != number) {
            let hint = format!("write `[[images]]` with `registry = \"{name}\"`, or `path = \"pass\"`");
            fault(format!("`{name}` is inspected, and nothing says which of its images are allowed"), hint);
        }
        complaints.extend(warn_of_idle_path(draft, path));
    }
}

/// The tables of drafts that were found good; `numbers` are those that the registries' drafts have as entries.
pub(super) fn tables(images: &[ImagesDraft<'_>], numbers: &[Option<u32>]) -> ImageTables {
    let with_entry = images.iter().filter_map(|draft| Some((draft, numbers[draft.registry]?)));
    let list: Box<[ImageTable]> = with_entry.map(|(draft, entry)| draft.table(entry)).collect();
    let mut by_client = HashMap::new();
    for (number, table) in (0..).zip(&list) {
        match &*table.groups {
            [] => drop(by_client.insert((table.entry, None), number)),
            groups => by_client.extend(groups.iter().map(|&group| ((table.entry, Some(group)), number))),
        }
    }
    ImageTables { list, by_client }
}

/// What works but hardly as meant, about tables in force: `images` are the drafts of the snapshot's tables.
pub(super) fn lint(snapshot: &Snapshot, drafts: &[Draft<'_>], images: &[ImagesDraft<'_>]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (draft, table) in images.iter().zip(&snapshot.images.list) {
        let clients = snapshot.clients_of(table);
        if clients.is_empty() {
            let message = format!("no group that may use `{}` is left for this table", draft.spec.registry.value);
            warnings.push(draft.warning(
                &draft.spec.span,
                message,
                "give a group the registry, or leave the table out",
            ));
        }
        let enforced = |group: &Option<u32>| table.mode == Mode::Enforce && snapshot.mode_of(*group) == Mode::Enforce;
        if draft.is_hub && clients.iter().any(enforced) {
            warnings.extend(warn_of_build_tools(snapshot, draft, table));
        }
    }
    warnings.extend(warn_of_groups_without(snapshot, drafts, images));
    warnings
}

impl ImagesDraft<'_> {
    fn check(&self, registry: &Draft<'_>, complaints: &mut Vec<Diagnostic>) {
        let written = &self.spec.registry;
        if registry.data_path().is_none_or(|path| path.value != DataPath::Inspect) {
            let message = format!("`{}` is not inspected: its images cannot be told apart", written.value);
            let hint = "write `path = \"inspect\"` in its `[[registry]]`";
            complaints.push(self.source.fault(written.span.clone(), message).hint(hint));
        }
        match &self.spec.hub {
            hub if self.is_hub => complaints.extend(self.refuse_two_badges(hub)),
            hub => complaints.extend(hub_spans(hub).into_iter().map(|(key, span)| self.refuse_hub_key(key, span))),
        }
        complaints.extend(self.warn_of_patterns(registry));
    }

    /// A key about categories outside Docker Hub.
    fn refuse_hub_key(&self, key: &str, span: &Span) -> Diagnostic {
        let hint = "only Docker Hub (`preset = \"docker-hub\"`) has categories: list repositories in `allow`, or namespaces in `organizations`";
        self.source.fault(span.clone(), format!("`{key}` is about Docker Hub")).hint(hint)
    }

    fn refuse_two_badges(&self, hub: &HubSpec) -> Vec<Diagnostic> {
        let Some(Written { value: PublishersSpec { verified, sponsored }, .. }) = &hub.publishers else {
            return Vec::new();
        };
        let both = sponsored.iter().filter(|name| verified.iter().any(|other| other.value == name.value));
        let fault = |name: &Written<String>| {
            let message = format!("`{}` is listed as verified and as sponsored", name.value);
            self.source.fault(name.span.clone(), message).hint("keep one of them")
        };
        both.map(fault).collect()
    }

    /// Patterns that match nothing this registry has.
    fn warn_of_patterns(&self, registry: &Draft<'_>) -> Vec<Diagnostic> {
        let pattern = |images: &'_ Written<Images>| match &images.value {
            Images::Pattern(pattern) => Some((pattern.clone(), images.span.clone())),
            Images::Set(_) => None,
        };
        let listed = self.spec.allow.iter().chain(&self.spec.deny).filter_map(pattern);
        let pushed = self.spec.push.iter().map(|pattern| (pattern.value.clone(), pattern.span.clone()));
        let warn = |(pattern, span): (RepositoryPattern, Span)| {
            let (message, hint) = self.why_idle(&pattern, registry)?;
            Some(self.warning(&span, message, &hint))
        };
        listed.chain(pushed).filter_map(warn).collect()
    }

    fn why_idle(&self, pattern: &RepositoryPattern, registry: &Draft<'_>) -> Option<(String, String)> {
        let text = pattern.as_str();
        if let Some((first, rest)) = text.split_once('/')
            && (registry.rules().any(|(host, ..)| host.to_string() == first) || self.is_hub && first == HUB_HOST)
        {
            return Some((format!("`{text}` begins with the registry's host"), format!("write `{rest}`")));
        }
        match pattern.depth().filter(|depth| self.is_hub && *depth != HUB_DEPTH)? {
            1 if pattern.exact().is_some() => {
                let message = format!("no repository of Docker Hub is named `{text}`");
                Some((message, format!("official images are `library/*`: write `library/{text}`")))
            }
            1 => {
                Some((format!("no repository of Docker Hub is named as `{text}`"), format!("write `*/{text}` or `**`")))
            }
            _ => {
                let message = format!("no repository of Docker Hub is named as `{text}`");
                Some((message, "there a name is a namespace, `/` and a repository".to_owned()))
            }
        }
    }

    fn table(&self, entry: u32) -> ImageTable {
        let ImagesSpec {
            span,
            registry,
            groups: _,
            mode,
            hub,
            organizations,
            allow,
            deny,
            push,
            exempt_clients,
            catalog,
            search,
        } = self.spec;
        let dockers = self.docker_organizations.iter().map(|(source, name)| key_in(source, "allowedOrgs", name));
        let own = organizations.iter().map(|name| self.key("organizations", name));
        ImageTable {
            entry,
            groups: self.groups.clone().into(),
            mode: mode.unwrap_or_default(),
            hub: self.is_hub.then(|| self.hub(hub)),
            // Of two equal ones the first stays: what is written in the table itself.
            organizations: dockers.chain(own).map(|key| (key.value.clone().unwrap_or_default(), key)).collect(),
            allow: self.images("allow", allow),
            deny: self.images("deny", deny),
            push: self.push(push),
            exempt: exempt_clients.iter().map(|range| (range.value, self.key("exempt-clients", range))).collect(),
            catalog: self.ruling("catalog", catalog.as_ref()),
            search: self.ruling("search", search.as_ref()),
            header: Key { name: TABLE, value: Some(registry.value.as_str().into()), place: self.place(span) },
        }
    }

    fn hub(&self, spec: &HubSpec) -> Hub {
        let HubSpec { official, verified_publishers, sponsored_oss, community, publishers, badges } = spec;
        let listed = publishers.as_ref().map(|publishers| &publishers.value);
        let with = |names: &[Written<String>], key, badge| -> Vec<_> {
            names.iter().map(|name| (name.value.as_str().into(), (badge, self.key(key, name)))).collect()
        };
        let verified = listed.map(|listed| with(&listed.verified, "publishers.verified", Badge::VerifiedPublisher));
        let sponsored = listed.map(|listed| with(&listed.sponsored, "publishers.sponsored", Badge::SponsoredOss));
        Hub {
            official: self.ruling("official", official.as_ref()),
            verified_publishers: self.ruling("verified-publishers", verified_publishers.as_ref()),
            sponsored_oss: self.ruling("sponsored-oss", sponsored_oss.as_ref()),
            community: self.ruling("community", community.as_ref()),
            publishers: verified.into_iter().chain(sponsored).flatten().collect(),
            badges: self.badges(badges.as_ref()),
        }
    }

    fn badges(&self, written: Option<&Written<BadgeLookup>>) -> (BadgeLookup, Key) {
        let lookup = written.map(|written| written.value).unwrap_or_default();
        let word = match lookup {
            BadgeLookup::Lookup => "lookup",
            BadgeLookup::Off => "off",
        };
        (lookup, self.key_of("badges", word, written.map_or(&self.spec.span, |written| &written.span)))
    }

    fn images(&self, name: &'static str, images: &[Written<Images>]) -> RepositoryList {
        let mut list = RepositoryList::default();
        for written in images {
            match &written.value {
                Images::Pattern(pattern) => list.add(pattern, self.key_of(name, pattern.as_str(), &written.span)),
                Images::Set(set) => {
                    let key = self.key_of(name, &format!("@{}", set.name), &written.span);
                    set.images
                        .iter()
                        .for_each(|image| list.add(&RepositoryPattern::of(&image.repository), key.clone()));
                }
            }
        }
        list
    }

    fn push(&self, patterns: &[Written<RepositoryPattern>]) -> RepositoryList {
        let mut list = RepositoryList::default();
        for pattern in patterns {
            list.add(&pattern.value, self.key("push", pattern));
        }
        list
    }

    fn ruling(&self, name: &'static str, written: Option<&Written<Permission>>) -> Ruling {
        let key = match written {
            Some(Written { value: Permission::Allow, span }) => self.key_of(name, "allow", span),
            Some(Written { value: Permission::Deny, span }) => self.key_of(name, "deny", span),
            None => Key { name, value: None, place: self.place(&self.spec.span) },
        };
        Ruling { permission: written.map(|written| written.value).unwrap_or_default(), key }
    }

    fn key<T: std::fmt::Display>(&self, name: &'static str, written: &Written<T>) -> Key {
        key_in(self.source, name, written)
    }

    fn key_of(&self, name: &'static str, value: &str, span: &Span) -> Key {
        Key { name, value: Some(value.into()), place: self.place(span) }
    }

    fn place(&self, span: &Span) -> Place {
        self.source.place(span.start)
    }

    fn warning(&self, span: &Span, message: impl Into<String>, hint: &str) -> Diagnostic {
        self.source.warning(span.clone(), message).hint(hint)
    }
}

fn key_in<T: std::fmt::Display>(source: &Source, name: &'static str, written: &Written<T>) -> Key {
    Key { name, value: Some(written.value.to_string().into()), place: source.place(written.span.start) }
}

/// The keys about categories that are written, each with its place.
fn hub_spans(hub: &HubSpec) -> Vec<(&'static str, &Span)> {
    let HubSpec { official, verified_publishers, sponsored_oss, community, publishers, badges } = hub;
    let rulings = [
        ("official", official),
        ("verified-publishers", verified_publishers),
        ("sponsored-oss", sponsored_oss),
        ("community", community),
    ];
    let rulings = rulings.into_iter().filter_map(|(key, ruling)| Some((key, &ruling.as_ref()?.span)));
    let publishers = publishers.iter().map(|publishers| ("publishers", &publishers.span));
    rulings.chain(publishers).chain(badges.iter().map(|badges| ("badges", &badges.span))).collect()
}

fn find_registry(
    source: &Source,
    name: &Written<String>,
    drafts: &[Draft<'_>],
    complaints: &mut Vec<Diagnostic>,
) -> Option<usize> {
    if name.value.is_empty() {
        return None;
    }
    let is_named = |draft: &Draft<'_>| draft.name().is_some_and(|known| known.value == name.value);
    let registries = || drafts.iter().filter(|draft| draft.kind() == EntryKind::Registry);
    let found = drafts.iter().position(|draft| draft.kind() == EntryKind::Registry && is_named(draft));
    if found.is_none() {
        let hint = if drafts.iter().any(is_named) {
            "it is a service, which has no images".to_owned()
        } else {
            let names = registries().filter_map(Draft::name).map(|name| name.value.as_str());
            suggest(&name.value, names, "it is defined with `[[registry]]`")
        };
        complaints.push(source.fault(name.span.clone(), format!("unknown registry `{}`", name.value)).hint(hint));
    }
    found
}

fn find_group(
    source: &Source,
    name: &Written<String>,
    groups: &Groups,
    complaints: &mut Vec<Diagnostic>,
) -> Option<u32> {
    let found = (0..).zip(&groups.list).find(|(_, group)| group.name == name.value).map(|(number, _)| number);
    if found.is_none() {
        let names = groups.list.iter().map(|group| group.name.as_str());
        let hint = suggest(&name.value, names, "groups are defined with `[[group]]`");
        complaints.push(source.fault(name.span.clone(), format!("unknown group `{}`", name.value)).hint(hint));
    }
    found
}

/// Of the tables of one registry, one alone is for each group, and one for those that none names.
fn refuse_equal_clients(images: &[ImagesDraft<'_>], complaints: &mut Vec<Diagnostic>) {
    let mut first: HashMap<(usize, Option<&str>), Place> = HashMap::new();
    for draft in images {
        let registry = &draft.spec.registry;
        let groups = draft.spec.groups.iter().map(|group| (Some(group.value.as_str()), &group.span));
        let everyone = draft.spec.groups.is_empty().then_some((None, &registry.span));
        for (group, span) in groups.chain(everyone) {
            match first.entry((draft.registry, group)) {
                Slot::Vacant(slot) => drop(slot.insert(draft.place(span))),
                // Twice in one list is warned of already.
                Slot::Occupied(_) if groups_begin(draft, group, span) => {}
                Slot::Occupied(slot) => {
                    let whom = group.map_or_else(|| "everyone else".to_owned(), |group| format!("group `{group}`"));
                    let message = format!("a second `[[images]]` of `{}` for {whom}", registry.value);
                    let hint = format!("the first is at {}; join them, or name other groups", slot.get());
                    complaints.push(draft.source.fault(span.clone(), message).hint(hint));
                }
            }
        }
    }
}

/// Whether the table itself named the group before `span`.
fn groups_begin(draft: &ImagesDraft<'_>, group: Option<&str>, span: &Span) -> bool {
    let earlier = draft.spec.groups.iter().find(|known| Some(known.value.as_str()) == group);
    earlier.is_some_and(|earlier| earlier.span != *span)
}

/// The organizations of Docker's own file are allowed in every table of Docker Hub.
fn hand_out_organizations<'d>(
    documents: &'d [Document],
    images: &mut [ImagesDraft<'d>],
    complaints: &mut Vec<Diagnostic>,
) {
    for document in documents {
        let Some(organizations) = &document.docker_organizations else { continue };
        let mut hubs = images.iter_mut().filter(|draft| draft.is_hub).peekable();
        if hubs.peek().is_none() {
            let message = "organizations of Docker Hub, and no `[[images]]` that is about it";
            let hint = "write `[[images]]` with `registry = \"docker-hub\"`, or take the file away";
            complaints.push(document.source.warning(0..0, message).hint(hint));
        }
        for draft in hubs {
            draft.docker_organizations.extend(organizations.iter().map(|name| (&document.source, name)));
        }
    }
}

/// A path that leads nobody to the gateway.
fn warn_of_idle_path(draft: &Draft<'_>, path: &Written<DataPath>) -> Option<Diagnostic> {
    let warning = |message: &str, hint: &str| Some(draft.source.warning(path.span.clone(), message).hint(hint));
    if draft.is_on_trial() {
        let message = "a registry on trial (`mode = \"audit\"`) is answered with its own addresses";
        return warning(message, "put its images on trial instead, with `mode = \"audit\"` in `[[images]]`");
    }
    if draft.preset().is_some() && draft.rules().all(|(_, _, path)| path == DataPath::Direct) {
        return warning("none of its hosts takes requests for images", "leave `path` out, or write `path = \"pass\"`");
    }
    None
}

/// Images that builds pull without anybody naming them, and that nothing allows for certain.
fn warn_of_build_tools(snapshot: &Snapshot, draft: &ImagesDraft<'_>, table: &ImageTable) -> Option<Diagnostic> {
    let rules = snapshot.rules_of_table(table);
    let needed = image_set::build_tools().images.iter().filter(|image| image.needed);
    let missing = needed.filter(|image| match rules.judge(&image.repository, Access::Pull, None) {
        ImageVerdict::Allow(_) => false,
        // Whoever denies them by name knows.
        ImageVerdict::Deny(denial) | ImageVerdict::Audit(denial) => denial.key().is_none_or(|key| key.name() != "deny"),
        ImageVerdict::NeedsBadge => true,
    });
    let missing: Vec<String> = missing.map(|image| format!("`{}`", image.repository)).collect();
    if missing.is_empty() {
        return None;
    }
    let message = format!("builds need {}, which nothing here is sure to allow", missing.join(" and "));
    let hint = format!("add \"@{}\" to `allow` (or to `deny`, if nobody builds)", image_set::build_tools().name);
    Some(draft.warning(&draft.spec.span, message, &hint))
}

/// Groups that may use an inspected registry of which no table is for them.
fn warn_of_groups_without(snapshot: &Snapshot, drafts: &[Draft<'_>], images: &[ImagesDraft<'_>]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (draft, table) in images.iter().zip(&snapshot.images.list) {
        let is_first = snapshot.images.list.iter().find(|first| first.entry == table.entry);
        if !is_first.is_some_and(|first| std::ptr::eq(first, table)) {
            continue;
        }
        let entry = &snapshot.entries[table.entry as usize];
        let without = (0..).zip(&snapshot.groups.list).filter(|(group, _)| {
            snapshot.grants(entry, Some(*group)) && snapshot.images.table(table.entry, Some(*group)).is_none()
        });
        let without: Vec<String> = without.map(|(_, group)| format!("`{}`", group.name)).collect();
        let registry = &drafts[draft.registry];
        if let (false, Some(path)) = (without.is_empty(), registry.data_path()) {
            let message = format!("no image of `{}` is allowed to group {}", entry.name, without.join(", "));
            let hint = "name the group in an `[[images]]` of the registry, or write one without `groups`";
            warnings.push(registry.source.warning(path.span.clone(), message).hint(hint));
        }
    }
    warnings
}

/// The preset whose images have categories.
const HUB: &str = "docker-hub";
/// What people write before the names of its repositories.
const HUB_HOST: &str = "docker.io";
/// How many segments they have.
const HUB_DEPTH: usize = 2;

#[cfg(test)]
mod tests;
