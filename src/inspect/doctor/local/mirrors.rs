//! Registry mirrors, and registries whose certificates are not checked: hosts that an engine asks for images without
//! anybody naming them.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::daemon_json::{self, DaemonJson};
use super::foreign;
use super::judged::{Judged, host_of, judge};
use crate::inspect::doctor::report::{Finding, Report, Section};
use crate::inspect::doctor::scene::Scene;
use crate::inspect::engine::Engine;
use crate::inspect::machine::Machine;

/// Every mirror that an engine of this machine has.
pub(super) fn configured(scene: &Scene<'_>, engines: &[Engine], report: &mut Report) {
    let mut found = of_docker(scene.machine, engines, report);
    found.extend(of_containerd(scene.machine, report));
    found.extend(of_containers(scene, report));
    found.extend(of_k3s(scene.machine, report));
    let mut said: Vec<(Use, &str)> = Vec::new();
    for mirror in &found {
        if !said.contains(&(mirror.purpose, &mirror.url)) {
            report.add(mirror.finding(&judge(scene, &mirror.url)));
            said.push((mirror.purpose, &mirror.url));
        }
    }
}

/// A host that is asked for images.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    /// Its URL, or host and port.
    url: String,
    purpose: Use,
    /// The file that says so, or the engine.
    place: String,
}

/// What it is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is asked in place of a registry.
    Mirror,
    /// Its certificate is not checked.
    Insecure,
}

impl Mirror {
    fn new(url: impl Into<String>, purpose: Use, place: &str) -> Self {
        Self { url: url.into(), purpose, place: place.to_owned() }
    }

    fn finding(&self, judged: &Judged) -> Finding {
        let what = match self.purpose {
            Use::Mirror => "mirror",
            Use::Insecure => "registry without certificate check",
        };
        let title = format!("{what} {} ({})", self.url, self.place);
        let finding = match (judged, self.purpose) {
            (Judged::Address(address), _) if address.is_loopback() => Finding::note(CHECK, title)
                .meaning("it runs on this machine: what it fetches is decided where it resolves names itself"),
            (Judged::Address(_), _) => Finding::warning(CHECK, title)
                .meaning("it is reached by its address, without a question that pullgate could deny")
                .fix(format!("take {} out of {}, or give it a name that the policy allows", self.url, self.place)),
            (Judged::Allowed, Use::Mirror) => {
                Finding::note(CHECK, title).meaning("the policy allows it; whatever it mirrors can be had there")
            }
            (Judged::Allowed, Use::Insecure) => Finding::warning(CHECK, title)
                .meaning("whoever answers in its name is believed, whatever certificate it shows")
                .fix(format!("take {} out of {} and install its certificate authority", self.url, self.place)),
            (Judged::Denied, Use::Mirror) => Finding::warning(CHECK, title)
                .meaning("the policy denies it: every pull tries it in vain, then asks the registry itself")
                .fix(format!("take it out of {}, or allow it: pullgate check {}", self.place, host_of(&self.url))),
            (Judged::Denied, Use::Insecure) => Finding::note(CHECK, title).meaning("the policy denies it"),
            (Judged::Unknown, _) => Finding::warning(CHECK, title)
                .meaning("no policy can be read here that would say whether it is allowed")
                .fix(format!("where pullgate runs: pullgate check {}", host_of(&self.url))),
        };
        finding.section(Section::CannotSee)
    }
}

fn of_docker(machine: &Machine, engines: &[Engine], report: &mut Report) -> Vec<Mirror> {
    let daemon = DaemonJson::of(machine, report).unwrap_or_default();
    let mut found: Vec<Mirror> =
        daemon.registry_mirrors.iter().map(|url| Mirror::new(url, Use::Mirror, daemon_json::PATH)).collect();
    found.extend(daemon.insecure_registries.iter().map(|host| Mirror::new(host, Use::Insecure, daemon_json::PATH)));
    for engine in engines {
        let place = format!("the engine at {}", engine.socket.display());
        let registries = &engine.info.registry_config;
        // The engine ends each URL with a slash, whatever the file has.
        let mirrors = registries.mirrors.iter().map(|url| url.trim_end_matches('/'));
        let known = |url: &str| found.iter().any(|mirror| mirror.url.trim_end_matches('/') == url);
        let mirrors: Vec<Mirror> =
            mirrors.filter(|url| !known(url)).map(|url| Mirror::new(url, Use::Mirror, &place)).collect();
        let insecure = registries.index_configs.iter().filter(|(_, index)| !index.secure);
        let insecure = insecure.map(|(name, _)| Mirror::new(name, Use::Insecure, &place));
        found = found.into_iter().chain(mirrors).chain(insecure).collect();
    }
    found
}

/// containerd: a folder of `HOST/hosts.toml` files, and what came before it in config.toml.
fn of_containerd(machine: &Machine, report: &mut Report) -> Vec<Mirror> {
    let config = foreign::toml(machine, CONTAINERD, report).unwrap_or_default();
    let registries: Vec<&Table> = plugins(&config).filter_map(|plugin| plugin.get("registry")?.as_table()).collect();
    let mut found = Vec::new();
    for registry in &registries {
        let mirrors = tables(registry.get("mirrors"));
        let endpoints = mirrors.flat_map(|(_, mirror)| strings(mirror.get("endpoint")));
        found.extend(endpoints.map(|url| Mirror::new(url, Use::Mirror, CONTAINERD)));
    }
    let named = registries.iter().filter_map(|registry| registry.get("config_path")?.as_str());
    let mut folders: Vec<&str> = named.flat_map(|list| list.split(':')).filter(|folder| !folder.is_empty()).collect();
    if !folders.contains(&CERTS) {
        folders.push(CERTS);
    }
    for folder in folders {
        for registry in foreign::list(machine, folder, "", report) {
            found.extend(of_hosts_toml(machine, &registry, report));
        }
    }
    found
}

fn of_hosts_toml(machine: &Machine, folder: &Path, report: &mut Report) -> Vec<Mirror> {
    let path = folder.join("hosts.toml");
    let Some(hosts) = foreign::toml(machine, &path, report) else { return Vec::new() };
    let own = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = path.display().to_string();
    let mut found = Vec::new();
    let server = hosts.get("server").and_then(Value::as_str);
    let listed = tables(hosts.get("host")).map(|(url, table)| (url, Some(table)));
    for (url, settings) in server.map(|url| (url, None)).into_iter().chain(listed) {
        // `registry-1.docker.io` is docker.io's own server, and no mirror of it.
        if host_of(url) != host_of(&own) && !(own == "docker.io" && host_of(url) == "registry-1.docker.io") {
            found.push(Mirror::new(url, Use::Mirror, &place));
        }
        if settings.is_some_and(|table| table.get("skip_verify").and_then(Value::as_bool) == Some(true)) {
            found.push(Mirror::new(url, Use::Insecure, &place));
        }
    }
    found
}

/// What containers/image reads for podman, buildah and skopeo: registries.conf(5) in both its versions.
fn of_containers(scene: &Scene<'_>, report: &mut Report) -> Vec<Mirror> {
    let own = scene.variables.get("HOME").map(|home| Path::new(home).join(".config/containers"));
    let mut found = Vec::new();
    for folder in [Some(PathBuf::from("/etc/containers")), own].into_iter().flatten() {
        let parts = foreign::list(scene.machine, folder.join("registries.conf.d"), ".conf", report);
        for path in std::iter::once(folder.join("registries.conf")).chain(parts) {
            let Some(table) = foreign::toml(scene.machine, &path, report) else { continue };
            found.extend(of_registries_conf(&table, &path.display().to_string()));
        }
    }
    found
}

fn of_registries_conf(table: &Table, place: &str) -> Vec<Mirror> {
    let mut found = Vec::new();
    let is_insecure = |table: &Table| table.get("insecure").and_then(Value::as_bool) == Some(true);
    for registry in array_of_tables(table.get("registry")) {
        let text = |key: &str| registry.get(key).and_then(Value::as_str);
        let (prefix, location) = (text("prefix"), text("location"));
        if let Some(location) = location {
            if prefix.is_some_and(|prefix| host_of(prefix) != host_of(location)) {
                found.push(Mirror::new(location, Use::Mirror, place));
            }
            if is_insecure(registry) {
                found.push(Mirror::new(location, Use::Insecure, place));
            }
        }
        for mirror in array_of_tables(registry.get("mirror")) {
            let Some(location) = mirror.get("location").and_then(Value::as_str) else { continue };
            found.push(Mirror::new(location, Use::Mirror, place));
            if is_insecure(mirror) {
                found.push(Mirror::new(location, Use::Insecure, place));
            }
        }
    }
    let version_1 = table.get("registries").and_then(|registries| registries.get("insecure")?.get("registries"));
    found.extend(strings(version_1).map(|host| Mirror::new(host, Use::Insecure, place)));
    found
}

/// k3s: the URLs that registries.yaml has anywhere.
fn of_k3s(machine: &Machine, report: &mut Report) -> Vec<Mirror> {
    let text = foreign::text(machine, K3S, report).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| line.split(['"', '\'', ' ', ',', '[', ']']));
    let urls = words.filter(|word| word.starts_with("http://") || word.starts_with("https://"));
    urls.map(|url| Mirror::new(url, Use::Mirror, K3S)).collect()
}

/// The plugins of containerd's config.toml, whatever version it has.
fn plugins(config: &Table) -> impl Iterator<Item = &Table> {
    tables(config.get("plugins")).map(|(_, plugin)| plugin)
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = (&str, &Table)> {
    let members = value.and_then(Value::as_table).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.as_str(), value.as_table()?)))
}

fn array_of_tables(value: Option<&Value>) -> impl Iterator<Item = &Table> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

const CHECK: &str = "mirrors";
const CONTAINERD: &str = "/etc/containerd/config.toml";
/// Where hosts.toml files are by convention, and by default since containerd 2.
const CERTS: &str = "/etc/containerd/certs.d";
const K3S: &str = "/etc/rancher/k3s/registries.yaml";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::doctor::local::testing::{Tree, lines};

    fn said(files: &[(&str, &str)]) -> Report {
        let policy = "[[registry]]\nname = \"mirror\"\nhosts = [\"mirror.lab.test\"]\n";
        Tree::of(files).policy(policy).said(|scene, report| configured(scene, &[], report))
    }

    #[test]
    fn every_file_that_can_name_a_mirror_is_read() {
        for (path, text, expected) in [
            (
                "etc/docker/daemon.json",
                r#"{"registry-mirrors": ["https://mirror.lab.test"]}"#,
                "note: mirror https://mirror.lab.test (/etc/docker/daemon.json)",
            ),
            (
                "etc/docker/daemon.json",
                r#"{"insecure-registries": ["198.18.1.9:5000"]}"#,
                "warning: registry without certificate check 198.18.1.9:5000 (/etc/docker/daemon.json)",
            ),
            (
                "etc/containerd/certs.d/docker.io/hosts.toml",
                "server = \"https://registry-1.docker.io\"\n[host.\"http://127.0.0.1:5055\"]\n",
                "note: mirror http://127.0.0.1:5055 (/etc/containerd/certs.d/docker.io/hosts.toml)",
            ),
            (
                "etc/containerd/config.toml",
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://other.lab.test\"]\n",
                "warning: mirror https://other.lab.test (/etc/containerd/config.toml)",
            ),
            (
                "etc/containers/registries.conf.d/9.conf",
                "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"other.lab.test/hub\"\n",
                "warning: mirror other.lab.test/hub (/etc/containers/registries.conf.d/9.conf)",
            ),
            (
                "etc/containers/registries.conf",
                "[[registry]]\nprefix = \"docker.io\"\nlocation = \"mirror.lab.test\"\n",
                "note: mirror mirror.lab.test (/etc/containers/registries.conf)",
            ),
            (
                "etc/containers/registries.conf",
                "[registries.insecure]\nregistries = [\"mirror.lab.test\"]\n",
                "warning: registry without certificate check mirror.lab.test (/etc/containers/registries.conf)",
            ),
            (
                "etc/rancher/k3s/registries.yaml",
                "mirrors:\n  docker.io:\n    endpoint:\n      - \"https://other.lab.test\"\n",
                "warning: mirror https://other.lab.test (/etc/rancher/k3s/registries.yaml)",
            ),
        ] {
            assert_eq!(lines(&said(&[(path, text)])), [expected], "{path}");
        }
    }

    #[test]
    fn another_folder_of_hosts_toml_is_found_where_containerd_is_told() {
        let config =
            "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/srv/certs:/etc/x'\n";
        let report = said(&[
            ("etc/containerd/config.toml", config),
            ("srv/certs/ghcr.io/hosts.toml", "[host.\"https://other.lab.test\"]\nskip_verify = true\n"),
        ]);
        assert_eq!(report.findings.len(), 2, "{report:?}");
    }

    #[test]
    fn a_registry_that_is_only_itself_is_no_mirror() {
        let report = said(&[
            ("etc/containers/registries.conf", "[[registry]]\nprefix = \"ghcr.io/a\"\nlocation = \"ghcr.io/b\"\n"),
            ("etc/containerd/certs.d/ghcr.io/hosts.toml", "server = \"https://ghcr.io\"\n"),
        ]);
        assert_eq!(report, Report::default());
    }

    #[test]
    fn what_the_engine_says_and_its_file_says_is_said_once() {
        let tree = Tree::of(&[("etc/docker/daemon.json", r#"{"registry-mirrors": ["https://mirror.lab.test"]}"#)]);
        let mut engine = Engine::default();
        engine.info.registry_config.mirrors = vec!["https://mirror.lab.test/".to_owned()];
        let report = tree.said(|scene, report| configured(scene, &[engine], report));
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert!(report.findings[0].meaning.starts_with("no policy can be read"), "{report:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_content_panics(text in "(registry|mirror|host|server|location|plugins|[\\[\\]\".=\\n a-z]){0,30}") {
            let report = said(&[
                ("etc/docker/daemon.json", &text),
                ("etc/containerd/config.toml", &text),
                ("etc/containerd/certs.d/x/hosts.toml", &text),
                ("etc/containers/registries.conf", &text),
                ("etc/rancher/k3s/registries.yaml", &text),
            ]);
            prop_assert!(report.findings.iter().all(|finding| !finding.title.is_empty()));
        }
    }
}
