//! The verdict on one image: which repositories of an inspected registry a client may pull and push. A plain function
//! over plain values, as [`crate::policy::judge`] is for names: no I/O, no clock, no lock, no allocation.
//!
//! The rows, in order; the first that holds decides:
//!
//! | row | key | |
//! |---|---|---|
//! | 1 | – | no `[[images]]` of the registry is for the client's group: deny |
//! | 2 | `exempt-clients` | allow |
//! | 3 | `deny` | deny |
//! | 4 | `push` | allow, a pull too; what is pushed and is not on it: deny |
//! | 5 | `allow` | allow |
//! | 6 | `organizations` | allow |
//! | 7 | `official`, `verified-publishers`, `sponsored-oss`, `community` | as they say (Docker Hub) |
//! | 8 | – | deny (other registries) |
//!
//! Under audit, the table's own or the group's, every denial becomes an audit.

mod words;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::diagnostic::Place;
use crate::policy::apart;
use crate::policy::document::{BadgeLookup, DataPath, Mode, Permission};
use crate::policy::judge::{Judgement, Permit, Verdict};
use crate::policy::repository::{Repository, RepositoryPattern};
use crate::policy::snapshot::{Entry, GroupRef, RuleRef, Snapshot};

/// What is done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It is read.
    Pull,
    /// It is changed.
    Push,
}

/// What Docker Hub says of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Badge {
    /// A verified publisher.
    VerifiedPublisher,
    /// A sponsored open-source project.
    SponsoredOss,
    /// Neither.
    Unbadged,
}

/// A request that is about no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listing {
    /// All repositories of the registry.
    Catalog,
    /// Repositories whose names hold a word.
    Search,
}

/// Whose an image of Docker Hub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// A Docker Official Image: `library/*`.
    Official,
    /// A verified publisher's.
    VerifiedPublisher,
    /// A sponsored open-source project's.
    SponsoredOss,
    /// Anybody's.
    Community,
}

/// The images of one registry for one client.
#[derive(Clone, Copy)]
pub struct ImageRules<'s> {
    registry: &'s Entry,
    table: Option<&'s ImageTable>,
    mode: Mode,
    exemption: Option<&'s Key>,
}

/// Whether a request about an image is let through.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub enum ImageVerdict<'s> {
    /// It is.
    Allow(ImagePermit<'s>),
    /// It is not.
    Deny(ImageDenial<'s>),
    /// It is, and counts as would-deny.
    Audit(ImageDenial<'s>),
    /// Only the namespace's badge decides, and it was not given.
    NeedsBadge,
}

/// An `[[images]]` of a snapshot, to be shown.
#[derive(Clone, Copy)]
pub struct ImagesRef<'s> {
    snapshot: &'s Snapshot,
    table: &'s ImageTable,
}

/// Why a request is let through.
#[derive(Clone, Copy, Debug)]
pub struct ImagePermit<'s> {
    ground: Ground,
    key: &'s Key,
}

/// Why a request is not let through.
#[derive(Clone, Copy, Debug)]
pub struct ImageDenial<'s> {
    cause: Cause,
    key: Option<&'s Key>,
    registry: &'s str,
    repository: Option<&'s Repository>,
}

/// A value of an `[[images]]` table, and where it is written: what a verdict borrows to explain itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub(super) name: &'static str,
    /// The value, or the item of its list; `None`: not written, and its default holds.
    pub(super) value: Option<Box<str>>,
    /// Where; of what is not written the table's place.
    pub(super) place: Place,
}

/// What allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    Exempt,
    Push,
    Allow,
    Organization,
    Category(Category),
    Listing(Listing),
}

/// What denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoTable,
    Listed,
    Push,
    Category(Category),
    Unlisted,
    Listing(Listing),
}

/// All `[[images]]` of a policy.
#[derive(Debug, Default)]
pub(super) struct ImageTables {
    /// In file order.
    pub(super) list: Box<[ImageTable]>,
    /// The table of a registry's entry for a group; for `None`: of those that no other table names.
    pub(super) by_client: HashMap<(u32, Option<u32>), u32>,
}

/// An `[[images]]` in force.
#[derive(Debug)]
pub(super) struct ImageTable {
    /// The registry's entry.
    pub(super) entry: u32,
    /// The groups it names; empty: those that no other table of the registry names.
    pub(super) groups: Box<[u32]>,
    pub(super) mode: Mode,
    /// What only Docker Hub has.
    pub(super) hub: Option<Hub>,
    pub(super) organizations: HashMap<Box<str>, Key>,
    pub(super) allow: RepositoryList,
    pub(super) deny: RepositoryList,
    pub(super) push: RepositoryList,
    pub(super) exempt: Box<[(IpNet, Key)]>,
    pub(super) catalog: Ruling,
    pub(super) search: Ruling,
    /// The table itself, for what no key allows.
    pub(super) header: Key,
}

/// Docker Hub's categories.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) official: Ruling,
    pub(super) verified_publishers: Ruling,
    pub(super) sponsored_oss: Ruling,
    pub(super) community: Ruling,
    /// The badges that the policy knows itself.
    pub(super) publishers: HashMap<Box<str>, (Badge, Key)>,
    pub(super) badges: (BadgeLookup, Key),
}

/// A key that says `"allow"` or `"deny"`.
#[derive(Debug)]
pub(super) struct Ruling {
    pub(super) permission: Permission,
    pub(super) key: Key,
}

/// A list of repositories: those written out are found at once, patterns are tried in file order.
#[derive(Debug, Default)]
pub(super) struct RepositoryList {
    exact: HashMap<Box<str>, Key>,
    patterns: Vec<(RepositoryPattern, Key)>,
}

impl Snapshot {
    /// The images of the registry whose `rule` allowed its name to `group`, for the client at an address; `None`: for
    /// whoever of the group, whom no exemption of single clients holds.
    pub fn image_rules<'s>(
        &'s self,
        rule: RuleRef<'s>,
        group: Option<GroupRef<'_>>,
        client: Option<IpAddr>,
    ) -> ImageRules<'s> {
        let group = self.own(group);
        // A rule of another snapshot is of no registry here, and then no image is allowed.
        let is_own = std::ptr::eq(rule.snapshot, self);
        let table = if is_own { self.images.table(rule.rule.entry(), apart::written(group)) } else { None };
        let client = client.map_or(ANYBODY, |client| client.to_canonical());
        ImageRules {
            registry: rule.entry(),
            table,
            mode: if table.is_some_and(|table| table.mode == Mode::Audit) { Mode::Audit } else { self.mode_of(group) },
            exemption: table.and_then(|table| table.exemption(client)),
        }
    }

    /// The same where a name was judged so; `None`: requests to its registry are not looked into.
    pub fn inspected_images<'s>(&'s self, judgement: Judgement<'s>, client: Option<IpAddr>) -> Option<ImageRules<'s>> {
        let Verdict::Allow(Permit::Rule(rule)) = judgement.verdict else { return None };
        (rule.data_path() == DataPath::Inspect).then(|| self.image_rules(rule, judgement.group, client))
    }

    /// All `[[images]]` in force, in file order.
    pub fn images(&self) -> impl Iterator<Item = ImagesRef<'_>> {
        self.images.list.iter().map(|table| ImagesRef { snapshot: self, table })
    }

    /// The groups (or, without groups, everyone) that a table is for and that may use its registry.
    pub(super) fn clients_of(&self, table: &ImageTable) -> Vec<Option<u32>> {
        let everyone = self.groups.list.is_empty().then_some(None);
        let groups = (0..).zip(&self.groups.list).map(|(number, _)| Some(number));
        let entry = &self.entries[table.entry as usize];
        let is_for = |group: &Option<u32>| {
            let own = self.images.table(table.entry, *group);
            self.grants(entry, *group) && own.is_some_and(|own| std::ptr::eq(own, table))
        };
        everyone.into_iter().chain(groups).filter(is_for).collect()
    }

    /// A table's own images, for a client that is not exempt, as if enforced.
    pub(super) fn rules_of_table<'s>(&'s self, table: &'s ImageTable) -> ImageRules<'s> {
        let registry = &self.entries[table.entry as usize];
        ImageRules { registry, table: Some(table), mode: Mode::Enforce, exemption: None }
    }
}

impl ImageTables {
    /// The table of a registry for a group: the one that names it, else the one that names none.
    pub(super) fn table(&self, entry: u32, group: Option<u32>) -> Option<&ImageTable> {
        let named = group.and_then(|group| self.by_client.get(&(entry, Some(group))));
        let number = named.or_else(|| self.by_client.get(&(entry, None)))?;
        self.list.get(*number as usize)
    }
}

impl ImageTable {
    fn exemption(&self, client: IpAddr) -> Option<&Key> {
        self.exempt.iter().find(|(range, _)| range.contains(&client)).map(|(_, key)| key)
    }

    fn organization(&self, repository: &Repository) -> Option<&Key> {
        self.organizations.get(repository.namespace()?)
    }
}

impl RepositoryList {
    /// Adds a pattern; of repositories that are written out twice the first stays.
    pub(super) fn add(&mut self, pattern: &RepositoryPattern, key: Key) {
        match pattern.exact() {
            Some(name) => {
                self.exact.entry(name.into()).or_insert(key);
            }
            None => self.patterns.push((pattern.clone(), key)),
        }
    }

    /// What of it means a repository.
    fn find(&self, repository: &Repository) -> Option<&Key> {
        let pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(repository)).map(|(_, key)| key);
        self.exact.get(repository.as_str()).or_else(pattern)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.exact.values().chain(self.patterns.iter().map(|(_, key)| key))
    }

    /// Its patterns as texts, sorted.
    pub(super) fn texts(&self) -> Vec<&str> {
        let exact = self.exact.keys().map(AsRef::as_ref);
        let mut texts: Vec<&str> = exact.chain(self.patterns.iter().map(|(pattern, _)| pattern.as_str())).collect();
        texts.sort_unstable();
        texts
    }
}

impl Hub {
    /// The badge of a namespace as far as it is known here: from the policy's own list, else as `told` by the Hub, which
    /// the policy may not want to ask. `None`: the Hub has to be asked.
    fn badge(&self, namespace: Option<&str>, told: Option<Badge>) -> Option<Badge> {
        let Some(namespace) = namespace else { return Some(Badge::Unbadged) };
        match (self.publishers.get(namespace), self.badges.0) {
            (Some((badge, _)), _) => Some(*badge),
            (None, BadgeLookup::Off) => Some(Badge::Unbadged),
            (None, BadgeLookup::Lookup) => told,
        }
    }

    /// Whether the three categories that badges tell apart are all allowed, or all denied.
    fn is_indifferent(&self) -> bool {
        let community = self.community.permission;
        self.verified_publishers.permission == community && self.sponsored_oss.permission == community
    }

    fn ruling(&self, category: Category) -> &Ruling {
        match category {
            Category::Official => &self.official,
            Category::VerifiedPublisher => &self.verified_publishers,
            Category::SponsoredOss => &self.sponsored_oss,
            Category::Community => &self.community,
        }
    }

    /// Whose a repository is; `None`: the Hub has to be asked.
    fn category(&self, repository: &Repository, told: Option<Badge>) -> Option<Category> {
        let namespace = repository.namespace();
        if namespace == Some(OFFICIAL) {
            return Some(Category::Official);
        }
        self.badge(namespace, told).map(|badge| match badge {
            Badge::VerifiedPublisher => Category::VerifiedPublisher,
            Badge::SponsoredOss => Category::SponsoredOss,
            Badge::Unbadged => Category::Community,
        })
    }
}

impl<'s> ImageRules<'s> {
    /// Judges a request; `badge` is what the Hub says of the repository's namespace, if that is known.
    pub fn judge(self, repository: &'s Repository, access: Access, badge: Option<Badge>) -> ImageVerdict<'s> {
        let denied = |cause, key| self.denied(cause, key, Some(repository));
        let Some(table) = self.table else { return denied(Cause::NoTable, None) };
        if let Some(key) = self.exemption {
            return allowed(Ground::Exempt, key);
        }
        if let Some(key) = table.deny.find(repository) {
            return denied(Cause::Listed, Some(key));
        }
        if let Some(key) = table.push.find(repository) {
            return allowed(Ground::Push, key);
        }
        if access == Access::Push {
            return denied(Cause::Push, Some(&table.header));
        }
        if let Some(key) = table.allow.find(repository) {
            return allowed(Ground::Allow, key);
        }
        if let Some(key) = table.organization(repository) {
            return allowed(Ground::Organization, key);
        }
        match &table.hub {
            Some(hub) => self.judge_category(hub, repository, badge),
            None => denied(Cause::Unlisted, Some(&table.header)),
        }
    }

    /// Judges a request for a list of repositories.
    pub fn judge_listing(self, listing: Listing) -> ImageVerdict<'s> {
        let Some(table) = self.table else { return self.denied(Cause::NoTable, None, None) };
        if let Some(key) = self.exemption {
            return allowed(Ground::Exempt, key);
        }
        let ruling = match listing {
            Listing::Catalog => &table.catalog,
            Listing::Search => &table.search,
        };
        match ruling.permission {
            Permission::Allow => allowed(Ground::Listing(listing), &ruling.key),
            Permission::Deny => self.denied(Cause::Listing(listing), Some(&ruling.key), None),
        }
    }

    /// Whether it is the table itself that is under audit.
    pub fn is_on_trial(self) -> bool {
        self.table.is_some_and(|table| table.mode == Mode::Audit)
    }

    /// Whether the Hub may be asked for badges.
    pub fn looks_up_badges(self) -> bool {
        self.hub().is_some_and(|hub| hub.badges.0 == BadgeLookup::Lookup)
    }

    /// The registry's name in the policy.
    pub fn registry(self) -> &'s str {
        &self.registry.name
    }

    /// Where the table stands; `None`: none is for the client.
    pub fn place(self) -> Option<&'s Place> {
        self.table.map(|table| &table.header.place)
    }

    /// Whose a repository is; `None`: only the Hub knows, or this registry tells no categories apart.
    pub fn category(self, repository: &Repository, badge: Option<Badge>) -> Option<Category> {
        self.hub()?.category(repository, badge)
    }

    fn hub(self) -> Option<&'s Hub> {
        self.table?.hub.as_ref()
    }

    fn judge_category(self, hub: &'s Hub, repository: &'s Repository, badge: Option<Badge>) -> ImageVerdict<'s> {
        let indifferent = hub.is_indifferent().then_some(Category::Community);
        let Some(category) = hub.category(repository, badge).or(indifferent) else { return ImageVerdict::NeedsBadge };
        let Ruling { permission, key } = hub.ruling(category);
        match permission {
            Permission::Allow => allowed(Ground::Category(category), key),
            Permission::Deny => self.denied(Cause::Category(category), Some(key), Some(repository)),
        }
    }

    fn denied(self, cause: Cause, key: Option<&'s Key>, repository: Option<&'s Repository>) -> ImageVerdict<'s> {
        let denial = ImageDenial { cause, key, registry: &self.registry.name, repository };
        match self.mode {
            Mode::Enforce => ImageVerdict::Deny(denial),
            Mode::Audit => ImageVerdict::Audit(denial),
        }
    }
}

impl fmt::Debug for ImageRules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.map(|table| table.header.place.to_string());
        write!(f, "ImageRules({}, {table:?}, {:?})", self.registry.name, self.mode)
    }
}

fn allowed(ground: Ground, key: &Key) -> ImageVerdict<'_> {
    ImageVerdict::Allow(ImagePermit { ground, key })
}

impl<'s> ImageVerdict<'s> {
    /// `allow`, `deny` or `audit`; without the badge that it needs, `deny`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) | Self::NeedsBadge => "deny",
            Self::Audit(_) => "audit",
        }
    }

    /// Why, in a word for metrics and machine-readable output.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Allow(permit) => permit.word(),
            Self::Deny(denial) | Self::Audit(denial) => denial.word(),
            Self::NeedsBadge => "no-badge",
        }
    }

    /// The key that decided.
    pub fn key(self) -> Option<&'s Key> {
        match self {
            Self::Allow(permit) => Some(permit.key),
            Self::Deny(denial) | Self::Audit(denial) => denial.key,
            Self::NeedsBadge => None,
        }
    }
}

impl<'s> ImagesRef<'s> {
    /// The registry's name.
    pub fn registry(self) -> &'s str {
        &self.snapshot.entries[self.table.entry as usize].name
    }

    /// The groups it is for; none where the policy has no groups.
    pub fn groups(self) -> impl Iterator<Item = GroupRef<'s>> {
        let snapshot = self.snapshot;
        snapshot.clients_of(self.table).into_iter().flatten().map(|index| GroupRef { snapshot, index })
    }

    /// Its own mode; that of a group may soften it.
    pub fn mode(self) -> Mode {
        self.table.mode
    }

    /// Where it stands.
    pub fn place(self) -> &'s Place {
        &self.table.header.place
    }

    /// Every key that decides something, each value of a list once, in the order of the rows and of the files.
    pub fn keys(self) -> Vec<&'s Key> {
        self.keys_by_use().concat()
    }

    /// Those of them that are written and that a verdict can name: what tells whose an image is, none names.
    pub fn rules(self) -> Vec<&'s Key> {
        let [deciding, _, listings] = self.keys_by_use();
        deciding.into_iter().chain(listings).filter(|key| key.value.is_some()).collect()
    }

    /// What decides on an image, what tells whose it is, and what decides on lists of repositories.
    fn keys_by_use(self) -> [Vec<&'s Key>; 3] {
        let ImageTable { hub, organizations, allow, deny, push, exempt, catalog, search, .. } = self.table;
        let mut deciding: Vec<&Key> = exempt.iter().map(|(_, key)| key).collect();
        for list in [deny, push, allow] {
            deciding.extend(sorted(list.keys()));
        }
        deciding.extend(sorted(organizations.values()));
        let mut telling = Vec::new();
        if let Some(Hub { official, verified_publishers, sponsored_oss, community, publishers, badges }) = hub {
            deciding.extend([official, verified_publishers, sponsored_oss, community].map(|ruling| &ruling.key));
            telling.extend(sorted(publishers.values().map(|(_, key)| key)));
            telling.push(&badges.1);
        }
        [deciding, telling, [catalog, search].map(|ruling| &ruling.key).into()]
    }
}

/// Keys in the order they are written in, each once: the images of a set have one together.
fn sorted<'s>(keys: impl Iterator<Item = &'s Key>) -> Vec<&'s Key> {
    let mut keys: Vec<&Key> = keys.collect();
    keys.sort_unstable_by(|a, b| (&a.place, &a.value).cmp(&(&b.place, &b.value)));
    keys.dedup();
    keys
}

impl Key {
    /// The key's name, `images` for a table itself.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value, or the item of its list; `None`: not written, and its default holds.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Where it is written; of a key that is not written, its table.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// The name of the tables themselves.
pub(super) const TABLE: &str = "images";
/// An address that only an exemption of everybody holds.
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The namespace of Docker Official Images.
const OFFICIAL: &str = "library";

#[cfg(test)]
mod tests;
