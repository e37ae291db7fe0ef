//! The signals that mean something: SIGHUP reloads and opens the log anew, SIGTERM and SIGINT stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::observe::query_log::Reopen;
use crate::policy::reload::Cause;
use crate::policy::watch::ReloadHandle;

/// Ready when the process is told to stop. From the call on, neither signal ends the process by itself.
///
/// # Errors
/// The runtime cannot listen to signals.
pub fn termination() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "told to stop");
    })
}

/// SIGHUPs from the call on; before it, one ends the process.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Takes the policy files and opens the log's file anew at each SIGHUP; what comes of the policy is logged where it is
/// decided.
pub(super) async fn follow_hangups(mut hangups: Signal, reload: ReloadHandle, log: Reopen) {
    while hangups.recv().await.is_some() {
        log.ask();
        reload.reload(Cause::Signal).await;
    }
}
