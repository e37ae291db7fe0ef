//! The SHA-256 of an effective policy, in a canonical order.
//!
//! Two policies that decide alike hash alike: comments, files and their names, the order of entries and hosts, and
//! entries that have expired do not count. The order of entries does where it decides which of two rules wins.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sha2::{Digest as _, Sha256};

use crate::name::DomainName;
use crate::policy::document::{DataPath, RecordTypes};
use crate::policy::images::{Hub, ImageTable};
use crate::policy::matcher::{Rule, wire_length};
use crate::policy::pattern::Reach;
use crate::policy::snapshot::{Digest, Entry, EntryKind, Group, Snapshot};

/// Hashes what decides verdicts and what they carry.
pub(super) fn digest(snapshot: &Snapshot) -> Digest {
    let mut hash = Fields::default();
    hash.text(VERSION);
    hash_groups(&mut hash, snapshot);
    let mut statics: Vec<&[u8]> = snapshot.statics.names.iter().map(DomainName::as_wire).collect();
    statics.sort_unstable();
    hash.list(statics);
    let entries = entry_hashes(snapshot);
    let mut sorted: Vec<&[u8]> = entries.iter().map(<[u8; 32]>::as_slice).collect();
    sorted.sort_unstable();
    hash.list(sorted);
    hash_contests(&mut hash, snapshot, &entries);
    hash_images(&mut hash, snapshot);
    Digest(hash.finish())
}

fn hash_groups(hash: &mut Fields, snapshot: &Snapshot) {
    let groups = &snapshot.groups;
    hash.text(&format!("{:?}", groups.mode));
    hash.text(groups.fallback.map_or("", |index| &groups.list[index as usize].name));
    let mut list: Vec<&Group> = groups.list.iter().collect();
    list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    hash.number(list.len());
    for group in list {
        hash.text(&group.name);
        hash.text(&format!("{:?} {:?}", group.mode, group.unlisted));
        let clients: BTreeSet<String> = group.clients.iter().map(|range| range.trunc().to_string()).collect();
        let listen: BTreeSet<String> = group.listen.iter().map(ToString::to_string).collect();
        hash.list(clients.iter().map(String::as_bytes).collect());
        hash.list(listen.iter().map(String::as_bytes).collect());
    }
    if !groups.apart.modes().is_empty() {
        hash.text("apart");
        let apart = groups.apart.modes().iter().map(|(client, mode)| format!("{client} {mode:?}"));
        hash.texts(apart.collect::<Vec<_>>().iter().map(String::as_str));
    }
}

/// The hash of each entry with its rules and its clients.
fn entry_hashes(snapshot: &Snapshot) -> Vec<[u8; 32]> {
    let mut rules: Vec<Sorted<'_>> = snapshot.matcher.rules().map(Sorted::from).collect();
    rules.sort_unstable();
    // Of equal rules the first wins, and with it its path.
    rules.dedup_by(|a, b| a.is_like(b));
    let mut rules = rules.into_iter().peekable();
    let hash = |(number, entry): (u32, &Entry)| {
        let mut hash = Fields::default();
        hash_attributes(&mut hash, snapshot, entry);
        while let Some(rule) = rules.next_if(|rule| rule.entry == number) {
            hash.number(rule.reach as usize);
            hash.number(rule.data_path as usize);
            hash.bytes(rule.wire);
        }
        hash.finish()
    };
    (0..).zip(&snapshot.entries).map(hash).collect()
}

/// A rule as it is sorted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sorted<'s> {
    entry: u32,
    reach: Reach,
    /// The first bytes of the name, at hand: the whole of it is seldom looked up to compare, which a million rules would
    /// spend most of their time with.
    beginning: u128,
    wire: &'s [u8],
    offset: u32,
    data_path: DataPath,
}

impl Sorted<'_> {
    fn is_like(&self, other: &Self) -> bool {
        (self.entry, self.reach, self.wire) == (other.entry, other.reach, other.wire)
    }
}

impl<'s> From<Rule<'s>> for Sorted<'s> {
    fn from(rule: Rule<'s>) -> Self {
        let wire = rule.wire();
        let mut beginning = [0; 16];
        let length = wire.len().min(beginning.len());
        beginning[..length].copy_from_slice(&wire[..length]);
        Self {
            entry: rule.entry(),
            reach: rule.reach(),
            beginning: u128::from_be_bytes(beginning),
            wire,
            offset: rule.offset(),
            data_path: rule.data_path(),
        }
    }
}

fn hash_attributes(hash: &mut Fields, snapshot: &Snapshot, entry: &Entry) {
    let Entry {
        kind,
        name,
        preset,
        mode,
        cname,
        private_addresses,
        servers,
        types,
        reason,
        expires,
        owner,
        ticket,
        overlay: _,
        grant: _,
    } = entry;
    hash.text(&format!("{kind:?} {mode:?} {cname:?} {private_addresses:?} {servers:?} {expires:?}"));
    hash.text(name);
    for text in [preset.as_deref(), reason.as_deref(), owner.as_deref(), ticket.as_deref()] {
        hash.text(text.unwrap_or_default());
    }
    hash.text(&match types {
        None => "default".to_owned(),
        Some(RecordTypes::Any) => "any".to_owned(),
        Some(RecordTypes::Only(types)) => format!("{types:?}"),
    });
    let mut clients: Vec<&[u8]> = (0..)
        .zip(&snapshot.groups.list)
        .filter(|(index, _)| snapshot.grants(entry, Some(*index)))
        .map(|(_, group)| group.name.as_bytes())
        .collect();
    clients.sort_unstable();
    hash.list(clients);
    hash.text(if snapshot.grants(entry, None) { "everyone" } else { "" });
}

fn hash_images(hash: &mut Fields, snapshot: &Snapshot) {
    let tables = snapshot.images.list.iter().map(|table| table_hash(snapshot, table));
    let tables: BTreeSet<[u8; 32]> = tables.collect();
    hash.list(tables.iter().map(<[u8; 32]>::as_slice).collect());
}

/// The hash of an `[[images]]`; in which order its lists are written makes no difference.
fn table_hash(snapshot: &Snapshot, table: &ImageTable) -> [u8; 32] {
    let ImageTable { entry, groups, mode, hub, organizations, allow, deny, push, exempt, catalog, search, header: _ } =
        table;
    let mut hash = Fields::default();
    hash.text(&snapshot.entries[*entry as usize].name);
    let groups = groups.iter().map(|&group| snapshot.groups.list[group as usize].name.as_str());
    hash.texts(groups);
    hash.text(&format!("{mode:?} {:?} {:?}", catalog.permission, search.permission));
    hash.texts(organizations.keys().map(AsRef::as_ref));
    for list in [allow, deny, push] {
        hash.texts(list.texts());
    }
    let exempt: Vec<String> = exempt.iter().map(|(range, _)| range.trunc().to_string()).collect();
    hash.texts(exempt.iter().map(String::as_str));
    if let Some(hub) = hub {
        hash_hub(&mut hash, hub);
    }
    hash.finish()
}

fn hash_hub(hash: &mut Fields, hub: &Hub) {
    let Hub { official, verified_publishers, sponsored_oss, community, publishers, badges } = hub;
    for ruling in [official, verified_publishers, sponsored_oss, community] {
        hash.text(&format!("{:?}", ruling.permission));
    }
    hash.text(&format!("{:?}", badges.0));
    let publishers: Vec<String> = publishers.iter().map(|(name, (badge, _))| format!("{name} {badge:?}")).collect();
    hash.texts(publishers.iter().map(String::as_str));
}

/// The order of entries whose rules may tie: two exact rules with one name, or two wildcards one of which ends within the
/// other. Wildcards with unequal ends tie only through a glob, so rarely that all wildcards under a glob's top-level
/// domain count as one contest.
fn hash_contests(hash: &mut Fields, snapshot: &Snapshot, entries: &[[u8; 32]]) {
    for (contest, rivals) in contests(snapshot) {
        if rivals.len() > 1 {
            hash.text(&format!("{:?} {:?}", contest.kind, contest.ground));
            hash.bytes(contest.end);
            // Entries are numbered in file order.
            hash.list(rivals.iter().map(|&entry| entries[entry as usize].as_slice()).collect());
        }
    }
}

/// Which rules may tie: those that allow with each other, those that deny with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Contest<'s> {
    kind: ContestKind,
    ground: Ground,
    end: &'s [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ContestKind {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    Name,
    Tail,
    TopLevelDomain,
}

fn contests(snapshot: &Snapshot) -> BTreeMap<Contest<'_>, BTreeSet<u32>> {
    let with_globs: HashSet<&[u8]> = snapshot.matcher.rules().filter(|rule| rule.is_glob()).map(top_level).collect();
    let mut contests: BTreeMap<Contest<'_>, BTreeSet<u32>> = BTreeMap::new();
    for (rule, is_alone) in snapshot.matcher.chained() {
        let key = &rule.key()[..wire_length(rule.key())];
        let (ground, end) = match top_level(rule) {
            _ if rule.is_exact() => (Ground::Name, key),
            top if with_globs.contains(top) => (Ground::TopLevelDomain, top),
            _ => (Ground::Tail, key),
        };
        if is_alone && ground != Ground::TopLevelDomain {
            continue;
        }
        let is_deny = snapshot.entry_of(rule).kind == EntryKind::Deny;
        let kind = if is_deny { ContestKind::Deny } else { ContestKind::Allow };
        contests.entry(Contest { kind, ground, end }).or_default().insert(rule.entry());
    }
    contests
}

/// The last label of a rule, which is always literal, and the root label.
fn top_level(rule: Rule<'_>) -> &[u8] {
    let mut wire = rule.wire();
    while let Some((&length, rest)) = wire.split_first() {
        let after = &rest[usize::from(length)..];
        if after.len() <= 1 {
            break;
        }
        wire = after;
    }
    wire
}

/// Feeds a hash with fields that cannot run into each other.
#[derive(Default)]
struct Fields {
    hash: Sha256,
    /// What is to be fed next: of short fields the hash takes many at once.
    pending: Vec<u8>,
}

impl Fields {
    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.pending);
        self.hash.finalize().into()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.feed(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.feed(&(number as u64).to_le_bytes());
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= FED_AT_ONCE {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
    }

    /// Texts whose order does not count.
    fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        let sorted: BTreeSet<&str> = texts.into_iter().collect();
        self.list(sorted.into_iter().map(str::as_bytes).collect());
    }

    fn list(&mut self, items: Vec<&[u8]>) {
        self.number(items.len());
        for item in items {
            self.bytes(item);
        }
    }
}

/// Bytes.
const FED_AT_ONCE: usize = 1024;
/// Changes whenever what is hashed does.
const VERSION: &str = "pullgate policy 2";
