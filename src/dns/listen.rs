//! The listeners: bound first, served later. Binding says what is in the way; serving ends within a bound.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::encrypted::{Certificate, CertificateError};
use super::pipeline::Pipeline;
use super::tcp::Carriage;
use super::{Transport, https, tcp, udp, worker};
use crate::config::Server;
use crate::net::bind::{self, Families, SocketError, bound_address};
use crate::net::connections::{Connections, Limits};

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
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl BindError {
    /// Whether another process has the port.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Socket(error) if error.is_port_taken())
    }

    /// What would do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Certificate(error) => Some(error.hint()),
            Self::Socket(error) => error.hint(),
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

    fn start(self, pipeline: &Arc<Pipeline>, stopped: &watch::Receiver<()>) -> io::Result<JoinSet<io::Result<()>>> {
        let mut tasks = JoinSet::new();
        let connections = Connections::new(CONNECTIONS);
        for plain in self.plain {
            for socket in plain.udp {
                let (pipeline, stopped) = (Arc::clone(pipeline), stopped.clone());
                tasks.spawn_blocking(move || worker::work(socket, plain.address, pipeline, stopped, DRAIN_TIME));
            }
            let listener = tokio::net::TcpListener::from_std(plain.tcp)?;
            let server =
                tcp::Server::new(plain.address, Carriage::Plain, Arc::clone(pipeline), Arc::clone(&connections));
            tasks.spawn(succeed(server.run(listener, stopped.clone())));
        }
        for encrypted in self.encrypted {
            let EncryptedListener { address, carriage, tcp } = encrypted;
            let listener = tokio::net::TcpListener::from_std(tcp)?;
            let server = tcp::Server::new(address, carriage, Arc::clone(pipeline), Arc::clone(&connections));
            tasks.spawn(succeed(server.run(listener, stopped.clone())));
        }
        Ok(tasks)
    }
}

/// Why a listener ended that should not have.
fn untimely(ended: Result<io::Result<()>, JoinError>) -> io::Error {
    let by_itself = || io::Error::other("a listener ended by itself");
    ended.map_or_else(io::Error::other, |ended| ended.err().unwrap_or_else(by_itself))
}

async fn succeed(work: impl Future<Output = ()>) -> io::Result<()> {
    work.await;
    Ok(())
}

fn bind_plain(server: &Server, wanted: SocketAddr) -> Result<PlainListener, BindError> {
    let mut attempts = if wanted.port() == 0 { FREE_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = bind_tcp(server, wanted, "TCP")?;
        let address = bound_address(&tcp, wanted)?;
        match bind_udp(server, address) {
            Ok(udp) => return Ok(PlainListener { address, tcp, udp }),
            Err(error) if attempts == 0 || !error.is_port_taken() => return Err(error.into()),
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

fn bind_tcp(server: &Server, address: SocketAddr, purpose: &'static str) -> Result<TcpListener, SocketError> {
    bind::tcp(address, families(server, address), purpose)
}

fn bind_udp(server: &Server, address: SocketAddr) -> Result<Vec<UdpSocket>, SocketError> {
    bind::udp(address, families(server, address), server.workers, |socket| udp::prepare(socket, address))
}

/// A wildcard IPv6 listener takes IPv4 as well, unless an IPv4 listener with the same port, or any, is there to do it.
fn families(server: &Server, address: SocketAddr) -> Families {
    let rival = |other: &SocketAddr| other.is_ipv4() && [0, address.port()].contains(&other.port());
    if address.ip().is_unspecified() && !server.listen.iter().any(rival) { Families::Both } else { Families::Own }
}

/// A stop is not held up for longer: upstreams have two seconds to answer.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Clients keep one or two; with more, a crowd of them does not take all the memory.
const CONNECTIONS: Limits = Limits { total: 512, per_client: 128 };
/// A port that is free over TCP is rarely taken over UDP.
const FREE_PORT_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
