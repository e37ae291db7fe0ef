//! A message on its way to a program: on its standard input, with nothing of this process but the user it runs as.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Why a program did not take a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandFault {
    #[error("it cannot be run: {0}")]
    Run(#[source] io::Error),
    #[error("it ended with {0}")]
    Ended(ExitStatus),
    #[error("it did not end within {}", humantime::format_duration(RUN_TIME))]
    TooSlow,
}

/// Runs `arguments`, the program first, with `body` on its standard input. It has taken the message when it ends with 0.
pub(super) async fn run(arguments: &[String], body: &[u8]) -> Result<(), CommandFault> {
    timeout(RUN_TIME, run_to_its_end(arguments, body)).await.unwrap_or(Err(CommandFault::TooSlow))
}

async fn run_to_its_end(arguments: &[String], body: &[u8]) -> Result<(), CommandFault> {
    let (program, rest) = arguments.split_first().ok_or_else(|| CommandFault::Run(io::ErrorKind::NotFound.into()))?;
    let mut child = Command::new(program)
        .args(rest)
        // What the service manager gave this process (sockets, credentials, notifications) is not the program's.
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(CommandFault::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever does not read it may well know all the same.
        let _ = stdin.write_all(body).await;
    }
    let status = child.wait().await.map_err(CommandFault::Run)?;
    if status.success() { Ok(()) } else { Err(CommandFault::Ended(status)) }
}

const RUN_TIME: Duration = Duration::from_secs(10);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_program_gets_the_message_on_its_input_and_nothing_of_our_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let script = format!("{{ cat; env; }} > {}", file.display());
        run(&shell(&script), b"{}\n").await.unwrap();
        let told = std::fs::read_to_string(&file).unwrap();
        assert!(told.starts_with("{}\n") && !told.contains("CARGO"), "{told}");
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_is_a_fault_and_one_that_does_not_read_is_not() {
        assert!(matches!(run(&shell("exit 3"), b"x").await, Err(CommandFault::Ended(_))));
        assert!(matches!(run(&["/nonexistent".to_owned()], b"x").await, Err(CommandFault::Run(_))));
        run(&["/bin/true".to_owned()], &vec![b'x'; 1 << 20]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_ended() {
        let error = run(&shell("exec sleep 1000"), b"x").await.unwrap_err();
        assert!(matches!(error, CommandFault::TooSlow), "{error}");
    }
}
