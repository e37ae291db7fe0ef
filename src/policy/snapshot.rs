//! One compiled, immutable policy, and what a verdict borrows from it: entries, groups, rules and their places.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use foldhash::fast::RandomState;
use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use crate::diagnostic::Place;
use crate::name::{DomainName, NameRef};
use crate::policy::ancestors::Ancestors;
use crate::policy::apart::{self, Apart};
use crate::policy::document::{CnamePolicy, DataPath, Mode, RecordTypes, Unlisted};
use crate::policy::exceptions::{Exception, SOON};
use crate::policy::images::ImageTables;
use crate::policy::matcher::{Builder, Matcher, Rule, Tag};
use crate::policy::pattern::Pattern;
use crate::policy::preset::{Preset, catalogue};
use crate::policy::probe;
use crate::policy::why;

/// A compiled policy. Deciding with it does no I/O, takes no lock and allocates nothing.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) matcher: Matcher,
    pub(super) ancestors: Ancestors,
    pub(super) entries: Box<[Entry]>,
    pub(super) grants: Box<[Grant]>,
    pub(super) groups: Groups,
    pub(super) images: ImageTables,
    pub(super) statics: Statics,
    pub(super) catalogue: &'static Catalogue,
    pub(super) paths: Box<[Arc<Path>]>,
    pub(super) expiries: Expiries,
    pub(super) exceptions: Box<[Exception]>,
    pub(super) digest: Digest,
    /// Whether this stands for a policy that could not be had.
    pub(super) is_deny_all: bool,
}

/// The SHA-256 of an effective policy: equal for policies that decide alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub(super) [u8; 32]);

/// A `[[registry]]`, `[[service]]` or `[[deny]]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which of the three.
    pub kind: EntryKind,
    /// Its name; empty for a `[[deny]]`.
    pub name: String,
    /// The preset its hosts come from.
    pub preset: Option<&'static str>,
    /// `audit`: its names resolve and count as would-deny.
    pub mode: Mode,
    /// Whether the targets of a chain are judged.
    pub cname: CnamePolicy,
    /// Whether its answers may hold private addresses; `None`: only those of a route.
    pub private_addresses: Option<bool>,
    /// Where its names are resolved; empty: the upstream.
    pub servers: Box<[SocketAddr]>,
    /// Record types its names answer; `None`: the server's.
    pub types: Option<RecordTypes>,
    /// Why a `[[deny]]` denies.
    pub reason: Option<String>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// The number of the overlay that it is; `None`: a policy file has it.
    pub overlay: Option<u64>,
    /// Index into [`Snapshot::grants`]: who may use it, or whom a `[[deny]]` denies.
    pub(super) grant: u32,
}

/// What kind of table an entry was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// `[[registry]]`.
    Registry,
    /// `[[service]]`.
    Service,
    /// `[[deny]]`.
    Deny,
}

/// The clients an entry is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Grant {
    /// Everyone, also without a group.
    Everyone,
    /// The groups whose bits are set.
    Groups(Box<[u64]>),
}

/// The groups, and how a client finds its own.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) list: Box<[Group]>,
    pub(super) by_listener: HashMap<SocketAddr, u32>,
    pub(super) by_range: JointPrefixMap<IpNet, u32>,
    /// The group of clients that no listener and no range claims.
    pub(super) fallback: Option<u32>,
    /// The mode where no group says otherwise.
    pub(super) mode: Mode,
    /// The clients whose mode is another.
    pub(super) apart: Apart,
}

/// A `[[group]]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) unlisted: Unlisted,
    pub(super) clients: Box<[IpNet]>,
    pub(super) listen: Box<[SocketAddr]>,
    pub(super) place: Place,
}

/// Names that are answered from here: `[static]` and the built-in ones.
#[derive(Debug, Default)]
pub(super) struct Statics {
    /// By the length of a name on the wire whether any of the names has it: next to no question is for one of them.
    lengths: Lengths,
    pub(super) names: HashSet<DomainName, RandomState>,
    pub(super) ancestors: HashSet<DomainName, RandomState>,
}

/// The hosts of all known registries, to tell one that is merely not allowed from a name nobody knows.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) matcher: Matcher,
    pub(super) presets: Vec<&'static Preset>,
}

/// When the policy's entries end, and which had ended when it was compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiries {
    /// All of them, sorted.
    pub(super) moments: Vec<SystemTime>,
    /// How many had passed.
    pub(super) passed: usize,
    /// How many were soon to pass, or had.
    near: usize,
}

/// A rule of a snapshot, with what it belongs to.
#[derive(Clone, Copy)]
pub struct RuleRef<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) rule: Rule<'s>,
}

/// A group of a snapshot.
#[derive(Clone, Copy)]
pub struct GroupRef<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) index: u32,
}

impl Snapshot {
    /// What the effective policy hashes to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All rules, in file order; those of expired entries are left out.
    pub fn rules(&self) -> impl Iterator<Item = RuleRef<'_>> {
        self.matcher.rules().map(|rule| RuleRef { snapshot: self, rule })
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.matcher.len()
    }

    /// All entries in force, in file order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All groups, in file order.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef<'_>> {
        (0..).zip(&self.groups.list).map(|(index, _)| GroupRef { snapshot: self, index })
    }

    /// The group of this name.
    pub fn find_group(&self, name: &str) -> Option<GroupRef<'_>> {
        self.groups().find(|group| group.name() == name)
    }

    /// The group of this number.
    pub fn group_numbered(&self, index: u32) -> Option<GroupRef<'_>> {
        self.groups.find(index).map(|_| GroupRef { snapshot: self, index })
    }

    /// The rule of this number, which one of this snapshot's own rules gave.
    pub(crate) fn rule_numbered(&self, number: u32) -> RuleRef<'_> {
        RuleRef { snapshot: self, rule: self.matcher.rule_at(number) }
    }

    /// The mode for clients without a group.
    pub fn mode(&self) -> Mode {
        self.groups.mode
    }

    /// The mode of a client that is set apart, whatever its group's is.
    #[cfg(any(test, fuzzing))]
    pub fn mode_apart(&self, client: IpAddr) -> Option<Mode> {
        self.groups.apart.modes().get(&client.to_canonical()).copied()
    }

    /// Whether this stands for a policy that could not be had and denies everything.
    pub fn is_deny_all(&self) -> bool {
        self.is_deny_all
    }

    /// The moment the next entry ends.
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.expiries.moments.get(self.expiries.passed).copied()
    }

    /// Whether compiling the same documents at `now` would leave out the same entries, and warn of the same.
    pub fn is_current(&self, now: SystemTime) -> bool {
        self.expiries.is_current(now)
    }

    /// The entries of the policy files that end, and those that have, which are left out; the soonest first.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// The bytes that rules and their indexes take.
    pub fn memory(&self) -> usize {
        self.matcher.memory() + self.ancestors.memory()
    }

    #[inline]
    pub(super) fn entry_of(&self, rule: Rule<'_>) -> &Entry {
        &self.entries[rule.entry() as usize]
    }

    pub(super) fn grants(&self, entry: &Entry, group: Option<u32>) -> bool {
        self.grants[entry.grant as usize].includes(apart::written(group))
    }
}

impl Grant {
    pub(super) fn includes(&self, group: Option<u32>) -> bool {
        match (self, group) {
            (Self::Everyone, _) => true,
            (Self::Groups(_), None) => false,
            (Self::Groups(bits), Some(group)) => {
                bits.get(group as usize / 64).is_some_and(|bits| bits & (1 << (group % 64)) != 0)
            }
        }
    }
}

impl Expiries {
    pub(super) fn new(mut moments: Vec<SystemTime>, now: SystemTime) -> Self {
        moments.sort_unstable();
        let (passed, near) = (Self::count_passed(&moments, now), Self::count_passed(&moments, now + SOON));
        Self { moments, passed, near }
    }

    fn is_current(&self, now: SystemTime) -> bool {
        let counts = [now, now + SOON].map(|moment| Self::count_passed(&self.moments, moment));
        counts == [self.passed, self.near]
    }

    fn count_passed(moments: &[SystemTime], now: SystemTime) -> usize {
        moments.partition_point(|&moment| moment <= now)
    }
}

/// A set of lengths of names.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths([u64; 4]);

impl Lengths {
    fn insert(&mut self, length: usize) {
        self.0[length / 64 % 4] |= 1 << (length % 64);
    }

    fn has(self, length: usize) -> bool {
        self.0[length / 64 % 4] & (1 << (length % 64)) != 0
    }
}

impl Statics {
    pub(super) fn new(names: impl IntoIterator<Item = DomainName>) -> Self {
        let names: HashSet<DomainName, RandomState> = names.into_iter().chain(built_in()).collect();
        let above = names.iter().flat_map(|name| name.as_name().ancestors().skip(1));
        let ancestors = above.map(NameRef::to_owned).collect();
        let mut lengths = Lengths::default();
        for name in &names {
            lengths.insert(name.as_wire().len());
        }
        Self { lengths, names, ancestors }
    }

    /// Whether a name below `name` is answered from here.
    pub(super) fn has_below(&self, name: NameRef<'_>) -> bool {
        self.ancestors.contains(name.as_wire()) || why::is_below_last(name)
    }

    /// Whether `name` is answered from here; everything below `localhost` is (RFC 6761 §6.3), and what asks about a name.
    pub(super) fn contains(&self, name: NameRef<'_>) -> bool {
        let wire = name.as_wire();
        (has_built_in_end(wire) && is_built_in(name)) || (self.lengths.has(wire.len()) && self.names.contains(wire))
    }
}

impl Catalogue {
    /// The catalogue of the presets in this program, indexed once.
    pub(super) fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::of(catalogue(), Preset::catalogue_patterns));
        &SHIPPED
    }

    /// The same with every host that needs no value, for whatever purpose: others have it as well.
    pub(super) fn with_all_hosts() -> &'static Self {
        static ALL: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::of(catalogue(), Preset::host_patterns));
        &ALL
    }

    fn of(presets: &'static [Preset], patterns: fn(&Preset) -> Vec<Pattern>) -> Self {
        let mut builder = Builder::default();
        for (entry, preset) in (0..).zip(presets) {
            for pattern in patterns(preset) {
                let tag = Tag { entry, path: 0, line: 0, column: 0, data_path: DataPath::Direct };
                builder.add(&pattern, tag).expect("the shipped presets take a few kilobytes");
            }
        }
        Self { matcher: builder.finish(), presets: presets.iter().collect() }
    }
}

/// The names that are always answered from here.
fn built_in() -> impl Iterator<Item = DomainName> {
    [LOCALHOST.parse().expect("`localhost` is a name"), probe::name()].into_iter()
}

/// Whether a name may be one that is always answered from here: its last bytes are read once, and compared with both
/// ends that those have.
fn has_built_in_end(wire: &[u8]) -> bool {
    wire.last_chunk().is_some_and(|end| *end == LOCAL_END || *end == WHY_END)
}

#[cold]
fn is_built_in(name: NameRef<'_>) -> bool {
    why::is_why(name) || name.labels().last() == Some(LOCALHOST.as_bytes())
}

impl<'s> RuleRef<'s> {
    /// Its pattern, to be shown.
    pub fn pattern(self) -> impl fmt::Display + use<'s> {
        self.rule
    }

    /// A number that no other rule of its snapshot has.
    pub(crate) fn number(self) -> u32 {
        self.rule.offset()
    }

    /// The entry it belongs to.
    #[inline]
    pub fn entry(self) -> &'s Entry {
        self.snapshot.entry_of(self.rule)
    }

    /// How the names it allows are reached: of an inspected registry, only the hosts that take requests for images are.
    #[inline]
    pub fn data_path(self) -> DataPath {
        self.rule.data_path()
    }

    /// Whether it allows (or, of a `[[deny]]`, denies) the clients of a group of the same snapshot.
    pub fn is_for(self, group: GroupRef<'_>) -> bool {
        std::ptr::eq(self.snapshot, group.snapshot) && self.snapshot.grants(self.entry(), Some(group.index))
    }

    /// Whether it holds for clients that no group takes as well.
    #[cfg(any(test, fuzzing))]
    pub fn is_for_everyone(self) -> bool {
        self.snapshot.grants(self.entry(), None)
    }

    /// Where it is written; for a preset's host the place where the preset is named.
    pub fn place(self) -> Option<Place> {
        let tag = self.rule.tag();
        let path = self.snapshot.paths.get(usize::from(tag.path))?;
        Some(Place { path: Arc::clone(path), line: tag.line, column: u32::from(tag.column) })
    }
}

impl PartialEq for RuleRef<'_> {
    /// Whether both are the same rule of the same snapshot.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.snapshot, other.snapshot) && self.rule.offset() == other.rule.offset()
    }
}

impl Eq for RuleRef<'_> {}

impl fmt::Debug for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleRef({}, {:?} {:?})", self.rule, self.entry().kind, self.entry().name)
    }
}

impl<'s> GroupRef<'s> {
    /// A number that no other group of its snapshot has.
    pub fn number(self) -> u32 {
        self.index
    }

    /// Its name.
    pub fn name(self) -> &'s str {
        &self.group().name
    }

    /// Its name, to be told; `None`: it stands for a client in no group whose mode is set apart.
    pub fn known_name(self) -> Option<&'s str> {
        apart::written(Some(self.index)).map(|_| self.name())
    }

    /// What a denial means in it, or to the client that is set apart from it.
    pub fn mode(self) -> Mode {
        apart::mode(self.index).unwrap_or(self.group().mode)
    }

    /// What happens to names that nothing lists.
    pub fn unlisted(self) -> Unlisted {
        self.group().unlisted
    }

    /// Its client ranges, as written.
    pub fn clients(self) -> &'s [IpNet] {
        &self.group().clients
    }

    /// Its listeners, as written.
    pub fn listen(self) -> &'s [SocketAddr] {
        &self.group().listen
    }

    /// Where it is written.
    pub fn place(self) -> &'s Place {
        &self.group().place
    }

    /// The registries and services it may use.
    pub fn entries(self) -> impl Iterator<Item = &'s Entry> {
        let allowing = self.snapshot.entries.iter().filter(|entry| entry.kind != EntryKind::Deny);
        allowing.filter(move |entry| self.snapshot.grants(entry, Some(self.index)))
    }

    fn group(self) -> &'s Group {
        self.snapshot.groups.find(self.index).expect("only numbers of groups become references")
    }
}

impl PartialEq for GroupRef<'_> {
    /// Whether both are the same group of the same snapshot.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.snapshot, other.snapshot) && self.index == other.index
    }
}

impl Eq for GroupRef<'_> {}

impl fmt::Debug for GroupRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupRef({})", self.name())
    }
}

impl EntryKind {
    /// The key of a `[[group]]` that names entries of this kind (for a `[[deny]]` there is none: the nearest).
    pub fn list(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Registry | Self::Deny => "registries",
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Service => "service",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Digest {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Groups {
    /// The group of an asker, as a number that also says how they are set apart from it.
    pub(super) fn of(&self, client: IpAddr, listener: Option<SocketAddr>) -> Option<u32> {
        self.apart.number(client, self.written_of(client, listener))
    }

    /// The group of this number.
    pub(super) fn find(&self, number: u32) -> Option<&Group> {
        match apart::written(Some(number)) {
            Some(index) => self.list.get(index as usize),
            None => self.apart.stand_in(),
        }
    }

    /// The group by listener, else by the longest range, else the fallback.
    fn written_of(&self, client: IpAddr, listener: Option<SocketAddr>) -> Option<u32> {
        if self.list.is_empty() {
            return None;
        }
        let by_listener = listener.and_then(|listener| self.of_listener(listener));
        let by_range = || self.by_range.get_lpm(&IpNet::from(client.to_canonical())).map(|(_, group)| group);
        by_listener.or_else(by_range).copied().or(self.fallback)
    }

    /// The group that listens where a question arrived, else on every address with that port: a wildcard of the
    /// address's family, else that of IPv6, which takes both.
    fn of_listener(&self, listener: SocketAddr) -> Option<&u32> {
        let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let families = if listener.is_ipv4() { &wildcards[..] } else { &wildcards[1..] };
        let everywhere = || families.iter().find_map(|ip| self.by_listener.get(&SocketAddr::new(*ip, listener.port())));
        self.by_listener.get(&listener).or_else(everywhere)
    }
}

const LOCALHOST: &str = "localhost";
/// What the wire form of a name below it ends in; so may that of another name, whose last label is longer.
const LOCAL_END: [u8; 8] = *b"calhost\0";
/// The same of `pullgate`, below which names are asked about.
const WHY_END: [u8; 8] = *b"ullgate\0";
