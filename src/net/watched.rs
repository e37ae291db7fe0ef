//! UDP sockets that a runtime watches for one thing only.
//!
//! A [`tokio::net::UdpSocket`] is watched for room to send as well. The system tells of that whenever a datagram has left:
//! whoever answers one query at a time is woken after each answer, for nothing.

use std::io;
use std::net::UdpSocket;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that a runtime watches.
pub(crate) type Watched = AsyncFd<UdpSocket>;

/// A socket that is watched for what comes in. Needs a runtime.
///
/// # Errors
/// The system cannot watch it.
pub(crate) fn for_reading(socket: UdpSocket) -> io::Result<Watched> {
    watched(socket, Interest::READABLE)
}

/// Comes back when a socket has room for what is to go out: seldom needed, so it is watched for as long as that.
///
/// # Errors
/// The system cannot watch it.
pub(crate) async fn room_in(socket: &UdpSocket) -> io::Result<()> {
    watched(socket.try_clone()?, Interest::WRITABLE)?.writable().await.map(|_| ())
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that lend their descriptor out; a socket of std's does not"
)]
fn watched(socket: UdpSocket, interest: Interest) -> io::Result<Watched> {
    Watched::with_interest(socket, interest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_has_left_wakes_nobody() {
        let [asking, answering] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        asking.send_to(b"?", answering.local_addr().unwrap()).unwrap();
        let answering = for_reading(answering).unwrap();
        let mut ready = answering.readable().await.unwrap();
        assert!(!ready.ready().is_writable());
        ready.clear_ready();
        answering.get_ref().send_to(b"!", asking.local_addr().unwrap()).unwrap();
        room_in(answering.get_ref()).await.unwrap();
    }
}
