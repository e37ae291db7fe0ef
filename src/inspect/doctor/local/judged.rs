//! What the policy says of a host that some file names.

use std::net::{IpAddr, Ipv4Addr};

use crate::inspect::doctor::scene::Scene;
use crate::name::DomainName;
use crate::policy::judge::Asker;
use crate::policy::preset::{self, Preset};
use crate::policy::snapshot::Snapshot;

/// A host of a URL, and what the policy thinks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// An address: no name server hears of it.
    Address(IpAddr),
    /// Its name resolves.
    Allowed,
    /// It does not.
    Denied,
    /// No policy could be read to tell.
    Unknown,
}

/// Judges the host of a URL, of `host:port`, or of an image name.
pub(super) fn judge(scene: &Scene<'_>, url: &str) -> Judged {
    let host = host_of(url);
    if let Ok(address) = host.parse() {
        return Judged::Address(address);
    }
    match (scene.policy, host.parse::<DomainName>()) {
        _ if host == "localhost" => Judged::Address(Ipv4Addr::LOCALHOST.into()),
        (Some(policy), Ok(name)) => {
            let asker = Asker { client: Ipv4Addr::LOCALHOST.into(), listener: None };
            if policy.judge(&asker, name.as_name()).verdict.resolves() { Judged::Allowed } else { Judged::Denied }
        }
        _ => Judged::Unknown,
    }
}

/// The host of a URL, of `host:port/path`, or of `[address]:port`.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    // More than one colon: an IPv6 address without brackets.
    host.split_once(':').filter(|(_, rest)| !rest.contains(':')).map_or(host, |(host, _)| host)
}

/// Whether a name is known to be a registry's: one that ships with the program, or one that the policy names.
pub(super) fn is_registry(scene: &Scene<'_>, name: &DomainName) -> bool {
    let shipped = || preset::catalogue().iter().flat_map(Preset::catalogue_patterns);
    let listed = || scene.policy.into_iter().flat_map(Snapshot::rules);
    shipped().any(|pattern| pattern.matches(name.as_name()))
        || listed().any(|rule| rule.pattern().to_string() == name.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_host_is_found_in_every_form() {
        for (url, host) in [
            ("https://mirror.corp.example/v2/", "mirror.corp.example"),
            ("http://user:word@mirror.corp.example:5000", "mirror.corp.example"),
            ("mirror.corp.example:5000/library", "mirror.corp.example"),
            ("https://[fd18::1]:5000/", "fd18::1"),
            ("fd18::1", "fd18::1"),
            ("10.0.0.1:5000", "10.0.0.1"),
            ("ghcr.io", "ghcr.io"),
            ("", ""),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(text in "[\\PC:/@\\[\\]]{0,60}") {
            prop_assert!(text.contains(host_of(&text)));
        }
    }
}
