//! Binding sockets, and what is in the way when that fails.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::port_owner::{self, PortOwner, Table};

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {purpose} {address}: {}", InUse(owner.as_ref(), source))]
pub struct SocketError {
    /// What for: `UDP`, `TCP`, `DNS over TLS`, …
    pub purpose: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
    /// Who has the port, if that is the trouble and can be seen.
    pub owner: Option<PortOwner>,
}

/// The owner of a port, or else what the kernel said.
struct InUse<'a>(Option<&'a PortOwner>, &'a io::Error);

impl fmt::Display for InUse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1.kind()) {
            (Some(owner), _) => write!(f, "the port is taken by {owner}"),
            (None, io::ErrorKind::AddrInUse) => f.write_str("the port is taken by another process"),
            (None, io::ErrorKind::PermissionDenied) => f.write_str("not permitted"),
            (None, _) => self.1.fmt(f),
        }
    }
}

impl SocketError {
    fn new(purpose: &'static str, table: Table, address: SocketAddr, source: io::Error) -> Self {
        let taken = source.kind() == io::ErrorKind::AddrInUse;
        let owner = taken.then(|| port_owner::find(table, address)).flatten();
        Self { purpose, address, source, owner }
    }

    /// Whether another process has the port.
    pub fn is_port_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    /// What would do.
    pub fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => Some(taken_hint(self.address, self.owner.as_ref())),
            io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 need CAP_NET_BIND_SERVICE (the systemd unit grants it): run as root, or listen on a \
                 higher port"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn taken_hint(address: SocketAddr, owner: Option<&PortOwner>) -> String {
    let port = address.port();
    match owner {
        Some(owner) if owner.name.starts_with("systemd-resolve") => {
            "systemd-resolved holds it: set `DNSStubListener=no` in resolved.conf, or listen on another address"
                .to_owned()
        }
        Some(owner) => format!("stop {}, or listen on another address or port", owner.name),
        None => {
            format!("`ss -lnptu sport = :{port}` as root shows which; stop it, or listen on another address or port")
        }
    }
}

/// Whether an IPv6 socket on the wildcard address takes IPv4 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Its own only.
    Own,
    /// Both.
    Both,
}

/// A TCP socket that takes connections. Without `SO_REUSEPORT`: a second pullgate on the same port is told so instead of
/// taking half the connections. An address that the host does not have yet is bound in advance.
///
/// # Errors
/// What is in the way, with who has the port if that can be seen.
pub fn tcp(address: SocketAddr, families: Families, purpose: &'static str) -> Result<TcpListener, SocketError> {
    let listen = || {
        let socket = new_socket(address, families, Type::STREAM)?;
        socket.set_reuse_address(true)?;
        bind_socket(&socket, address)?;
        socket.listen(TCP_BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|source| SocketError::new(purpose, Table::Tcp, address, source))
}

/// `count` UDP sockets on one address, each made ready by `prepare` before it is bound; the kernel spreads clients over
/// them.
///
/// # Errors
/// As [`tcp`].
pub fn udp(
    address: SocketAddr,
    families: Families,
    count: usize,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<Vec<std::net::UdpSocket>, SocketError> {
    let bind = |_worker| {
        let socket = new_socket(address, families, Type::DGRAM)?;
        socket.set_reuse_port(count > 1)?;
        prepare(&socket)?;
        bind_socket(&socket, address)?;
        Ok(socket.into())
    };
    let sockets: io::Result<_> = (0..count).map(bind).collect();
    sockets.map_err(|source| SocketError::new("UDP", Table::Udp, address, source))
}

/// The address that a socket was bound to, with the port it was given.
///
/// # Errors
/// The kernel does not say.
pub fn bound_address(tcp: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, SocketError> {
    tcp.local_addr().map_err(|source| SocketError { purpose: "TCP", address: wanted, source, owner: None })
}

fn new_socket(address: SocketAddr, families: Families, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(families == Families::Own)?;
    }
    Ok(socket)
}

/// Binds; an address that the host does not have yet (docker0 before the first container) is bound in advance.
fn bind_socket(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            match address {
                SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
                SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
            }
            socket.bind(&address.into())?;
            tracing::warn!(%address, "no interface has this address yet; it is listened on as soon as one has");
            Ok(())
        }
        result => result,
    }
}

/// Connections that the kernel completes while the accept loop is elsewhere.
const TCP_BACKLOG: i32 = 1024;
