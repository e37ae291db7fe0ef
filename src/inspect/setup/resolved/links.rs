//! What systemd-resolved knows of the links: servers and domains that a link brings along go before resolved's own.

use std::net::SocketAddr;
use std::path::Path;

use crate::inspect::machine::Machine;
use crate::inspect::setup::SetupFault;
use crate::resolv_conf::parse_server;

/// A link with servers.
#[derive(Debug)]
pub(in crate::inspect) struct Link {
    /// What the machine calls it.
    pub(in crate::inspect) name: String,
    /// Its servers.
    pub(in crate::inspect) servers: Vec<SocketAddr>,
    /// Domains that are asked there, without the `~` of those for routing only.
    pub(in crate::inspect) domains: Vec<String>,
    /// Whether one of them is searched too: a link that only routes takes no other names, unless it is told to.
    is_searched: bool,
    default_route: Option<bool>,
}

impl Link {
    /// Whether names below none of its domains may be asked there, if nobody claims every name.
    pub(in crate::inspect) fn takes_others(&self) -> bool {
        self.default_route.unwrap_or(self.domains.is_empty() || self.is_searched)
    }

    /// Whether it claims every name.
    pub(in crate::inspect) fn claims_all(&self) -> bool {
        self.domains.iter().any(|domain| domain == ".")
    }

    /// What of it goes past pullgate, if anything.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { name, domains, .. } = self;
        let servers = self.servers.iter().map(|server| server.ip().to_string()).collect::<Vec<_>>().join(", ");
        if self.claims_all() {
            return Some(format!(
                "the link {name} claims every name (`~.`): resolved asks {servers} and not pullgate for as long as it \
                 does; take the claim off it (`resolvectl domain {name} ''`, and in the settings of the VPN)"
            ));
        }
        let listed = domains.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        (!domains.is_empty()).then(|| {
            format!(
                "names below {listed} are asked at {servers} (link {name}), past pullgate: `resolvectl domain {name}`"
            )
        })
    }
}

/// The links that have servers.
pub(in crate::inspect) fn links(machine: &Machine) -> Result<Vec<Link>, SetupFault> {
    let mut links = Vec::new();
    for folder in ["/run/systemd/resolve/netif", "/run/systemd/netif/links"] {
        let paths = machine.list(folder).map_err(|error| SetupFault::reading(folder.as_ref(), &error))?;
        for path in paths {
            // Which files are there changes while one looks; what is gone is no link.
            let text = machine.read(&path).ok().flatten().unwrap_or_default();
            let link = parse(&text, || name(machine, &path));
            links.extend((!link.servers.is_empty()).then_some(link));
        }
    }
    Ok(links)
}

fn parse(text: &str, name: impl FnOnce() -> String) -> Link {
    let mut link =
        Link { name: name(), servers: Vec::new(), domains: Vec::new(), is_searched: false, default_route: None };
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let words = value.split_ascii_whitespace();
        match key {
            "SERVERS" | "DNS" => link.servers.extend(words.filter_map(parse_server)),
            "DEFAULT_ROUTE" | "DNS_DEFAULT_ROUTE" => link.default_route = Some(value.trim() == "yes"),
            "DOMAINS" | "ROUTE_DOMAINS" => {
                link.is_searched |= key == "DOMAINS" && words.clone().any(|word| !word.starts_with('~'));
                link.domains.extend(words.map(|word| word.strip_prefix('~').unwrap_or(word).to_owned()));
            }
            _ => {}
        }
    }
    link
}

/// The name of the link whose file is called by its index.
fn name(machine: &Machine, file: &Path) -> String {
    let index = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folders = machine.list("/sys/class/net").unwrap_or_default();
    let is_it = |folder: &&std::path::PathBuf| {
        machine.read(folder.join("ifindex")).is_ok_and(|text| text.is_some_and(|text| text.trim() == index))
    };
    let found = folders.iter().find(is_it).and_then(|folder| folder.file_name());
    found.map_or(index.clone(), |name| name.to_string_lossy().into_owned())
}
