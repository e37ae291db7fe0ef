//! Whom systemd-resolved asks: it sorts names to the servers of its links, and only some of them get any name.

use std::net::IpAddr;
use std::path::PathBuf;

use super::foreign;
use super::ours::servers;
use crate::inspect::doctor::report::Report;
use crate::inspect::machine::Machine;
use crate::inspect::setup::resolved::links::{Link, links};
use crate::resolv_conf::parse_server;

/// The servers behind systemd-resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::inspect::doctor) struct Uplinks {
    /// Those that it asks for names that no link has for itself.
    pub(in crate::inspect::doctor) asked: Vec<IpAddr>,
    /// Those that it asks for names below some domains alone.
    pub(super) routed: Vec<Routed>,
    /// Those that it asks if it knows no other; `None` if no file sets them, so that those compiled in count.
    pub(super) fallback: Option<Vec<IpAddr>>,
}

/// A link that has domains for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) link: String,
    pub(super) domains: Vec<String>,
    pub(super) servers: Vec<IpAddr>,
}

impl Uplinks {
    /// Reads what systemd-resolved and its links say.
    pub(in crate::inspect::doctor) fn of(machine: &Machine, report: &mut Report) -> Self {
        let all = foreign::text(machine, UPLINK, report).map(|text| servers(&text)).unwrap_or_default();
        let links = links(machine).unwrap_or_else(|fault| {
            foreign::unseen(report, format!("the links of systemd-resolved: {fault}"));
            Vec::new()
        });
        let settings = ResolvedSettings::of(machine, report);
        let asked = asked(all, &links, &settings);
        let of_link = |link: &Link| {
            let domains = link.domains.iter().filter(|domain| *domain != ".").cloned().collect();
            Routed { link: link.name.clone(), domains, servers: addresses(link) }
        };
        let is_apart =
            |routed: &Routed| !routed.domains.is_empty() && !routed.servers.iter().any(|server| asked.contains(server));
        let routed = links.iter().map(of_link).filter(is_apart).collect();
        Self { asked, routed, fallback: settings.fallback }
    }
}

/// Who claims every name gets them; else everybody but the links that have names of their own alone.
fn asked(all: Vec<IpAddr>, links: &[Link], settings: &ResolvedSettings) -> Vec<IpAddr> {
    let mut claiming: Vec<IpAddr> = links.iter().filter(|link| link.claims_all()).flat_map(addresses).collect();
    if settings.claims_all {
        claiming.extend(&settings.servers);
    }
    if !claiming.is_empty() {
        return claiming;
    }
    let (others, apart): (Vec<&Link>, Vec<&Link>) = links.iter().partition(|link| link.takes_others());
    let has = |links: &[&Link], server: &IpAddr| links.iter().any(|link| addresses(link).contains(server));
    let is_asked = |server: &IpAddr| !has(&apart, server) || has(&others, server) || settings.servers.contains(server);
    all.into_iter().filter(is_asked).collect()
}

fn addresses(link: &Link) -> Vec<IpAddr> {
    link.servers.iter().map(|server| server.ip().to_canonical()).collect()
}

/// What resolved.conf and its drop-ins say.
#[derive(Debug, Default, PartialEq, Eq)]
struct ResolvedSettings {
    /// `DNS`.
    servers: Vec<IpAddr>,
    /// Whether `Domains` has `~.`: every name goes to those, unless a link claims it too.
    claims_all: bool,
    /// `FallbackDNS`; `None` if no file sets it.
    fallback: Option<Vec<IpAddr>>,
}

impl ResolvedSettings {
    fn of(machine: &Machine, report: &mut Report) -> Self {
        let mut read = Self::default();
        for path in files(machine, report) {
            let text = foreign::text(machine, path, report).unwrap_or_default();
            for setting in foreign::settings(&text).filter(|setting| setting.section == "Resolve") {
                match setting.key {
                    "DNS" => add(&mut read.servers, setting.value),
                    "FallbackDNS" => add(read.fallback.get_or_insert_default(), setting.value),
                    "Domains" => {
                        let names_all = setting.value.split_ascii_whitespace().any(|domain| domain == "~.");
                        read.claims_all = names_all || (read.claims_all && !setting.value.is_empty());
                    }
                    _ => {}
                }
            }
        }
        read
    }
}

/// An empty value empties the list, another adds to it.
fn add(list: &mut Vec<IpAddr>, value: &str) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(value.split_ascii_whitespace().filter_map(parse_server).map(|server| server.ip().to_canonical()));
}

/// resolved.conf and its drop-ins, in the order in which they count.
fn files(machine: &Machine, report: &mut Report) -> Vec<PathBuf> {
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        for path in foreign::list(machine, format!("{folder}/resolved.conf.d"), ".conf", report) {
            if !drop_ins.iter().any(|earlier| earlier.file_name() == path.file_name()) {
                drop_ins.push(path);
            }
        }
    }
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let mains = FOLDERS.iter().map(|folder| PathBuf::from(format!("{folder}/resolved.conf")));
    let main = mains.into_iter().find(|path| matches!(machine.read(path), Ok(Some(_))));
    main.into_iter().chain(drop_ins).collect()
}

/// All servers that systemd-resolved knows, of itself and of every link.
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
/// Where systemd looks for settings; what comes first counts.
const FOLDERS: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
