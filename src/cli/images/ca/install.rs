//! `pullgate images ca install`: the target `ca` of `pullgate setup`, where one looks for it.

use crate::cli::Outcome;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::setup::{self, How};

/// Have the programs of this host trust the authority; the same as `pullgate setup ca`
///
/// Shows what has to change, and what else is needed; nothing is written without --write. The
/// certificate goes into the system's bundle: Docker reads no other for Docker Hub, and every
/// program in Go reads it once, when it starts, so that engines are restarted after that.
///
/// Examples:
///   pullgate images ca install                          show it
///   sudo pullgate images ca install --write --restart   write it, make the bundle, restart engines
///   sudo pullgate images ca install --ca pullgate-ca.pem --write --restart
///                                                       on another host than the gateway's
///   sudo pullgate images ca install --root /mnt/image --write
///                                                       into the files of a VM image
///   sudo pullgate images ca install --undo --restart    take it back
///
/// Exit codes are those of `pullgate setup`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    authority: setup::ca::Arguments,
}

pub(super) fn run(options: &Options, arguments: &Arguments, output: &mut Output) -> Outcome {
    setup::ca(options, &arguments.how, &arguments.authority, output)
}
