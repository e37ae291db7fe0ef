//! The verdict on one question: a plain function over plain values. No I/O, no clock, no lock, no allocation.

use std::net::{IpAddr, SocketAddr};

/// Who asks, and where they reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's address; IPv4-mapped IPv6 addresses count as IPv4.
    pub client: IpAddr,
    /// The listener that took the question, as configured (a wildcard listener by its wildcard address); `None` when a
    /// person asks through `check` without one.
    pub listener: Option<SocketAddr>,
}
