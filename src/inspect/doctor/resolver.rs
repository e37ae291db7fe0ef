//! Whether the resolver in use is pullgate, and does what the policy says: what a [`Survey`] means.

use std::net::{IpAddr, SocketAddr};

use super::ask::{Answer, Heard, NoAnswer};
use super::local;
use super::nameservers::{Origin, Remedy};
use super::report::{Finding, Report};
use super::scene::Scene;
use super::survey::{Said, Survey, Surveyed, SystemSaid};
use crate::config::Settings;
use crate::control::report::State;
use crate::name::DomainName;
use crate::policy::document::{Mode, Unlisted};
use crate::policy::probe::{PROBE_ADDRESS, Regime, Standing};

/// Judges everything that was heard.
pub(super) fn judge(scene: &Scene<'_>, survey: &Survey, report: &mut Report) {
    // What stands beside pullgate is meant to, if the engine alone is restricted; and of the daemon's another check tells.
    let is_judged = |surveyed: &&Surveyed| {
        surveyed.standing().is_some() || !(scene.engine_alone || surveyed.server.origin == Origin::Daemon)
    };
    for surveyed in survey.servers.iter().filter(is_judged) {
        identify(scene, survey, surveyed, report);
    }
    tell_regimes(survey, report);
    tell_state(scene, survey, report);
    if survey.servers.iter().any(|surveyed| surveyed.standing().is_some()) {
        judge_allowed(survey, report);
        judge_denied(survey, report);
    }
    if let Some(said) = survey.system.as_ref().filter(|_| !scene.engine_alone) {
        judge_system(scene, survey, said, report);
    }
}

/// Who a server is.
fn identify(scene: &Scene<'_>, survey: &Survey, surveyed: &Surveyed, report: &mut Report) {
    let Some(standing) = surveyed.standing() else {
        return report.add(stranger(scene, survey, surveyed));
    };
    let server = surveyed.server;
    report.add(Finding::ok(IN_USE, format!("{server} is pullgate {}: {}", standing.version, describe(&standing))));
    for (said, transport) in surveyed.by_transport() {
        if said.standing().is_none() {
            report.add(one_way(&format!("{server}"), said, transport, server.address));
        }
    }
}

fn describe(standing: &Standing<'_>) -> String {
    let group = standing.group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
    format!("policy generation {}, {group}, this client is {} to it", standing.generation, standing.client)
}

fn one_way(server: &str, said: &Said, transport: &str, address: SocketAddr) -> Finding {
    let port = address.port();
    Finding::problem(IN_USE, format!("{server} does not answer over {transport}: {}", told(&said.probe)))
        .meaning(match transport {
            "TCP" => "answers that are too long for UDP cannot be fetched, and clients that use TCP alone get none",
            _ => "programs ask over UDP first: names do not resolve, or only after seconds",
        })
        .fix(format!("let {transport} port {port} through to {}", address.ip()))
}

/// A server that did not say that it is pullgate.
fn stranger(scene: &Scene<'_>, survey: &Survey, surveyed: &Surveyed) -> Finding {
    let heard = [&surveyed.udp.probe, &surveyed.tcp.probe];
    let answers: Vec<&Answer> = heard.into_iter().filter_map(|heard| heard.as_ref().ok()).collect();
    match answers.iter().find(|answer| answer.is_outside_clients()) {
        Some(answer) => turned_away(scene, surveyed, answer),
        None if answers.is_empty() => silent(scene, survey, surveyed),
        None if surveyed.refuses_everything() => refusing(scene, surveyed),
        None => not_ours(scene, survey, surveyed),
    }
}

fn silent(scene: &Scene<'_>, survey: &Survey, surveyed: &Surveyed) -> Finding {
    let server = surveyed.server;
    let remedy = Remedy::of(scene, server.origin);
    Finding::problem(IN_USE, format!("{server} does not answer: {}", told(&surveyed.udp.probe)))
        .meaning(if survey.servers.len() > 1 {
            "programs wait for it for seconds and then ask the next server, whoever that is"
        } else {
            "names do not resolve here"
        })
        .fix(format!("start pullgate there (`pullgate status`), or name the one that runs: {}", remedy.command))
        .section(remedy.section)
}

/// A pullgate to which this client is none.
fn turned_away(scene: &Scene<'_>, surveyed: &Surveyed, answer: &Answer) -> Finding {
    let client = answer.from.map_or_else(|| "this client".to_owned(), |address| address.to_string());
    Finding::problem(
        IN_USE,
        format!("{} is pullgate, and refuses {client}: it is outside `server.clients`", surveyed.server),
    )
    .meaning(REFUSED_MEANING)
    .fix(format!("in pullgate.toml of that server, then restart it: {}", clients_line(scene.settings, answer.from)))
    .section(Remedy::of(scene, surveyed.server.origin).section)
}

/// Somebody who refuses, and does not say why.
fn refusing(scene: &Scene<'_>, surveyed: &Surveyed) -> Finding {
    let remedy = Remedy::of(scene, surveyed.server.origin);
    Finding::problem(IN_USE, format!("{} refuses to answer this client", surveyed.server))
        .meaning(REFUSED_MEANING)
        .fix(format!("if it is pullgate, or passes on to it: its `server.clients`; else: {}", remedy.command))
        .section(remedy.section)
}

/// `server.clients` with this client added, as it may be pasted.
fn clients_line(settings: Option<&Settings>, client: Option<IpAddr>) -> String {
    let known = settings.map(|settings| settings.server.clients.iter().map(ToString::to_string).collect::<Vec<_>>());
    let client = client.map_or_else(|| "the client's network".to_owned(), |address| address.to_string());
    let all = known.unwrap_or_else(|| vec!["…".to_owned()]).into_iter().chain([client]);
    let quoted = all.map(|range| if range == "…" { range } else { format!("\"{range}\"") });
    format!("clients = [{}]", quoted.collect::<Vec<_>>().join(", "))
}

fn not_ours(scene: &Scene<'_>, survey: &Survey, surveyed: &Surveyed) -> Finding {
    let server = surveyed.server;
    let remedy = Remedy::of(scene, server.origin);
    let leak = survey.names.denied.as_ref().filter(|_| surveyed.resolves_denied());
    let title = match leak {
        Some(name) => format!("{server} is not pullgate, and resolves {name}"),
        None => format!("{server} is not pullgate"),
    };
    let beside = survey.servers.iter().any(|other| other.standing().is_some());
    Finding::problem(IN_USE, title)
        .meaning(if beside {
            "programs ask it whenever pullgate does not answer at once, and musl asks it every time: the policy does not hold"
        } else {
            "what it answers is not decided by the policy: every registry is reachable"
        })
        .fix(remedy.command)
        .section(remedy.section)
}

/// What else holds for this client, each thing once.
fn tell_regimes(survey: &Survey, report: &mut Report) {
    let mut told = Vec::new();
    for standing in survey.servers.iter().filter_map(Surveyed::standing) {
        if !told.contains(&(standing.regime, standing.group)) {
            told.push((standing.regime, standing.group));
            tell_regime(&standing, report);
        }
    }
}

fn tell_regime(standing: &Standing<'_>, report: &mut Report) {
    let place = standing.group.map_or_else(|| "[policy]".to_owned(), |group| format!("[[group]] `{group}`"));
    match standing.regime {
        Regime::NoGroup => report.add(
            Finding::problem(POLICY, format!("no group takes this client, {}", standing.client))
                .meaning("the policy has groups, and denies everything to who is in none")
                .fix(format!(
                    "add {} or its network to a group's `clients`, or set `group` in [policy] of pullgate.toml",
                    standing.client
                )),
        ),
        Regime::NoPolicy => report.add(
            Finding::problem(POLICY, "pullgate has no valid policy")
                .meaning("it denies everything until the policy files are mended")
                .fix("pullgate policy lint && pullgate reload  # where it runs"),
        ),
        Regime::Rules { mode, unlisted } => {
            if mode == Mode::Audit {
                report.add(
                    Finding::warning(POLICY, "pullgate is under audit for this client")
                        .meaning("what the policy denies resolves all the same, and is only counted as would-deny")
                        .fix(format!("mode = \"enforce\" in {place}")),
                );
            }
            if unlisted == Unlisted::Forward {
                report.add(
                    Finding::note(POLICY, "names that the policy does not list resolve for this client")
                        .meaning("only registries that the catalogue knows are denied; others are reachable")
                        .fix(format!("unlisted = \"deny\" in {place}")),
                );
            }
        }
    }
}

/// What the server of this machine says of itself.
fn tell_state(scene: &Scene<'_>, survey: &Survey, report: &mut Report) {
    let Some(status) = &scene.status else { return };
    if status.state == State::Degraded {
        report.add(
            Finding::warning(POLICY, "the policy files of this machine's pullgate are faulty")
                .meaning(format!("an earlier policy is in force since {}", status.since))
                .fix("pullgate policy lint"),
        );
    }
    let standings = || survey.servers.iter().filter_map(Surveyed::standing);
    let is_told = |group: &str| standings().any(|standing| standing.group == Some(group));
    let others: Vec<&str> =
        status.forwards_unlisted.iter().map(String::as_str).filter(|group| !is_told(group)).collect();
    if !others.is_empty() {
        let title =
            format!("names that the policy does not list resolve for other clients: group {}", others.join(", "));
        report.add(
            Finding::note(POLICY, title)
                .meaning("only registries that the catalogue knows are denied to them; others are reachable")
                .fix("unlisted = \"deny\" in each [[group]], or in [policy] for those that do not say"),
        );
    }
}

fn judge_allowed(survey: &Survey, report: &mut Report) {
    let Some(name) = &survey.names.allowed else {
        return report.add(
            Finding::note(ALLOWED, "no name is known that must resolve")
                .meaning("none of the well-known registries is allowed here, so none was tried")
                .fix("pullgate doctor --allowed NAME"),
        );
    };
    let failed = survey.failures(|said| &said.allowed, Answer::resolves);
    if failed.is_empty() {
        report.add(Finding::ok(ALLOWED, format!("{name} resolves on {}, over UDP and TCP", survey.ours())));
    }
    for (surveyed, transport, heard) in failed {
        let server = surveyed.server;
        let finding =
            Finding::problem(ALLOWED, format!("{name} does not resolve on {server} over {transport}: {}", told(heard)));
        report.add(match heard {
            Ok(answer) if answer.denies() => {
                finding.meaning("the policy denies it to this client").fix(check_command(name, surveyed))
            }
            _ => finding
                .meaning("pullgate allows it and cannot resolve it: its upstream does not answer")
                .fix("pullgate status  # where it runs; `servers` of [upstream]"),
        });
    }
}

fn check_command(name: &DomainName, surveyed: &Surveyed) -> String {
    let client = surveyed.standing().map(|standing| format!(" --client {}", standing.client)).unwrap_or_default();
    format!("pullgate check {name}{client}  # where it runs: which rule decides, what would allow it")
}

fn judge_denied(survey: &Survey, report: &mut Report) {
    let Some(name) = &survey.names.denied else {
        if !survey.is_under_audit() {
            report.add(
                Finding::note(DENIED, "no name is known that must not resolve")
                    .meaning("none of the well-known registries is denied here, so no denial was tried")
                    .fix("pullgate doctor --denied NAME"),
            );
        }
        return;
    };
    let failed = survey.failures(|said| &said.denied, Answer::denies);
    if failed.is_empty() {
        report.add(Finding::ok(DENIED, format!("{name} is denied on {}, over UDP and TCP", survey.ours())));
    }
    for (surveyed, transport, heard) in failed {
        let title = format!("{name} is not denied on {} over {transport}: {}", surveyed.server, told(heard));
        report.add(if survey.is_under_audit() {
            Finding::note(DENIED, title).meaning("as everything under audit")
        } else {
            Finding::problem(DENIED, title)
                .meaning("the policy allows it to this client")
                .fix(check_command(name, surveyed))
        });
    }
}

/// Whether programs that ask the system get what the name servers say.
fn judge_system(scene: &Scene<'_>, survey: &Survey, said: &SystemSaid, report: &mut Report) {
    if survey.servers.iter().all(|surveyed| surveyed.standing().is_none()) {
        return;
    }
    let reaches = matches!(&said.probe, Ok(addresses) if addresses.contains(&IpAddr::V4(PROBE_ADDRESS)));
    let hosts = hosts_line(scene);
    report.add(if reaches {
        Finding::ok(SYSTEM, "programs that ask the system (getaddrinfo) reach pullgate")
    } else {
        Finding::problem(SYSTEM, "programs that ask the system (getaddrinfo) do not reach pullgate")
            .meaning(format!("the system asks others than resolv.conf names ({hosts})"))
            .fix("pullgate setup resolved --write")
    });
    if let (Some(name), Some(Ok(addresses))) = (&survey.names.denied, &said.denied)
        && let [first, ..] = addresses.as_slice()
        && !survey.is_under_audit()
        && !local::tells_of_hosts(scene, name)
    {
        report.add(
            Finding::problem(
                SYSTEM,
                format!("{name} is {first} to programs that ask the system, though DNS denies it"),
            )
            .meaning(format!("/etc/hosts or another source knows it ({hosts})"))
            .fix(format!("getent -s files hosts {name}  # then delete the line from /etc/hosts")),
        );
    }
    if let (Some(name), Some(answer)) = (&survey.names.allowed, &said.allowed)
        && answer.as_ref().map_or(true, Vec::is_empty)
    {
        report.add(
            Finding::warning(
                SYSTEM,
                format!("{name} does not resolve for programs that ask the system, though DNS has it"),
            )
            .meaning(format!("the system asks others, or waits too long ({hosts})"))
            .fix(format!(
                "getent hosts {name}  # again; behind systemd-resolved after systemctl restart systemd-resolved"
            )),
        );
    }
}

/// The `hosts:` line of nsswitch.conf, where there is one.
fn hosts_line(scene: &Scene<'_>) -> String {
    let text = scene.machine.read("/etc/nsswitch.conf").ok().flatten().unwrap_or_default();
    let line = text.lines().find(|line| line.trim_start().starts_with("hosts:"));
    let words = line.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    words.map_or_else(|| "without nsswitch.conf: files, then DNS".to_owned(), |words| format!("nsswitch.conf: {words}"))
}

/// What was heard, in a few words.
pub(super) fn told(heard: &Heard) -> String {
    let answer = match heard {
        Ok(answer) => answer,
        Err(NoAnswer::TimedOut) => return "no answer in time".to_owned(),
        Err(fault) => return fault.to_string(),
    };
    let said = match answer.rcode {
        0 if !answer.addresses.is_empty() => answer.addresses[0].to_string(),
        0 => "no records".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        5 => "REFUSED".to_owned(),
        code => format!("response code {code}"),
    };
    let reason = answer.extended.as_ref().filter(|(_, text)| !text.is_empty());
    reason.map_or_else(|| said.clone(), |(_, text)| format!("{said} ({text})"))
}

impl Survey {
    /// What fails `fits` of what the servers that are pullgate said to one question.
    fn failures(
        &self,
        question: impl Fn(&Said) -> &Option<Heard>,
        fits: impl Fn(&Answer) -> bool,
    ) -> Vec<(&Surveyed, &'static str, &Heard)> {
        let mut failed = Vec::new();
        for surveyed in self.servers.iter().filter(|surveyed| surveyed.standing().is_some()) {
            for (said, transport) in surveyed.by_transport() {
                // Where the probe was not answered either, that is said already.
                let Some(heard) = question(said).as_ref().filter(|_| said.standing().is_some()) else { continue };
                if !heard.as_ref().is_ok_and(&fits) {
                    failed.push((surveyed, transport, heard));
                }
            }
        }
        failed
    }

    fn is_under_audit(&self) -> bool {
        let audits = |standing: Standing<'_>| matches!(standing.regime, Regime::Rules { mode: Mode::Audit, .. });
        self.servers.iter().filter_map(Surveyed::standing).any(audits)
    }

    /// The servers that are pullgate, in words.
    fn ours(&self) -> String {
        let ours = self.servers.iter().filter(|surveyed| surveyed.standing().is_some());
        ours.map(|surveyed| surveyed.server.address.ip().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Surveyed {
    fn by_transport(&self) -> [(&Said, &'static str); 2] {
        [(&self.udp, "UDP"), (&self.tcp, "TCP")]
    }

    /// Whether every answer is a refusal.
    fn refuses_everything(&self) -> bool {
        let of = |said: &Said| [Some(said.probe.clone()), said.allowed.clone(), said.denied.clone()];
        of(&self.udp).into_iter().chain(of(&self.tcp)).flatten().flatten().all(|answer| answer.refuses())
    }

    fn resolves_denied(&self) -> bool {
        let heard = [&self.udp.denied, &self.tcp.denied];
        heard.into_iter().flatten().any(|heard| heard.as_ref().is_ok_and(Answer::resolves))
    }
}

const REFUSED_MEANING: &str = "on REFUSED programs ask their next server: without one nothing resolves, with one \
                                everything does";
const IN_USE: &str = "resolver";
const POLICY: &str = "policy";
const ALLOWED: &str = "allowed";
const DENIED: &str = "denied";
const SYSTEM: &str = "system";

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::control::report::StatusReport;
    use crate::inspect::doctor::nameservers::NameServer;
    use crate::inspect::doctor::survey::Names;
    use crate::inspect::doctor::{Request, Severity};
    use crate::inspect::machine::Machine;

    const PULLGATE: &str = "pullgate 0.1.0 generation=1 client=198.18.10.2 mode=enforce unlisted=deny";
    const AUDITING: &str = "pullgate 0.1.0 generation=1 client=198.18.10.2 mode=audit unlisted=deny";

    /// A server that said this to the probe, resolves the allowed name and no other.
    fn server(address: &str, origin: Origin, text: &str) -> Surveyed {
        let answer = |texts: &[&str], rcode, addresses: &[IpAddr]| Answer {
            rcode,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            addresses: addresses.to_vec(),
            ..Answer::default()
        };
        let said = Said {
            probe: Ok(answer(&[text], 0, &[])),
            allowed: Some(Ok(answer(&[], 0, &[[192, 0, 2, 7].into()]))),
            denied: Some(Ok(answer(&[], 3, &[]))),
        };
        let server = NameServer { address: SocketAddr::new(address.parse().unwrap(), 53), origin };
        Surveyed { server, udp: said.clone(), tcp: said }
    }

    #[test]
    fn where_the_engine_alone_is_restricted_the_host_may_ask_whom_it_likes() {
        let servers = || {
            let stranger = server("192.0.2.53", Origin::ResolvConf, "hello");
            vec![stranger, server("198.18.10.1", Origin::Daemon, PULLGATE)]
        };
        let system = || SystemSaid { probe: Ok(vec![]), allowed: None, denied: None };
        let root = TempDir::new().unwrap();
        let (machine, request) = (Machine::under(root.path()), Request::default());
        for (engine_alone, expected) in [(true, Severity::Ok), (false, Severity::Problem)] {
            let scene = Scene { engine_alone, ..Scene::of(&machine, &request, None) };
            let mut report = Report::default();
            judge(&scene, &survey(servers(), Some(system())), &mut report);
            assert_eq!(report.worst(), expected, "{report:#?}");
            let own = report.findings.iter().find(|finding| finding.title.contains("of Docker's daemon"));
            assert_eq!(own.unwrap().severity, Severity::Ok);
        }
    }

    fn survey(servers: Vec<Surveyed>, system: Option<SystemSaid>) -> Survey {
        let names = Names { allowed: Some("ghcr.io".parse().unwrap()), denied: Some("quay.io".parse().unwrap()) };
        Survey { servers, names, system }
    }

    /// What is said when the system gives these addresses for the probe, the allowed and the denied name.
    fn said_of_system(probe: &str, [probed, allowed, denied]: [&[[u8; 4]]; 3]) -> Report {
        let found = |addresses: &[[u8; 4]]| Ok(addresses.iter().map(|address| IpAddr::from(*address)).collect());
        let system = SystemSaid { probe: found(probed), allowed: Some(found(allowed)), denied: Some(found(denied)) };
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/nsswitch.conf"), "passwd: files\nhosts:  files resolve  dns\n").unwrap();
        let (machine, request) = (Machine::under(root.path()), Request::default());
        let mut report = Report::default();
        let survey = survey(vec![server("198.18.10.1", Origin::ResolvConf, probe)], Some(system));
        judge(&Scene::of(&machine, &request, None), &survey, &mut report);
        report
    }

    const PROBED: &[[u8; 4]] = &[[192, 0, 0, 8]];
    const SOME: &[[u8; 4]] = &[[192, 0, 2, 7]];
    const NONE: &[[u8; 4]] = &[];

    fn worst_of_system(report: &Report) -> (Severity, String) {
        let found = report.findings.iter().filter(|finding| finding.check == SYSTEM);
        found.map(|finding| (finding.severity, finding.title.clone() + &finding.meaning)).max().unwrap()
    }

    #[test]
    fn what_the_system_says_is_compared_with_what_the_servers_say() {
        for (addresses, severity, words) in [
            ([PROBED, SOME, NONE], Severity::Ok, "reach pullgate"),
            ([NONE, SOME, NONE], Severity::Problem, "do not reach pullgate"),
            ([NONE, SOME, NONE], Severity::Problem, "nsswitch.conf: hosts: files resolve dns"),
            ([PROBED, SOME, SOME], Severity::Problem, "quay.io is 192.0.2.7 to programs"),
            ([PROBED, NONE, NONE], Severity::Warning, "ghcr.io does not resolve for programs"),
        ] {
            let (worst, text) = worst_of_system(&said_of_system(PULLGATE, addresses));
            assert_eq!(worst, severity, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_group_of_others_for_which_everything_resolves_is_noted_and_the_own_one_is_told_by_its_server() {
        let status = |state: &str, groups: &str| -> StatusReport {
            let text = format!(
                r#"{{"state": "{state}", "generation": 1, "digest": "", "since": "2026-01-01T00:00:00Z", "listen": [],
                "rules": 1, "forwards_unlisted": [{groups}], "faults": [], "warnings": [], "version": "", "pid": 1,
                "started": ""}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let (root, request) = (TempDir::new().unwrap(), Request::default());
        let machine = Machine::under(root.path());
        for (status, expected) in [
            (status("ok", ""), vec![]),
            (status("ok", r#""ci""#), vec![]),
            (status("ok", r#""ci", "lab""#), vec![(Severity::Note, "for other clients: group lab")]),
            (status("degraded", ""), vec![(Severity::Warning, "files of this machine's pullgate are faulty")]),
        ] {
            let scene = Scene::of(&machine, &request, None).with_status(Some(status));
            let own = server("198.18.10.1", Origin::ResolvConf, &format!("{PULLGATE} group=ci"));
            let mut report = Report::default();
            judge(&scene, &survey(vec![own], None), &mut report);
            let told: Vec<_> = report.findings.iter().filter(|finding| finding.check == POLICY).collect();
            assert_eq!(told.len(), expected.len(), "{told:#?}");
            for (finding, (severity, words)) in told.iter().zip(expected) {
                assert!(finding.severity == severity && finding.title.contains(words), "{finding:#?}");
            }
        }
    }

    #[test]
    fn under_audit_a_denied_name_may_resolve() {
        let report = said_of_system(AUDITING, [PROBED, SOME, SOME]);
        assert_eq!(worst_of_system(&report).0, Severity::Ok, "{report:#?}");
    }

    #[test]
    fn the_system_is_not_judged_by_servers_that_are_not_pullgate() {
        let report = said_of_system("hello", [NONE, SOME, SOME]);
        assert!(report.findings.iter().all(|finding| finding.check != SYSTEM), "{report:#?}");
    }

    #[test]
    fn a_stub_is_proven_only_with_everyone_behind_it() {
        let stub = || server("127.0.0.53", Origin::ResolvConf, PULLGATE);
        let uplink = || server("198.18.10.1", Origin::Resolved, PULLGATE);
        let stranger = || server("198.18.1.88", Origin::Resolved, "hello");
        let proven = |servers| survey(servers, None).proven().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(proven(vec![stub(), uplink()]), ["127.0.0.53", "198.18.10.1"]);
        assert_eq!(proven(vec![stub(), uplink(), stranger()]), ["198.18.10.1"]);
    }

    #[test]
    fn the_line_for_a_new_client_keeps_the_ones_there_are() {
        let settings = Settings::embedded(&crate::config::Environment::default());
        let line = clients_line(Some(&settings), Some([198, 18, 30, 2].into()));
        assert!(line.starts_with("clients = [\"127.0.0.0/8\", ") && line.ends_with(", \"198.18.30.2\"]"), "{line}");
    }
}
