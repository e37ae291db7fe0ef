//! The settings of the Docker daemon: daemon.json, and the flags of its unit.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::inspect::edit::{EditFault, json as edit};
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, SetupFault};

/// What the daemon is told.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Its settings file,
    path: PathBuf,
    /// with this text; empty if there is none.
    text: String,
    /// Where it keeps images and mounts containers' file systems.
    root: String,
}

impl Daemon {
    /// Reads its settings.
    pub(super) fn read(machine: &Machine) -> Result<Self, SetupFault> {
        let flags = Flags::read(machine)?;
        let path = flags.value("--config-file").map_or_else(|| DAEMON_JSON.into(), |(_, path)| PathBuf::from(path));
        if let Some((file, _)) = flags.value("--dns") {
            let message = format!("{} starts Docker with --dns", file.display());
            let hint = "Docker does not start when `dns` is a flag and in daemon.json: take the flag out";
            return Err(SetupFault::new(message).hint(hint));
        }
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        let flag = ["--data-root", "--graph", "-g"].iter().find_map(|flag| flags.value(flag));
        let root = flag.map_or(DATA_ROOT, |(_, root)| root).to_owned();
        let mut daemon = Self { path, text, root };
        edit::read(&daemon.text, &["dns"]).map_err(|fault| daemon.fault(&fault))?;
        if let Some(Value::String(root)) = daemon.value("data-root") {
            daemon.root = root;
        }
        Ok(daemon)
    }

    /// Its `dns`: whom containers ask.
    pub(super) fn dns(&self) -> Vec<IpAddr> {
        let value = self.value("dns").unwrap_or_default();
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// The folder below which it mounts the file systems of containers.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The address that its default bridge is to have.
    pub(super) fn bridge_address(&self) -> Option<IpAddr> {
        let range = self.value("bip")?;
        range.as_str()?.split('/').next()?.parse().ok()
    }

    /// The bridge that its containers use; `None`: Docker's own.
    pub(super) fn bridge(&self) -> Option<String> {
        self.value("bridge")?.as_str().map(str::to_owned)
    }

    /// Whether its networks have IPv6.
    pub(super) fn has_ipv6(&self) -> bool {
        self.value("ipv6") == Some(Value::Bool(true))
    }

    /// Plans that containers ask these servers.
    pub(super) fn set_dns(
        &self,
        plan: &mut Plan,
        machine: &Machine,
        servers: &[IpAddr],
        why: &str,
    ) -> Result<(), SetupFault> {
        let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
        let text = edit::set(&self.text, &["dns"], json!(servers)).map_err(|fault| self.fault(&fault))?;
        plan.write(machine, &self.path, text, why)
    }

    /// What a restart does to containers. `dns` needs one: it is not among what Docker takes over on a signal.
    pub(super) fn restart_disturbs(&self) -> &'static str {
        if self.value("live-restore") == Some(Value::Bool(true)) {
            "Docker reads its settings; containers go on (live-restore) and keep their old resolver until they start anew"
        } else {
            "Docker reads its settings; this stops every container, and starts those with a restart policy again"
        }
    }

    fn value(&self, key: &str) -> Option<Value> {
        edit::read(&self.text, &[key]).ok().flatten()
    }

    fn fault(&self, fault: &EditFault) -> SetupFault {
        let EditFault { line, column, message } = fault;
        let message = format!("{}:{line}:{column}: {message}", self.path.display());
        SetupFault::new(message).hint("nothing was changed; Docker does not start with such a file either")
    }
}

/// The lines of files from which the daemon takes its flags.
struct Flags(Vec<(PathBuf, String)>);

impl Flags {
    fn read(machine: &Machine) -> Result<Self, SetupFault> {
        let mut paths = machine.list(DROP_INS).map_err(|error| SetupFault::reading(DROP_INS.as_ref(), &error))?;
        paths.extend(FLAG_FILES.iter().map(PathBuf::from));
        let mut lines = Vec::new();
        for path in paths {
            let text = SetupFault::read(machine, &path)?.unwrap_or_default();
            let meant = text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
            lines.extend(meant.map(|line| (path.clone(), line.to_owned())));
        }
        Ok(Self(lines))
    }

    /// The first value of a flag, with the file that sets it.
    fn value(&self, flag: &str) -> Option<(&Path, &str)> {
        let quoted = |c: char| c.is_ascii_whitespace() || c == '"' || c == '\'' || c == '=';
        self.0.iter().find_map(|(path, line)| {
            let mut words = line.split(quoted).filter(|word| !word.is_empty());
            words.find(|word| *word == flag)?;
            Some((path.as_path(), words.next()?))
        })
    }
}

/// Settings of Docker daemons that users run for themselves.
pub(super) fn rootless(machine: &Machine) -> Vec<String> {
    let mut homes = machine.list("/home").unwrap_or_default();
    homes.push("/root".into());
    let files = homes.into_iter().map(|home| home.join(".config/docker/daemon.json"));
    files.filter(|path| machine.has(path)).map(|path| path.display().to_string()).collect()
}

const DATA_ROOT: &str = "/var/lib/docker";
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
const DROP_INS: &str = "/etc/systemd/system/docker.service.d";
const FLAG_FILES: [&str; 5] = [
    "/etc/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.service",
    "/lib/systemd/system/docker.service",
    "/etc/default/docker",
    "/etc/sysconfig/docker",
];
