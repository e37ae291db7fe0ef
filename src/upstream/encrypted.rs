//! DNS over TLS and over HTTPS with one server, through hickory-resolver's connections. The only file that names it.
//!
//! Only its connections: its cache, its choice among servers, its time-outs and its reading of answers are not used.
//! One connection is kept and shared; when it breaks, the question is put once more over a new one.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::config::{ConnectionConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, FirstAnswer as _};
use hickory_resolver::net::{DnsHandle as _, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message as HickoryMessage};
use hickory_resolver::{ConnectionProvider as _, PoolContext, TlsConfig};
use tokio::sync::Mutex;

use super::answer::Answer;
use super::chain::Fault;
use super::choose::{Inquiry, Transport, Trouble};
use super::exchange::{Letters, Query};
use super::wire::Message;

type Connection = DnsExchange<TokioRuntimeProvider>;

/// One server, spoken to over TLS.
pub(super) struct Encrypted {
    address: SocketAddr,
    how: ConnectionConfig,
    context: PoolContext,
    connection: Mutex<Option<Connection>>,
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
        let context = PoolContext::new(ResolverOpts::default(), trust);
        Self { address, how, context, connection: Mutex::new(None) }
    }

    /// The connection at hand, or a new one; with whether it was there before. Those who ask meanwhile wait for it.
    async fn connection(&self) -> Result<(Connection, bool), NetError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok((connection.clone(), true));
        }
        let provider = TokioRuntimeProvider::default();
        let connection = provider.new_connection(self.address.ip(), &self.how, &self.context)?.await?;
        Ok((held.insert(connection).clone(), false))
    }

    async fn exchange(&self, query: &Query) -> Result<Vec<u8>, NetError> {
        loop {
            let (connection, used_before) = self.connection().await?;
            let message =
                HickoryMessage::from_vec(query.as_bytes()).map_err(|error| NetError::from(error.to_string()))?;
            match connection.send(DnsRequest::new(message, DnsRequestOptions::default())).first_answer().await {
                Ok(response) => return Ok(response.into_buffer()),
                Err(error) => {
                    *self.connection.lock().await = None;
                    if !used_before {
                        return Err(error);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Transport for Encrypted {
    async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble> {
        inquiry.spend_packet()?;
        let query = Query::new(&inquiry.question, Letters::Lower);
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
