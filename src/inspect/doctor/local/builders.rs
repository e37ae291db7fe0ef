//! buildx builders and BuildKit daemons: each may have a resolver of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use data_encoding::BASE64;
use serde::Deserialize;
use toml::{Table, Value};

use super::authority::Known;
use super::docker_rules::{Network, predicted_resolver};
use super::foreign;
use super::ours::{HostResolvers, Ours, Side, listed, servers};
use super::proxies::client_folder;
use crate::gateway::authority::{CaCertificate, parse_pem};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::{Engine, or_default};

/// Every builder of this user, and a BuildKit that runs by itself.
pub(super) fn configured(scene: &Scene<'_>, engines: &[Engine], report: &mut Report) {
    let ours = Ours::of(scene, report);
    let host = HostResolvers::of(scene.machine, report);
    for builder in instances(scene, report) {
        for node in &builder.nodes {
            if let Some(finding) = judge(scene, &builder, node, engines, &host, &ours) {
                report.add(finding.section(Section::DockerEngine));
            }
        }
    }
    if let Some(given) = foreign::toml(scene.machine, BUILDKITD, report).and_then(|config| nameservers(&config)) {
        report.add(judge_given(&format!("BuildKit ({BUILDKITD})"), &given, &ours).section(Section::DockerEngine));
    }
}

/// Builders that do not trust the image gateway's authority, though this machine has one to trust: each has a bundle of
/// its own.
pub(super) fn without_authority(scene: &Scene<'_>, report: &mut Report) {
    let now = SystemTime::now();
    let (current, next): (Vec<_>, Vec<_>) =
        Known::of(scene, report).certificates.into_iter().partition(|certificate| certificate.is_valid(now));
    if current.is_empty() && next.is_empty() {
        return;
    }
    for builder in instances(scene, report).iter().filter(|builder| builder.driver == CONTAINER_DRIVER) {
        let lacks = |certificates: &[CaCertificate]| {
            let has_any = |node: &Node| certificates.iter().any(|certificate| node.trusts(certificate));
            !certificates.is_empty() && !builder.nodes.iter().all(has_any)
        };
        if let Some(finding) = judge_trust(&builder.name, lacks(&current), lacks(&next)) {
            report.add(finding.section(Section::DockerEngine));
        }
    }
}

fn judge_trust(name: &str, lacks_current: bool, lacks_next: bool) -> Option<Finding> {
    let finding = if lacks_current {
        Finding::problem(CHECK, format!("builder {name} does not trust the gateway's authority"))
            .meaning("its pulls from inspected registries fail: `x509: certificate signed by unknown authority`")
    } else if lacks_next {
        Finding::warning(CHECK, format!("builder {name} does not trust the gateway's next authority yet"))
            .meaning("once that is used, its pulls from inspected registries fail")
    } else {
        return None;
    };
    Some(finding.fix("pullgate setup buildkit --write --restart"))
}

/// A builder, as buildx keeps it: a file of JSON below `buildx/instances`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Builder {
    #[serde(deserialize_with = "or_default")]
    name: String,
    /// `docker-container`, `remote`, `kubernetes`, `cloud`.
    #[serde(deserialize_with = "or_default")]
    driver: String,
    #[serde(deserialize_with = "or_default")]
    nodes: Vec<Node>,
}

/// One of its daemons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Node {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    endpoint: String,
    #[serde(deserialize_with = "or_default")]
    driver_opts: BTreeMap<String, String>,
    /// By name, in base64; `buildkitd.toml` among them.
    #[serde(deserialize_with = "or_default")]
    files: BTreeMap<String, String>,
}

impl Node {
    /// `[dns] nameservers` of its buildkitd.toml.
    fn nameservers(&self) -> Option<Vec<IpAddr>> {
        let bytes = BASE64.decode(self.files.get("buildkitd.toml")?.as_bytes()).ok()?;
        nameservers(&String::from_utf8(bytes).ok()?.parse().ok()?)
    }

    /// Whether a certificate was copied into it.
    fn trusts(&self, certificate: &CaCertificate) -> bool {
        let texts = self.files.values().filter_map(|file| BASE64.decode(file.as_bytes()).ok());
        texts.filter_map(|text| parse_pem(&text).ok()).any(|held| held.contains(certificate))
    }

    /// The container that buildx makes for it.
    fn container(&self) -> String {
        format!("buildx_buildkit_{}", self.name)
    }
}

fn instances(scene: &Scene<'_>, report: &mut Report) -> Vec<Builder> {
    let named = scene.variables.get("BUILDX_CONFIG").map(|folder| Path::new(folder).to_owned());
    let Some(folder) = named.or_else(|| client_folder(scene).map(|folder| folder.join("buildx"))) else {
        return Vec::new();
    };
    let files = foreign::list(scene.machine, folder.join("instances"), "", report);
    files.iter().filter_map(|path| foreign::json(scene.machine, path, report)).collect()
}

fn judge(
    scene: &Scene<'_>,
    builder: &Builder,
    node: &Node,
    engines: &[Engine],
    host: &HostResolvers,
    ours: &Ours,
) -> Option<Finding> {
    let who = format!("builder {} ({})", builder.name, builder.driver);
    if builder.driver != CONTAINER_DRIVER {
        let finding = Finding::warning(CHECK, format!("{who} builds at {}", node.endpoint));
        return Some(
            finding
                .meaning("its pulls and RUN steps resolve names where it runs, which cannot be seen from here")
                .fix("run `pullgate doctor` on its machine"),
        );
    }
    if let Some(given) = node.nameservers() {
        return Some(judge_given(&format!("{who}, by its buildkitd.toml,"), &given, ours));
    }
    let own =
        engines.iter().flat_map(|engine| &engine.containers).find(|container| container.name() == node.container());
    let text = own.and_then(|container| scene.machine.read(&container.resolv_conf_path).ok().flatten());
    let is_on_host = node.driver_opts.get("network").is_some_and(|network| network == "host");
    let resolv_conf = match text {
        Some(text) => Some(servers(&text)),
        None if is_on_host => host.resolv_conf.clone(),
        // What its container is started with is another check's question.
        None => return None,
    };
    // RUN steps get what is left of the builder's own resolv.conf, by BuildKit's rule.
    let inner = HostResolvers { resolv_conf, ..host.clone() };
    let predicted = predicted_resolver(&inner, &[], None, Network::BuildKit);
    let is_fine = ours.reached_at_all(&predicted.servers, Side::Container);
    (!is_fine).then(|| judge_given(&format!("{who}, in RUN steps,"), &predicted.servers, ours))
}

/// What is said of a builder whose servers are known.
fn judge_given(who: &str, given: &[IpAddr], ours: &Ours) -> Finding {
    let title = format!("{who} asks {}", listed(given));
    if ours.reached_at_all(given, Side::Container) {
        return Finding::ok(CHECK, title);
    }
    Finding::problem(CHECK, title)
        .meaning("its builds resolve names without pullgate: neither the daemon's settings nor the host's reach it")
        .fix("pullgate setup buildkit --write")
}

fn nameservers(config: &Table) -> Option<Vec<IpAddr>> {
    let list = config.get("dns")?.get("nameservers")?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).filter_map(|address| address.parse().ok()).collect())
}

const CHECK: &str = "builders";
const CONTAINER_DRIVER: &str = "docker-container";
const BUILDKITD: &str = "/etc/buildkit/buildkitd.toml";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::authority::{BACKDATED, Constraint, Creation, create};
    use crate::inspect::doctor::local::testing::{Tree, lines};
    use crate::policy::pattern::Pattern;

    /// What is said of a machine with this builder and these other files; the engine has its container.
    fn said(instance: &str, files: &[(&str, &str)]) -> Report {
        let tree = Tree::of(files).pullgate("[server]\nlisten = [\"127.0.0.1:53\", \"172.17.0.1:53\"]\n");
        tree.write("home/a/.docker/buildx/instances/b", instance.as_bytes());
        let container = r#"{"Name": "/buildx_buildkit_b0", "ResolvConfPath": "/var/lib/docker/b0/resolv.conf"}"#;
        let engine = Engine { containers: vec![serde_json::from_str(container).unwrap()], ..Engine::default() };
        tree.said(|scene, report| {
            let mut scene = scene.clone();
            scene.variables.insert("HOME".to_owned(), "/home/a".to_owned());
            configured(&scene, &[engine], report);
        })
    }

    fn builder(node: &str) -> String {
        format!(
            r#"{{"Name": "b", "Driver": "docker-container", "Nodes": [{{"Name": "b0", {node}}}], "Dynamic": false}}"#
        )
    }

    fn toml_file(text: &str) -> String {
        builder(&format!(r#""Files": {{"buildkitd.toml": "{}"}}"#, BASE64.encode(text.as_bytes())))
    }

    #[test]
    fn a_builder_with_servers_of_its_own_is_judged_by_them() {
        for (servers, expected) in [
            ("[\"8.8.8.8\"]", "problem: builder b (docker-container), by its buildkitd.toml, asks 8.8.8.8"),
            ("[\"172.17.0.1\"]", "ok: builder b (docker-container), by its buildkitd.toml, asks 172.17.0.1"),
        ] {
            let report = said(&toml_file(&format!("[dns]\nnameservers = {servers}\n")), &[]);
            assert_eq!(lines(&report), [expected]);
        }
    }

    #[test]
    fn without_them_its_own_container_s_resolv_conf_counts() {
        let builder = builder(r#""Endpoint": "unix:///var/run/docker.sock", "Files": null"#);
        let own = |text| said(&builder, &[("var/lib/docker/b0/resolv.conf", text)]);
        assert_eq!(own("nameserver 172.17.0.1\n"), Report::default());
        let google = "8.8.8.8, 8.8.4.4, 2001:4860:4860::8888, 2001:4860:4860::8844";
        assert_eq!(
            lines(&own("nameserver 127.0.0.11\n")),
            [format!("problem: builder b (docker-container), in RUN steps, asks {google}")],
            "BuildKit takes loopback addresses out, those of Docker's own resolver too"
        );
        assert_eq!(said(&builder, &[]), Report::default());
    }

    #[test]
    fn a_builder_elsewhere_cannot_be_seen() {
        let report =
            said(r#"{"Name": "b", "Driver": "remote", "Nodes": [{"Endpoint": "tcp://builder.lab.test:1234"}]}"#, &[]);
        assert_eq!(lines(&report), ["warning: builder b (remote) builds at tcp://builder.lab.test:1234"]);
    }

    #[test]
    fn a_builder_needs_the_certificate_that_this_machine_trusts() {
        let folder = tempfile::tempdir().unwrap();
        let constraints = [Constraint::of(&Pattern::parse("ghcr.io").unwrap()).unwrap()];
        let (not_before, lifetime) = (SystemTime::now() - BACKDATED, BACKDATED * 2);
        let creation = Creation { constraints: &constraints, not_before, lifetime, owner: None };
        let pem = create(folder.path(), &creation).unwrap().certificate.to_pem();
        let holding = |text: &str| {
            let file = BASE64.encode(text.as_bytes());
            builder(&format!(r#""Files": {{"certs/docker.io/pullgate.crt": "{file}"}}"#))
        };
        let lacking = "problem: builder b does not trust the gateway's authority";
        for (instance, installed, expected) in [
            (holding(&pem), pem.as_str(), vec![]),
            (holding("no certificate"), pem.as_str(), vec![lacking]),
            (builder(r#""Files": null"#), pem.as_str(), vec![lacking]),
            (builder(r#""Files": null"#), "", vec![]),
            (builder(r#""Files": null"#).replace("docker-container", "remote"), pem.as_str(), vec![]),
        ] {
            let tree = Tree::of(&[
                ("usr/sbin/update-ca-certificates", ""),
                ("usr/local/share/ca-certificates/pullgate-1.crt", installed),
                ("home/a/.docker/buildx/instances/b", &instance),
            ]);
            let report = tree.said(|scene, report| {
                let mut scene = scene.clone();
                scene.variables.insert("HOME".to_owned(), "/home/a".to_owned());
                without_authority(&scene, report);
            });
            assert_eq!(lines(&report), expected, "{instance}");
        }
        assert_eq!(
            lines(&{
                let mut report = Report::default();
                report.add(judge_trust("b", false, true).unwrap());
                report
            }),
            ["warning: builder b does not trust the gateway's next authority yet"]
        );
    }

    #[test]
    fn a_daemon_by_itself_is_judged_by_its_file() {
        let report = said("{}", &[("etc/buildkit/buildkitd.toml", "[dns]\nnameservers = [\"1.1.1.1\"]\n")]);
        assert_eq!(lines(&report), ["problem: BuildKit (/etc/buildkit/buildkitd.toml) asks 1.1.1.1"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_content_panics(text in "(Nodes|Files|Driver|buildkitd.toml|[\\[\\]{}\":,=a-z]){0,30}") {
            said(&text, &[("etc/buildkit/buildkitd.toml", &text)]);
            said(&toml_file(&text), &[]);
        }
    }
}
