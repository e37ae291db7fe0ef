//! What systemd-resolved's own files say (resolved.conf(5)).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::inspect::machine::Machine;
use crate::inspect::setup::SetupFault;
use crate::resolv_conf::parse_server;

/// The settings that matter here, one file left out.
#[derive(Debug)]
pub(super) struct Settings {
    /// resolved's own servers, for every link.
    pub(super) servers: Vec<SocketAddr>,
    /// Whether it listens on 127.0.0.53.
    pub(super) has_stub: bool,
    /// Whether it may ask its servers over TLS.
    pub(super) is_encrypted: bool,
    /// Files with servers that are read after the one left out.
    pub(super) later: Vec<PathBuf>,
}

impl Settings {
    /// Reads all files but `left_out`, a drop-in.
    pub(super) fn read(machine: &Machine, left_out: &str) -> Result<Self, SetupFault> {
        let left_out = Path::new(left_out);
        let mut read = Self { servers: Vec::new(), has_stub: true, is_encrypted: false, later: Vec::new() };
        if let Some(main) = MAIN.iter().find(|path| machine.has(path)) {
            read.take(&text(machine, Path::new(main))?);
        }
        for (name, path) in drop_ins(machine)? {
            if path == left_out {
                continue;
            }
            let named = read.take(&text(machine, &path)?);
            if named && Some(name.as_os_str()) > left_out.file_name() {
                read.later.push(path);
            }
        }
        Ok(read)
    }

    /// Takes what a file says; whether it names servers. As in all settings of systemd, lists add up over the files, and
    /// an empty value empties them.
    fn take(&mut self, text: &str) -> bool {
        let mut names_servers = false;
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            let value = value.trim();
            let is_off = matches!(value, "no" | "false" | "0" | "off");
            match key.trim() {
                "DNS" if value.is_empty() => self.servers.clear(),
                "DNS" => {
                    names_servers = true;
                    self.servers.extend(value.split_ascii_whitespace().filter_map(parse_server));
                }
                "DNSStubListener" => self.has_stub = !is_off && value != "tcp",
                "DNSOverTLS" => self.is_encrypted = !is_off && !value.is_empty(),
                _ => {}
            }
        }
        names_servers
    }
}

/// The drop-ins by name; of those with the same name the first folder's counts.
fn drop_ins(machine: &Machine) -> Result<BTreeMap<OsString, PathBuf>, SetupFault> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let paths = machine.list(folder).map_err(|error| SetupFault::reading(folder.as_ref(), &error))?;
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "conf")) {
            let name = path.file_name().unwrap_or_default().to_owned();
            found.entry(name).or_insert(path);
        }
    }
    Ok(found)
}

fn text(machine: &Machine, path: &Path) -> Result<String, SetupFault> {
    machine.read(path).map(Option::unwrap_or_default).map_err(|error| SetupFault::reading(path, &error))
}

/// Of these the first that is there is read.
const MAIN: [&str; 4] = [
    "/etc/systemd/resolved.conf",
    "/run/systemd/resolved.conf",
    "/usr/local/lib/systemd/resolved.conf",
    "/usr/lib/systemd/resolved.conf",
];
const FOLDERS: [&str; 4] = [
    "/etc/systemd/resolved.conf.d",
    "/run/systemd/resolved.conf.d",
    "/usr/local/lib/systemd/resolved.conf.d",
    "/usr/lib/systemd/resolved.conf.d",
];
