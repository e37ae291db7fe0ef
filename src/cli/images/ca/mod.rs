//! `pullgate images ca`: the authority whose certificates inspected registries get.

mod init;
mod install;
mod names;
mod report;
mod rotate;
mod show;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::{User, geteuid};

use self::names::Names;
use self::report::Report;
use crate::cli::failure::Failure;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::{ExitCode, Outcome};
use crate::config::{DEFAULT_AUTHORITY, Settings};
use crate::gateway::authority::{AuthorityError, Creation, create};

/// The authority whose certificates the gateway shows for inspected registries
///
/// It lies in a folder of the gateway's machine, may sign for the inspected names alone, and is
/// trusted by the hosts whose engines use the gateway. Nothing outside those hosts is told of it.
///
/// In this order:
///   sudo pullgate images ca init               make it, for the names of `path = "inspect"`
///   sudo pullgate images ca install --write    have this host trust it; on other hosts with --ca FILE
///   pullgate images ca show                    what there is, and whether all names are covered
///   sudo pullgate images ca rotate             a new one, trusted before it is used
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Arguments),
    Show(show::Arguments),
    Install(install::Arguments),
    Rotate(rotate::Arguments),
}

impl Arguments {
    /// The options of [`Options`] that the command does something with.
    pub(super) fn used_options(&self) -> &'static [&'static str] {
        match &self.command {
            Command::Install(_) => &["--config"],
            Command::Init(_) | Command::Show(_) | Command::Rotate(_) => &["--config", "--policy"],
        }
    }
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Init(arguments) => init::run(options, arguments, output),
        Command::Show(arguments) => show::run(options, arguments, output),
        Command::Install(arguments) => install::run(options, arguments, output),
        Command::Rotate(arguments) => rotate::run(options, arguments, output),
    }
}

/// Where the authority is.
#[derive(Debug, clap::Args)]
struct Folder {
    /// The authority's folder [default: `ca` of [gateway] in the settings, else /etc/pullgate/ca]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
}

impl Folder {
    fn path(&self, settings: &Settings) -> PathBuf {
        let of_settings = || settings.gateway.as_ref().map(|gateway| gateway.authority.clone());
        self.ca.clone().or_else(of_settings).unwrap_or_else(|| DEFAULT_AUTHORITY.into())
    }
}

/// What `init` and `rotate` make.
#[derive(Debug, clap::Args)]
struct Making {
    /// A name that it may sign for, beside those of the policy; a wildcard stands for all below it; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// How long it counts
    #[arg(long, value_name = "DURATION", default_value = "730days", value_parser = lifetime)]
    lifetime: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes a pair, and reports the folder as it then is.
fn make(
    folder: &Path,
    names: &Names,
    making: &Making,
    settings: &Settings,
    not_before: SystemTime,
) -> Result<Report, Failure> {
    names.warnings.iter().for_each(|shared| eprintln!("warning: {shared}"));
    let (lifetime, owner) = (making.lifetime, key_owner(settings)?);
    let made = create(folder, &Creation { constraints: &names.constraints, not_before, lifetime, owner })?;
    Report::of(folder, &names.inspected, Some(&made), SystemTime::now())
}

/// Whose the key is to be: the user of the service, if root makes it and there is such a user.
fn key_owner(settings: &Settings) -> Result<Option<(u32, u32)>, Failure> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let users: &[&str] = match &settings.gateway {
        Some(gateway) if !gateway.separate => &[SERVICE],
        _ => &[SEPARATE_SERVICE, SERVICE],
    };
    for name in users {
        let found = User::from_name(name).map_err(|error| Failure::Io(format!("the user {name}: {error}")))?;
        if let Some(user) = found {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    eprintln!("warning: there is no user {}: the key is root's, and no other gateway can read it", users.join(" or "));
    Ok(None)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (DAY..=MAX_LIFETIME).contains(&lifetime) { Ok(lifetime) } else { Err("from 1day to 10years".to_owned()) }
}

/// What became of a command: 1 where the gateway could not show a certificate for every name.
fn exit_code(report: &Report) -> ExitCode {
    if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(crate::cli::failure::NO) }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let message = error.to_string();
        let hint = match &error {
            AuthorityError::Io { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Self::Io(format!("{message}; run it with sudo"));
            }
            AuthorityError::Io { .. } => return Self::Io(message),
            AuthorityError::Missing(_) => Some("`pullgate images ca init` makes one"),
            AuthorityError::NoneValid(_) => {
                Some("`pullgate images ca rotate --overlap 0s` makes one that counts at once")
            }
            AuthorityError::Unconstrained => Some(INSPECT_HINT),
            AuthorityError::Certificate { .. } | AuthorityError::Key(_) | AuthorityError::ForeignKey(_) => {
                Some("put the file back as it was, or take both files of the pair away")
            }
            AuthorityError::NotCovered { .. } | AuthorityError::Signing(_) => None,
        };
        Self::Settings { message, hint: hint.map(str::to_owned) }
    }
}

const INSPECT_HINT: &str = "write `path = \"inspect\"` into a [[registry]] of the policy, or name hosts with --name";
/// The user of the service, and of a gateway that runs by itself.
const SERVICE: &str = "pullgate";
const SEPARATE_SERVICE: &str = "pullgate-gateway";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Nobody should have to trust a key for longer.
const MAX_LIFETIME: Duration = Duration::from_secs(3653 * 24 * 60 * 60);
