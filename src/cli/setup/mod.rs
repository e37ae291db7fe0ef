//! `pullgate setup`: what to put where so that a machine's clients ask pullgate; shown, written or undone.

mod buildkit;
pub(super) mod ca;
mod colima;
mod containerd;
mod docker;
mod home;
mod kubernetes;
mod libvirt;
mod lima;
mod networkmanager;
mod podman;
mod rancher_desktop;
mod redirect;
mod report;
mod resolv_conf;
mod resolved;
mod restart;
mod targets;
mod wsl;

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use self::report::{PlanReport, UndoReport};
use self::restart::ResultReport;
use self::targets::Target;
use super::doctor;
use super::failure::{self, Failure};
use super::options::Options;
use super::output::Output;
use super::{ExitCode, Outcome};
use crate::config::Environment;
use crate::inspect::doctor::Report;
use crate::inspect::machine::Machine;
use crate::inspect::setup::{self, ApplyFault, Command, OnForeignChange, Request, SetupFault};

/// Put pullgate in force on this machine: show what to change, write it, or undo it
///
/// Reads what is there and shows what has to change, as a diff, with the reasons and the commands
/// that make it count. Nothing is written without --write. What --write replaces is kept, and --undo
/// puts it back. After --write, `pullgate doctor` looks at the result.
///
/// Examples:
///   pullgate setup                          which of these targets this machine has
///   pullgate setup docker                   show what Docker needs
///   sudo pullgate setup docker --write      write it
///   sudo pullgate setup docker --write --restart
///                                           write it and run the commands as well
///   sudo pullgate setup docker --undo       put everything back
///   pullgate setup resolv-conf --root /mnt/image
///                                           look at the files of a VM image
///
/// JSON (--json):
///   a plan     target, written, record (where the originals are), changes (path, why, diff), commands
///              (line, why), notes, results of --restart (command, ok, output), doctor (its report)
///   --undo     target, restored (paths), commands, results
///   no target  a list of target, found, about
///
/// Exit codes:
///   0   done, or nothing to do, whatever doctor finds
///   1   a command of --restart failed
///   64  the command line is wrong
///   74  reading or writing failed
///   78  it cannot be set up as things are, or an undo would lose somebody else's change
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The address at which clients reach pullgate; once for each address family [default: from server.listen]
    #[arg(long, global = true, value_name = "IP")]
    address: Vec<IpAddr>,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    target: Option<Target>,
}

/// What is done with a target's plan.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct How {
    /// Write the changes; what they replace is kept for --undo
    #[arg(long, global = true)]
    write: bool,
    /// Put everything back as it was before the first --write
    #[arg(long, global = true)]
    undo: bool,
    /// With --undo: also where somebody else has changed a file since
    #[arg(long, global = true)]
    force: bool,
    /// With --write or --undo: also run the commands that make it count
    #[arg(long, global = true)]
    restart: bool,
    /// After --write: do not run `pullgate doctor`, which asks other resolvers as well
    #[arg(long, global = true)]
    no_doctor: bool,
    /// Work on the files below this folder, such as a mounted VM image; runs no commands
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Where a target is set up.
struct Site {
    machine: Machine,
    request: Request,
    /// The folder of the machine that keeps what was replaced.
    records: PathBuf,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    let how = &arguments.how;
    how.check()?;
    check_addresses(&arguments.address)?;
    let site = site(options, how, &arguments.address)?;
    match &arguments.target {
        None if how.write || how.undo => Err(usage("setup what?", Some("`pullgate setup` lists the targets"))),
        None => overview(&site, how, output),
        Some(target) => set_up(target, &site, options, how, output),
    }
}

/// Does the same for the target `ca`, which other commands lead to.
pub(super) fn ca(options: &Options, how: &How, arguments: &ca::Arguments, output: &mut Output) -> Outcome {
    how.check()?;
    set_up(&Target::Ca(arguments.clone()), &site(options, how, &[])?, options, how, output)
}

fn set_up(target: &Target, site: &Site, options: &Options, how: &How, output: &mut Output) -> Outcome {
    if how.undo { undo(target, site, how, output) } else { plan(target, site, options, how, output) }
}

fn check_addresses(addresses: &[IpAddr]) -> Result<(), Failure> {
    let of_family = |is_ipv4| addresses.iter().filter(|address| address.is_ipv4() == is_ipv4).count();
    if of_family(true) > 1 || of_family(false) > 1 {
        let hint = "clients fall to the second when the first is late; name one for each address family";
        return Err(usage("--address names two of one family", Some(hint)));
    }
    Ok(())
}

impl How {
    fn check(&self) -> Result<(), Failure> {
        if self.write && self.undo {
            return Err(usage("--write and --undo contradict each other", None));
        }
        if self.restart && !self.write && !self.undo {
            return Err(usage("--restart goes with --write or --undo", None));
        }
        if self.restart && self.root.is_some() {
            return Err(usage("--restart means nothing with --root: those files are of no running machine", None));
        }
        if self.force && !self.undo {
            return Err(usage("--force goes with --undo", None));
        }
        Ok(())
    }

    /// Has doctor look at what was written; not at the files of a machine that does not run.
    fn examine(&self, options: &Options) -> Result<Option<Report>, Failure> {
        let is_wanted = self.write && self.root.is_none() && !self.no_doctor;
        is_wanted.then(|| doctor::here(options)).transpose()
    }

    /// Runs commands if `--restart` was given.
    fn restart(&self, commands: &[Command]) -> Vec<ResultReport> {
        if self.restart { restart::run(commands) } else { Vec::new() }
    }
}

fn site(options: &Options, how: &How, addresses: &[IpAddr]) -> Result<Site, Failure> {
    let machine = how.root.as_deref().map_or_else(Machine::here, Machine::under);
    let settings = options.settings_of(&machine)?.settings;
    let records = setup::folder_of_records(&machine, &Environment::of_process());
    let authority = settings.gateway.map(|gateway| gateway.authority);
    let request = Request { addresses: addresses.to_vec(), listen: settings.server.listen, authority };
    Ok(Site { machine, request, records })
}

fn overview(site: &Site, how: &How, output: &mut Output) -> Outcome {
    let found = targets::overview(&site.machine);
    if how.json {
        output.json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["target", "found here", "what it does"].map(str::to_uppercase);
    let rows =
        found.into_iter().map(|row| [row.target.to_owned(), row.found.unwrap_or_else(|| "-".to_owned()), row.about]);
    output.table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())?;
    writeln!(output, "\n`pullgate setup TARGET` shows what it would change; `--help` says more.")?;
    Ok(ExitCode::SUCCESS)
}

fn plan(target: &Target, site: &Site, options: &Options, how: &How, output: &mut Output) -> Outcome {
    let plan = target.plan(&site.machine, &site.request)?;
    let record = if how.write { Some(setup::apply(&plan, &site.machine, &site.records)?.record) } else { None };
    let commands = if plan.changes.is_empty() { &[] } else { plan.commands.as_slice() };
    let results = how.restart(commands);
    let code = exit_code(&results);
    let mut report = PlanReport::new(&plan, record, results);
    if how.json {
        report.doctor = how.examine(options)?;
        output.json(&report)?;
        return Ok(code);
    }
    report.print(how.root.as_deref(), output)?;
    output.finish()?;
    if let Some(report) = how.examine(options)? {
        writeln!(output, "\n`pullgate doctor`, as things are now:")?;
        doctor::print(&report, output)?;
    }
    Ok(code)
}

fn undo(target: &Target, site: &Site, how: &How, output: &mut Output) -> Outcome {
    let on_foreign_change = if how.force { OnForeignChange::Overwrite } else { OnForeignChange::Refuse };
    let undone = setup::undo(target.name(), &site.machine, &site.records, on_foreign_change)?;
    let results = how.restart(&undone.commands);
    let code = exit_code(&results);
    let report = UndoReport::new(target.name(), &undone, results);
    if how.json { output.json(&report) } else { report.print(output) }?;
    Ok(code)
}

fn exit_code(results: &[ResultReport]) -> ExitCode {
    if results.iter().all(|result| result.ok) { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) }
}

fn usage(message: &str, hint: Option<&str>) -> Failure {
    Failure::Usage { message: message.to_owned(), hint: hint.map(str::to_owned) }
}

impl From<SetupFault> for Failure {
    fn from(fault: SetupFault) -> Self {
        Self::Settings { message: fault.message, hint: fault.hint }
    }
}

impl From<ApplyFault> for Failure {
    fn from(fault: ApplyFault) -> Self {
        let message = fault.to_string();
        let hint = match &fault {
            ApplyFault::Io { error, path } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Self::Io(format!("{message}; {}", permission_hint(path)));
            }
            ApplyFault::Io { error, .. } if error.kind() == std::io::ErrorKind::ResourceBusy => {
                return Self::Io(format!("{message}; {MOUNTED}"));
            }
            ApplyFault::Io { .. } => return Self::Io(message),
            ApplyFault::HalfWritten { .. } => {
                return Self::Io(format!("{message}; once there is room and leave to write, --undo restores all"));
            }
            ApplyFault::SetUpOver { target, .. } => {
                let hint = format!("nothing was restored; take that back first: `pullgate setup {target} --undo`");
                return Self::Settings { message, hint: Some(hint) };
            }
            ApplyFault::Changed(_) => "nothing was written; run it again",
            ApplyFault::ChangedSince(_) => {
                "nothing was restored; take those changes out first, or go back to the originals without them with --force"
            }
            ApplyFault::ForeignRecord(_) => "run it as the user who ran the setup, usually with sudo",
        };
        Self::Settings { message, hint: Some(hint.to_owned()) }
    }
}

/// As the files are that a container engine gives its containers.
const MOUNTED: &str = "something is mounted over it, as over the resolv.conf of a container: change it where that comes \
    from, such as `--dns` of `docker run`";

fn permission_hint(path: &Path) -> &'static str {
    if path.starts_with("/etc") { "run it with sudo" } else { "run it as the user who may write there" }
}
