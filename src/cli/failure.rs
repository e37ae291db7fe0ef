//! Why a command could not do its work, and the exit code that says so (the numbers are those of BSD's sysexits).

use std::io::{self, Write};
use std::process::ExitCode;

use crate::control::ClientError;
use crate::diagnostic::Diagnostic;

/// A command that could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// Arguments that contradict each other, or a word that is none of those known.
    Usage { message: String, hint: Option<String> },
    /// Settings or a policy with faults.
    Faults(Vec<Diagnostic>),
    /// Settings that this machine cannot follow: a certificate, an upstream.
    Settings { message: String, hint: Option<String> },
    /// No server, or no port for one.
    Unavailable { message: String, hint: Option<String> },
    /// Reading or writing failed.
    Io(String),
    /// Writing to standard output failed.
    Output(io::Error),
}

/// The answer is no: denied, different, degraded.
pub(super) const NO: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
const USAGE: u8 = 64;
/// The server is not running, or its port is taken (`EX_UNAVAILABLE`).
pub(super) const UNAVAILABLE: u8 = 69;
/// Reading or writing failed (`EX_IOERR`).
const IO: u8 = 74;
/// Settings or policy are faulty (`EX_CONFIG`).
pub(super) const CONFIG: u8 = 78;

impl Failure {
    /// Says on standard error what is wrong, and what would do.
    pub(super) fn print(&self) -> ExitCode {
        // With standard error gone as well there is nobody left to tell.
        let _ = self.write(&mut io::stderr().lock());
        ExitCode::from(self.code())
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Usage { message, hint } | Self::Settings { message, hint } | Self::Unavailable { message, hint } => {
                writeln!(to, "pullgate: {message}")?;
                hint.iter().try_for_each(|hint| writeln!(to, "  hint: {hint}"))
            }
            Self::Faults(faults) => faults.iter().try_for_each(|fault| writeln!(to, "{fault}")),
            Self::Io(message) => writeln!(to, "pullgate: {message}"),
            // Whoever read our output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Output(error) => writeln!(to, "pullgate: cannot write the output: {error}"),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage { .. } => USAGE,
            Self::Faults(_) | Self::Settings { .. } => CONFIG,
            Self::Unavailable { .. } => UNAVAILABLE,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Io(_) | Self::Output(_) => IO,
        }
    }
}

impl From<io::Error> for Failure {
    /// Commands write to nothing but standard output without saying more.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Invalid(_) => Self::Usage { message, hint: None },
            ClientError::Io { .. } | ClientError::NotUnderstood(_) => Self::Io(message),
            _ => Self::Unavailable { message, hint: error.hint().map(str::to_owned) },
        }
    }
}

/// Prints what clap has to say: help and version are no failure.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // A reader that is gone does not need it any more.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}
