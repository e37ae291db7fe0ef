//! `setup kubernetes`: a node's pulls go by pullgate's policy, its pods and CoreDNS ask the servers of before.
//!
//! The node's containerd or CRI-O pulls by the node's resolv.conf, as any program of it; that is what the targets of the
//! host set up. Pods with `dnsPolicy: Default`, CoreDNS among them, get a copy of the file that the kubelet's resolvConf
//! names ([inheriting DNS from the node]); it is pointed to one with the original servers, since policy for images is not
//! meant for what pods look up, and pods could not reach a server on the node's loopback anyway.
//! The kubelet reads it from its [configuration file], k3s and rke2 from a drop-in of theirs ([k3s], [rke2]).
//!
//! [inheriting DNS from the node]: https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/#inheriting-dns-from-the-node
//! [configuration file]: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
//! [k3s]: https://docs.k3s.io/installation/configuration#configuration-file
//! [rke2]: https://docs.rke2.io/install/configuration

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::owner::RESOLV_CONF;
use super::resolv_conf::{self, SAVED};
use super::{Plan, Request, SetupFault};
use crate::inspect::edit::yaml::{self, Value};
use crate::inspect::machine::Machine;
use crate::resolv_conf::ResolvConf;

/// The target's name on the command line.
pub const TARGET: &str = "kubernetes";

/// What pods are to ask.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Servers for pods and CoreDNS; those of before without any.
    pub servers: Vec<IpAddr>,
}

/// A distribution with files of its own.
struct Distribution {
    /// Its name, as people say it.
    name: &'static str,
    /// What shows that it is here.
    traces: &'static [&'static str],
    /// Its folder in /etc, where it has drop-ins.
    folder: Option<&'static str>,
    /// Where its command line stands, which goes before its files.
    command_lines: &'static [&'static str],
    /// Its services; a node has one of them.
    services: &'static [&'static str],
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    Distribution::find(machine).map(|distribution| distribution.name.to_owned())
}

/// Plans it.
///
/// # Errors
/// This is no node; no server for pods is known; a command line sets it already; settings that are not YAML.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let distribution = Distribution::find(machine).ok_or_else(|| {
        SetupFault::new("this machine is no node that is known: there is no kubelet's config.yaml, no k3s, no rke2")
            .hint("other kubelets take `resolvConf` in their configuration or `--resolv-conf` on their command line")
    })?;
    distribution.refuse_command_lines(machine)?;
    let mut plan = Plan::new(TARGET);
    let pods_file = pods_file(&mut plan, machine, request, options)?;
    let why = format!("pods and CoreDNS go on with the servers in {pods_file}");
    let value = Value::Text(pods_file.to_owned());
    match distribution.folder {
        None => plan.edit(machine, KUBELET, |text| yaml::set(text, &["resolvConf"], &value), why)?,
        Some(folder) => {
            let drop_in = Path::new(folder).join(DROP_IN);
            plan.edit(machine, drop_in, |text| yaml::set(text, &["resolv-conf"], &value), why)?;
        }
    }
    distribution.restart(&mut plan, machine);
    notes(&mut plan, machine, request, distribution)?;
    Ok(plan)
}

/// A file with the servers that pods ask: one that is there, else one that is written.
fn pods_file(
    plan: &mut Plan,
    machine: &Machine,
    request: &Request,
    options: &Options,
) -> Result<&'static str, SetupFault> {
    let why = "the servers of pods: those that this machine asks now";
    if !options.servers.is_empty() {
        let servers = options.servers.iter().map(|ip| SocketAddr::new(*ip, 53)).collect();
        let text = written(&ResolvConf { servers, ..ResolvConf::default() });
        plan.write(machine, PODS, text, "the servers of pods, as given")?;
        return Ok(PODS);
    }
    if !usable(machine, request, PODS)?.servers.is_empty() {
        return Ok(PODS);
    }
    // What is saved is gone when the target that saved it is undone: pods need a file that stays.
    for path in [SAVED, RESOLV_CONF, UPLINK] {
        let found = usable(machine, request, path)?;
        if !found.servers.is_empty() {
            plan.write(machine, PODS, written(&found), why)?;
            return Ok(PODS);
        }
    }
    Err(SetupFault::new("no server is known that pods could ask: all there are stand on loopback or are pullgate")
        .hint("name one with --pods-server"))
}

/// What a file says, of its servers those that a pod can ask and that are not pullgate.
fn usable(machine: &Machine, request: &Request, path: &str) -> Result<ResolvConf, SetupFault> {
    let mut read = ResolvConf::parse(&SetupFault::read(machine, path)?.unwrap_or_default());
    read.servers.retain(|server| !server.ip().is_loopback() && !request.is_ours(*server));
    Ok(read)
}

fn written(content: &ResolvConf) -> String {
    let mut text = "# Written by `pullgate setup kubernetes`: what pods and CoreDNS ask.\n".to_owned();
    for server in &content.servers {
        text.extend(["nameserver ", &server.ip().to_string(), "\n"]);
    }
    for (word, values) in [("search", &content.search), ("options", &content.options)] {
        if !values.is_empty() {
            text.extend([word, " ", &values.join(" "), "\n"]);
        }
    }
    text
}

fn notes(plan: &mut Plan, machine: &Machine, request: &Request, distribution: &Distribution) -> Result<(), SetupFault> {
    if !resolv_conf::names_only_us(machine, request)? {
        plan.note(
            "images are pulled by the node's resolv.conf, which does not name pullgate yet: after this, `pullgate setup` \
             says which of resolv-conf, resolved and networkmanager the node needs",
        );
    }
    if distribution.folder.is_none() {
        plan.note(
            "`kubeadm upgrade` writes the kubelet's file anew: set resolvConf in the cluster's ConfigMap kubelet-config \
             (namespace kube-system) as well",
        );
    }
    plan.note("pods that run keep what they have; those on the node's network (hostNetwork) ask what the node asks");
    plan.note("every node that pulls needs it; an image that a node has is not pulled again");
    Ok(())
}

impl Distribution {
    fn find(machine: &Machine) -> Option<&'static Self> {
        DISTRIBUTIONS.iter().find(|distribution| distribution.traces.iter().any(|path| machine.has(path)))
    }

    fn refuse_command_lines(&self, machine: &Machine) -> Result<(), SetupFault> {
        let mut places: Vec<PathBuf> = self.command_lines.iter().map(PathBuf::from).collect();
        if let Some(folder) = self.folder {
            places.push(Path::new(folder).join("config.yaml"));
            let drop_ins = Path::new(folder).join("config.yaml.d");
            places.extend(machine.list(&drop_ins).map_err(|error| SetupFault::reading(&drop_ins, &error))?);
        }
        for path in places {
            let text = SetupFault::read(machine, &path)?.unwrap_or_default();
            let is_later = self.folder.is_some_and(|folder| path > Path::new(folder).join(DROP_IN));
            let sets = |line: &str| {
                let is_flag = ["--resolv-conf", "resolv-conf=", "_RESOLV_CONF="].iter().any(|flag| line.contains(flag));
                is_flag || (is_later && line.starts_with("resolv-conf"))
            };
            if text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).any(sets) {
                return Err(SetupFault::new(format!("{} sets resolv-conf, and goes before the file", path.display()))
                    .hint("remove it there, and run this again"));
            }
        }
        Ok(())
    }

    fn restart(&self, plan: &mut Plan, machine: &Machine) {
        let is_here = |unit: &&&str| UNIT_FOLDERS.iter().any(|folder| machine.has(Path::new(folder).join(unit)));
        let Some(unit) = self.services.iter().find(is_here).or(self.services.first()) else { return };
        plan.command(&format!("systemctl restart {unit}"), "reads it; pods go on running meanwhile");
    }
}

const DISTRIBUTIONS: &[Distribution] = &[
    Distribution {
        name: "k3s",
        traces: &["/etc/rancher/k3s", "/usr/local/bin/k3s", "/usr/bin/k3s"],
        folder: Some("/etc/rancher/k3s"),
        command_lines: &[
            "/etc/systemd/system/k3s.service",
            "/etc/systemd/system/k3s.service.env",
            "/etc/systemd/system/k3s-agent.service",
            "/etc/systemd/system/k3s-agent.service.env",
        ],
        services: &["k3s.service", "k3s-agent.service"],
    },
    Distribution {
        name: "rke2",
        traces: &["/etc/rancher/rke2", "/usr/local/bin/rke2", "/usr/bin/rke2"],
        folder: Some("/etc/rancher/rke2"),
        command_lines: &["/etc/default/rke2-server", "/etc/default/rke2-agent"],
        services: &["rke2-server.service", "rke2-agent.service"],
    },
    Distribution {
        name: "kubelet",
        traces: &[KUBELET],
        folder: None,
        command_lines: &["/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"],
        services: &["kubelet.service"],
    },
];
const UNIT_FOLDERS: &[&str] = &["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
/// Where kubeadm puts the kubelet's configuration.
const KUBELET: &str = "/var/lib/kubelet/config.yaml";
const DROP_IN: &str = "config.yaml.d/50-pullgate.yaml";
/// The servers of pods, where what `setup` saved cannot be used.
const PODS: &str = "/etc/pullgate/pods-resolv.conf";
/// The servers that systemd-resolved has.
const UPLINK: &str = "/run/systemd/resolve/resolv.conf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::setup::testing::{Tree, commands, files, request};

    const PLAIN: (&str, &str) = ("/etc/resolv.conf", "nameserver 192.0.2.1\nsearch corp.example\noptions edns0\n");
    const WRITTEN: &str = "# Written by `pullgate setup kubernetes`: what pods and CoreDNS ask.\nnameserver 192.0.2.1\nsearch corp.example\noptions edns0\n";

    #[test]
    fn pods_of_a_kubelet_go_on_with_the_servers_of_before() {
        let before = "apiVersion: kubelet.config.k8s.io/v1beta1\n# by kubeadm\nresolvConf: /run/systemd/resolve/resolv.conf\nrotateCertificates: true\n";
        let tree = Tree::new(&[PLAIN, (KUBELET, before)]);
        let plan = tree.apply(|machine| plan(machine, &request(), &Options::default()));
        let after = before.replace("/run/systemd/resolve/resolv.conf", PODS);
        assert_eq!(files(&plan), [(PODS.to_owned(), WRITTEN.to_owned()), (KUBELET.to_owned(), after)]);
        assert_eq!(commands(&plan), ["systemctl restart kubelet.service"]);
    }

    #[test]
    fn k3s_and_rke2_get_a_drop_in() {
        for (name, service) in [("k3s", "k3s-agent"), ("rke2", "rke2-server")] {
            let config = format!("/etc/rancher/{name}/config.yaml");
            let unit = format!("/etc/systemd/system/{service}.service");
            let tree = Tree::new(&[PLAIN, (&config, "resolv-conf: /etc/other\n"), (&unit, "[Service]\n")]);
            let plan = tree.apply(|machine| plan(machine, &request(), &Options::default()));
            let drop_in = format!("/etc/rancher/{name}/config.yaml.d/50-pullgate.yaml");
            assert_eq!(files(&plan)[1], (drop_in, format!("resolv-conf: {PODS}\n")));
            assert_eq!(commands(&plan), [format!("systemctl restart {service}.service")]);
        }
    }

    #[test]
    fn the_servers_are_those_saved_else_those_of_resolved_else_those_given() {
        let stub = ("/etc/resolv.conf", "nameserver 127.0.0.53\n");
        let kubelet = (KUBELET, "a: 1\n");
        let with = |files: &[(&str, &str)], options: &Options| {
            let tree = Tree::new(files);
            tree.apply(|machine| plan(machine, &request(), options));
            assert!(tree.text(KUBELET).unwrap().contains(PODS), "not the saved file, which an undo takes away");
            tree.text(PODS).unwrap()
        };
        let none = Options::default();
        let saved = (SAVED, "nameserver 192.0.2.9\n");
        assert!(with(&[stub, kubelet, saved, (UPLINK, "nameserver 192.0.2.1\n")], &none).contains("192.0.2.9"));
        assert!(with(&[stub, kubelet, (UPLINK, "nameserver 192.0.2.1\n")], &none).contains("192.0.2.1"));
        let given = Options { servers: vec!["192.0.2.7".parse().unwrap()] };
        assert!(with(&[stub, kubelet], &given).contains("192.0.2.7"));
        let fault = plan(&Tree::new(&[stub, kubelet]).machine(), &request(), &none).unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("name one with --pods-server"));
    }

    #[test]
    fn pullgate_is_not_taken_for_the_server_of_before() {
        let tree = Tree::new(&[("/etc/resolv.conf", "nameserver 172.17.0.1\n"), (KUBELET, "a: 1\n")]);
        assert!(plan(&tree.machine(), &request(), &Options::default()).is_err());
    }

    #[test]
    fn a_command_line_that_goes_before_the_file_is_named() {
        for (path, text) in [
            (
                "/etc/systemd/system/k3s.service",
                "ExecStart=/usr/local/bin/k3s \\\n    server \\\n    '--resolv-conf' \\\n",
            ),
            ("/etc/rancher/k3s/config.yaml", "kubelet-arg:\n- resolv-conf=/etc/other\n"),
            ("/etc/rancher/k3s/config.yaml.d/90-own.yaml", "resolv-conf: /etc/other\n"),
        ] {
            let tree = Tree::new(&[PLAIN, ("/etc/rancher/k3s/config.yaml", ""), (path, text)]);
            let fault = plan(&tree.machine(), &request(), &Options::default()).unwrap_err();
            assert!(fault.message.starts_with(path), "{fault}");
        }
    }

    #[test]
    fn a_machine_that_is_no_node_is_told_so() {
        assert!(plan(&Tree::new(&[PLAIN]).machine(), &request(), &Options::default()).is_err());
        assert_eq!(found(&Tree::new(&[PLAIN]).machine()), None);
    }
}
