//! The signals that mean something: SIGHUP reloads, SIGTERM and SIGINT stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::policy::reload::Cause;
use crate::policy::watch::ReloadHandle;

/// Ready when the process is told to stop. From the call on, neither signal ends the process by itself.
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

/// Takes the policy files anew at each SIGHUP; what comes of it is logged where it is decided.
pub(super) async fn reload_on_hangup(reload: ReloadHandle) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return warn!(%error, "SIGHUP cannot be listened to"),
    };
    while hangups.recv().await.is_some() {
        reload.reload(Cause::Signal).await;
    }
}
