//! The commands: arguments in, text or JSON out; one file a command.

mod check;
mod compiled;
mod completions;
mod discover;
mod doctor;
mod draft_file;
mod failure;
mod gateway;
mod images;
mod learn;
mod log;
mod man;
mod options;
mod output;
mod overlay;
mod policy;
mod preset;
mod reload;
mod replay;
mod rollout;
mod serve;
mod setup;
mod signal;
mod stats;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::failure::Failure;
use self::options::Options;
use self::output::Output;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "pullgate", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Gateway(gateway::Arguments),
    Check(check::Arguments),
    Policy(policy::Arguments),
    Reload(reload::Arguments),
    Status(status::Arguments),
    Log(log::Arguments),
    Stats(stats::Arguments),
    Learn(learn::Arguments),
    Rollout(rollout::Arguments),
    Allow(overlay::AllowArguments),
    Block(overlay::BlockArguments),
    Mode(overlay::ModeArguments),
    Overlay(overlay::ListArguments),
    Signal(signal::Arguments),
    Preset(preset::Arguments),
    Discover(discover::Arguments),
    Doctor(doctor::Arguments),
    Setup(setup::Arguments),
    Images(images::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// What a command ends with when it could do its work.
type Outcome = Result<ExitCode, Failure>;

/// Runs the command that `arguments` (the program's name first) ask for; prints its failure.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let mut output = Output::stdout();
    let outcome = dispatch(&cli, &mut output).and_then(|code| output.finish().map(|()| code));
    outcome.unwrap_or_else(|failure| failure.print())
}

fn dispatch(cli: &Cli, output: &mut Output) -> Outcome {
    let options = &cli.options;
    options.refuse_all_but(used_options(cli.command.as_ref()))?;
    match &cli.command {
        Some(Command::Check(arguments)) => check::run(options, arguments, output),
        Some(Command::Policy(arguments)) => policy::run(options, arguments, output),
        Some(Command::Reload(arguments)) => reload::run(options, arguments, output),
        Some(Command::Status(arguments)) => status::run(options, arguments, output),
        Some(Command::Log(arguments)) => log::run(options, arguments, output),
        Some(Command::Stats(arguments)) => stats::run(options, arguments, output),
        Some(Command::Learn(arguments)) => learn::run(options, arguments, output),
        Some(Command::Rollout(arguments)) => rollout::run(options, arguments, output),
        Some(Command::Allow(arguments)) => overlay::allow(options, arguments, output),
        Some(Command::Block(arguments)) => overlay::block(options, arguments, output),
        Some(Command::Mode(arguments)) => overlay::mode(options, arguments, output),
        Some(Command::Overlay(arguments)) => overlay::list(options, arguments, output),
        Some(Command::Signal(arguments)) => signal::run(options, arguments, output),
        Some(Command::Preset(arguments)) => preset::run(arguments, output),
        Some(Command::Discover(arguments)) => discover::run(options, arguments, output),
        Some(Command::Doctor(arguments)) => doctor::run(options, arguments, output),
        Some(Command::Setup(arguments)) => setup::run(options, arguments, output),
        Some(Command::Images(arguments)) => images::run(options, arguments, output),
        Some(Command::Completions(arguments)) => completions::run(arguments, Cli::command(), output),
        Some(Command::Man(arguments)) => man::run(arguments, Cli::command(), output),
        Some(Command::Gateway(gateway::Arguments {})) => gateway::run(options, output),
        Some(Command::Serve(serve::Arguments {})) | None => serve::run(options, output),
    }
}

/// The options of [`Options`] that a command does something with.
fn used_options(command: Option<&Command>) -> &'static [&'static str] {
    match command {
        None | Some(Command::Serve(_)) => &["--config", "--policy", "--listen", "--socket"],
        Some(Command::Check(_)) => &["--config", "--policy"],
        Some(Command::Policy(_) | Command::Gateway(_) | Command::Discover(_)) => &["--config", "--policy", "--socket"],
        Some(
            Command::Reload(_)
            | Command::Status(_)
            | Command::Log(_)
            | Command::Stats(_)
            | Command::Learn(_)
            | Command::Rollout(_)
            | Command::Doctor(_)
            | Command::Allow(_)
            | Command::Block(_)
            | Command::Mode(_)
            | Command::Overlay(_)
            | Command::Signal(_),
        ) => &["--config", "--socket"],
        Some(Command::Setup(_)) => &["--config", "--listen"],
        Some(Command::Images(arguments)) => arguments.used_options(),
        Some(Command::Preset(_) | Command::Completions(_) | Command::Man(_)) => &[],
    }
}

const ABOUT: &str = "A local DNS resolver that decides which container registries can be reached";

const LONG_ABOUT: &str = "\
A local DNS resolver that decides which container registries a machine, a VM or a network can reach.

It resolves the names of allowed registries and answers NXDOMAIN for everything else. What is allowed is written in \
the files of a policy folder; a changed file is in force within a second, and a faulty one changes nothing.

Without a command it serves: `pullgate` alone runs on 127.0.0.1:5300 with Docker Hub allowed.";

const AFTER_HELP: &str = "\
Examples:
  pullgate                                     run with the built-in default
  pullgate serve --policy ./policy.d           run with your own policy
  pullgate check ghcr.io --policy ./policy.d   would ghcr.io resolve, and why
  pullgate policy lint ./policy.d              every fault and warning, with its place
  pullgate preset list                         registries whose hosts ship with the program
  pullgate images import registry.json         a policy from what is set at Docker
  pullgate log --follow                        what is being denied, live
  pullgate stats --since 24h                   what was denied most in the last day
  pullgate learn --run -- docker pull a/b      which names a pull lacks, and what to add for them
  pullgate rollout                             what each group lacks to be enforced
  pullgate discover ghcr.io/a/b                which hosts a pull needs, and what to add for them
  pullgate allow quay.io --for 2h              on top of the policy, for a while
  pullgate doctor                              is it in force here, and what gets round it
  pullgate setup                               how to make this machine's clients ask it

Exit codes:
  0   success
  1   the answer is no: a name is denied, policies differ, the server is degraded
  64  the command line is wrong
  69  the server is not running, or its port is taken
  74  reading or writing failed
  78  the settings or the policy are faulty";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
