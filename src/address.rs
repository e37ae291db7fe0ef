//! Addresses as people write them: with or without a port, with or without brackets, ranges among them.
//!
//! An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address, everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// What is wrong with a written address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressFault {
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: String,
}

/// The port of DNS over UDP and TCP.
pub const DNS_PORT: u16 = 53;

/// Reads `10.0.0.53`, `10.0.0.53:53`, `fd00::53`, `[fd00::53]` or `[fd00::53]:53`.
///
/// # Errors
/// Host names, URLs, broken addresses, ports above 65535.
pub fn parse_socket(text: &str, default_port: u16) -> Result<SocketAddr, AddressFault> {
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => SocketAddr::new(parse_bare(text)?, default_port),
    };
    Ok(match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => SocketAddr::new(plain(address.ip()), v6.port()),
        _ => address,
    })
}

/// Reads a range such as `10.20.0.0/16` or `fd00:20::/64`; a single address is the range of itself.
///
/// # Errors
/// No range, or one whose address has bits set beyond its length, which may mean the network or the one address.
pub fn parse_range(text: &str) -> Result<IpNet, AddressFault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(plain(address)));
    }
    let Ok(range) = text.parse::<IpNet>() else {
        return Err(fault(
            format!("`{text}` is not an address range"),
            "write it as in `10.20.0.0/16` or `fd00:20::/64`",
        ));
    };
    if range.addr() != range.network() {
        let (network, address) = (range.trunc(), range.addr());
        let hint = format!("write `{network}` for the network, `{address}` for the one address");
        return Err(fault(format!("`{text}` has bits set beyond its /{}", range.prefix_len()), hint));
    }
    Ok(plain_range(range))
}

/// The address, as IPv4 when it is an IPv4-mapped IPv6 address.
pub fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn plain_range(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (Some(network), Some(length)) => Ipv4Net::new(network, length).map_or(range, IpNet::V4),
        _ => range,
    }
}

fn parse_bare(text: &str) -> Result<IpAddr, AddressFault> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| explain(text))
}

/// Why `text` is no address, by the most likely slip.
fn explain(text: &str) -> AddressFault {
    if text.contains("://") {
        return fault(format!("`{text}` is a URL"), "write an address, as in `10.0.0.53` or `[fd00::53]:53`");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if let Some(port) = port.parse::<u64>().ok().filter(|&port| port > u64::from(u16::MAX))
        && host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    {
        return fault(format!("{port} is not a port"), "a port is a number up to 65535");
    }
    if host == "localhost" || text == "localhost" {
        return fault(format!("`{text}` is a name, not an address"), format!("write `{}`", Ipv4Addr::LOCALHOST));
    }
    fault(format!("`{text}` is not an address"), "write it as in `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`")
}

fn fault(message: impl Into<String>, hint: impl Into<String>) -> AddressFault {
    AddressFault { message: message.into(), hint: hint.into() }
}

/// `::ffff:0:0/96` holds the IPv4-mapped addresses (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port_and_brackets() {
        for (text, read) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("fd00::53", "[fd00::53]:53"),
            ("[fd00::53]", "[fd00::53]:53"),
            ("[fd00::53]:5353", "[fd00::53]:5353"),
            ("::ffff:10.0.0.53", "10.0.0.53:53"),
            ("[::ffff:10.0.0.53]:5353", "10.0.0.53:5353"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(parse_socket(text, DNS_PORT), Ok(read.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_would_do() {
        for (text, hint) in [
            ("localhost:53", "write `127.0.0.1`"),
            ("dns.corp.example", "write it as in `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`"),
            ("tls://1.1.1.1", "write an address, as in `10.0.0.53` or `[fd00::53]:53`"),
            ("10.0.0.53:70000", "a port is a number up to 65535"),
            ("[10.0.0.53]", "write it as in `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`"),
            ("", "write it as in `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`"),
        ] {
            assert_eq!(parse_socket(text, DNS_PORT).expect_err(text).hint, hint, "{text}");
        }
    }

    #[test]
    fn mapped_ranges_are_ipv4_ranges() {
        for (text, read) in [
            ("10.20.0.0/16", "10.20.0.0/16"),
            ("fd00:20::/64", "fd00:20::/64"),
            ("10.20.0.1", "10.20.0.1/32"),
            ("::1", "::1/128"),
            ("::ffff:10.20.0.0/112", "10.20.0.0/16"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_range(text), Ok(read.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_range_with_host_bits_offers_both_readings() {
        let fault = parse_range("10.20.0.1/16").unwrap_err();
        assert_eq!(fault.hint, "write `10.20.0.0/16` for the network, `10.20.0.1` for the one address");
        assert!(parse_range("10.20.0.0/33").is_err());
    }
}
