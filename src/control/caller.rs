//! Who is at the other end of the control socket, as the kernel says and the user database calls them.

use nix::unistd::{Uid, User};

use crate::observe::http::{Head, Peer};

/// The name of the user who sent a request; the number, of a user without one.
pub(super) async fn name(head: &Head) -> String {
    let Some(Peer { user }) = head.extensions().get::<Peer>().copied() else { return UNKNOWN.to_owned() };
    // The database may be a server somewhere.
    let found = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(user)));
    let named = found.await.ok().and_then(Result::ok).flatten().map(|user| user.name);
    named.unwrap_or_else(|| format!("user {user}"))
}

/// Somebody whom the kernel does not name.
const UNKNOWN: &str = "unknown";
