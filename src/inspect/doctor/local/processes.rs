//! The processes of this machine, from /proc: which engines run, and how they were started.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::foreign;
use crate::inspect::doctor::report::Report;
use crate::inspect::machine::Machine;

/// A running process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) id: u32,
    /// What it calls itself: at most 15 bytes.
    pub(super) name: String,
    /// Its command line.
    pub(super) arguments: Vec<String>,
}

impl Process {
    /// Its variables, as `NAME=value`. Those of another user's process need root: then it is said to be unseen.
    pub(super) fn variables(&self, machine: &Machine, report: &mut Report) -> Vec<(String, String)> {
        let path = format!("/proc/{}/environ", self.id);
        match machine.read(&path) {
            Ok(text) => text.into_iter().flat_map(|text| variables(text.split('\0'))).collect(),
            Err(error) => {
                foreign::unseen(report, format!("the environment of {} ({path}) cannot be read: {error}", self.name));
                Vec::new()
            }
        }
    }

    /// When it started, to the second; by the clock as it is now (`proc_pid_stat(5)`).
    pub(super) fn started(&self, machine: &Machine) -> Option<SystemTime> {
        let read = |path: &str| machine.read(path).ok().flatten();
        let whole = read("/proc/stat")?;
        let boot: u64 = whole.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let own = read(&format!("/proc/{}/stat", self.id))?;
        // The name may hold anything, brackets and spaces too.
        let (_, fields) = own.rsplit_once(')')?;
        let ticks: u64 = fields.split_ascii_whitespace().nth(START_FIELD)?.parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot.checked_add(ticks / TICKS_A_SECOND)?))
    }

    /// The files as it sees them, through mounts of its own. Another user's need root.
    pub(super) fn root(&self, machine: &Machine) -> Machine {
        let root = PathBuf::from(format!("/proc/{}/root", self.id));
        Machine::under(machine.locate(&root).unwrap_or(root))
    }
}

/// The running processes of these names. Of another machine's tree there are none, and what runs in another network, as
/// an engine inside a container does, is not this machine's either: its own resolver and settings count there.
pub(super) fn named(machine: &Machine, names: &[&str], report: &mut Report) -> Vec<Process> {
    let numbers = foreign::list(machine, "/proc", "", report);
    let ids = numbers.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok());
    let found = ids.filter_map(|id: u32| {
        // A process may end between two looks.
        let read = |file: &str| machine.read(format!("/proc/{id}/{file}")).ok().flatten();
        let name = read("comm")?.trim_end().to_owned();
        if !names.contains(&name.as_str()) {
            return None;
        }
        if is_elsewhere(machine, id) {
            let what =
                format!("{name} (process {id}), which runs in a network of its own, as in a container: doctor there");
            foreign::unseen(report, what);
            return None;
        }
        let arguments = read("cmdline")?.split_terminator('\0').map(str::to_owned).collect();
        Some(Process { id, name, arguments })
    });
    found.collect()
}

/// Whether a process is in another network than this one. Of another user's process only root can tell.
fn is_elsewhere(machine: &Machine, id: u32) -> bool {
    let network = |process: &str| {
        let place = machine.locate(format!("/proc/{process}/ns/net").as_ref()).ok()?;
        fs::read_link(place).ok()
    };
    matches!((network("self"), network(&id.to_string())), (Some(own), Some(its)) if own != its)
}

/// `NAME=value` words taken apart.
pub(super) fn variables<'t>(words: impl Iterator<Item = &'t str>) -> Vec<(String, String)> {
    words.filter_map(|word| word.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Of the fields of /proc/PID/stat, counted from the one after the name.
const START_FIELD: usize = 19;
/// `USER_HZ`, which is the same on every machine that engines run on.
const TICKS_A_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::Tree;

    #[test]
    fn what_runs_in_another_network_is_elsewhere() {
        let tree = Tree::of(&[]);
        for (id, network) in [("self", "net:[1]"), ("7", "net:[1]"), ("8", "net:[2]"), ("9", "")] {
            tree.write(&format!("proc/{id}/comm"), b"dockerd\n");
            tree.write(&format!("proc/{id}/cmdline"), b"dockerd\0");
            if !network.is_empty() {
                tree.link(&format!("proc/{id}/ns/net"), network);
            }
        }
        let mut report = Report::default();
        let found = named(&tree.machine, &["dockerd"], &mut report);
        assert_eq!(found.iter().map(|process| process.id).collect::<Vec<_>>(), [7, 9]);
        assert!(report.unseen[0].contains("process 8"), "{report:?}");
        assert_eq!(report.unseen.len(), 1, "{report:?}");
    }

    #[test]
    fn when_a_process_started_is_counted_from_the_boot_whatever_it_is_called() {
        let fields = (3..30).map(|field| if field == 22 { "2050".to_owned() } else { format!("{field}") });
        let stat = format!("7 (a) b 9 (c)) {}\n", fields.collect::<Vec<_>>().join(" "));
        let tree = Tree::of(&[("proc/stat", "cpu  1\nbtime 1000\nprocesses 9\n"), ("proc/7/stat", &stat)]);
        let started = |id| Process { id, ..Process::default() }.started(&tree.machine);
        assert_eq!(started(7), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1020)));
        assert_eq!(started(8), None);
        for broken in ["", "7 (a", "7 (a) S", "7 (a) 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 x"] {
            tree.write("proc/7/stat", broken.as_bytes());
            assert_eq!(started(7), None, "{broken}");
        }
    }

    #[test]
    fn processes_are_found_by_name_with_arguments_and_variables() {
        let tree = Tree::of(&[
            ("proc/7/comm", "dockerd\n"),
            ("proc/7/cmdline", "/usr/sbin/dockerd\0--dns\0fd18::1\0"),
            ("proc/7/environ", "PATH=/bin\0HTTPS_PROXY=http://proxy:3128\0"),
            ("proc/7/root/etc/resolv.conf", "nameserver ::1\n"),
            ("proc/8/comm", "bash\n"),
            ("proc/8/cmdline", "bash\0"),
            ("proc/self/comm", "dockerd\n"),
        ]);
        let mut report = Report::default();
        let found = named(&tree.machine, &["dockerd"], &mut report);
        let [dockerd] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((dockerd.id, dockerd.arguments.len()), (7, 3));
        let variables = dockerd.variables(&tree.machine, &mut report);
        assert_eq!(variables[1], ("HTTPS_PROXY".to_owned(), "http://proxy:3128".to_owned()));
        assert_eq!(dockerd.root(&tree.machine).read("/etc/resolv.conf").unwrap().as_deref(), Some("nameserver ::1\n"));
        assert_eq!(report, Report::default());
    }
}
