//! The gateway: what stands between a client and a registry whose names are answered with this program's own address.
//! Knows nothing of DNS messages.
//!
//! ```text
//! connection ─hello─▶ name ─admission─▶ way ─┬─ refused ─▶ alert
//!                                            ├─ pass ────▶ dial ─▶ bytes, as they are
//!                                            └─ inspect ─▶ leaves ─▶ request ─judge─▶ refusal, or on to the registry
//! ```
//!
//! `connection` is the page to read first, `inspect` the second. `request` and `admission` decide, without I/O; `dial`
//! reaches registries, directly or through `parent`; `authority` makes the certificates that `leaves` keeps.

mod admission;
pub mod authority;
mod badges;
mod connect;
mod connection;
mod counters;
mod dial;
mod handed_out;
mod headers;
mod hello;
mod inspect;
mod leaves;
mod parent;
mod refusal;
mod request;
mod roots;
mod serve;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;

pub use self::counters::Counters;
pub(crate) use self::dial::{DialError, Dialer, Target, connect_any};
pub(crate) use self::parent::connect as connect_through;
pub use self::roots::RootsError;
pub(crate) use self::roots::trusted;
pub use self::serve::{Gateway, GatewayError, Parts, Publishers};
pub(crate) use self::stream::Stream;

use self::badges::Badges;
use self::handed_out::HandedOut;
use self::leaves::Leaves;
use crate::event::EventSink;
use crate::policy::store::PolicyStore;

/// What all connections share.
pub(crate) struct Shared {
    policy: Arc<PolicyStore>,
    dialer: Dialer,
    leaves: Arc<Leaves>,
    badges: Badges,
    handed_out: HandedOut,
    events: EventSink,
    counters: Arc<Counters>,
    /// The ports that registries are reached on: HTTPS's, and those that the gateway listens on.
    ports: Vec<u16>,
    /// What this gateway calls itself to those it asks, so that it knows its own requests again.
    via: HeaderValue,
    /// Whom people ask about the policy.
    contact: Option<String>,
}

/// Who connected, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client; an IPv4-mapped IPv6 address counts as IPv4.
    pub address: SocketAddr,
    /// The address that it connected to.
    pub listener: SocketAddr,
    /// `gateway`, or `connect` for who named a proxy.
    pub transport: &'static str,
}

/// RFC 9110 §4.2.2.
const HTTPS_PORT: u16 = 443;

/// What the targets in fuzz/ reach.
#[cfg(fuzzing)]
pub mod fuzzing {
    use hyper::Method;

    use super::request::Request;
    use super::{badges, hello};

    /// The name in a ClientHello that comes in pieces.
    pub fn read_hello(pieces: &[&[u8]]) -> Option<String> {
        hello::read_bytes(pieces)?.name.map(|name| name.to_string())
    }

    /// What a request to a registry is for: repository and path as they go on. What goes on reads as what came.
    pub fn read_request(method: &str, path: &str, query: Option<&str>) -> Option<(String, String)> {
        let method: Method = method.parse().ok()?;
        let Ok(Request::Repository(read)) = Request::parse(&method, path, query) else { return None };
        let target = read.target();
        let (path, query) = target.split_once('?').map_or((&target[..], None), |(path, query)| (path, Some(query)));
        let Ok(Request::Repository(again)) = Request::parse(&method, path, query) else {
            panic!("{target} goes on and is not read");
        };
        assert_eq!((&again.repository, again.access, &again.mounts), (&read.repository, read.access, &read.mounts));
        Some((read.repository.as_str().to_owned(), target))
    }

    /// Whether an answer of the Hub's API can be read.
    pub fn reads_badge(body: &[u8]) -> bool {
        badges::read_badge(body).is_ok()
    }
}
