//! Where a client stands: on a host, in a virtual machine, in a container, in a WSL distribution.

use std::collections::BTreeMap;
use std::fmt;

use crate::inspect::machine::Machine;

/// Where a client stands; the innermost counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A machine of its own, as far as it can tell.
    Host,
    /// A virtual machine, with what its firmware calls itself.
    VirtualMachine(String),
    /// A container, with the engine that left its traces.
    Container(&'static str),
    /// A distribution of the Windows Subsystem for Linux, with its name where that is known.
    Wsl(Option<String>),
}

impl Place {
    /// Reads the traces that engines, WSL and hypervisors leave. None of them needs root.
    pub fn of(machine: &Machine, variables: &BTreeMap<String, String>) -> Self {
        let container = container(machine, variables).map(Self::Container);
        let wsl = || is_wsl(machine, variables).then(|| Self::Wsl(variables.get("WSL_DISTRO_NAME").cloned()));
        let virtual_machine = || hypervisor(machine).map(Self::VirtualMachine);
        container.or_else(wsl).or_else(virtual_machine).unwrap_or(Self::Host)
    }

    /// The engine that writes this place's resolv.conf, by its target of `setup`. A container that boots a whole system
    /// has a resolv.conf of its own.
    pub(super) fn engine(&self) -> Option<&'static str> {
        match self {
            Self::Container(engine) => ["docker", "podman", "kubernetes"].into_iter().find(|known| known == engine),
            Self::Host | Self::VirtualMachine(_) | Self::Wsl(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::VirtualMachine(firmware) => write!(f, "virtual machine ({firmware})"),
            Self::Container(engine) => write!(f, "container ({engine})"),
            Self::Wsl(Some(name)) => write!(f, "WSL distribution ({name})"),
            Self::Wsl(None) => f.write_str("WSL distribution"),
        }
    }
}

fn container(machine: &Machine, variables: &BTreeMap<String, String>) -> Option<&'static str> {
    let read = |path: &str| machine.read(path).ok().flatten();
    // Written anew by each systemd that boots: a mark in the file system may have come with the tree.
    if let Some(manager) = read("/run/systemd/container") {
        return known_manager(manager.trim());
    }
    if read("/.dockerenv").is_some() {
        return Some("docker");
    }
    if read("/run/.containerenv").is_some() {
        return Some("podman");
    }
    let cgroups = read("/proc/1/cgroup").unwrap_or_default();
    let by_cgroup = CGROUP_MARKS.iter().find(|(mark, _)| cgroups.contains(mark)).map(|(_, engine)| *engine);
    by_cgroup.or_else(|| variables.get("container").and_then(|manager| known_manager(manager)))
}

/// A container manager by the word that systemd's convention has for it. WSL is none, though systemd says so.
fn known_manager(word: &str) -> Option<&'static str> {
    match word {
        "wsl" => None,
        _ => Some(MANAGERS.into_iter().find(|known| *known == word).unwrap_or("unknown manager")),
    }
}

/// Microsoft's kernels name themselves in their version.
fn is_wsl(machine: &Machine, variables: &BTreeMap<String, String>) -> bool {
    let version = machine.read("/proc/version").ok().flatten().unwrap_or_default().to_ascii_lowercase();
    variables.contains_key("WSL_DISTRO_NAME") || version.contains("microsoft")
}

/// What the firmware says, where firmware or processor say that they are not real.
fn hypervisor(machine: &Machine) -> Option<String> {
    let read = |path: &str| machine.read(path).ok().flatten().unwrap_or_default();
    let vendor = read("/sys/class/dmi/id/sys_vendor");
    let known = HYPERVISORS.iter().find(|(mark, _)| vendor.contains(mark)).map(|(_, name)| (*name).to_owned());
    let flags = read("/proc/cpuinfo");
    let mut flags =
        flags.lines().filter(|line| line.starts_with("flags")).take(1).flat_map(str::split_ascii_whitespace);
    known.or_else(|| flags.any(|flag| flag == "hypervisor").then(|| "unknown hypervisor".to_owned()))
}

/// What engines call the control group of a container's first process.
const CGROUP_MARKS: [(&str, &str); 5] = [
    ("/docker", "docker"),
    ("/libpod", "podman"),
    ("/kubepods", "kubernetes"),
    ("/lxc", "lxc"),
    ("/machine.slice/machine-", "systemd-nspawn"),
];

/// Container managers, as systemd-detect-virt(1) calls them.
const MANAGERS: [&str; 5] = ["systemd-nspawn", "docker", "podman", "lxc", "lxc-libvirt"];

/// What hypervisors write where real firmware names its maker.
const HYPERVISORS: [(&str, &str); 8] = [
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
    ("Microsoft Corporation", "hyper-v"),
    ("Amazon EC2", "ec2"),
    ("Google", "gce"),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// The place of a machine with these files and this environment.
    fn place(files: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Place::of(&Machine::under(root.path()), &variables).to_string()
    }

    const WSL_KERNEL: (&str, &str) = ("proc/version", "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@x)");

    #[test]
    fn every_place_leaves_its_own_traces() {
        for (files, expected) in [
            (&[] as &[_], "host"),
            (&[("proc/version", "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)")], "host"),
            (&[(".dockerenv", "")], "container (docker)"),
            (&[("run/.containerenv", "")], "container (podman)"),
            (&[("proc/1/cgroup", "12:pids:/docker/4f1c\n")], "container (docker)"),
            (&[("proc/1/cgroup", "0::/kubepods/burstable/pod1\n")], "container (kubernetes)"),
            (&[("proc/1/cgroup", "0::/init.scope\n")], "host"),
            (&[WSL_KERNEL], "WSL distribution"),
            (&[("sys/class/dmi/id/sys_vendor", "QEMU\n")], "virtual machine (qemu)"),
            (&[("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n")], "virtual machine (unknown hypervisor)"),
            (&[("proc/cpuinfo", "model name\t: hypervisor\nflags\t\t: fpu lahf_lm\n")], "host"),
        ] {
            assert_eq!(place(files, &[]), expected, "{files:?}");
        }
    }

    #[test]
    fn the_innermost_place_counts() {
        let container_in_wsl = place(&[WSL_KERNEL, (".dockerenv", "")], &[]);
        assert_eq!(container_in_wsl, "container (docker)");
        assert_eq!(place(&[WSL_KERNEL], &[("WSL_DISTRO_NAME", "Debian")]), "WSL distribution (Debian)");
        assert_eq!(place(&[], &[("container", "systemd-nspawn")]), "container (systemd-nspawn)");
        let booted = ("run/systemd/container", "systemd-nspawn\n");
        assert_eq!(place(&[(".dockerenv", ""), booted], &[]), "container (systemd-nspawn)");
        let wsl_with_systemd = place(&[WSL_KERNEL, ("run/systemd/container", "wsl\n")], &[("container", "wsl")]);
        assert_eq!(wsl_with_systemd, "WSL distribution");
    }
}
