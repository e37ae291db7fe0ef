//! HTTP proxies: a program that has one hands it the name, and the proxy resolves it. pullgate never hears of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::Value;

use super::daemon_json::{self, DaemonJson};
use super::foreign;
use super::processes::{self, variables};
use super::units::{UnitSetting, service_settings, words};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::Engine;
use crate::inspect::machine::Machine;

/// The proxies of engines, of what they start, and of the user.
pub(super) fn configured(scene: &Scene<'_>, engines: &[Engine], report: &mut Report) {
    let mut found = of_daemon_json(scene.machine, report);
    found.extend(engines.iter().filter_map(of_engine));
    for (service, who) in SERVICES {
        found.extend(of_service(scene.machine, service, who, report));
    }
    found.extend(of_processes(scene.machine, report));
    found.extend(of_client_config(scene, report));
    let own: Vec<_> = scene.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    found.extend(
        Proxies::of("programs of this user", "the environment", &own)
            .map(|proxies| Proxies { urgency: Urgency::Some, ..proxies }),
    );
    // What a file and the running process both say is said once.
    let mut said: Vec<(String, String)> = Vec::new();
    for proxies in found {
        let key = (proxies.who.clone(), proxies.proxy.clone());
        if !said.contains(&key) {
            report.add(proxies.judge());
            said.push(key);
        }
    }
}

/// The proxies that one set of programs has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proxies {
    /// Whose.
    who: String,
    /// Where that is written.
    place: String,
    /// The proxy.
    proxy: String,
    /// What goes past it.
    exceptions: String,
    urgency: Urgency,
}

/// How much hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// It is what an engine pulls with.
    Pulls,
    /// It is what other programs may use.
    Some,
}

impl Proxies {
    /// From variables; upper and lower case are the same to everybody who reads them.
    fn of(who: &str, place: &str, variables: &[(String, String)]) -> Option<Self> {
        let value = |wanted: &str| {
            let same = variables.iter().filter(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.is_empty());
            same.map(|(_, value)| value.clone()).next_back()
        };
        let proxy = ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"].into_iter().find_map(value)?;
        Some(Self {
            who: who.to_owned(),
            place: place.to_owned(),
            proxy: without_password(&proxy),
            exceptions: value("NO_PROXY").unwrap_or_default(),
            urgency: Urgency::Pulls,
        })
    }

    fn judge(&self) -> Finding {
        let title = format!("{} use the proxy {} ({})", self.who, self.proxy, self.place);
        if goes_past(&self.exceptions, "registry-1.docker.io") && goes_past(&self.exceptions, "registry.example") {
            return Finding::note(CHECK, title)
                .meaning("NO_PROXY sends every name past it")
                .section(Section::CannotSee);
        }
        let finding = match self.urgency {
            Urgency::Pulls => Finding::problem(CHECK, title),
            Urgency::Some => Finding::warning(CHECK, title),
        };
        let exceptions = match self.exceptions.as_str() {
            "" => String::new(),
            list => format!(" but for {list}"),
        };
        finding
            .meaning(format!("the proxy resolves every name{exceptions}: pullgate is not asked, and denies nothing there"))
            .fix(format!(
                "take the proxy out of {} and restart what uses it, or have the proxy itself allow the registries alone",
                self.place
            ))
            .section(Section::CannotSee)
    }
}

fn of_daemon_json(machine: &Machine, report: &mut Report) -> Vec<Proxies> {
    let proxies = DaemonJson::of(machine, report).unwrap_or_default().proxies;
    let named = [("HTTP_PROXY", proxies.http), ("HTTPS_PROXY", proxies.https), ("NO_PROXY", proxies.none)];
    let named = named.map(|(name, value)| (name.to_owned(), value));
    Proxies::of(DOCKER, daemon_json::PATH, &named).into_iter().collect()
}

fn of_engine(engine: &Engine) -> Option<Proxies> {
    let info = &engine.info;
    let named = [("HTTP_PROXY", &info.http_proxy), ("HTTPS_PROXY", &info.https_proxy), ("NO_PROXY", &info.no_proxy)];
    let named = named.map(|(name, value)| (name.to_owned(), value.clone()));
    let who = if engine.is_podman() { "pulls of podman" } else { DOCKER };
    Proxies::of(who, &format!("what the engine at {} says", engine.socket.display()), &named)
}

fn of_service(machine: &Machine, service: &str, who: &str, report: &mut Report) -> Option<Proxies> {
    let settings = service_settings(machine, service, report);
    let mut variables_of_unit: Vec<(String, String)> = Vec::new();
    let mut place = None;
    for setting in &settings {
        let set = match setting.key.as_str() {
            "Environment" => variables(words(&setting.value).iter().map(String::as_str)),
            "EnvironmentFile" => environment_file(machine, setting, report),
            _ => continue,
        };
        if set.iter().any(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY")) {
            place = Some(format!("{}:{}", setting.path.display(), setting.line));
        }
        variables_of_unit.extend(set);
    }
    Proxies::of(who, &place?, &variables_of_unit)
}

/// The variables of the file that `EnvironmentFile=` names; `-` before it: it may be missing.
fn environment_file(machine: &Machine, setting: &UnitSetting, report: &mut Report) -> Vec<(String, String)> {
    let path = setting.value.trim_start_matches('-');
    let text = foreign::text(machine, path, report).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let set = variables(lines).into_iter();
    set.map(|(name, value)| (name, value.trim_matches(['"', '\'']).to_owned())).collect()
}

fn of_processes(machine: &Machine, report: &mut Report) -> Vec<Proxies> {
    let names = PROCESSES.map(|(name, _)| name);
    let running = processes::named(machine, &names, report);
    let found = running.iter().filter_map(|process| {
        let (_, who) = PROCESSES.iter().find(|(name, _)| *name == process.name)?;
        let place = format!("the environment of process {}", process.id);
        Proxies::of(who, &place, &process.variables(machine, report))
    });
    found.collect()
}

/// What Docker's command line puts into the environment of every container and build.
fn of_client_config(scene: &Scene<'_>, report: &mut Report) -> Vec<Proxies> {
    let Some(path) = client_folder(scene).map(|folder| folder.join("config.json")) else { return Vec::new() };
    let config: Value = foreign::json(scene.machine, &path, report).unwrap_or_default();
    let Some(by_engine) = config.get("proxies").and_then(Value::as_object) else { return Vec::new() };
    let found = by_engine.values().filter_map(|proxies| {
        let text = |key: &str| proxies.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let named = [("HTTP_PROXY", "httpProxy"), ("HTTPS_PROXY", "httpsProxy"), ("NO_PROXY", "noProxy")];
        let named = named.map(|(name, key)| (name.to_owned(), text(key)));
        let proxies = Proxies::of("containers and RUN steps", &path.display().to_string(), &named)?;
        Some(Proxies { urgency: Urgency::Some, ..proxies })
    });
    found.collect()
}

/// Where Docker's command line keeps its settings for this user.
pub(super) fn client_folder(scene: &Scene<'_>) -> Option<PathBuf> {
    let named = scene.variables.get("DOCKER_CONFIG").map(PathBuf::from);
    named.or_else(|| scene.variables.get("HOME").map(|home| Path::new(home).join(".docker")))
}

/// Whether `NO_PROXY` sends a name past the proxy, as Go reads it: `*`, a name with all below it, or `.name` for those
/// below alone. Addresses and ranges never match a name.
fn goes_past(exceptions: &str, name: &str) -> bool {
    exceptions.split(',').map(str::trim).any(|exception| {
        let exception = exception.split_once(':').map_or(exception, |(host, _)| host).trim_start_matches("*.");
        if exception.is_empty() || exception.parse::<IpAddr>().is_ok() || exception.parse::<IpNet>().is_ok() {
            return false;
        }
        let below = exception.strip_prefix('.').unwrap_or(exception);
        let is_below = name.strip_suffix(below).is_some_and(|rest| rest.ends_with('.'));
        exception == "*" || name == exception || is_below
    })
}

/// A proxy's URL without what stands before `@`: reports are pasted into tickets.
fn without_password(url: &str) -> String {
    let (scheme, rest) =
        url.split_once("://").map_or((String::new(), url), |(scheme, rest)| (format!("{scheme}://"), rest));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{host}")
}

const CHECK: &str = "proxies";
const DOCKER: &str = "Docker's own pulls";
/// Units whose environment is what an engine pulls with.
const SERVICES: [(&str, &str); 4] = [
    ("docker.service", DOCKER),
    ("containerd.service", "pulls of containerd"),
    ("buildkit.service", "pulls of BuildKit"),
    ("podman.service", "pulls of podman"),
];
/// The same as processes.
const PROCESSES: [(&str, &str); 3] =
    [("dockerd", DOCKER), ("containerd", "pulls of containerd"), ("buildkitd", "pulls of BuildKit")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    fn said(files: &[(&str, &str)], own: &[(&str, &str)]) -> Report {
        let tree = Tree::of(files);
        tree.said(|scene, report| {
            let mut scene = scene.clone();
            scene.variables = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            configured(&scene, &[], report);
        })
    }

    #[test]
    fn every_place_of_a_proxy_is_found() {
        for (file, expected) in [
            (
                ("etc/docker/daemon.json", r#"{"proxies": {"https-proxy": "http://p:3128"}}"#),
                "problem: Docker's own pulls use the proxy http://p:3128 (/etc/docker/daemon.json)",
            ),
            (
                (
                    "etc/systemd/system/docker.service.d/p.conf",
                    "[Service]\nEnvironment=\"HTTPS_PROXY=http://u:secret@p:3128\" A=b\n",
                ),
                "problem: Docker's own pulls use the proxy http://p:3128 (/etc/systemd/system/docker.service.d/p.conf:2)",
            ),
            (
                ("proc/7/environ", "http_proxy=p:3128\0"),
                "problem: pulls of containerd use the proxy p:3128 (the environment of process 7)",
            ),
            (
                ("home/a/.docker/config.json", r#"{"proxies": {"default": {"httpProxy": "http://p"}}}"#),
                "warning: containers and RUN steps use the proxy http://p (/home/a/.docker/config.json)",
            ),
        ] {
            let process = [("proc/7/comm", "containerd\n"), ("proc/7/cmdline", "containerd\0")];
            let report = said(&[file, process[0], process[1]], &[("HOME", "/home/a")]);
            assert_eq!(lines(&report), [expected], "{file:?}");
        }
        let own = said(&[], &[("ALL_PROXY", "socks5://p:1080"), ("HTTPS_PROXY", "")]);
        assert_eq!(lines(&own), ["warning: programs of this user use the proxy socks5://p:1080 (the environment)"]);
        assert_eq!(said(&[], &[("NO_PROXY", "*")]), Report::default());
    }

    #[test]
    fn an_environment_file_is_followed_and_a_repeated_proxy_said_once() {
        let report = said(
            &[
                ("usr/lib/systemd/system/docker.service", "[Service]\nEnvironmentFile=-/etc/default/docker\n"),
                ("etc/default/docker", "# HTTPS_PROXY=no\nHTTPS_PROXY=\"http://p:3128\"\nNO_PROXY=.corp.example\n"),
                ("etc/docker/daemon.json", r#"{"proxies": {"https-proxy": "http://p:3128"}}"#),
            ],
            &[],
        );
        assert_eq!(report.findings.len(), 1, "{report:?}");
    }

    #[test]
    fn a_star_in_no_proxy_takes_the_sting_out() {
        let report = said(&[], &[("HTTPS_PROXY", "http://p"), ("no_proxy", "localhost, *")]);
        assert!(report.is_clean(), "{report:?}");
        let report = said(&[], &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "docker.io")]);
        assert!(report.findings[0].meaning.contains("every name but for docker.io"), "{report:?}");
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (exceptions, name, expected) in [
            ("*", "ghcr.io", true),
            ("docker.io", "registry-1.docker.io", true),
            ("docker.io", "xdocker.io", false),
            (".docker.io", "docker.io", false),
            (".docker.io", "registry-1.docker.io", true),
            ("*.docker.io", "registry-1.docker.io", true),
            ("docker.io:443", "docker.io", true),
            ("10.0.0.0/8, 192.0.2.1,", "ghcr.io", false),
        ] {
            assert_eq!(goes_past(exceptions, name), expected, "{exceptions} {name}");
        }
    }
}
