//! DNS over TLS and over HTTPS with one server, through hickory-resolver's connections. The only file that names it.
//!
//! Only its connections: its cache, its choice among servers, its time-outs and its reading of answers are not used.
//! One connection is kept and shared; when it breaks, the question is put once more over a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{ConnectionConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer as _};
use hickory_resolver::net::{DnsHandle as _, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message as HickoryMessage};
use hickory_resolver::{ConnectionProvider as _, PoolContext, TlsConfig};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::MAX_IN_FLIGHT;
use super::answer::Answer;
use super::chain::Fault;
use super::inquiry::{Inquiry, Transport, Trouble};
use super::query::{Edns, Letters, Query};
use super::wire::Message;

type Connection = DnsExchange<TokioRuntimeProvider>;

/// One server, spoken to over TLS.
pub(super) struct Encrypted {
    address: SocketAddr,
    how: ConnectionConfig,
    context: PoolContext,
    /// Holds the tasks that drive the connections.
    provider: TokioRuntimeProvider,
    connection: Mutex<Held>,
    /// The number of the last connection that fell silent.
    silent: AtomicU64,
}

/// The connection at hand, with a number so that only whoever saw it fail gives it up.
#[derive(Default)]
struct Held {
    connection: Option<Connection>,
    number: u64,
}

/// Which certificates are trusted: the host's own, where a company's authorities are found too.
pub(super) fn host_trust() -> Result<TlsConfig, String> {
    TlsConfig::new().map_err(|error| error.to_string())
}

impl Encrypted {
    /// A server that speaks DNS over TLS (RFC 7858) and whose certificate has this name.
    pub(super) fn over_tls(address: SocketAddr, name: &str, trust: TlsConfig) -> Self {
        Self::new(address, ConnectionConfig::tls(Arc::from(name)), trust)
    }

    /// A server that speaks DNS over HTTPS (RFC 8484) at this path and whose certificate has this name.
    pub(super) fn over_https(address: SocketAddr, name: &str, path: &str, trust: TlsConfig) -> Self {
        Self::new(address, ConnectionConfig::https(Arc::from(name), Some(Arc::from(path))), trust)
    }

    fn new(address: SocketAddr, mut how: ConnectionConfig, trust: TlsConfig) -> Self {
        how.port = address.port();
        let mut options = ResolverOpts::default();
        options.max_active_requests = MAX_IN_FLIGHT;
        let context = PoolContext::new(options, trust);
        Self {
            address,
            how,
            context,
            provider: TokioRuntimeProvider::default(),
            connection: Mutex::default(),
            silent: AtomicU64::new(0),
        }
    }

    /// The connection at hand, or a new one, with its number. Those who ask meanwhile wait for it.
    async fn connection(&self) -> Result<(Connection, u64), NetError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) =
            held.connection.as_ref().filter(|_| self.silent.load(Ordering::Relaxed) != held.number)
        {
            return Ok((connection.clone(), held.number));
        }
        let connection = self.provider.new_connection(self.address.ip(), &self.how, &self.context)?.await?;
        held.number += 1;
        Ok((held.connection.insert(connection).clone(), held.number))
    }

    async fn give_up(&self, number: u64) {
        let mut held = self.connection.lock().await;
        if held.number == number {
            held.connection = None;
        }
    }

    /// Puts the query over the connection at hand; if that turns out to be broken, as idle ones do, over a new one.
    async fn exchange(&self, query: &Query) -> Result<Vec<u8>, NetError> {
        let message = HickoryMessage::from_vec(query.as_bytes()).map_err(|error| NetError::from(error.to_string()))?;
        let held_before = self.connection.lock().await.number;
        let (mut connection, mut number) = self.connection().await?;
        loop {
            let request = DnsRequest::new(message.clone(), DnsRequestOptions::default());
            let wait = Wait { silent: &self.silent, number, since: Instant::now() };
            let response = connection.send(request).first_answer().await;
            wait.over();
            let error = match response {
                Ok(response) => return Ok(response.into_buffer()),
                Err(error) => error,
            };
            self.give_up(number).await;
            if number > held_before {
                return Err(error);
            }
            (connection, number) = self.connection().await?;
        }
    }
}

/// A wait for an answer. Given up late, it says that the connection is silent: the caller just drops an attempt.
struct Wait<'a> {
    silent: &'a AtomicU64,
    number: u64,
    since: Instant,
}

impl Wait<'_> {
    /// Something came.
    fn over(mut self) {
        self.number = 0;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.number > 0 && self.since.elapsed() >= SILENCE {
            self.silent.store(self.number, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Transport for Encrypted {
    async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble> {
        inquiry.spend_packet()?;
        let query = Query::new(&inquiry.question, Letters::Lower, Edns::Yes);
        let response = self.exchange(&query).await.map_err(|error| Trouble::Dead(std::io::Error::other(error)))?;
        let message = Message::parse(&response).map_err(Fault::from)?;
        if message.truncated() || !query.asks_what(&message) {
            return Err(Trouble::Failing(Fault::Malformed));
        }
        Answer::read(&message, &inquiry.question, inquiry.max_ttl).map_err(Trouble::Failing)
    }
}

impl std::fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypted").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A connection on which an answer was awaited in vain for so long is not used again: its other end may be gone.
const SILENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
