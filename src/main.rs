//! `pullgate`: parses arguments, runs the command, maps its error to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pullgate::cli::run(std::env::args_os())
}
