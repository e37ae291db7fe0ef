//! dnstap's messages: the few fields of its protobuf schema (dnstap.pb/dnstap.proto) that are told here.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use super::frame;
use crate::event::tally::Carrier;
use crate::event::tap::Tapped;
use crate::observe::recent::VerdictWord;

/// Who tells.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    identity: String,
}

/// Which half of an exchange is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Query,
    Response,
}

impl Sender {
    pub(super) fn new(identity: String) -> Self {
        Self { identity }
    }

    /// Appends two data frames: the query, and its answer.
    pub(super) fn push_frames(&self, tapped: &Tapped, bytes: &mut Vec<u8>) {
        for half in [Half::Query, Half::Response] {
            frame::push_data(bytes, |bytes| self.push_dnstap(tapped, half, bytes));
        }
    }

    fn push_dnstap(&self, tapped: &Tapped, half: Half, bytes: &mut Vec<u8>) {
        push_bytes(bytes, IDENTITY, self.identity.as_bytes());
        push_bytes(bytes, VERSION, concat!("pullgate ", env!("CARGO_PKG_VERSION")).as_bytes());
        let verdict = format!("{} {}", VerdictWord::from(tapped.decision), tapped.reason.word());
        push_bytes(bytes, EXTRA, verdict.as_bytes());
        let mut message = Vec::with_capacity(tapped.query.len() + tapped.answer.len() + 100);
        push_message(tapped, half, &mut message);
        push_bytes(bytes, MESSAGE, &message);
        push_number(bytes, TYPE, TYPE_MESSAGE);
    }
}

fn push_message(tapped: &Tapped, half: Half, bytes: &mut Vec<u8>) {
    let &Tapped { client, listener, carrier, asked, answered, .. } = tapped;
    push_number(bytes, MESSAGE_TYPE, if half == Half::Query { CLIENT_QUERY } else { CLIENT_RESPONSE });
    push_number(bytes, SOCKET_FAMILY, if client.is_ipv4() { INET } else { INET6 });
    push_number(bytes, SOCKET_PROTOCOL, protocol(carrier));
    push_address(bytes, QUERY_ADDRESS, client);
    push_address(bytes, RESPONSE_ADDRESS, listener);
    push_number(bytes, QUERY_PORT, client.port().into());
    push_number(bytes, RESPONSE_PORT, listener.port().into());
    push_moment(bytes, QUERY_TIME, asked);
    match half {
        Half::Query => push_bytes(bytes, QUERY_MESSAGE, &tapped.query),
        Half::Response => {
            push_moment(bytes, RESPONSE_TIME, answered);
            push_bytes(bytes, RESPONSE_MESSAGE, &tapped.answer);
        }
    }
}

fn protocol(carrier: Carrier) -> u64 {
    match carrier {
        Carrier::Udp => 1,
        Carrier::Tcp | Carrier::Gateway | Carrier::Connect => 2,
        Carrier::Tls => 3,
        Carrier::Https => 4,
    }
}

fn push_address(bytes: &mut Vec<u8>, field: u32, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(v4) => push_bytes(bytes, field, &v4.octets()),
        IpAddr::V6(v6) => push_bytes(bytes, field, &v6.octets()),
    }
}

/// Seconds, and in the field after it nanoseconds.
fn push_moment(bytes: &mut Vec<u8>, field: u32, moment: SystemTime) {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    push_number(bytes, field, since.as_secs());
    push_key(bytes, field + 1, FIXED_32);
    bytes.extend(since.subsec_nanos().to_le_bytes());
}

fn push_number(bytes: &mut Vec<u8>, field: u32, value: u64) {
    push_key(bytes, field, VARINT);
    push_varint(bytes, value);
}

fn push_bytes(bytes: &mut Vec<u8>, field: u32, value: &[u8]) {
    push_key(bytes, field, LENGTH_DELIMITED);
    push_varint(bytes, value.len() as u64);
    bytes.extend(value);
}

fn push_key(bytes: &mut Vec<u8>, field: u32, wire_type: u32) {
    push_varint(bytes, u64::from(field << 3 | wire_type));
}

/// Seven bits a byte, the lowest first (protobuf's encoding).
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

// Fields of `Dnstap`.
const IDENTITY: u32 = 1;
const VERSION: u32 = 2;
const EXTRA: u32 = 3;
const MESSAGE: u32 = 14;
const TYPE: u32 = 15;
const TYPE_MESSAGE: u64 = 1;

// Fields of `Message`.
const MESSAGE_TYPE: u32 = 1;
const SOCKET_FAMILY: u32 = 2;
const SOCKET_PROTOCOL: u32 = 3;
const QUERY_ADDRESS: u32 = 4;
const RESPONSE_ADDRESS: u32 = 5;
const QUERY_PORT: u32 = 6;
const RESPONSE_PORT: u32 = 7;
const QUERY_TIME: u32 = 8;
const QUERY_MESSAGE: u32 = 10;
const RESPONSE_TIME: u32 = 12;
const RESPONSE_MESSAGE: u32 = 14;
const CLIENT_QUERY: u64 = 5;
const CLIENT_RESPONSE: u64 = 6;
const INET: u64 = 1;
const INET6: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_seven_bits_at_a_time() {
        for (value, expected) in [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(bytes, expected);
        }
    }
}
