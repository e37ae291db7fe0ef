//! `pullgate man`: the manual, made of the same text as `--help`.

use std::path::PathBuf;

use super::failure::Failure;
use super::output::Output;
use super::{ExitCode, Outcome};

/// Print the manual page, or write the pages of all commands
///
/// Examples:
///   pullgate man | man -l -
///   pullgate man --out /usr/local/share/man/man1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Write pullgate.1 and one page a command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, command: clap::Command, output: &mut Output) -> Outcome {
    match &arguments.out {
        None => clap_mangen::Man::new(command).render(output)?,
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error| Failure::Io(format!("cannot write the manual into {}: {error}", folder.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}
