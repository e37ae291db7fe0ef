//! Runs what makes a setup count: the commands of `--restart`.

use std::process::{Command as Process, Stdio};

use serde::Serialize;

use crate::inspect::setup::Command;

/// How a command ended.
#[derive(Debug, Serialize)]
pub(super) struct ResultReport {
    /// The command line.
    pub(super) command: String,
    /// Whether it did its work.
    pub(super) ok: bool,
    /// What it wrote, or why it could not be run.
    pub(super) output: String,
}

/// Runs commands in their order until one fails.
pub(super) fn run(commands: &[Command]) -> Vec<ResultReport> {
    let mut results = Vec::new();
    for command in commands {
        let result = run_one(command);
        let ok = result.ok;
        results.push(result);
        if !ok {
            break;
        }
    }
    results
}

fn run_one(command: &Command) -> ResultReport {
    let shown = shown(&command.line);
    let Some((program, arguments)) = command.line.split_first() else {
        return ResultReport { command: shown, ok: true, output: String::new() };
    };
    match Process::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(ended) => {
            let output = [ended.stdout, ended.stderr].concat();
            let output = String::from_utf8_lossy(&output).trim_end().to_owned();
            ResultReport { command: shown, ok: ended.status.success(), output }
        }
        Err(error) => ResultReport { command: shown, ok: false, output: format!("cannot be run: {error}") },
    }
}

/// A command line as one types it.
pub(super) fn shown(line: &[String]) -> String {
    let quoted = |word: &String| {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    line.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &[&str]) -> Command {
        Command { line: line.iter().map(ToString::to_string).collect(), why: String::new() }
    }

    #[test]
    fn nothing_runs_after_a_command_that_failed() {
        let results = run(&[command(&["true"]), command(&["sh", "-c", "echo no >&2; exit 3"]), command(&["true"])]);
        assert_eq!(results.iter().map(|result| result.ok).collect::<Vec<_>>(), [true, false]);
        assert_eq!(results[1].output, "no");
        assert!(!run(&[command(&["/does/not/exist"])])[0].ok);
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        assert_eq!(shown(&command(&["nft", "-f", "a b", "it's", ""]).line), r"nft -f 'a b' 'it'\''s' ''");
    }
}
