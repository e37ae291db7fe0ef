//! What Docker's daemon is told: /etc/docker/daemon.json, and the options of a running one.

use std::net::IpAddr;

use serde::Deserialize;

use super::foreign;
use super::processes::Process;
use crate::inspect::doctor::report::Report;
use crate::inspect::engine::or_default;
use crate::inspect::machine::Machine;

/// The few settings that the doctor looks at; those of a wrong kind count as unset, since Docker does not start with
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct DaemonJson {
    /// The servers that containers get.
    #[serde(deserialize_with = "or_default")]
    dns: Vec<String>,
    /// URLs asked before Docker Hub.
    #[serde(deserialize_with = "or_default")]
    pub(super) registry_mirrors: Vec<String>,
    /// Hosts and ranges whose certificates are not checked.
    #[serde(deserialize_with = "or_default")]
    pub(super) insecure_registries: Vec<String>,
    /// The proxies of the daemon's own pulls.
    #[serde(deserialize_with = "or_default")]
    pub(super) proxies: DaemonProxies,
}

/// `proxies` of daemon.json (since Docker 23).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct DaemonProxies {
    /// For registries without TLS.
    #[serde(deserialize_with = "or_default", rename = "http-proxy")]
    pub(super) http: String,
    /// For registries with TLS.
    #[serde(deserialize_with = "or_default", rename = "https-proxy")]
    pub(super) https: String,
    /// What goes past them.
    #[serde(deserialize_with = "or_default", rename = "no-proxy")]
    pub(super) none: String,
}

impl DaemonJson {
    /// Reads the file; `None` where there is none, or none that can be read.
    pub(super) fn of(machine: &Machine, report: &mut Report) -> Option<Self> {
        foreign::json(machine, PATH, report)
    }

    /// The servers that containers get.
    pub(super) fn dns(&self) -> Vec<IpAddr> {
        self.dns.iter().filter_map(|address| address.parse().ok()).collect()
    }
}

/// The values of `--dns` on a daemon's command line.
pub(super) fn dns_options(daemon: &Process) -> Vec<IpAddr> {
    let words = &daemon.arguments;
    let joined = words.iter().filter_map(|word| word.strip_prefix("--dns="));
    let apart = words.windows(2).filter(|pair| pair[0] == "--dns").map(|pair| pair[1].as_str());
    joined.chain(apart).filter_map(|address| address.trim_matches('"').parse().ok()).collect()
}

/// Where Docker looks for it unless told otherwise.
pub(super) const PATH: &str = "/etc/docker/daemon.json";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_of_a_wrong_kind_count_as_unset() {
        let read: DaemonJson =
            serde_json::from_str(r#"{"dns": "8.8.8.8", "registry-mirrors": ["https://m"], "x": 1}"#).unwrap();
        assert_eq!((read.dns(), read.registry_mirrors.len()), (vec![], 1));
    }

    #[test]
    fn servers_on_the_command_line_are_found_in_both_spellings() {
        let arguments = ["dockerd", "--dns=198.18.0.1", "--dns", "198.18.0.2", "--dns-search", "corp", "--dns"];
        let daemon = Process { arguments: arguments.map(str::to_owned).to_vec(), ..Process::default() };
        assert_eq!(dns_options(&daemon), ["198.18.0.1".parse::<IpAddr>().unwrap(), "198.18.0.2".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_content_panics(text in "[\\PC{}\\[\\]\":,a-z0-9-]{0,200}") {
            let _ = serde_json::from_str::<DaemonJson>(&text).map(|read| read.dns());
        }
    }
}
