//! A command that is run while one client is under audit.

use std::ffi::OsString;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::failure::Failure;
use super::super::options;
use super::{Arguments, missed};
use crate::control::Client;
use crate::control::report::{HistoryReport, OverlayOutcomeReport};
use crate::diagnostic::Severity;
use crate::inspect::doctor;
use crate::inspect::machine::Machine;
use crate::observe::log::timestamp;

/// What to run, and whom to let through meanwhile.
pub(super) struct Command<'a> {
    words: &'a [OsString],
    client: Option<IpAddr>,
    time: Duration,
}

/// A command that was run.
#[derive(Debug, Serialize)]
pub(super) struct Ran {
    /// The command line.
    pub(super) command: String,
    /// The client that was under audit.
    pub(super) client: IpAddr,
    /// Since when, in UTC (RFC 3339).
    pub(super) since: String,
    /// The command's exit code; `None`: a signal ended it.
    pub(super) code: Option<i32>,
}

/// A client under audit, until this is ended or dropped.
struct Window {
    server: Client,
    query: Vec<(&'static str, String)>,
    is_open: bool,
}

impl<'a> Command<'a> {
    pub(super) fn of(arguments: &'a Arguments) -> Self {
        Self { words: &arguments.command, client: arguments.client, time: arguments.time }
    }

    /// The command line, to be shown.
    fn text(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }
}

/// Puts the client under audit, runs the command to its end, and ends the audit.
pub(super) async fn run(server: &Client, command: Command<'_>) -> Result<Ran, Failure> {
    let client = match command.client {
        Some(client) => client.to_canonical(),
        None => own_address().await?,
    };
    refuse_second(server, client).await?;
    // Taken before anything is opened: from here on a signal is the command's to end on.
    let signals = Signals::take().map_err(|error| Failure::Io(format!("signals cannot be taken: {error}")))?;
    let since = timestamp(SystemTime::now());
    let window = Window::open(server, client, &command).await?;
    eprintln!("{client} is under audit while `{}` runs: what it lacks resolves for it, and is noted", command.text());
    let ended = run_to_end(command.words, signals).await;
    window.end().await?;
    let code = ended?;
    Ok(Ran { command: command.text(), client, since, code })
}

/// What the client asked for meanwhile. What it had asked for before that is told by the log, a moment later.
pub(super) async fn settled(server: &Client, ran: &Ran) -> Result<HistoryReport, Failure> {
    let filter = [("since", ran.since.clone()), ("client", ran.client.to_string())];
    let mut history = missed(server, &filter).await?;
    for _ in 0..SETTLING {
        if history.rows.iter().all(|row| row.after.is_some() || row.reason != "unlisted") {
            break;
        }
        tokio::time::sleep(SETTLING_PAUSE).await;
        history = missed(server, &filter).await?;
    }
    Ok(history)
}

async fn own_address() -> Result<IpAddr, Failure> {
    let seen = doctor::seen_as(&Machine::here(), PATIENCE).await;
    seen.ok_or_else(|| Failure::Unavailable {
        message: "this machine does not ask pullgate: no server of /etc/resolv.conf leads there".to_owned(),
        hint: Some(
            "name the client that is to be looked at with --client; `pullgate doctor` says who asks whom".to_owned(),
        ),
    })
}

/// One that is on already would be ended with this one.
async fn refuse_second(server: &Client, client: IpAddr) -> Result<(), Failure> {
    let is_on = server.overlays().await?.iter().any(|overlay| overlay.kind == "mode" && overlay.client == Some(client));
    if !is_on {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!("a mode for client {client} is on already, by an overlay"),
        hint: Some(format!("end it first: `pullgate mode audit --client {client} --end`")),
    })
}

impl Window {
    async fn open(server: &Client, client: IpAddr, command: &Command<'_>) -> Result<Self, Failure> {
        let query = vec![("kind", "mode".to_owned()), ("what", "audit".to_owned()), ("client", client.to_string())];
        let time = humantime::format_duration(command.time).to_string();
        let terms = [("for", time), ("reason", reason(&command.text()))];
        // Open from here on: an answer that does not arrive may be to a request that did.
        let mut window = Self { server: server.clone(), query: query.clone(), is_open: true };
        let report = server.put_overlay(&[&query[..], &terms].concat()).await?;
        match report {
            OverlayOutcomeReport::InForce { .. } | OverlayOutcomeReport::Ended { .. } => Ok(window),
            OverlayOutcomeReport::Refused { faults } => {
                window.is_open = false;
                let faults = faults.into_iter().map(|fault| fault.into_diagnostic(Severity::Fault));
                Err(Failure::Faults(faults.collect()))
            }
        }
    }

    /// Ends the audit; its time may have ended it before.
    async fn end(mut self) -> Result<(), Failure> {
        self.server.end_overlay(&self.query).await?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Window {
    /// The same where something went wrong meanwhile: a runtime of its own, since this one may be the reason.
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (server, query) = (self.server.clone(), std::mem::take(&mut self.query));
        let end = move || options::block_on(async { Ok(server.end_overlay(&query).await?) });
        let is_ended = std::thread::spawn(end).join().is_ok_and(|ended| ended.is_ok());
        if !is_ended {
            eprintln!("the audit may still be on: `pullgate overlay` shows it, and it ends by itself");
        }
    }
}

/// The signals that would end this program, and are left to the command.
struct Signals {
    /// Those of a terminal go to the command as well.
    from_terminal: [Signal; 2],
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self {
            from_terminal: [signal(SignalKind::interrupt())?, signal(SignalKind::quit())?],
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Runs the command with this program's own input and output; its exit code.
async fn run_to_end(words: &[OsString], mut signals: Signals) -> Result<Option<i32>, Failure> {
    let [program, arguments @ ..] = words else { return Ok(None) };
    let cannot = |error: std::io::Error| Failure::Io(format!("`{}` cannot be run: {error}", program.to_string_lossy()));
    let mut child = tokio::process::Command::new(program).args(arguments).spawn().map_err(cannot)?;
    loop {
        let [interrupt, quit] = &mut signals.from_terminal;
        tokio::select! {
            ended = child.wait() => return Ok(ended.map_err(cannot)?.code()),
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = signals.terminate.recv() => hand_on(&child, rustix::process::Signal::TERM),
            _ = signals.hang_up.recv() => hand_on(&child, rustix::process::Signal::HUP),
        }
    }
}

fn hand_on(child: &Child, signal: rustix::process::Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // It may have ended this moment.
        let _ = rustix::process::kill_process(id, signal);
    }
}

/// Why the client is under audit, within what an overlay takes.
fn reason(command: &str) -> String {
    let plain = command.chars().map(|character| if character.is_control() { ' ' } else { character });
    format!("pullgate learn: {}", plain.take(MAX_COMMAND).collect::<String>())
}

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often what was asked is read again while something may still be to come, and how long between.
const SETTLING: u32 = 5;
const SETTLING_PAUSE: Duration = Duration::from_millis(200);
/// Characters of the command in the reason that is kept.
const MAX_COMMAND: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_run_makes_a_reason_that_an_overlay_takes() {
        for command in ["docker pull a/b".to_owned(), "x".repeat(1000), "a\nb\u{1b}[31m".to_owned()] {
            let reason = reason(&command);
            assert!(reason.chars().count() <= 200 && !reason.chars().any(char::is_control), "{reason}");
        }
    }
}
