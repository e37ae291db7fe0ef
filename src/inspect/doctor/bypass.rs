//! Ways to another resolver: port 53 of one that a client names itself, DNS over TLS, DNS over HTTPS. Each is tried, and
//! told as open or closed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ask::{self, Answer, Heard, NoAnswer, Question};
use super::place::Place;
use super::report::{Finding, Report, Section};
use super::scene::Scene;
use super::survey::{self, Survey};
use crate::address::DNS_PORT;
use crate::name::DomainName;
use crate::policy::probe;

/// What came of every way.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways {
    /// The resolvers that were tried.
    pub(super) foreign: Vec<Foreign>,
    /// Endpoints of DNS over HTTPS whose names were asked of the resolver in use, and what it said.
    pub(super) names: Vec<(DomainName, Heard)>,
}

/// Another resolver.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub(super) address: SocketAddr,
    /// What it said to the probe, over UDP and over TCP.
    pub(super) probe: [Heard; 2],
    /// What it said to the name that must not resolve, likewise.
    pub(super) denied: Option<[Heard; 2]>,
    /// Whether it speaks TLS on the port of DNS over TLS, and on that of HTTPS.
    pub(super) tls: Result<(), NoAnswer>,
    pub(super) https: Result<(), NoAnswer>,
}

/// Tries every way.
pub(super) async fn take(scene: &Scene<'_>, survey: &Survey) -> Ways {
    let foreign: Vec<SocketAddr> = scene.request.foreign.iter().copied().take(MAX_FOREIGN).collect();
    let (foreign, names) = tokio::join!(try_foreign(scene, &foreign, survey), ask_endpoints(scene, survey));
    Ways { foreign, names }
}

async fn try_foreign(scene: &Scene<'_>, foreign: &[SocketAddr], survey: &Survey) -> Vec<Foreign> {
    let limit = scene.request.timeout;
    let probe = Question::Text(probe::name());
    let canary = survey.names.denied.clone().map(Question::Addresses);
    let ask = |question: Question| {
        survey::all(foreign.iter().flat_map(|server| survey::both(*server, &question, limit)).collect::<Vec<_>>())
    };
    let greet = |port: u16| {
        survey::all(foreign.iter().map(move |server| {
            let (server, name) = (SocketAddr::new(server.ip(), port), tls_name(server.ip()));
            async move { ask::speaks_tls(server, &name, limit).await }
        }))
    };
    let asks_canary = async {
        match canary {
            Some(question) => Some(survey::pairs(ask(question).await)),
            None => None,
        }
    };
    let (probes, denied, tls, https) = tokio::join!(ask(probe), asks_canary, greet(DOT_PORT), greet(HTTPS_PORT));
    let mut denied = denied.map(Vec::into_iter);
    let heard = survey::pairs(probes).into_iter().zip(tls).zip(https);
    let told = foreign.iter().zip(heard).map(|(address, ((probe, tls), https))| Foreign {
        address: *address,
        probe,
        denied: denied.as_mut().and_then(Iterator::next),
        tls,
        https,
    });
    told.collect()
}

/// Whether pullgate itself leads to DNS over HTTPS.
async fn ask_endpoints(scene: &Scene<'_>, survey: &Survey) -> Vec<(DomainName, Heard)> {
    let reference = survey.servers.iter().find_map(survey::Surveyed::pullgate);
    let Some((server, transport)) = reference.filter(|_| !scene.request.foreign.is_empty()) else { return Vec::new() };
    let names: Vec<DomainName> = DOH_NAMES.iter().filter_map(|name| name.parse().ok()).collect();
    let limit = scene.request.timeout;
    let asked = names.clone().into_iter().map(Question::Addresses);
    let heard =
        survey::all(asked.map(|question| async move { ask::ask(server, transport, &question, limit).await })).await;
    names.into_iter().zip(heard).collect()
}

/// Says which ways are open.
pub(super) fn judge(scene: &Scene<'_>, survey: &Survey, ways: &Ways, report: &mut Report) {
    if ways.foreign.is_empty() {
        return report.unseen("whether clients reach other resolvers: none was tried");
    }
    judge_port_53(scene, survey, ways, report);
    judge_tls(scene, ways, report);
    judge_https(ways, report);
    judge_endpoints(ways, report);
}

fn judge_port_53(scene: &Scene<'_>, survey: &Survey, ways: &Ways, report: &mut Report) {
    let redirected = ways.list(|heard| survey::standing(heard).is_some());
    let open = ways.list(|heard| heard.is_ok() && survey::standing(heard).is_none());
    if !redirected.is_empty() {
        let title = format!("questions to {redirected} come to pullgate: port 53 is redirected");
        report.add(Finding::ok(PORT_53, title).section(Section::Transparent));
    }
    if open.is_empty() {
        let closed = ways.list(Result::is_err);
        if !closed.is_empty() {
            report.add(Finding::ok(PORT_53, format!("port 53 of other resolvers is closed: no answer from {closed}")));
        }
        return;
    }
    let leaking = ways.foreign.iter().any(Foreign::resolves_denied);
    let finding = match survey.names.denied.as_ref().filter(|_| leaking) {
        Some(name) => Finding::problem(PORT_53, format!("port 53 of {open} is open, and {name} resolves there")),
        None => Finding::warning(PORT_53, format!("port 53 of {open} is open")),
    };
    report.add(
        finding
            .meaning("a client with another server in its settings (`--dns`, a VM image, a static resolv.conf) is not under the policy")
            .fix(redirect_command(&scene.place))
            .section(Section::Transparent),
    );
}

fn judge_tls(scene: &Scene<'_>, ways: &Ways, report: &mut Report) {
    let open: Vec<&Foreign> = ways.foreign.iter().filter(|foreign| foreign.tls.is_ok()).collect();
    report.add(if open.is_empty() {
        Finding::ok(DOT, "DNS over TLS to other resolvers (port 853) is closed")
    } else {
        Finding::warning(DOT, format!("DNS over TLS (port 853) to {} is open", addresses(&open)))
            .meaning("a client that asks over TLS is not under the policy; systemd-resolved does with DNSOverTLS=")
            .fix(redirect_command(&scene.place))
            .section(Section::Transparent)
    });
}

fn judge_https(ways: &Ways, report: &mut Report) {
    let open: Vec<&Foreign> = ways.foreign.iter().filter(|foreign| foreign.https.is_ok()).collect();
    report.add(if open.is_empty() {
        Finding::ok(DOH, "DNS over HTTPS at the addresses of other resolvers (port 443) is closed")
    } else {
        let targets = addresses(&open);
        Finding::note(DOH, format!("DNS over HTTPS at {targets} can be reached by address"))
            .meaning("no engine uses it by itself; who does on purpose is not under the policy, and no name server can see that")
            .fix(format!("a firewall that rejects port 443 of {targets}, or lets out to known addresses only"))
            .section(Section::CannotSee)
    });
}

fn judge_endpoints(ways: &Ways, report: &mut Report) {
    let resolves = |(_, heard): &&(DomainName, Heard)| heard.as_ref().is_ok_and(Answer::resolves);
    let names: Vec<String> = ways.names.iter().filter(resolves).map(|(name, _)| name.to_string()).collect();
    if ways.names.is_empty() {
        return;
    }
    report.add(if names.is_empty() {
        Finding::ok(DOH_NAMES_CHECK, "pullgate denies the names of known DNS over HTTPS endpoints")
    } else {
        let hosts = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        Finding::warning(
            DOH_NAMES_CHECK,
            format!("pullgate resolves endpoints of DNS over HTTPS: {}", names.join(", ")),
        )
        .meaning("browsers and some tools ask there when they can: what they ask is not under the policy")
        .fix(format!("in a policy file: [[deny]] hosts = [{hosts}]"))
        .section(Section::CannotSee)
    });
}

/// What makes every question on port 53 come to pullgate, and closes port 853.
fn redirect_command(place: &Place) -> &'static str {
    match place {
        Place::Host | Place::Wsl(_) => "pullgate setup redirect --local --write",
        Place::Container(_) if place.engine().is_some() => {
            "pullgate setup redirect --interface docker0 --interface 'br-*' --write  # on the host of the engine"
        }
        Place::VirtualMachine(_) | Place::Container(_) => {
            "pullgate setup redirect --clients NETWORK --write  # on the gateway of this machine's network"
        }
    }
}

/// The name that goes with an address when asked over TLS.
fn tls_name(address: IpAddr) -> String {
    let known = RESOLVERS.iter().find(|resolver| resolver.addresses().contains(&address));
    known.map_or_else(|| address.to_string(), |resolver| resolver.name.to_owned())
}

fn addresses(foreign: &[&Foreign]) -> String {
    foreign.iter().map(|foreign| foreign.address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

impl Ways {
    /// The resolvers whose answers to the probe are so, with the transport where it is one of the two.
    fn list(&self, is_so: impl Fn(&Heard) -> bool) -> String {
        let mut words = Vec::new();
        for Foreign { address, probe: [udp, tcp], .. } in &self.foreign {
            let server = if address.port() == DNS_PORT { address.ip().to_string() } else { address.to_string() };
            match (is_so(udp), is_so(tcp)) {
                (true, true) => words.push(server),
                (true, false) => words.push(format!("{server} over UDP")),
                (false, true) => words.push(format!("{server} over TCP")),
                (false, false) => {}
            }
        }
        words.join(", ")
    }
}

impl Foreign {
    /// Whether the name that must not resolve does there.
    fn resolves_denied(&self) -> bool {
        let heard = self.denied.iter().flatten();
        heard.into_iter().any(|heard| heard.as_ref().is_ok_and(Answer::resolves))
    }
}

/// A public resolver.
struct PublicResolver {
    /// What its certificate is for.
    name: &'static str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl PublicResolver {
    fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// The resolvers that are tried unless others are named: those that programs and images have built in.
pub fn public_resolvers() -> Vec<SocketAddr> {
    let addresses = |family: usize| RESOLVERS.iter().map(move |resolver| resolver.addresses()[family]);
    addresses(0).chain(addresses(1)).map(|address| SocketAddr::new(address, DNS_PORT)).collect()
}

/// Addresses and names as their operators give them: <https://developers.google.com/speed/public-dns/docs/using>,
/// <https://developers.cloudflare.com/1.1.1.1/ip-addresses/>, <https://quad9.net/service/service-addresses-and-features/>.
const RESOLVERS: [PublicResolver; 3] = [
    PublicResolver {
        name: "dns.google",
        v4: Ipv4Addr::new(8, 8, 8, 8),
        v6: Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    },
    PublicResolver {
        name: "cloudflare-dns.com",
        v4: Ipv4Addr::new(1, 1, 1, 1),
        v6: Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
    },
    PublicResolver {
        name: "dns.quad9.net",
        v4: Ipv4Addr::new(9, 9, 9, 9),
        v6: Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe),
    },
];

/// Endpoints of DNS over HTTPS that browsers and tools have built in: those of [`RESOLVERS`]; of Firefox and Chrome
/// (<https://wiki.mozilla.org/Trusted_Recursive_Resolver>); of OpenDNS
/// (<https://support.opendns.com/hc/en-us/articles/360038086532>), of `NextDNS` (<https://nextdns.io>) and of `AdGuard`
/// (<https://adguard-dns.io/kb/general/dns-providers/>).
const DOH_NAMES: [&str; 8] = [
    "dns.google",
    "cloudflare-dns.com",
    "mozilla.cloudflare-dns.com",
    "chrome.cloudflare-dns.com",
    "dns.quad9.net",
    "doh.opendns.com",
    "dns.nextdns.io",
    "dns.adguard-dns.com",
];

/// RFC 7858 §3.1.
const DOT_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;
/// As many as a command line has reason to name.
const MAX_FOREIGN: usize = 16;

const PORT_53: &str = "port-53";
const DOT: &str = "dns-over-tls";
const DOH: &str = "dns-over-https";
const DOH_NAMES_CHECK: &str = "dns-over-https-names";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::{Request, Severity};
    use crate::inspect::machine::Machine;

    #[test]
    fn every_open_way_is_told_as_bad_as_it_is() {
        let closed = || -> Heard { Err(NoAnswer::Refused) };
        let shut = || closed().map(drop);
        let (answers, found) =
            (Answer::default(), Answer { addresses: vec![[192, 0, 2, 7].into()], ..Answer::default() });
        let foreign = |probe: Heard, tls, https| Foreign {
            address: "192.0.2.53:53".parse().unwrap(),
            probe: [probe.clone(), probe],
            denied: None,
            tls,
            https,
        };
        let endpoint = |heard: Heard| vec![("dns.google".parse().unwrap(), heard)];
        let nowhere = || endpoint(Ok(Answer { rcode: 3, ..Answer::default() }));
        for (foreign, names, check, severity) in [
            (foreign(closed(), shut(), shut()), nowhere(), PORT_53, Severity::Ok),
            (foreign(Ok(answers), shut(), shut()), nowhere(), PORT_53, Severity::Warning),
            (foreign(closed(), Ok(()), shut()), nowhere(), DOT, Severity::Warning),
            (foreign(closed(), shut(), Ok(())), nowhere(), DOH, Severity::Note),
            (foreign(closed(), shut(), shut()), endpoint(Ok(found)), DOH_NAMES_CHECK, Severity::Warning),
        ] {
            let (machine, request, mut report) = (Machine::under("/nowhere"), Request::default(), Report::default());
            let ways = Ways { foreign: vec![foreign], names };
            judge(&Scene::of(&machine, &request, None), &Survey::default(), &ways, &mut report);
            let told = report.findings.iter().find(|finding| finding.check == check).unwrap();
            assert_eq!(told.severity, severity, "{report:#?}");
            assert_eq!(report.worst(), severity, "the other ways are closed: {report:#?}");
        }
    }
}
