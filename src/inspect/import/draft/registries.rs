//! Registry Access Management: which registries are allowed, and what no entry can be made of.

use std::collections::BTreeMap;

use super::{Drafting, line, not_known};
use crate::inspect::import::found::{CustomRegistry, Found, Known, Spot, Stated};
use crate::inspect::import::hosts::{Allowed, Host};
use crate::policy::pattern::Pattern;

impl Drafting {
    /// Whether Docker Hub may be reached, as far as it is said and in force.
    pub(super) fn hub(&mut self, found: &Found) -> Option<Stated<bool>> {
        let mut hub: Option<Stated<bool>> = None;
        for access in &found.registry_access {
            let Some(stated) = &access.hub else { continue };
            let allowed = match &stated.value {
                Known::Is(allowed) => *allowed,
                Known::NotHere(text) => {
                    self.leave_out("Docker Hub", &not_known(text), &stated.spot);
                    continue;
                }
            };
            if !allowed && access.enabled.value == Known::Is(false) {
                self.leave_out("Docker Hub", "not allowed, but that is off", &stated.spot);
                continue;
            }
            match &hub {
                Some(first) if first.value != allowed => self.contradict("Docker Hub", &stated.spot, &first.spot),
                Some(_) => {}
                None => hub = Some(Stated { value: allowed, spot: stated.spot.clone() }),
            }
        }
        if let Some(Stated { value: false, spot }) = &hub {
            self.leave_out("Docker Hub", NOT_ALLOWED, spot);
        }
        hub
    }

    /// The addresses that may be reached, each once; the others are left out.
    pub(super) fn allowed<'f>(&mut self, found: &'f Found) -> Vec<Allowed<'f>> {
        let mut known: BTreeMap<String, (bool, &Spot)> = BTreeMap::new();
        let mut allowed = Vec::new();
        for custom in found.registry_access.iter().flat_map(|access| &access.custom) {
            let Some((host, is_allowed)) = self.host(custom) else { continue };
            let spot = &custom.address.spot;
            match known.get(&host.to_string()) {
                Some((first, at)) if *first != is_allowed => self.contradict(&host.to_string(), spot, at),
                Some(_) => {}
                None => {
                    known.insert(host.to_string(), (is_allowed, spot));
                    let Known::Is(written) = &custom.address.value else { continue };
                    if is_allowed {
                        let friendly_name = custom.friendly_name.as_deref();
                        allowed.push(Allowed { host, written, friendly_name, spot });
                    } else {
                        self.leave_out(written, NOT_ALLOWED, spot);
                    }
                }
            }
        }
        allowed
    }

    /// The name of a registry, and whether it may be reached; `None` for what no entry can be made of.
    fn host(&mut self, custom: &CustomRegistry) -> Option<(Pattern, bool)> {
        let Stated { value, spot } = &custom.address;
        let address = match value {
            Known::Is(address) => address,
            Known::NotHere(text) => {
                let what = custom.friendly_name.as_deref().unwrap_or("a registry");
                self.leave_out(what, &not_known(text), spot);
                return None;
            }
        };
        let host = match Host::parse(address) {
            Ok(Host::Name(host)) => host,
            Ok(Host::Address) => {
                self.leave_out(address, "an address, which no name leads to: DNS has no part in it", spot);
                return None;
            }
            Err((message, hint)) => {
                self.complaints.push(spot.fault(message, hint));
                return None;
            }
        };
        match &custom.allowed.value {
            Known::Is(allowed) => Some((host, *allowed)),
            Known::NotHere(text) => {
                self.leave_out(address, &not_known(text), &custom.allowed.spot);
                None
            }
        }
    }

    pub(super) fn tell_of_registry_access(&mut self, found: &Found) {
        for access in &found.registry_access {
            if access.enabled.value == Known::Is(false) {
                let remark = format!("{}: {REGISTRY_ACCESS_IS_OFF}", line(&access.enabled.spot.place()));
                self.draft.remarks.push(remark);
                self.complaints.push(access.enabled.spot.warning(REGISTRY_ACCESS_IS_OFF, TRY_FIRST));
            }
            if let Some(Stated { value, spot }) = &access.not_here {
                self.leave_out("the registries", &not_known(value), spot);
            }
        }
    }
}

const REGISTRY_ACCESS_IS_OFF: &str =
    "Registry Access Management is off: Docker denies no registry, but this policy denies those it does not list";
const TRY_FIRST: &str =
    "`[policy] mode = \"audit\"` in the settings lets every name resolve and tells what would be denied";
const NOT_ALLOWED: &str = "not allowed";
