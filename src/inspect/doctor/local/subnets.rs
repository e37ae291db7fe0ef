//! Networks of containers and pods whose questions pullgate refuses: they lie outside `server.clients`, and on REFUSED a
//! stub resolver asks its next server.

use ipnet::IpNet;
use serde_json::Value;

use super::foreign;
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::Engine;
use crate::inspect::machine::Machine;

/// Compares every network that is known here with the settings of this machine's pullgate.
pub(super) fn outside(scene: &Scene<'_>, engines: &[Engine], report: &mut Report) {
    let networks = known(scene.machine, engines, report);
    let Some(settings) = scene.settings else {
        if !networks.is_empty() {
            report
                .unseen("whether every network is in server.clients: the settings of pullgate are not on this machine");
        }
        return;
    };
    let clients = &settings.server.clients;
    let refused: Vec<&Network> = networks.iter().filter(|network| !is_covered(network.range, clients)).collect();
    if refused.is_empty() && !networks.is_empty() {
        let title = format!("pullgate answers every network of containers and pods ({})", networks.len());
        report.add(Finding::ok(CHECK, title));
    }
    let all_missing: Vec<IpNet> = refused.iter().map(|network| network.range).collect();
    for network in refused {
        let title = format!("{} ({}) is outside server.clients", network.name, network.range);
        let finding = match network.source {
            Source::Engine => Finding::problem(CHECK, title),
            Source::File => Finding::warning(CHECK, title),
        };
        let finding = finding
            .meaning("pullgate refuses its questions, and on REFUSED a client asks its next server")
            .fix(format!("in pullgate.toml, [server]: {}", clients_line(clients, &all_missing)));
        report.add(finding.section(network.section));
    }
}

/// A range from which containers or pods may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    name: String,
    range: IpNet,
    source: Source,
    section: Section,
}

/// How a network is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// An engine has it.
    Engine,
    /// A file describes it; whether anything uses it cannot be told from that.
    File,
}

fn known(machine: &Machine, engines: &[Engine], report: &mut Report) -> Vec<Network> {
    let mut found: Vec<Network> = engines.iter().flat_map(of_engine).collect();
    found.extend(of_podman(machine, report));
    found.extend(of_cni(machine, report));
    found.extend(of_k3s(machine, report));
    let mut distinct: Vec<Network> = Vec::new();
    for network in found {
        if !distinct.iter().any(|earlier| earlier.range == network.range) {
            distinct.push(network);
        }
    }
    distinct
}

fn of_engine(engine: &Engine) -> impl Iterator<Item = Network> {
    let who = if engine.is_podman() { "podman" } else { "Docker" };
    engine.networks.iter().flat_map(move |network| {
        let name = format!("{who}'s network {}", network.name);
        network.subnets().map(move |range| Network {
            name: name.clone(),
            range,
            source: Source::Engine,
            section: Section::DockerEngine,
        })
    })
}

/// Netavark's networks; podman's default one has no file until somebody makes one.
fn of_podman(machine: &Machine, report: &mut Report) -> Vec<Network> {
    let mut found = Vec::new();
    for path in foreign::list(machine, NETAVARK, ".json", report) {
        let Some(network) = foreign::json::<Value>(machine, &path, report) else { continue };
        let name = network.get("name").and_then(Value::as_str).unwrap_or_default();
        let subnets = network.get("subnets").and_then(Value::as_array).into_iter().flatten();
        let ranges = subnets.filter_map(|subnet| subnet.get("subnet")?.as_str()?.parse().ok());
        let name = format!("podman's network {name}");
        found.extend(ranges.map(|range| Network {
            name: name.clone(),
            range,
            source: Source::File,
            section: Section::DockerEngine,
        }));
    }
    found
}

/// Every `subnet` in the CNI configurations, on whatever level a plugin has it.
fn of_cni(machine: &Machine, report: &mut Report) -> Vec<Network> {
    let mut found = Vec::new();
    for path in foreign::list(machine, CNI, "", report) {
        let is_config = path.extension().is_some_and(|end| end == "conf" || end == "conflist" || end == "json");
        let config = if is_config { foreign::json(machine, &path, report) } else { None };
        let mut ranges = Vec::new();
        collect_subnets(&config.unwrap_or_default(), &mut ranges);
        let is_podman = path.to_string_lossy().contains("podman");
        let section = if is_podman { Section::DockerEngine } else { Section::Kubernetes };
        let name = format!("the CNI network of {}", path.display());
        found.extend(ranges.into_iter().map(|range| Network {
            name: name.clone(),
            range,
            source: Source::File,
            section,
        }));
    }
    found
}

fn collect_subnets(value: &Value, ranges: &mut Vec<IpNet>) {
    match value {
        Value::Object(members) => {
            ranges.extend(members.get("subnet").and_then(Value::as_str).and_then(|text| text.parse::<IpNet>().ok()));
            members.values().for_each(|member| collect_subnets(member, ranges));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_subnets(item, ranges)),
        _ => {}
    }
}

/// k3s: `cluster-cidr` of its settings, else its default.
fn of_k3s(machine: &Machine, report: &mut Report) -> Vec<Network> {
    let settings = foreign::text(machine, K3S_CONFIG, report);
    if settings.is_none() && !K3S_PROGRAMS.iter().any(|path| machine.has(path)) {
        return Vec::new();
    }
    let text = settings.unwrap_or_default();
    let given = text.lines().find_map(|line| line.trim().strip_prefix("cluster-cidr:"));
    let list = given.map_or(K3S_DEFAULT, |list| list.trim().trim_matches(['"', '\'']));
    let ranges = list.split(',').filter_map(|range| range.trim().parse().ok());
    ranges
        .map(|range| Network {
            name: "k3s's pods".to_owned(),
            range,
            source: Source::File,
            section: Section::Kubernetes,
        })
        .collect()
}

/// Whether one of `clients` holds the whole of it.
fn is_covered(range: IpNet, clients: &[IpNet]) -> bool {
    clients.iter().any(|client| client.contains(&range.trunc()))
}

/// The line of pullgate.toml that has what is there and what is missing.
fn clients_line(clients: &[IpNet], missing: &[IpNet]) -> String {
    let words = clients.iter().copied().chain(missing.iter().map(IpNet::trunc)).map(|range| format!("\"{range}\""));
    format!("clients = [{}]", words.collect::<Vec<_>>().join(", "))
}

const CHECK: &str = "clients";
const NETAVARK: &str = "/etc/containers/networks";
const CNI: &str = "/etc/cni/net.d";
const K3S_CONFIG: &str = "/etc/rancher/k3s/config.yaml";
const K3S_PROGRAMS: [&str; 2] = ["/usr/local/bin/k3s", "/usr/bin/k3s"];
const K3S_DEFAULT: &str = "10.42.0.0/16";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    const SETTINGS: &str = "[server]\nclients = [\"127.0.0.0/8\", \"172.16.0.0/12\"]\n";

    async fn engine(networks: &str) -> Engine {
        crate::inspect::engine::testing::engine_saying(&[("/networks", networks)]).await
    }

    #[tokio::test]
    async fn a_network_outside_the_clients_is_a_problem_with_the_exact_line() {
        let docker = engine(
            r#"[{"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
                {"Name": "ci", "IPAM": {"Config": [{"Subnet": "100.100.0.0/16"}, {"Subnet": "2001:db8::/64"}]}}]"#,
        )
        .await;
        let report = Tree::of(&[]).pullgate(SETTINGS).said(|scene, report| outside(scene, &[docker], report));
        let expected = [
            "problem: Docker's network ci (100.100.0.0/16) is outside server.clients",
            "problem: Docker's network ci (2001:db8::/64) is outside server.clients",
        ];
        assert_eq!(lines(&report), expected);
        assert_eq!(
            report.findings[0].fix.as_deref(),
            Some(
                "in pullgate.toml, [server]: clients = [\"127.0.0.0/8\", \"172.16.0.0/12\", \"100.100.0.0/16\", \"2001:db8::/64\"]"
            )
        );
    }

    #[test]
    fn pods_and_podman_networks_are_found_in_their_files() {
        for (file, expected) in [
            (
                (
                    "etc/cni/net.d/10.conflist",
                    r#"{"plugins": [{"ipam": {"ranges": [[{"subnet": "10.244.0.0/24"}]]}}]}"#,
                ),
                "warning: the CNI network of /etc/cni/net.d/10.conflist (10.244.0.0/24) is outside server.clients",
            ),
            (
                ("etc/containers/networks/n.json", r#"{"name": "n", "subnets": [{"subnet": "10.89.0.0/24"}]}"#),
                "warning: podman's network n (10.89.0.0/24) is outside server.clients",
            ),
            (("usr/local/bin/k3s", ""), "warning: k3s's pods (10.42.0.0/16) is outside server.clients"),
            (
                ("etc/rancher/k3s/config.yaml", "cluster-cidr: \"10.99.0.0/16\"\n"),
                "warning: k3s's pods (10.99.0.0/16) is outside server.clients",
            ),
        ] {
            let report = Tree::of(&[file]).pullgate(SETTINGS).said(|scene, report| outside(scene, &[], report));
            assert_eq!(lines(&report), [expected]);
        }
    }

    #[tokio::test]
    async fn networks_that_are_answered_are_fine_and_none_are_no_news() {
        let docker = engine(r#"[{"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}}]"#).await;
        let tree = Tree::of(&[]).pullgate(SETTINGS);
        let report = tree.said(|scene, report| outside(scene, std::slice::from_ref(&docker), report));
        assert_eq!(lines(&report), ["ok: pullgate answers every network of containers and pods (1)"]);
        assert_eq!(tree.said(|scene, report| outside(scene, &[], report)), Report::default());
        let elsewhere = Tree::of(&[]).said(|scene, report| outside(scene, &[docker], report));
        assert_eq!(elsewhere.unseen.len(), 1, "{elsewhere:?}");
    }
}
