//! A policy file as written: every value with the place it stands at, nothing resolved yet.
//!
//! [`crate::policy::compile`] turns documents into a snapshot; this module knows neither presets' contents nor clients.

mod read;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ipnet::IpNet;

use crate::diagnostic::Source;
use crate::policy::pattern::Pattern;

pub use crate::tree::Written;
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
