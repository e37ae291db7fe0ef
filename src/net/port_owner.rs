//! Which process has a port, from `/proc`. Best effort: other users' processes show their sockets to root only.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// Which table of `/proc/net` to look in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Tcp,
    Udp,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// The process whose socket keeps `address` from being bound; `None` when it cannot be seen.
pub(crate) fn find(table: Table, address: SocketAddr) -> Option<PortOwner> {
    let inodes = sockets_at(table, address);
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|&pid| holds_any(pid, &inodes)).map(|pid| PortOwner { pid, name: name_of(pid) })
}

/// The inodes of the sockets bound where `address` would be: the same port, and an address that overlaps.
fn sockets_at(table: Table, address: SocketAddr) -> Vec<u64> {
    let (files, bound_state) = match table {
        Table::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], TCP_LISTEN),
        Table::Udp => (["/proc/net/udp", "/proc/net/udp6"], UDP_UNCONNECTED),
    };
    let tables = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<String>();
    let bound = tables.lines().filter_map(read_line).filter(|socket| socket.state == bound_state);
    bound.filter(|socket| overlap(socket.address, address)).map(|socket| socket.inode).collect()
}

/// A line of `/proc/net/tcp` and its like.
struct BoundSocket {
    address: SocketAddr,
    state: u8,
    inode: u64,
}

/// Reads `sl local rem st tx:rx tr:when retrnsmt uid timeout inode …`; `None` for the heading.
fn read_line(line: &str) -> Option<BoundSocket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let address = SocketAddr::new(read_address(address)?, u16::from_str_radix(port, 16).ok()?);
    let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(BoundSocket { address, state, inode })
}

/// Reads an address printed as 32-bit words in the machine's byte order.
fn read_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

fn overlap(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let meet = bound.ip() == wanted.ip() || bound.ip().is_unspecified() || wanted.ip().is_unspecified();
    bound.port() == wanted.port() && meet
}

fn holds_any(pid: u32, inodes: &[u64]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().filter_map(|entry| socket_inode(&entry.path())).any(|inode| inodes.contains(&inode))
}

/// The inode behind a link such as `socket:[12345]`.
fn socket_inode(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let printable = name.trim().chars().filter(|c| !c.is_control());
    printable.collect()
}

// include/net/tcp_states.h; an unconnected UDP socket shows as closed.
const TCP_LISTEN: u8 = 10;
const UDP_UNCONNECTED: u8 = 7;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_listener_of_our_own_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let us = Some(std::process::id());
        assert_eq!(find(Table::Tcp, tcp.local_addr().unwrap()).map(|owner| owner.pid), us);
        assert_eq!(find(Table::Udp, udp.local_addr().unwrap()).map(|owner| owner.pid), us);
    }

    #[test]
    fn a_wildcard_is_in_the_way_of_every_address() {
        let bound = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(overlap(bound("0.0.0.0:53"), bound("127.0.0.1:53")));
        assert!(overlap(bound("127.0.0.53:53"), bound("0.0.0.0:53")));
        assert!(!overlap(bound("127.0.0.53:53"), bound("127.0.0.1:53")));
        assert!(!overlap(bound("0.0.0.0:54"), bound("127.0.0.1:53")));
    }

    #[test]
    fn the_heading_of_the_table_is_no_socket() {
        assert!(
            read_line(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
            )
            .is_none()
        );
    }
}
