//! hickory-server and hickory-resolver put together as their documentation shows, behind the same allowlist: what
//! `tests/bench` compares pullgate with. A measuring stick, not a product: it has no reload, no log and no caps.
//!
//! ```text
//! plain_hickory LISTEN UPSTREAM ALLOWLIST     # ALLOWLIST: a host name a line, or `*.` and a suffix
//! ```

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::{env, fs, iter};

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinEncodable;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::{Time, TokioRuntimeProvider};
use hickory_resolver::net::{DnsError, NetError};
use hickory_server::Server;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use pullgate::name::{DomainName, NameBuf};
use tokio::net::{TcpListener, UdpSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [listen, upstream, allowlist] = &arguments[..] else {
        return Err("usage: plain_hickory LISTEN UPSTREAM ALLOWLIST".into());
    };
    let listen: SocketAddr = listen.parse()?;
    let handler = Handler::new(upstream.parse()?, &fs::read_to_string(allowlist)?)?;
    let mut server = Server::new(handler);
    server.register_socket(UdpSocket::bind(listen).await?);
    server.register_listener(TcpListener::bind(listen).await?, std::time::Duration::from_secs(5), 32);
    server.block_until_done().await?;
    Ok(())
}

struct Handler {
    resolver: TokioResolver,
    exact: HashSet<DomainName>,
    below: HashSet<DomainName>,
    /// The SOA of every refusal.
    soa: Record,
}

impl Handler {
    fn new(upstream: SocketAddr, allowlist: &str) -> Result<Self, Box<dyn Error>> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = upstream.port();
        }
        let server = NameServerConfig::new(upstream.ip(), true, connections);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 100_000;
        let (mut exact, mut below) = (HashSet::new(), HashSet::new());
        for line in allowlist.lines() {
            match line.strip_prefix("*.") {
                Some(suffix) => below.insert(suffix.parse()?),
                None => exact.insert(line.parse()?),
            };
        }
        let soa = SOA::new(Name::root(), Name::root(), 1, 3600, 600, 86400, 10);
        let soa = Record::from_rdata(Name::root(), 10, RData::SOA(soa));
        Ok(Self { resolver: builder.build()?, exact, below, soa })
    }

    /// Whether the name is on the list: itself, or one of its ancestors with a wildcard.
    fn allows(&self, name: &NameBuf) -> bool {
        let name = name.as_name();
        self.exact.contains(name.as_wire())
            || name.ancestors().skip(1).any(|ancestor| self.below.contains(ancestor.as_wire()))
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut responder: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        let (answers, soa) = match self.resolve(request).await {
            Ok(answers) => (answers, None),
            Err(Refusal::Denied) => {
                metadata.response_code = ResponseCode::NXDomain;
                edns.options_mut().insert(EdnsOption::Unknown(15, b"\0\x0fnot on the allowlist".to_vec()));
                (vec![], Some(&self.soa))
            }
            Err(Refusal::Upstream(code)) => {
                metadata.response_code = code;
                (vec![], None)
            }
        };
        let edns = request.edns.as_ref().map(|_| &edns);
        let builder = MessageResponseBuilder::new(&request.queries, edns);
        let response = builder.build(metadata, &answers, iter::empty(), soa, iter::empty());
        match responder.send_response(response).await {
            Ok(info) => info,
            Err(_) => Header { metadata, counts: HeaderCounts::default() }.into(),
        }
    }
}

/// Why there are no records.
enum Refusal {
    Denied,
    Upstream(ResponseCode),
}

impl Handler {
    async fn resolve(&self, request: &Request) -> Result<Vec<Record>, Refusal> {
        let info = request.request_info().map_err(|_| Refusal::Upstream(ResponseCode::FormErr))?;
        let name = Name::from(info.query.name().clone());
        let wire = name.to_bytes().map_err(|_| Refusal::Upstream(ResponseCode::FormErr))?;
        let key = NameBuf::read(&wire).map_err(|_| Refusal::Upstream(ResponseCode::FormErr))?;
        if !self.allows(&key) {
            return Err(Refusal::Denied);
        }
        match self.resolver.lookup(name, info.query.query_type()).await {
            Ok(lookup) => Ok(lookup.answers().to_vec()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Err(Refusal::Upstream(none.response_code)),
            Err(_) => Err(Refusal::Upstream(ResponseCode::ServFail)),
        }
    }
}
