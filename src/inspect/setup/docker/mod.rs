//! `setup docker`: Docker's pulls and builds, and with the scope `machine` its containers and the host, ask pullgate.
//!
//! The daemon itself asks whom the host's resolv.conf names, whatever daemon.json says; containers and RUN steps ask
//! whom daemon.json's `dns` names, and without it public servers when resolv.conf names loopback.

mod daemon;
mod engine;
mod listen;
mod whole;

use self::daemon::Daemon;
use super::ca;
use super::plan::{Plan, Request, SetupFault};
use crate::inspect::machine::Machine;

/// The target's name on the command line.
pub const TARGET: &str = "docker";

/// How much of a machine is to ask pullgate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Pulls, builds, containers and the host itself.
    #[default]
    Machine,
    /// What the engine pulls; host, containers and RUN steps resolve as before.
    Engine,
}

/// What else a setup of Docker depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How much of the machine.
    pub scope: Scope,
}

/// What of this machine the target is for, if anything.
pub fn found(machine: &Machine) -> Option<String> {
    let is_there = |path: &&&str| machine.has(path);
    PROGRAMS.iter().find(is_there).map(|path| format!("Docker Engine ({path})"))
}

/// Plans it.
///
/// # Errors
/// daemon.json is no JSON, or `dns` is a flag of the daemon as well; no address of pullgate can be reached from
/// containers; another program writes resolv.conf that no target knows how to stop.
pub fn plan(machine: &Machine, request: &Request, options: &Options) -> Result<Plan, SetupFault> {
    let daemon = Daemon::read(machine)?;
    let mut plan = match options.scope {
        Scope::Machine => whole::plan(machine, request, &daemon)?,
        Scope::Engine => engine::plan(machine, request, &daemon)?,
    };
    ca::remind(&mut plan, machine, request)?;
    for path in daemon::rootless(machine) {
        plan.note(format!(
            "{path} is of a Docker without root: it reads that file, and its containers ask its own network's resolver"
        ));
    }
    Ok(plan)
}

const PROGRAMS: &[&str] = &["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/dockerd"];

#[cfg(test)]
mod tests;
