//! What starts a service: the `ExecStart=` of its unit and of the drop-ins beside it (systemd.service(5)).

use std::path::{Path, PathBuf};

use super::SetupFault;
use super::service::drop_in;
use crate::inspect::machine::Machine;

/// The command that starts a service, such as `docker`, as its unit has it; our own drop-in left out.
///
/// # Errors
/// There is no unit, or it starts something that cannot be put behind another command.
pub(super) fn command(machine: &Machine, service: &str) -> Result<String, SetupFault> {
    let mut command = None;
    for path in files(machine, service)? {
        let text = SetupFault::read(machine, &path)?.unwrap_or_default();
        for line in text.replace("\\\n", " ").lines() {
            if let Some(value) = line.trim().strip_prefix("ExecStart=") {
                command = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        }
    }
    let plain = |command: &String| command.starts_with('/');
    command.filter(plain).ok_or_else(|| {
        let fault = SetupFault::new(format!("{service}.service has no ExecStart= that begins with a path"));
        fault.hint("this scope puts a command of its own in front of it")
    })
}

/// The unit, of which the administrator's goes before the packager's, and its drop-ins in the order that systemd reads them.
fn files(machine: &Machine, service: &str) -> Result<Vec<PathBuf>, SetupFault> {
    let unit = FOLDERS.iter().map(|folder| Path::new(folder).join(format!("{service}.service")));
    let mut files: Vec<PathBuf> = unit.filter(|path| machine.has(path)).take(1).collect();
    let ours = PathBuf::from(drop_in(service));
    let folder = ours.parent().unwrap_or(&ours);
    let drop_ins = machine.list(folder).map_err(|error| SetupFault::reading(folder, &error))?;
    files.extend(drop_ins.into_iter().filter(|path| *path != ours));
    Ok(files)
}

const FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    const UNIT: &str = "[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --debug\n";

    fn started(files: &[(&str, &str)]) -> Result<String, SetupFault> {
        command(&Tree::new(files).machine(), "docker")
    }

    #[test]
    fn the_unit_says_it_and_drop_ins_say_it_anew() {
        let unit = ("/lib/systemd/system/docker.service", UNIT);
        assert_eq!(started(&[unit]).unwrap(), "/usr/bin/dockerd -H fd://    --debug");
        let other = "[Service]\nExecStart=\nExecStart=/opt/dockerd\n";
        let drop_in = ("/etc/systemd/system/docker.service.d/override.conf", other);
        assert_eq!(started(&[unit, drop_in]).unwrap(), "/opt/dockerd");
    }

    #[test]
    fn our_own_drop_in_does_not_count() {
        let unit = ("/usr/lib/systemd/system/docker.service", "ExecStart=/usr/bin/dockerd\n");
        let ours = drop_in("docker");
        let found = started(&[unit, (&ours, "[Service]\nExecStart=\nExecStart=/bin/sh /start /usr/bin/dockerd\n")]);
        assert_eq!(found.unwrap(), "/usr/bin/dockerd");
    }

    #[test]
    fn what_cannot_be_put_behind_another_command_is_a_fault() {
        assert!(started(&[]).is_err());
        assert!(started(&[("/lib/systemd/system/docker.service", "ExecStart=@/usr/bin/dockerd docker\n")]).is_err());
    }
}
