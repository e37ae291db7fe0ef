//! The name that `doctor` asks for, and what this resolver, and no other, says there: how things stand for the client
//! that asks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::name::DomainName;
use crate::policy::document::{Mode, Unlisted};

/// What the TXT record of [`PROBE_NAME`] says, as
/// `pullgate 0.1.0 generation=3 client=10.20.0.7 mode=enforce unlisted=deny group=ci`.
///
/// The group is last, since its name may hold anything; a long one is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The number of the policy in force.
    pub generation: u64,
    /// The client's address as the resolver sees it: another one behind address translation or a forwarder.
    pub client: IpAddr,
    /// What the policy is to this client.
    pub regime: Regime,
    /// The client's group, if one takes it.
    pub group: Option<&'a str>,
}

/// What a policy is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Its rules hold.
    Rules {
        /// What a denial means.
        mode: Mode,
        /// What happens to names that nothing lists.
        unlisted: Unlisted,
    },
    /// There are groups, and none takes the client: everything is denied.
    NoGroup,
    /// No valid policy could be had: everything is denied.
    NoPolicy,
}

impl<'a> Standing<'a> {
    /// Reads the text of a TXT record; `None`: this resolver did not write it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("pullgate ")?;
        let (version, rest) = rest.split_once(" generation=")?;
        let (generation, rest) = rest.split_once(" client=")?;
        let (client, rest) = rest.split_once(" mode=")?;
        let (terms, group) = rest.split_once(" group=").map_or((rest, None), |(terms, group)| (terms, Some(group)));
        let regime = Regime::parse(terms)?;
        Some(Self { version, generation: generation.parse().ok()?, client: client.parse().ok()?, regime, group })
    }
}

impl fmt::Display for Standing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, generation, client, regime, group } = self;
        write!(f, "pullgate {version} generation={generation} client={client} mode={regime}")?;
        group.map_or(Ok(()), |group| write!(f, " group={group}"))
    }
}

impl Regime {
    /// Every regime, as it is written behind `mode=`.
    const WORDS: [(Self, &'static str); 6] = [
        (Self::Rules { mode: Mode::Enforce, unlisted: Unlisted::Deny }, "enforce unlisted=deny"),
        (Self::Rules { mode: Mode::Enforce, unlisted: Unlisted::Forward }, "enforce unlisted=forward"),
        (Self::Rules { mode: Mode::Audit, unlisted: Unlisted::Deny }, "audit unlisted=deny"),
        (Self::Rules { mode: Mode::Audit, unlisted: Unlisted::Forward }, "audit unlisted=forward"),
        (Self::NoGroup, "no-group"),
        (Self::NoPolicy, "no-policy"),
    ];

    fn parse(words: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == words).map(|(regime, _)| *regime)
    }
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::WORDS.iter().find(|(regime, _)| regime == self).map(|(_, words)| *words);
        f.write_str(words.expect("every regime has its words"))
    }
}

/// [`PROBE_NAME`] as a name.
pub(crate) fn name() -> DomainName {
    PROBE_NAME.parse().expect("the probe's name is valid")
}

/// Nobody else has this name: `internal` is never delegated (ICANN, 2024). Under `invalid` it would not get through
/// systemd-resolved or unbound, which answer that zone themselves (RFC 6761 §6.4).
pub const PROBE_NAME: &str = "probe.pullgate.internal";
/// The text of the extended error that a client outside `server.clients` gets, to whom nothing else is said.
pub const NOT_A_CLIENT: &str = "not a client of this server";
/// Its A record, for programs that can only ask the system for addresses: the IPv4 dummy address, at which nothing ever
/// is (RFC 7600 §4.8).
pub const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_standing_is_one_line_for_people_and_programs() {
        let text = "pullgate 0.1.0 generation=3 client=10.20.0.7 mode=enforce unlisted=deny group=ci team";
        let standing = Standing::parse(text).unwrap();
        assert_eq!((standing.version, standing.generation, standing.group), ("0.1.0", 3, Some("ci team")));
        assert_eq!(standing.to_string(), text);
    }

    #[test]
    fn what_other_servers_say_is_no_standing() {
        for text in
            ["", "v=spf1 -all", "pullgate", "pullgate 0.1.0", "pullgate 0.1.0 generation=3 client=x mode=enforce"]
        {
            assert_eq!(Standing::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            generation: u64, client: [u8; 16], regime in 0..Regime::WORDS.len(), group in proptest::option::of("\\PC{0,20}"),
        ) {
            let (regime, _) = Regime::WORDS[regime];
            let group = group.as_deref();
            let standing = Standing { version: "0.1.0", generation, client: IpAddr::from(client), regime, group };
            let text = standing.to_string();
            prop_assert_eq!(Standing::parse(&text), Some(standing));
        }

        #[test]
        fn no_text_panics(text in "(pullgate )?\\PC{0,80}") {
            let _ = Standing::parse(&text);
        }
    }
}
