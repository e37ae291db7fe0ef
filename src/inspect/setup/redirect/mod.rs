//! `setup redirect`: the DNS questions of a machine's containers, guests or networks go to pullgate, whatever server they
//! name.
//!
//! The rules translate addresses (dnat) to the one address where pullgate listens, instead of redirecting to whatever
//! interface a packet came in by: bridges come and go, and a group can tell these clients by the listener they reached.
//! What is not translated is refused, so that nothing leaves when a family has no address, when pullgate is down, or when
//! a client goes on with a conversation that is older than the rules.

mod interface;
mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use self::interface::{Interface, InterfaceFault};
use super::{Change, Command, Plan, Request, SetupFault};
use crate::address::DNS_PORT;
use crate::inspect::machine::{FileState, Machine};

/// Whose questions are redirected, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Clients are those whose packets come in by these interfaces,
    pub interfaces: Vec<Interface>,
    /// and those with an address in these ranges.
    pub clients: Vec<IpNet>,
    /// Clients that are left alone all the same, such as a resolver among them.
    pub except: Vec<IpNet>,
    /// Whether the machine's own programs are redirected as well, all but pullgate.
    pub local: bool,
    /// The port of pullgate; if not given, that of its listener, else 53.
    pub port: Option<u16>,
}

/// Everything the rules depend on, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Redirect {
    interfaces: Vec<Interface>,
    clients: Vec<IpNet>,
    except: Vec<IpNet>,
    to: Destinations,
    /// The port, where it was given.
    port: Option<u16>,
    /// The user that pullgate runs as, if the machine's own programs are redirected.
    local: Option<u32>,
}

/// Where pullgate answers: at most one address a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Destinations {
    v4: Option<(Ipv4Addr, u16)>,
    v6: Option<(Ipv6Addr, u16)>,
}

/// The file of rules, the unit that loads it before the network is there, and what they leave open.
///
/// # Errors
/// Nobody would be redirected, or to nowhere; an interface that does not carry its packets to the rules; no nft; `local`
/// without a user for pullgate.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let nft = find_nft(machine)?;
    let redirect = Redirect::checked(machine, request, options)?;
    let mut plan = Plan::new(TARGET);
    plan.write(machine, RULES, redirect.rules(), "the rules")?;
    plan.write(machine, UNIT_FILE, UNIT.replace("{nft}", nft), "loads the rules before any client is there")?;
    enable(&mut plan, machine)?;
    plan.command("systemctl daemon-reload", "systemd reads the unit");
    plan.command(
        "systemctl reload-or-restart pullgate-redirect.service",
        "loads the rules, or replaces those in force in one step",
    );
    plan.undo_commands = undo_commands();
    redirect.notes(request).into_iter().for_each(|note| plan.note(note));
    Ok(plan)
}

/// The bridges of the machine, whose containers and guests can be redirected.
pub fn found(machine: &Machine) -> Option<String> {
    let interfaces = machine.list(INTERFACES).unwrap_or_default();
    let is_bridge = |path: &PathBuf| machine.list(path.join("bridge")).is_ok_and(|entries| !entries.is_empty());
    let names: Vec<_> = interfaces
        .into_iter()
        .filter(is_bridge)
        .filter_map(|path| Some(path.file_name()?.display().to_string()))
        .collect();
    (!names.is_empty()).then(|| format!("the bridges {}", names.join(", ")))
}

/// Has systemd load the rules at every start, as `systemctl enable` would; a link can be undone as a file is.
fn enable(plan: &mut Plan, machine: &Machine) -> Result<(), SetupFault> {
    let path = Path::new(WANTED);
    let before = machine.look(path).map_err(|error| SetupFault::reading(path, &error))?;
    let after = FileState::Link(UNIT_FILE.into());
    if before != after {
        let why = "has systemd do so at every start".to_owned();
        plan.changes.push(Change { path: path.into(), before, after, why });
    }
    Ok(())
}

/// The table goes, whether or not it is there.
fn undo_commands() -> Vec<Command> {
    let mut undo = Plan::new(TARGET);
    undo.commands.push(Command {
        line: vec!["nft".to_owned(), "add table inet pullgate; delete table inet pullgate".to_owned()],
        why: "takes the rules out of force; no other table is touched".to_owned(),
    });
    undo.command("systemctl daemon-reload", "systemd forgets the unit");
    undo.commands
}

fn find_nft(machine: &Machine) -> Result<&'static str, SetupFault> {
    let there = |path: &&str| machine.has(path);
    NFT.into_iter().find(there).ok_or_else(|| {
        SetupFault::new("nft is not installed, so the rules could not be loaded").hint("install the package nftables")
    })
}

impl Redirect {
    fn checked(machine: &Machine, request: &Request, options: &Options) -> Result<Self, SetupFault> {
        let Options { interfaces, clients, except, local, port } = options.clone();
        let has_clients = !interfaces.is_empty() || !clients.is_empty();
        if !has_clients && !local {
            return Err(SetupFault::new("nobody's questions would be redirected")
                .hint("name clients with --interface or --clients, or this machine's own programs with --local"));
        }
        if !has_clients && !except.is_empty() {
            return Err(SetupFault::new("--except takes clients out of --interface and --clients; neither is given")
                .hint("of this machine's own programs, pullgate alone is spared"));
        }
        interfaces.iter().try_for_each(|interface| interface.carries_packets(machine))?;
        let reach = if has_clients { Reach::Network } else { Reach::Host };
        let to = Destinations::choose(request, port, reach)?;
        to.cover(&clients)?;
        let local = if local { Some(user_of_pullgate(machine)?) } else { None };
        Ok(Self { interfaces, clients, except, to, port, local })
    }

    /// What an administrator has to know.
    fn notes(&self, request: &Request) -> Vec<String> {
        let unserved = self.to.addresses().filter(|address| !request.listens_on(*address));
        let unserved = unserved.map(|address| {
            format!("pullgate does not listen on {address}: until it does (server.listen), nothing resolves")
        });
        let families = [("IPv4", self.to.v4.is_none()), ("IPv6", self.to.v6.is_none())];
        let missing = families.into_iter().filter(|(_, is_missing)| *is_missing).map(|(family, _)| {
            format!("no address of pullgate's is {family}: questions over {family} are refused, not answered")
        });
        let host = if self.local.is_some() { HOST_REDIRECTED } else { HOST_LEFT_ALONE };
        unserved.chain(missing).chain([host].into_iter().chain(NOTES).map(str::to_owned)).collect()
    }
}

/// Who has to reach pullgate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The machine's own programs only.
    Host,
    /// Containers, guests or other machines.
    Network,
}

impl Destinations {
    /// The addresses given, or else those of the listeners.
    fn choose(request: &Request, port: Option<u16>, reach: Reach) -> Result<Self, SetupFault> {
        let mut to = Self::default();
        for &address in &request.addresses {
            usable(address, reach)?;
            let port = port.or_else(|| listening_port(request, address)).unwrap_or(DNS_PORT);
            if !to.take(SocketAddr::new(address, port)) {
                return Err(SetupFault::new(format!("{address} is a second address of its family"))
                    .hint("pullgate is sent questions at one IPv4 and one IPv6 address"));
            }
        }
        if request.addresses.is_empty() {
            let found = request.listen.iter().filter(|listener| usable(listener.ip(), reach).is_ok());
            for listener in found.filter(|listener| port.is_none_or(|port| port == listener.port())) {
                to.take(*listener);
            }
        }
        if to == Self::default() {
            let listen = request.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
            return Err(SetupFault::new(format!(
                "no address of pullgate's that clients could be sent to (server.listen: {listen})"
            ))
            .hint(
                "name one of this machine's with --address, such as docker0's 172.17.0.1, and add it to server.listen",
            ));
        }
        Ok(to)
    }

    /// Keeps the first address of each family; whether this was it.
    fn take(&mut self, address: SocketAddr) -> bool {
        match address.ip() {
            IpAddr::V4(ip) if self.v4.is_none() => self.v4 = Some((ip, address.port())),
            IpAddr::V6(ip) if self.v6.is_none() => self.v6 = Some((ip, address.port())),
            _ => return false,
        }
        true
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.v4.map(SocketAddr::from).into_iter().chain(self.v6.map(SocketAddr::from))
    }

    /// Clients of a family without an address are a slip: they would resolve nothing.
    fn cover(&self, clients: &[IpNet]) -> Result<(), SetupFault> {
        for range in clients {
            let (covered, family, example) = match range {
                IpNet::V4(_) => (self.v4.is_some(), "IPv4", "172.17.0.1"),
                IpNet::V6(_) => (self.v6.is_some(), "IPv6", "fd00:17::1"),
            };
            if !covered {
                return Err(SetupFault::new(format!(
                    "clients {range}, but no {family} address of pullgate's to send them to"
                ))
                .hint(format!("add --address with one of this machine's {family} addresses, such as {example}")));
            }
        }
        Ok(())
    }
}

/// Whether packets can be sent to an address of pullgate's.
fn usable(address: IpAddr, reach: Reach) -> Result<(), SetupFault> {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if address.is_unspecified() || address.is_multicast() || link_local {
        return Err(SetupFault::new(format!("{address} is not an address that questions can be sent to"))
            .hint("name one address of this machine, such as docker0's 172.17.0.1"));
    }
    if address.is_loopback() && reach == Reach::Network {
        return Err(SetupFault::new(format!("{address} is loopback: packets from elsewhere never arrive there"))
            .hint("name an address of an interface, such as docker0's 172.17.0.1, and add it to server.listen"));
    }
    Ok(())
}

/// The port of the listener that answers at an address.
fn listening_port(request: &Request, address: IpAddr) -> Option<u16> {
    let ports = request.listen.iter().map(SocketAddr::port);
    ports.into_iter().find(|port| request.listens_on(SocketAddr::new(address, *port)))
}

/// The number of the user that the shipped unit runs pullgate as.
fn user_of_pullgate(machine: &Machine) -> Result<u32, SetupFault> {
    let users = SetupFault::read(machine, USERS)?;
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(USER)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    users.unwrap_or_default().lines().find_map(number).ok_or_else(|| {
        SetupFault::new(format!(
            "there is no user `{USER}`, by which pullgate's own questions could be told from others'"
        ))
        .hint("install pullgate as a service first: systemd/sysusers.d/pullgate.conf makes the user")
    })
}

/// The target's name on the command line.
pub const TARGET: &str = "redirect";

const RULES: &str = "/etc/pullgate/redirect.nft";
const UNIT_FILE: &str = "/etc/systemd/system/pullgate-redirect.service";
const WANTED: &str = "/etc/systemd/system/sysinit.target.wants/pullgate-redirect.service";
const INTERFACES: &str = "/sys/class/net";
const USERS: &str = "/etc/passwd";
const USER: &str = "pullgate";
const NFT: [&str; 2] = ["/usr/sbin/nft", "/usr/bin/nft"];

const HOST_REDIRECTED: &str = "every program of this machine but pullgate is redirected, other resolvers too: none of \
    pullgate's upstreams may be one of them";
const HOST_LEFT_ALONE: &str = "this machine's own programs are not redirected, nor are containers on its network or on \
    macvlan and ipvlan; --local adds all but the latter two";
const NOTES: [&str; 5] = [
    "server.clients has to hold these clients, and a firewall of this machine has to let their questions in",
    "a resolver that this machine runs for them (podman's aardvark-dns, libvirt's dnsmasq) is not asked any more: names that \
        it alone knows do not resolve. --local without their interface redirects what that resolver asks, but not what they \
        ask elsewhere. Docker's own, 127.0.0.11, is in the container and goes on",
    "not seen: DNS over HTTPS, DNS on other ports, and where bridges do not call the firewall (br_netfilter), a neighbour \
        on the same bridge that is asked",
    "the kernel remembers each question for half a minute: for thousands a second, raise net.netfilter.nf_conntrack_max",
    "`nft flush ruleset` takes the rules away; nftables.service brings them back when it is reloaded or restarted, after \
        anything else run `systemctl reload pullgate-redirect`",
];

const UNIT: &str = "\
# Written by `pullgate setup redirect`; `pullgate setup redirect --undo` removes it.

[Unit]
Description=DNS questions of clients, sent to pullgate
# Before there is a network, so that no client asks anybody else first. Stopping the machine leaves the rules in force.
DefaultDependencies=no
RequiresMountsFor=/etc/pullgate
Wants=network-pre.target
Before=network-pre.target
# What nftables.service loads begins by emptying all tables, this one too: it is loaded again after that.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} -f /etc/pullgate/redirect.nft
ExecReload={nft} -f /etc/pullgate/redirect.nft
ExecStop=-{nft} delete table inet pullgate

[Install]
WantedBy=sysinit.target
";

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\npullgate:x:998:997::/:/usr/sbin/nologin\n";

    /// A machine with nft and the user that the unit runs pullgate as.
    fn tree() -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, text) in [("usr/sbin/nft", ""), ("etc/passwd", PASSWD)] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        root
    }

    fn request(addresses: &[&str], listen: &[&str]) -> Request {
        Request {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
            authority: None,
        }
    }

    fn options(interfaces: &[&str], clients: &[&str]) -> Options {
        Options {
            interfaces: interfaces.iter().map(|name| name.parse().unwrap()).collect(),
            clients: clients.iter().map(|range| range.parse().unwrap()).collect(),
            ..Options::default()
        }
    }

    fn plan_on(root: &TempDir, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
        plan(&Machine::under(root.path()), request, options)
    }

    fn fault(request: &Request, options: &Options) -> (String, String) {
        let fault = plan_on(&tree(), request, options).unwrap_err();
        (fault.message, fault.hint.unwrap_or_default())
    }

    fn rules(request: &Request, options: &Options) -> String {
        let plan = plan_on(&tree(), request, options).unwrap();
        let FileState::Text { text, .. } = &plan.changes[0].after else { panic!("{plan:?}") };
        text.clone()
    }

    /// The rules that count, without comments.
    fn statements(rules: &str) -> Vec<&str> {
        rules.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    #[test]
    fn the_rules_are_those_an_administrator_was_shown() {
        let both = request(&["172.17.0.1", "fd00:17::1"], &[]);
        let mut clients = options(&["docker0", "br-*"], &["10.20.0.0/16", "fd00:20::/64"]);
        clients.except = vec!["10.20.0.53/32".parse().unwrap()];
        assert_eq!(rules(&both, &clients), include_str!("examples/clients.nft"));
        let local = Options { local: true, ..Options::default() };
        assert_eq!(rules(&request(&[], &["127.0.0.1:5300"]), &local), include_str!("examples/local.nft"));
    }

    #[test]
    fn all_is_in_force_after_the_changes() {
        let root = tree();
        let (request, options) = (request(&["172.17.0.1"], &["172.17.0.1:53"]), options(&["docker0"], &[]));
        let first = plan_on(&root, &request, &options).unwrap();
        assert_eq!(first.changes.len(), 3);
        for change in &first.changes {
            let place = root.path().join(change.path.strip_prefix("/").unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            match &change.after {
                FileState::Text { text, .. } => fs::write(place, text).unwrap(),
                FileState::Link(target) => std::os::unix::fs::symlink(target, place).unwrap(),
                FileState::Absent => panic!("{change:?}"),
            }
        }
        assert_eq!(plan_on(&root, &request, &options).unwrap().changes, []);
    }

    #[test]
    fn pullgate_is_where_it_is_said_to_be_or_else_where_it_listens() {
        let docker = options(&["docker0"], &[]);
        for (addresses, listen, port, expected) in [
            (&["172.17.0.1"][..], &[][..], None, &["ip to 172.17.0.1:53"][..]),
            (&["172.17.0.1"], &["127.0.0.1:53", "0.0.0.0:5300"], None, &["ip to 172.17.0.1:5300"]),
            (&["172.17.0.1"], &["172.17.0.1:53"], Some(5300), &["ip to 172.17.0.1:5300"]),
            (&[], &["127.0.0.1:53", "172.17.0.1:53", "10.0.0.1:53"], None, &["ip to 172.17.0.1:53"]),
            (&[], &["[fd00::1]:53", "172.17.0.1:5300"], None, &["ip to 172.17.0.1:5300", "ip6 to [fd00::1]:53"]),
            (&[], &["10.0.0.1:53", "172.17.0.1:5300"], Some(5300), &["ip to 172.17.0.1:5300"]),
        ] {
            let text = rules(&request(addresses, listen), &Options { port, ..docker.clone() });
            let sent: Vec<_> =
                statements(&text).iter().filter_map(|rule| rule.split_once(" dnat ")).map(|rule| rule.1).collect();
            assert_eq!(sent, expected, "{addresses:?} {listen:?} {port:?}");
        }
    }

    #[test]
    fn slips_are_faults_that_say_what_would_do() {
        let docker = options(&["docker0"], &[]);
        let here = request(&["172.17.0.1"], &[]);
        for (request, options, message, hint) in [
            (&here, &Options::default(), "nobody's questions", "--interface"),
            (&here, &options(&[], &["10.0.0.0/8", "fd00::/64"]), "clients fd00::/64, but no IPv6 address", "--address"),
            (
                &request(&["fd00::1"], &[]),
                &options(&[], &["10.0.0.0/8"]),
                "clients 10.0.0.0/8, but no IPv4",
                "--address",
            ),
            (&request(&["127.0.0.1"], &[]), &docker, "127.0.0.1 is loopback", "server.listen"),
            (&request(&["0.0.0.0"], &[]), &docker, "0.0.0.0 is not an address", "docker0"),
            (&request(&["fe80::1"], &[]), &docker, "fe80::1 is not an address", "docker0"),
            (&request(&["10.0.0.1", "10.0.0.2"], &[]), &docker, "10.0.0.2 is a second", "one IPv4"),
            (
                &request(&[], &["127.0.0.1:53", "0.0.0.0:53"]),
                &docker,
                "(server.listen: 127.0.0.1:53, 0.0.0.0:53)",
                "--address",
            ),
            (
                &here,
                &Options { local: true, except: vec!["10.0.0.1/32".parse().unwrap()], ..Options::default() },
                "--except takes clients out",
                "pullgate alone",
            ),
        ] {
            let seen = fault(request, options);
            assert!(seen.0.contains(message) && seen.1.contains(hint), "{message}: {seen:?}");
        }
    }

    #[test]
    fn what_the_rules_need_of_the_machine_is_looked_for_first() {
        let (here, docker) = (request(&["172.17.0.1"], &[]), options(&["docker0"], &[]));
        let root = tree();
        fs::remove_file(root.path().join("usr/sbin/nft")).unwrap();
        assert!(plan_on(&root, &here, &docker).unwrap_err().hint.unwrap().contains("nftables"));
        let root = tree();
        fs::write(root.path().join("etc/passwd"), "pullgate2:x:1:1\n").unwrap();
        assert!(plan_on(&root, &here, &docker).is_ok());
        let local = Options { local: true, ..docker };
        assert!(plan_on(&root, &here, &local).unwrap_err().hint.unwrap().contains("sysusers"));
    }

    #[test]
    fn what_stays_open_and_what_is_missing_is_said() {
        let notes = |listen: &[&str], local| {
            let options = Options { local, ..options(&["docker0"], &[]) };
            plan_on(&tree(), &request(&["172.17.0.1"], listen), &options).unwrap().notes.join("\n")
        };
        assert!(notes(&["127.0.0.1:53"], false).contains("does not listen on 172.17.0.1:53"));
        assert!(!notes(&["0.0.0.0:53"], false).contains("does not listen"));
        assert!(notes(&[], false).contains("questions over IPv6 are refused"));
        assert!(notes(&[], false).contains("--local adds") && !notes(&[], true).contains("--local adds"));
    }

    prop_compose! {
        /// An interface from any text that passes for one.
        fn any_interface()(text in prop_oneof!["\\PC{1,16}", "[a-z\"\\\\;{}\n*#$ -]{1,8}", "[a-z0-9.@_-]{1,15}\\*?"]) -> Option<Interface> {
            text.parse().ok()
        }
    }

    proptest! {
        #[test]
        fn no_argument_adds_a_rule(
            interfaces in prop::collection::vec(any_interface(), 0..4),
            clients in prop::collection::vec((any::<[u8; 4]>(), 0..=32u8), 1..4),
            port in any::<Option<u16>>(),
        ) {
            let interfaces: Vec<Interface> = interfaces.into_iter().flatten().collect();
            let clients: Vec<IpNet> = clients.into_iter().map(|(address, length)| IpNet::new(IpAddr::from(address), length).unwrap()).collect();
            let number = interfaces.len() + clients.len();
            let text = rules(&request(&["172.17.0.1"], &[]), &Options { interfaces, clients, port, ..Options::default() });
            let plain = rules(&request(&["172.17.0.1"], &[]), &options(&["docker0"], &[]));
            prop_assert_eq!(statements(&text).len() + 3, statements(&plain).len() + 3 * number);
            prop_assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), plain.lines().filter(|line| line.starts_with('#')).count());
            for rule in statements(&text) {
                prop_assert_eq!(rule.matches('"').count() % 2, 0, "{}", rule);
                prop_assert!(!rule.contains(';') || rule.starts_with("type "), "{}", rule);
            }
        }
    }
}
