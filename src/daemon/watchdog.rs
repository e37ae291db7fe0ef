//! Feeds systemd's watchdog only while the service answers: by a question to its own UDP socket, like any client's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::daemon::readiness;
use crate::dns::Transport;

/// Asks and feeds for as long as systemd wants it; returns at once if it does not.
pub(super) async fn run(listening: Vec<(SocketAddr, Transport)>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let Some(target) = target(&listening) else { return };
    let mut ticks = tokio::time::interval(limit / FEEDS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout(limit / FEEDS, ask(target)).await {
            Ok(Ok(())) => readiness::alive(),
            Ok(Err(error)) => warn!(%target, %error, "the service cannot be asked; the watchdog is not fed"),
            Err(_) => warn!(%target, "the service does not answer; the watchdog is not fed"),
        }
    }
}

/// The plain listener to ask: one that cannot go away with an interface, if there is one.
fn target(listening: &[(SocketAddr, Transport)]) -> Option<SocketAddr> {
    let mut plain = listening.iter().filter(|(_, transport)| *transport == Transport::Udp).map(|(address, _)| *address);
    let first = plain.clone().next();
    let always_there = plain.find(|address| address.ip().is_loopback() || address.ip().is_unspecified());
    always_there.or(first).map(reachable)
}

/// Where a wildcard listener can be asked.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Any answer will do: a refusal of this client is an answer too. An address that no interface has yet cannot be asked,
/// and its silence is no defect.
async fn ask(target: SocketAddr) -> io::Result<()> {
    let socket = match UdpSocket::bind(SocketAddr::new(target.ip(), 0)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(()),
        socket => socket?,
    };
    socket.connect(target).await?;
    let question = question(rand::random());
    socket.send(&question).await?;
    let mut answer = [0; 512];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == question[..2] {
            return Ok(());
        }
    }
}

/// A query for the address of `localhost`, which the service answers by itself (RFC 1035 §4.1).
fn question(id: u16) -> Vec<u8> {
    let flags_and_counts = [0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    let name_type_class = b"\x09localhost\x00\x00\x01\x00\x01";
    [&id.to_be_bytes()[..], &flags_and_counts, name_type_class].concat()
}

/// How often the watchdog is fed before it would bite: one lost question is no reason to.
const FEEDS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_loopback_or_wildcard_listener_is_asked_first_and_tcp_never() {
        let listening = [
            (address("127.0.0.1:1"), Transport::Tcp),
            (address("172.17.0.1:53"), Transport::Udp),
            (address("[::]:54"), Transport::Udp),
        ];
        assert_eq!(target(&listening), Some(address("[::1]:54")));
        assert_eq!(target(&listening[..2]), Some(address("172.17.0.1:53")));
        assert_eq!(target(&listening[..1]), None);
    }

    #[tokio::test]
    async fn an_answer_with_the_right_id_is_a_sign_of_life_and_another_is_not() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        let asking = tokio::spawn(ask(target));
        let mut packet = [0; 512];
        let (length, client) = server.recv_from(&mut packet).await.unwrap();
        let wrong_id = [!packet[0], packet[1], 0x80];
        server.send_to(&wrong_id, client).await.unwrap();
        assert!(!asking.is_finished());
        server.send_to(&packet[..length], client).await.unwrap();
        asking.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_that_no_interface_has_is_not_held_against_the_service() {
        ask(address("192.0.2.1:53")).await.unwrap();
    }
}
