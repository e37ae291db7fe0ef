//! How the tasks of a service learn that they are to end: a channel that nothing is ever sent on, and whose sender goes.

use tokio::sync::watch;

/// Ready when the sender of `stopped` is gone.
pub async fn stop(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}
