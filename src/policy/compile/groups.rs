//! Groups as they will be in force: who belongs to which, and who may use what.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::Hash;
use std::path::Path;

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use super::Options;
use super::entries::Draft;
use crate::diagnostic::{Diagnostic, Place, Source};
use crate::policy::apart::Apart;
use crate::policy::document::{Document, GroupSpec, Written};
use crate::policy::snapshot::{EntryKind, Grant, Group, Groups};
use crate::tree::nearest;

/// The groups, and the clients of each draft.
pub(super) struct Membership {
    pub(super) groups: Groups,
    /// In the order of the drafts.
    pub(super) grants: Vec<Grant>,
}

/// The groups of all documents, in file order.
struct Drafts<'d> {
    list: Vec<(&'d Source, &'d GroupSpec)>,
    numbers: HashMap<&'d str, usize>,
}

/// Resolves all that refers to a group, or that a group refers to.
pub(super) fn resolve(
    documents: &[Document],
    drafts: &[Draft<'_>],
    options: &Options,
    complaints: &mut Vec<Diagnostic>,
) -> Membership {
    let groups = Drafts::of(documents, complaints);
    let parents = groups.parents(complaints);
    let grants = groups.grants(drafts, &parents, complaints);
    let mut resolved = Groups {
        list: groups.list.iter().map(|(source, spec)| group(source, spec, options)).collect(),
        by_listener: groups.claim_listeners(complaints),
        by_range: groups.claim_ranges(complaints),
        fallback: None,
        mode: options.mode,
        apart: Apart::new(options.client_modes.clone()),
    };
    resolved.fallback = groups.fallback(documents, options, complaints);
    if resolved.fallback.is_none() {
        groups.warn_without_fallback(&resolved, complaints);
    }
    Membership { groups: resolved, grants }
}

fn group(source: &Source, spec: &GroupSpec, options: &Options) -> Group {
    Group {
        name: spec.name.value.clone(),
        mode: options.modes.get(&spec.name.value).copied().or(spec.mode).unwrap_or(options.mode),
        unlisted: spec.unlisted,
        clients: spec.clients.iter().map(|range| range.value).collect(),
        listen: spec.listen.iter().map(|listener| listener.value).collect(),
        place: source.place(spec.name.span.start),
    }
}

impl<'d> Drafts<'d> {
    fn of(documents: &'d [Document], complaints: &mut Vec<Diagnostic>) -> Self {
        let specs = |document: &'d Document| document.groups.iter().map(move |spec| (&document.source, spec));
        let list: Vec<_> = documents.iter().flat_map(specs).collect();
        let mut numbers = HashMap::new();
        for (index, (source, spec)) in list.iter().enumerate() {
            match numbers.entry(spec.name.value.as_str()) {
                Slot::Vacant(slot) => {
                    slot.insert(index);
                }
                Slot::Occupied(slot) => {
                    let (first, earlier): &(&Source, &GroupSpec) = &list[*slot.get()];
                    let place = first.place(earlier.name.span.start);
                    let message = format!("a second group named `{}`", spec.name.value);
                    let hint = format!("the first is at {place}; join them, or give one another name");
                    complaints.push(source.fault(spec.name.span.clone(), message).hint(hint));
                }
            }
        }
        Self { list, numbers }
    }

    /// The number of a group, or a fault that names the nearest.
    fn find(&self, source: &Source, name: &Written<String>, complaints: &mut Vec<Diagnostic>) -> Option<usize> {
        let found = self.numbers.get(name.value.as_str()).copied();
        if found.is_none() {
            let hint = suggest(&name.value, self.numbers.keys().copied(), "groups are defined with `[[group]]`");
            complaints.push(source.fault(name.span.clone(), format!("unknown group `{}`", name.value)).hint(hint));
        }
        found
    }

    /// The group that each inherits from. Cycles are faults, one for each, and are cut.
    fn parents(&self, complaints: &mut Vec<Diagnostic>) -> Vec<Option<usize>> {
        let inherits = |(source, spec): &(&Source, &GroupSpec)| -> Option<usize> {
            self.find(source, spec.inherits.as_ref()?, complaints)
        };
        let mut parents: Vec<Option<usize>> = self.list.iter().map(inherits).collect();
        for start in 0..parents.len() {
            let above = std::iter::successors(parents[start], |&group| parents[group]).take(self.list.len());
            let path: Vec<usize> = above.take_while(|&group| group != start).collect();
            let comes_back = parents[path.last().copied().unwrap_or(start)] == Some(start);
            if comes_back {
                complaints.push(self.cycle(start, &path));
                parents[start] = None;
            }
        }
        parents
    }

    fn cycle(&self, start: usize, path: &[usize]) -> Diagnostic {
        let (source, spec) = self.list[start];
        let name = |group: usize| format!("`{}`", self.list[group].1.name.value);
        let names: Vec<String> = std::iter::once(start).chain(path.iter().copied()).chain([start]).map(name).collect();
        let span = spec.inherits.as_ref().map_or(&spec.name.span, |inherits| &inherits.span);
        source
            .fault(span.clone(), format!("groups inherit in a circle: {}", names.join(" from ")))
            .hint("let one of them stand on its own")
    }

    /// Who may use each draft (or is denied by it): by the groups' lists, inherited ones too, and by its own `groups`.
    fn grants(&self, drafts: &[Draft<'_>], parents: &[Option<usize>], complaints: &mut Vec<Diagnostic>) -> Vec<Grant> {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
        for (draft, members) in drafts.iter().zip(&mut members) {
            members.extend(draft.groups().iter().filter_map(|name| self.find(draft.source, name, complaints)));
        }
        self.apply_lists(drafts, &mut members, complaints);
        let children = children(parents);
        let grant = |(draft, members): (&Draft<'_>, Vec<usize>)| match draft.kind() {
            EntryKind::Deny if draft.groups().is_empty() => Grant::Everyone,
            EntryKind::Deny => Grant::of(&members, self.list.len()),
            EntryKind::Registry | EntryKind::Service if self.list.is_empty() => Grant::Everyone,
            // An overlay is for the groups it names and no other.
            EntryKind::Registry | EntryKind::Service if draft.overlay.is_some() => Grant::of(&members, self.list.len()),
            EntryKind::Registry | EntryKind::Service => Grant::of(&heirs(members, &children), self.list.len()),
        };
        let grants: Vec<Grant> = drafts.iter().zip(members).map(grant).collect();
        warn_of_unused(drafts, &grants, complaints);
        grants
    }

    /// Adds each group to the members of what its `registries` and `services` name.
    fn apply_lists(&self, drafts: &[Draft<'_>], members: &mut [Vec<usize>], complaints: &mut Vec<Diagnostic>) {
        for kind in [EntryKind::Registry, EntryKind::Service] {
            let own = || (0..).zip(drafts).filter(|(_, draft)| draft.kind() == kind);
            let named = own().filter_map(|(index, draft)| Some((draft.name()?.value.as_str(), index)));
            let numbers: HashMap<&str, usize> = named.collect();
            for (group, (source, spec)) in self.list.iter().enumerate() {
                for name in if kind == EntryKind::Registry { &spec.registries } else { &spec.services } {
                    if name.value == "*" {
                        own().for_each(|(index, _): (usize, _)| members[index].push(group));
                    } else if let Some(&index) = numbers.get(name.value.as_str()) {
                        members[index].push(group);
                    } else {
                        complaints.push(unknown_entry(source, name, kind, drafts));
                    }
                }
            }
        }
    }

    fn claim_ranges(&self, complaints: &mut Vec<Diagnostic>) -> JointPrefixMap<IpNet, u32> {
        let ranges = self.list.iter().flat_map(|(_, spec)| &spec.clients).map(|range| range.value.trunc());
        let claims = self.claim(|spec| &spec.clients, IpNet::trunc, "range", complaints);
        ranges.filter_map(|range| Some((range, *claims.get(&range)?))).collect()
    }

    fn claim_listeners(&self, complaints: &mut Vec<Diagnostic>) -> HashMap<std::net::SocketAddr, u32> {
        self.claim(|spec| &spec.listen, |listener| *listener, "listener", complaints)
    }

    /// The group of each value; a value that two groups have is a fault.
    fn claim<T: 'd + Eq + Hash + std::fmt::Display>(
        &self,
        values: impl Fn(&'d GroupSpec) -> &'d [Written<T>],
        same: impl Fn(&T) -> T,
        what: &str,
        complaints: &mut Vec<Diagnostic>,
    ) -> HashMap<T, u32> {
        let mut claims: HashMap<T, (u32, Place)> = HashMap::new();
        for (group, (source, spec)) in (0..).zip(&self.list) {
            for written in values(spec) {
                match claims.entry(same(&written.value)) {
                    Slot::Vacant(slot) => {
                        slot.insert((group, source.place(written.span.start)));
                    }
                    Slot::Occupied(slot) if slot.get().0 == group => {}
                    Slot::Occupied(slot) => {
                        let (first, place) = slot.get();
                        let first = &self.list[*first as usize].1.name.value;
                        let message = format!("{what} `{}` is group `{first}`'s already", written.value);
                        let hint = format!("it is named at {place}; a client belongs to one group");
                        complaints.push(source.fault(written.span.clone(), message).hint(hint));
                    }
                }
            }
        }
        claims.into_iter().map(|(value, (group, _))| (value, group)).collect()
    }

    /// The group of those whom no group claims: `[policy] group`, else the group `default`.
    fn fallback(&self, documents: &[Document], options: &Options, complaints: &mut Vec<Diagnostic>) -> Option<u32> {
        let name = options.group.as_deref().unwrap_or(DEFAULT_GROUP);
        let found =
            self.numbers.get(name).map(|&index| u32::try_from(index).expect("fewer groups than bytes of policy"));
        if found.is_none() && options.group.is_some() {
            let folder = documents.first().and_then(|document| document.source.path().parent());
            let message = format!("no group is named `{name}`, as `[policy] group` of the settings says");
            let hint =
                suggest(name, self.numbers.keys().copied(), "define it with `[[group]]`, or take the setting out");
            complaints.push(Diagnostic::about(folder.unwrap_or(Path::new(".")), message).hint(hint));
        }
        found
    }

    fn warn_without_fallback(&self, groups: &Groups, complaints: &mut Vec<Diagnostic>) {
        let Some((source, spec)) = self.list.first() else { return };
        let everyone = ["0.0.0.0/0", "::/0"].map(|range| range.parse::<IpNet>().expect("a valid range"));
        if !everyone.iter().all(|range| groups.by_range.contains_key(range)) {
            let message = "clients that no group claims are denied everything";
            let hint = "name a group `default` for them, or name one as `[policy] group` in the settings";
            complaints.push(source.warning(spec.name.span.clone(), message).hint(hint));
        }
    }
}

impl Grant {
    fn of(members: &[usize], groups: usize) -> Self {
        let mut bits = vec![0u64; groups.div_ceil(64)];
        for member in members {
            bits[member / 64] |= 1 << (member % 64);
        }
        Self::Groups(bits.into())
    }
}

/// The groups that inherit from each.
fn children(parents: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); parents.len()];
    for (child, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(child);
        }
    }
    children
}

/// `groups` and all that inherit from them.
fn heirs(mut groups: Vec<usize>, children: &[Vec<usize>]) -> Vec<usize> {
    let mut known = vec![false; children.len()];
    groups.retain(|&group| !std::mem::replace(&mut known[group], true));
    let mut at = 0;
    while let Some(&group) = groups.get(at) {
        groups.extend(children[group].iter().filter(|&&child| !std::mem::replace(&mut known[child], true)));
        at += 1;
    }
    groups
}

fn warn_of_unused(drafts: &[Draft<'_>], grants: &[Grant], complaints: &mut Vec<Diagnostic>) {
    for (draft, grant) in drafts.iter().zip(grants) {
        let (Some(name), Grant::Groups(bits)) = (draft.name(), grant) else { continue };
        if bits.iter().all(|&bits| bits == 0) {
            let message = format!("no group may use {} `{}`", draft.kind(), name.value);
            let hint = "name it in a group, or the groups in its `groups`";
            complaints.push(draft.source.warning(name.span.clone(), message).hint(hint));
        }
    }
}

fn unknown_entry(source: &Source, name: &Written<String>, kind: EntryKind, drafts: &[Draft<'_>]) -> Diagnostic {
    let word = &name.value;
    let of_kind = |draft: &&Draft<'_>| draft.kind() == kind;
    let other =
        drafts.iter().filter(|draft| !of_kind(draft)).find(|draft| draft.name().is_some_and(|n| n.value == *word));
    let hint = if let Some(other) = other {
        format!("it is a {}: name it in `{}`", other.kind(), other.kind().list())
    } else {
        let names = drafts.iter().filter(of_kind).filter_map(Draft::name).map(|name| name.value.as_str());
        suggest(word, names, &format!("it is defined with `[[{kind}]]`"))
    };
    source.fault(name.span.clone(), format!("unknown {kind} `{word}`")).hint(hint)
}

/// "did you mean" the candidate that is most alike, if any is.
pub(super) fn suggest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>, otherwise: &str) -> String {
    nearest(word, candidates).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// The group of clients that no group claims.
const DEFAULT_GROUP: &str = "default";
