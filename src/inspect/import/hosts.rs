//! From the addresses of Registry Access Management to registries of the policy: those whose hosts ship with the program
//! by their preset, others by the name that was written.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{RegistryEntry, Statement};
use super::found::Spot;
use crate::name::DomainName;
use crate::policy::pattern::Pattern;
use crate::policy::preset::{self, Preset, Recognized};

/// An address that may be reached.
pub(super) struct Allowed<'f> {
    pub(super) host: Pattern,
    pub(super) written: &'f str,
    pub(super) friendly_name: Option<&'f str>,
    pub(super) spot: &'f Spot,
}

/// What an address comes to.
pub(super) enum Host {
    /// A name, perhaps with a wildcard.
    Name(Pattern),
    /// An address of the network, which no name leads to.
    Address,
}

impl Host {
    /// Reads an address as people write it: with or without scheme, port and path.
    ///
    /// # Errors
    /// What is wrong, and what would do.
    pub(super) fn parse(address: &str) -> Result<Self, (String, String)> {
        let text = address.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let text = text.split(['/', '?', '#']).next().unwrap_or_default();
        let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
        if text.starts_with('[') || text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self::Address);
        }
        let text = text.rsplit_once(':').map_or(text, |(host, _)| host);
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self::Address);
        }
        let parsed = Pattern::parse_unicode(text).map_err(|fault| (fault.message, fault.hint))?;
        Ok(Self::Name(parsed.pattern))
    }
}

/// Entries in the order of the first address that each is for. `with_hub` begins with Docker Hub.
pub(super) fn entries(allowed: &[Allowed<'_>], with_hub: bool) -> Vec<RegistryEntry> {
    let mut entries = Entries::default();
    if with_hub {
        entries.by_preset(preset::find(DOCKER_HUB).expect("the Hub's preset ships"), BTreeMap::new());
    }
    let recognized = allowed.iter().map(|allowed| recognize(&allowed.host));
    let recognized: Vec<Option<Recognized>> = recognized.collect();
    for (allowed, recognized) in allowed.iter().zip(&recognized) {
        if let Some(recognized) = recognized.as_ref().filter(|recognized| recognized.missing.is_empty()) {
            entries.add_recognized(allowed, recognized);
        }
    }
    for (allowed, recognized) in allowed.iter().zip(&recognized) {
        match recognized {
            Some(recognized) if recognized.missing.is_empty() => {}
            _ => entries.add_other(allowed, recognized.as_ref()),
        }
    }
    entries.list
}

fn recognize(host: &Pattern) -> Option<Recognized> {
    preset::recognize(&host.exact()?)
}

#[derive(Default)]
struct Entries {
    list: Vec<RegistryEntry>,
    names: BTreeSet<String>,
}

impl Entries {
    /// The entry for a preset with these values, made if there is none yet.
    fn by_preset(&mut self, preset: &'static Preset, values: BTreeMap<&'static str, String>) -> &mut RegistryEntry {
        let is_it = |entry: &RegistryEntry| entry.preset == Some(preset.id.as_str()) && entry.values == values;
        let index = self.list.iter().position(is_it).unwrap_or_else(|| {
            let name = self.unused(&preset.id);
            self.list.push(RegistryEntry::of_preset(name, preset, values));
            self.list.len() - 1
        });
        &mut self.list[index]
    }

    fn add_recognized(&mut self, allowed: &Allowed<'_>, recognized: &Recognized) {
        let entry = self.by_preset(recognized.preset, recognized.values.clone());
        entry.add(allowed, "");
        let host = allowed.host.to_string();
        if !recognized.is_covered && host != REFERENCE_ONLY && !entry.hosts.contains(&host) {
            entry.hosts.push(host);
        }
    }

    /// A name that a preset above covers as well, or one of its own.
    fn add_other(&mut self, allowed: &Allowed<'_>, recognized: Option<&Recognized>) {
        let exact = allowed.host.exact();
        if let Some(entry) = exact.and_then(|name| self.list.iter_mut().find(|entry| entry.covers(&name))) {
            return entry.add(allowed, ": one of the hosts of this preset");
        }
        let host = allowed.host.to_string();
        let mut names = allowed.friendly_name.into_iter().chain([host.as_str(), "registry"]).map(slug);
        let name = self.unused(&names.find(|name| !name.is_empty()).unwrap_or_default());
        let mut entry = RegistryEntry::of_host(name, host.clone());
        entry.add(allowed, "");
        entry.remarks.push(match recognized {
            Some(recognized) => better_preset(recognized),
            None => NO_REDIRECTS.to_owned(),
        });
        self.list.push(entry);
    }

    /// A name that no entry has yet.
    fn unused(&mut self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(|name| self.names.insert(name.clone())).expect("there is always another number")
    }
}

impl RegistryEntry {
    fn add(&mut self, allowed: &Allowed<'_>, what: &str) {
        let called = allowed.friendly_name.map(|name| format!(" ({name})")).unwrap_or_default();
        let text = format!("{}{called}{what}", allowed.written);
        self.stated.push(Statement { place: allowed.spot.place(), text });
    }

    /// Whether the preset has that host.
    fn covers(&self, name: &DomainName) -> bool {
        let Some(preset) = self.preset.and_then(preset::find) else { return false };
        let values = self.values.iter().map(|(key, value)| (*key, vec![value.as_str()])).collect();
        let expansion = preset.expand(&[], &values);
        expansion.is_ok_and(|expansion| expansion.hosts.iter().any(|(pattern, _)| pattern.matches(name.as_name())))
    }
}

/// What to write once the values are known that a name does not tell.
fn better_preset(recognized: &Recognized) -> String {
    let told = recognized.values.iter().map(|(key, value)| format!("{key} = \"{value}\""));
    let missing = recognized.missing.iter().map(|known| format!("{} = \"…\"", known.name));
    let values = told.chain(missing).collect::<Vec<_>>().join(", ");
    format!(
        "its downloads come from other hosts, which the preset knows: preset = \"{}\", values = {{ {values} }}",
        recognized.preset.id
    )
}

/// A name for an entry: lower-case letters, digits and hyphens.
fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let words: String = text.chars().map(plain).collect();
    words.split_whitespace().collect::<Vec<_>>().join("-").chars().take(MAX_NAME).collect()
}

pub(super) const DOCKER_HUB: &str = "docker-hub";
/// What people write before images of the Hub; no engine asks it for anything.
const REFERENCE_ONLY: &str = "docker.io";
const NO_REDIRECTS: &str = "where it sends downloads is not known: `pullgate log` shows what is denied right after it; \
    write those names as `redirects`";
const MAX_NAME: usize = 60;
