//! What systemd is told (`sd_notify(3)`); without systemd nobody is.

use sd_notify::NotifyState;
use tracing::warn;

/// The sockets are bound and the policy is in force.
pub(super) fn ready() {
    tell(NotifyState::Ready);
}

/// The service is on its way out.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

/// One line for `systemctl status`.
pub(super) fn status(text: &str) {
    tell(NotifyState::Status(text));
}

/// The service answered its own question.
pub(super) fn alive() {
    tell(NotifyState::Watchdog);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd cannot be told");
    }
}
