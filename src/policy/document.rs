//! A policy file as written: every value with the place it stands at, nothing resolved yet.
//!
//! [`crate::policy::compile`] turns documents into a snapshot; this module knows neither presets' contents nor clients.

mod read;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ipnet::IpNet;

use crate::diagnostic::Source;
use crate::name::DomainName;
use crate::policy::image_reference::ImageReference;
use crate::policy::image_set::ImageSet;
use crate::policy::pattern::Pattern;
use crate::policy::repository::RepositoryPattern;

pub use crate::tree::{Span, Written};
pub use read::read_directory;

/// One policy file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file itself, to say where a value stands.
    pub source: Source,
    /// `[[registry]]` and `[[service]]`, in file order.
    pub entries: Vec<EntrySpec>,
    /// `[[deny]]`.
    pub denies: Vec<DenySpec>,
    /// `[[group]]`.
    pub groups: Vec<GroupSpec>,
    /// `[[images]]`.
    pub images: Vec<ImagesSpec>,
    /// `[[assert]]`.
    pub asserts: Vec<AssertSpec>,
    /// `allowedOrgs` of Docker's own `registry.json`, if this is that file.
    pub docker_organizations: Option<Vec<Written<String>>>,
    /// The number of the overlay that this stands for; `None`: a file.
    pub overlay: Option<u64>,
}

/// A `[[registry]]` or `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySpec {
    /// Which of the two, with what only one of them has.
    pub kind: EntryKindSpec,
    /// `name`, or the preset's; its span is the table's when neither is written.
    pub name: Written<String>,
    /// `hosts` and `redirects` of a registry, `names` of a service.
    pub patterns: Vec<Written<Pattern>>,
    /// `groups`: who may use it.
    pub groups: Vec<Written<String>>,
    /// `private-addresses`; `None` when not written.
    pub private_addresses: Option<bool>,
    /// `expires`: the entry ends at this moment.
    pub expires: Option<Written<SystemTime>>,
    /// `owner`.
    pub owner: Option<String>,
    /// `ticket`.
    pub ticket: Option<String>,
    /// `accept-shared-suffix`: the warnings about shared suffixes were read and accepted.
    pub accept_shared_suffix: bool,
}

/// What only a registry, or only a service, has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKindSpec {
    /// `[[registry]]`.
    Registry {
        /// `preset`.
        preset: Option<PresetUse>,
        /// `mode`.
        mode: Option<Mode>,
        /// `cname`.
        cname: CnamePolicy,
        /// `path`; `None` when not written.
        data_path: Option<Written<DataPath>>,
        /// How many of the entry's patterns, from the first, are `hosts`; the others are `redirects`.
        hosts: usize,
    },
    /// `[[service]]`.
    Service {
        /// `servers`: where its names are resolved; empty: the upstream.
        servers: Vec<Written<ServerAddress>>,
        /// `types`: record types its names answer; `None`: the server's `record-types`.
        types: Option<RecordTypes>,
    },
}

/// `preset`, `include` and `values` of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetUse {
    /// The preset's id.
    pub id: Written<String>,
    /// `include`: optional purposes, `uncertain` among them.
    pub include: Vec<Written<String>>,
    /// `values`: each placeholder's values, in file order.
    pub values: Vec<(Written<String>, Vec<Written<String>>)>,
}

/// A `[[deny]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenySpec {
    /// `hosts`.
    pub patterns: Vec<Written<Pattern>>,
    /// `groups`; empty: everyone.
    pub groups: Vec<Written<String>>,
    /// `reason`.
    pub reason: Option<String>,
}

/// A `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// `name`.
    pub name: Written<String>,
    /// `clients`: ranges; IPv4-mapped IPv6 ranges are IPv4 already.
    pub clients: Vec<Written<IpNet>>,
    /// `listen`: listeners whose every client belongs to the group.
    pub listen: Vec<Written<SocketAddr>>,
    /// `registries`: names, or `*`.
    pub registries: Vec<Written<String>>,
    /// `services`: names, or `*`.
    pub services: Vec<Written<String>>,
    /// `inherits`: the group whose registries and services are added.
    pub inherits: Option<Written<String>>,
    /// `mode`.
    pub mode: Option<Mode>,
    /// `unlisted`.
    pub unlisted: Unlisted,
}

/// An `[[images]]`: which repositories of a registry its clients may pull and push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesSpec {
    /// The table's own place.
    pub span: Span,
    /// `registry`: the name of an entry.
    pub registry: Written<String>,
    /// `groups`; empty: those that no other table of the registry names.
    pub groups: Vec<Written<String>>,
    /// `mode`.
    pub mode: Option<Mode>,
    /// What only Docker Hub has.
    pub hub: HubSpec,
    /// `organizations`: namespaces that are always allowed.
    pub organizations: Vec<Written<String>>,
    /// `allow`.
    pub allow: Vec<Written<Images>>,
    /// `deny`.
    pub deny: Vec<Written<Images>>,
    /// `push`: what may be pushed to, and so pulled.
    pub push: Vec<Written<RepositoryPattern>>,
    /// `exempt-clients`: clients that may do everything.
    pub exempt_clients: Vec<Written<IpNet>>,
    /// `catalog`: whether repositories may be listed.
    pub catalog: Option<Written<Permission>>,
    /// `search`: whether repositories may be searched.
    pub search: Option<Written<Permission>>,
}

/// The keys of an `[[images]]` about Docker Hub's categories. `None` and empty: not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubSpec {
    /// `official`: `library/*`.
    pub official: Option<Written<Permission>>,
    /// `verified-publishers`.
    pub verified_publishers: Option<Written<Permission>>,
    /// `sponsored-oss`.
    pub sponsored_oss: Option<Written<Permission>>,
    /// `community`: everything else.
    pub community: Option<Written<Permission>>,
    /// `publishers`: which namespaces have which badge, whatever the Hub says.
    pub publishers: Option<Written<PublishersSpec>>,
    /// `badges`: whether the Hub is asked.
    pub badges: Option<Written<BadgeLookup>>,
}

/// `publishers` of an `[[images]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishersSpec {
    /// `verified`.
    pub verified: Vec<Written<String>>,
    /// `sponsored`.
    pub sponsored: Vec<Written<String>>,
}

/// An item of `allow` or `deny` of an `[[images]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Images {
    /// A pattern.
    Pattern(RepositoryPattern),
    /// `@name`: a set that ships with the program.
    Set(&'static ImageSet),
}

/// An `[[assert]]`: what has to be decided, or the policy is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertSpec {
    /// What is asked for; `None`: it could not be read, which is a fault.
    pub subject: Option<AssertSubject>,
    /// Who asks.
    pub askers: Askers,
    /// `expect`; its span is the table's when it is not written, which is a fault.
    pub expect: Written<Expectation>,
}

/// What an `[[assert]]` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssertSubject {
    /// `name`.
    Name(DomainName),
    /// `image`.
    Image {
        /// The image.
        image: ImageReference,
        /// `push = true`: whether it may be pushed, not pulled.
        push: bool,
    },
}

/// Who asks in an `[[assert]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Askers {
    /// Neither `client` nor `group`: each group; without groups every client.
    Everyone,
    /// `client`.
    Client(IpAddr),
    /// `group`.
    Group(Written<String>),
}

/// What an `[[assert]]` expects to be decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// It is allowed.
    Allow,
    /// It is denied.
    #[default]
    Deny,
    /// It is let through by audit.
    Audit,
}

/// `"allow"` or `"deny"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Permission {
    /// It is allowed.
    Allow,
    /// It is not.
    #[default]
    Deny,
}

/// Whether Docker Hub is asked which namespaces are verified publishers or sponsored projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BadgeLookup {
    /// It is, where the policy's own list does not say.
    #[default]
    Lookup,
    /// It is not: what the list does not name is community.
    Off,
}

/// How a registry that is allowed is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DataPath {
    /// By its own addresses.
    #[default]
    Direct,
    /// Through the gateway, which passes encrypted connections on by the name they are for.
    Pass,
    /// Through the gateway, which looks into each request for the image it is about.
    Inspect,
}

/// What a denial means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Denied names do not resolve.
    #[default]
    Enforce,
    /// Denied names resolve, and are counted as would-deny.
    Audit,
}

/// What happens to names that nothing lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// They are denied.
    #[default]
    Deny,
    /// They resolve, unless the catalogue knows them as a registry.
    Forward,
}

/// Whether the targets of a chain are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CnamePolicy {
    /// An allowed question makes its whole chain good; only a `[[deny]]` stops it.
    #[default]
    Trust,
    /// Every CNAME and alias target must be allowed to the same client.
    Inspect,
}

/// Record types that answers may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecordTypes {
    /// `"any"`.
    Any,
    /// These type numbers (RFC 1035 §3.2.2 and the IANA registry), sorted.
    Only(Vec<u16>),
}

/// A plain DNS server that a service's names are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; 53 if not written.
    pub port: u16,
}

impl Expectation {
    /// As it is written, and as verdicts say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }
}
