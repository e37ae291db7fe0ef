//! DNS as clients see it: packets in, answers out. `pipeline` is the page to read first.
//!
//! `wire` reads queries and `answer` writes answers; `pipeline` decides between them, without I/O but for what no cache
//! holds. `worker` (with the sockets of `udp`), `tcp` and `https` carry bytes to it and back; `listen` binds them.
//! Events and `counters` tell the rest of the program what happened. Nothing here knows how anything is displayed.

use std::net::{IpAddr, SocketAddr};

pub mod counters;
pub mod listen;
pub mod pipeline;
#[cfg(any(test, fuzzing))]
pub mod plain;

mod answer;
mod encrypted;
mod https;
mod tcp;
#[cfg(test)]
mod testing;
mod udp;
mod wire;
mod worker;

use crate::event::tally::Carrier;

pub use counters::Counters;
pub use encrypted::CertificateError;
pub use listen::{BindError, Listeners};
pub use pipeline::Pipeline;

/// Who asks, and how they reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client; an IPv4-mapped IPv6 address counts as IPv4.
    pub client: SocketAddr,
    /// The address that was asked, which on a wildcard listener is one of the host's; port 0 is the port bound instead.
    pub listener: SocketAddr,
    /// How it came.
    pub transport: Transport,
}

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain UDP.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
}

impl Peer {
    /// A peer; IPv4-mapped IPv6 addresses become IPv4 ones.
    pub fn new(client: SocketAddr, listener: SocketAddr, transport: Transport) -> Self {
        Self { client: canonical(client), listener: canonical(listener), transport }
    }

    /// Another client that came the same way.
    fn with_client(&self, client: SocketAddr) -> Self {
        Self { client: canonical(client), ..*self }
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.client.ip()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => SocketAddr::new(v6.ip().to_canonical(), v6.port()),
    }
}

impl Transport {
    /// As counters have it.
    pub fn carrier(self) -> Carrier {
        match self {
            Self::Udp => Carrier::Udp,
            Self::Tcp => Carrier::Tcp,
            Self::Tls => Carrier::Tls,
            Self::Https => Carrier::Https,
        }
    }

    /// In a word: `udp`, `tcp`, `tls`, `https`.
    pub fn name(self) -> &'static str {
        self.carrier().word()
    }
}
