//! The listeners: bound first, served later. Binding says what is in the way; serving ends within a bound.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::connections::Connections;
use super::encrypted::{Certificate, CertificateError};
use super::pipeline::Pipeline;
use super::port_owner::{self, PortOwner, Table};
use super::tcp::Carriage;
use super::{Transport, https, tcp, udp};
use crate::config::Server;

/// Every socket of the server, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    plain: Vec<PlainListener>,
    encrypted: Vec<EncryptedListener>,
}

/// UDP and TCP on one address.
#[derive(Debug)]
struct PlainListener {
    address: SocketAddr,
    tcp: TcpListener,
    /// One a worker; the kernel spreads clients over them.
    udp: Vec<UdpSocket>,
}

#[derive(Debug)]
struct EncryptedListener {
    address: SocketAddr,
    carriage: Carriage,
    tcp: TcpListener,
}

/// Why a listener could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket could not be bound.
    #[error("cannot listen on {transport} {address}: {}", InUse(owner.as_ref(), source))]
    Socket {
        /// What for.
        transport: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
        /// Who has the port, if that is the trouble and can be seen.
        owner: Option<PortOwner>,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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

impl BindError {
    /// Whether another process has the port.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Socket { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// What would do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Certificate(error) => Some(error.hint()),
            Self::Socket { source, address, owner, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => Some(taken_hint(*address, owner.as_ref())),
                io::ErrorKind::PermissionDenied => Some(format!(
                    "ports below 1024 need CAP_NET_BIND_SERVICE (the systemd unit grants it): run as root, or listen on \
                     a higher port such as {}:5300",
                    address.ip()
                )),
                _ => None,
            },
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

impl Listeners {
    /// Binds everything that the settings name. Port 0: TCP takes a free port, UDP the same one.
    ///
    /// # Errors
    /// The first socket that cannot be bound, with who has its port, or the certificate.
    pub fn bind(server: &Server) -> Result<Self, BindError> {
        let plain = server.listen.iter().map(|&address| bind_plain(server, address)).collect::<Result<_, _>>()?;
        let mut encrypted = Vec::new();
        if let Some(tls) = &server.tls {
            let certificate = Certificate::load(&tls.certificate, &tls.key)?;
            for &address in &tls.dot {
                let carriage = Carriage::Tls(certificate.acceptor(&[b"dot"]));
                encrypted.push(bind_encrypted(server, address, carriage, "DNS over TLS")?);
            }
            for &address in &tls.doh {
                let carriage = Carriage::Https(certificate.acceptor(https::PROTOCOLS));
                encrypted.push(bind_encrypted(server, address, carriage, "DNS over HTTPS")?);
            }
        }
        Ok(Self { plain, encrypted })
    }

    /// What is listened on. Plain addresses are there twice, as UDP and as TCP.
    pub fn addresses(&self) -> Vec<(SocketAddr, Transport)> {
        let plain =
            self.plain.iter().flat_map(|plain| [(plain.address, Transport::Udp), (plain.address, Transport::Tcp)]);
        plain
            .chain(self.encrypted.iter().map(|encrypted| (encrypted.address, encrypted.carriage.transport())))
            .collect()
    }

    /// Serves until `shutdown`, then takes nothing new and waits for what is in flight, three seconds at most.
    ///
    /// # Errors
    /// A socket cannot be handed to the runtime, or a listener ends before its time.
    pub async fn run(self, pipeline: Arc<Pipeline>, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
        let (stop, stopped) = watch::channel(());
        let mut tasks = self.start(&pipeline, &stopped)?;
        tokio::select! {
            () = shutdown => {}
            Some(ended) = tasks.join_next() => return Err(untimely(ended)),
        }
        // Receivers see that the sender is gone.
        drop(stop);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
            tracing::warn!(after = ?DRAIN_TIME, "gave up on answers in flight");
        }
        Ok(())
    }

    fn start(self, pipeline: &Arc<Pipeline>, stopped: &watch::Receiver<()>) -> io::Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        let connections = Connections::new();
        for plain in self.plain {
            for socket in plain.udp {
                let socket = udp::Socket::new(socket, plain.address)?;
                tasks.spawn(udp::serve(socket, Arc::clone(pipeline), stopped.clone()));
            }
            let listener = tokio::net::TcpListener::from_std(plain.tcp)?;
            let server =
                tcp::Server::new(plain.address, Carriage::Plain, Arc::clone(pipeline), Arc::clone(&connections));
            tasks.spawn(server.run(listener, stopped.clone()));
        }
        for encrypted in self.encrypted {
            let EncryptedListener { address, carriage, tcp } = encrypted;
            let listener = tokio::net::TcpListener::from_std(tcp)?;
            let server = tcp::Server::new(address, carriage, Arc::clone(pipeline), Arc::clone(&connections));
            tasks.spawn(server.run(listener, stopped.clone()));
        }
        Ok(tasks)
    }
}

/// Why a listener ended that should not have.
fn untimely(ended: Result<(), JoinError>) -> io::Error {
    ended.map_or_else(io::Error::other, |()| io::Error::other("a listener ended by itself"))
}

fn bind_plain(server: &Server, wanted: SocketAddr) -> Result<PlainListener, BindError> {
    let mut attempts = if wanted.port() == 0 { FREE_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = bind_tcp(server, wanted, "TCP")?;
        let address = bound_address(&tcp, wanted)?;
        match bind_udp(server, address) {
            Ok(udp) => return Ok(PlainListener { address, tcp, udp }),
            Err(error) if attempts == 0 || !error.is_port_taken() => return Err(error),
            Err(_another_has_the_port_over_udp) => {}
        }
    }
}

fn bind_encrypted(
    server: &Server,
    wanted: SocketAddr,
    carriage: Carriage,
    name: &'static str,
) -> Result<EncryptedListener, BindError> {
    let tcp = bind_tcp(server, wanted, name)?;
    Ok(EncryptedListener { address: bound_address(&tcp, wanted)?, carriage, tcp })
}

fn bound_address(tcp: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, BindError> {
    tcp.local_addr().map_err(|source| BindError::Socket { transport: "TCP", address: wanted, source, owner: None })
}

/// TCP is bound without `SO_REUSEPORT`: a second pullgate on the same port is told so instead of taking half the queries.
fn bind_tcp(server: &Server, address: SocketAddr, transport: &'static str) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = new_socket(server, address, Type::STREAM)?;
        socket.set_reuse_address(true)?;
        bind_socket(&socket, address)?;
        socket.listen(TCP_BACKLOG)?;
        Ok(socket.into())
    };
    listen().map_err(|source| bind_error(transport, Table::Tcp, address, source))
}

fn bind_udp(server: &Server, address: SocketAddr) -> Result<Vec<UdpSocket>, BindError> {
    let bind = |_worker| {
        let socket = new_socket(server, address, Type::DGRAM)?;
        socket.set_reuse_port(server.workers > 1)?;
        udp::prepare(&socket, address)?;
        bind_socket(&socket, address)?;
        Ok(socket.into())
    };
    let sockets: io::Result<_> = (0..server.workers).map(bind).collect();
    sockets.map_err(|source| bind_error("UDP", Table::Udp, address, source))
}

fn new_socket(server: &Server, address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!takes_ipv4(server, address))?;
    }
    Ok(socket)
}

/// A wildcard IPv6 listener takes IPv4 as well, unless an IPv4 listener with the same port, or any, is there to do it.
fn takes_ipv4(server: &Server, address: SocketAddr) -> bool {
    let rival = |other: &SocketAddr| other.is_ipv4() && [0, address.port()].contains(&other.port());
    address.ip().is_unspecified() && !server.listen.iter().any(rival)
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

fn bind_error(transport: &'static str, table: Table, address: SocketAddr, source: io::Error) -> BindError {
    let taken = source.kind() == io::ErrorKind::AddrInUse;
    let owner = taken.then(|| port_owner::find(table, address)).flatten();
    BindError::Socket { transport, address, source, owner }
}

/// A stop is not held up for longer: upstreams have two seconds to answer.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Connections that the kernel completes while the accept loop is elsewhere.
const TCP_BACKLOG: i32 = 1024;
/// A port that is free over TCP is rarely taken over UDP.
const FREE_PORT_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
