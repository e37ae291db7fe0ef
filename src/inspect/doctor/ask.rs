//! A stub client: one question to one server, once, and what came of it. Whether an encrypted resolver can be reached.
//!
//! The only file that names hickory-proto: messages are written and read by it, so that nothing from the network is
//! parsed by hand here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, RecordType};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time;
use tokio_rustls::TlsConnector;

use crate::name::DomainName;
use crate::policy::probe;

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The IPv4 addresses of a name.
    Addresses(DomainName),
    /// The texts of a name.
    Text(DomainName),
}

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The response code; 0 is NOERROR, 3 NXDOMAIN, 5 REFUSED.
    pub(super) rcode: u16,
    /// The addresses of its answer section.
    pub(super) addresses: Vec<IpAddr>,
    /// The texts of its TXT records.
    pub(super) texts: Vec<String>,
    /// Its extended error (RFC 8914): code and text.
    pub(super) extended: Option<(u16, String)>,
    /// The address that the question was sent from.
    pub(super) from: Option<IpAddr>,
}

/// Why nothing was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nothing came in time.
    #[error("no answer")]
    TimedOut,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// There is no way there, or it broke off.
    #[error("{0}")]
    Unreachable(String),
    /// What came is not an answer to the question.
    #[error("what came is no answer")]
    NotUnderstood,
}

impl Answer {
    /// Whether the name has addresses.
    pub(super) fn resolves(&self) -> bool {
        self.rcode == NOERROR && !self.addresses.is_empty()
    }

    /// Whether there is no such name, which is how pullgate denies.
    pub(super) fn denies(&self) -> bool {
        self.rcode == NXDOMAIN
    }

    /// Whether the server says that it is a policy that denies the name.
    pub(super) fn is_blocked(&self) -> bool {
        self.denies() && matches!(self.extended, Some((BLOCKED, _)))
    }

    /// Whether the server is pullgate, and this client is outside its `server.clients`.
    pub(super) fn is_outside_clients(&self) -> bool {
        self.refuses() && matches!(&self.extended, Some((PROHIBITED, text)) if text == probe::NOT_A_CLIENT)
    }

    /// Whether the server refuses to answer this client.
    pub(super) fn refuses(&self) -> bool {
        self.rcode == REFUSED
    }
}

/// What came of one question.
pub(super) type Heard = Result<Answer, NoAnswer>;

/// Asks `server`.
pub(super) async fn ask(server: SocketAddr, transport: Transport, question: &Question, limit: Duration) -> Heard {
    let asked = async {
        let query = query(question)?;
        match transport {
            Transport::Udp => ask_udp(server, &query).await,
            Transport::Tcp => ask_tcp(server, &query).await,
        }
    };
    time::timeout(limit, asked).await.unwrap_or(Err(NoAnswer::TimedOut))
}

/// Whether something at `server` speaks TLS, asked for as `name`. Its certificate does not matter: whoever wants to get
/// around a policy does not mind.
pub(super) async fn speaks_tls(server: SocketAddr, name: &str, limit: Duration) -> Result<(), NoAnswer> {
    is_vouched_for(server, name, &[], limit).await.map(drop)
}

/// Whether what is at `server`, asked for as `name`, shows a certificate that one of these authorities signed for it.
pub(super) async fn is_vouched_for(
    server: SocketAddr,
    name: &str,
    authorities: &[CertificateDer<'static>],
    limit: Duration,
) -> Result<bool, NoAnswer> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    time::timeout(limit, shake_hands(server, name, roots)).await.unwrap_or(Err(NoAnswer::TimedOut))
}

/// Whether something takes connections at `server`.
pub(super) async fn connects(server: SocketAddr, limit: Duration) -> Result<(), NoAnswer> {
    let connected = time::timeout(limit, TcpStream::connect(server)).await.map_err(|_| NoAnswer::TimedOut)?;
    Ok(connected.map(drop)?)
}

/// What the system's own resolver says of `name`, `/etc/hosts` and NSS modules included: its addresses; none when it
/// does not resolve.
pub(super) async fn ask_system(name: &DomainName, limit: Duration) -> Result<Vec<IpAddr>, NoAnswer> {
    let (tell, told) = tokio::sync::oneshot::channel();
    // Without a dot at its end, as programs ask: `/etc/hosts` has none, and the search list counts.
    let host = name.to_string();
    // A thread of its own: a runtime waits at its end for its threads, and libc has patience for minutes.
    let spawned = std::thread::Builder::new().name("getaddrinfo".to_owned()).spawn(move || {
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), 0));
        // Whoever asked may have given up.
        let _ = tell.send(found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default());
    });
    spawned.map_err(NoAnswer::from)?;
    let told = time::timeout(limit, told).await.map_err(|_| NoAnswer::TimedOut)?;
    told.map_err(|_| NoAnswer::NotUnderstood)
}

async fn ask_udp(server: SocketAddr, query: &Message) -> Heard {
    let here = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(here).await?;
    socket.connect(server).await?;
    socket.send(&encode(query)?).await?;
    let from = socket.local_addr().ok().map(|address| address.ip());
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A late answer to somebody else, or a forged one, does not end the wait.
        if let Some(answer) = read(&buffer[..length], query) {
            return Ok(Answer { from, ..answer });
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &Message) -> Heard {
    let mut stream = TcpStream::connect(server).await?;
    let from = stream.local_addr().ok().map(|address| address.ip());
    let query_bytes = encode(query)?;
    let length = u16::try_from(query_bytes.len()).map_err(|_| NoAnswer::NotUnderstood)?;
    stream.write_all(&[&length.to_be_bytes()[..], &query_bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    read(&answer, query).map(|answer| Answer { from, ..answer }).ok_or(NoAnswer::NotUnderstood)
}

/// Whether the certificate that is shown is one of these roots'; without any none is, but only who speaks TLS can get as
/// far as showing one.
async fn shake_hands(server: SocketAddr, name: &str, roots: RootCertStore) -> Result<bool, NoAnswer> {
    let stream = TcpStream::connect(server).await?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|_| NoAnswer::NotUnderstood)?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(_) => Ok(true),
        Err(error) if refuses_certificate(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn refuses_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn query(question: &Question) -> Result<Message, NoAnswer> {
    let (name, record_type) = match question {
        Question::Addresses(name) => (name, RecordType::A),
        Question::Text(name) => (name, RecordType::TXT),
    };
    let labels = Name::from_labels(name.as_name().labels()).map_err(|_| NoAnswer::NotUnderstood)?;
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(labels, record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(EDNS_SIZE);
    message.set_edns(edns);
    Ok(message)
}

fn encode(message: &Message) -> Result<Vec<u8>, NoAnswer> {
    message.to_vec().map_err(|_| NoAnswer::NotUnderstood)
}

/// The answer to `query` that these bytes are; `None` if they are none.
fn read(bytes: &[u8], query: &Message) -> Option<Answer> {
    let message = Message::from_vec(bytes).ok()?;
    let answers = message.metadata.message_type == MessageType::Response && message.metadata.id == query.metadata.id;
    // Refusals may come without the question.
    let fits = message.queries.is_empty() || message.queries == query.queries;
    if !answers || !fits {
        return None;
    }
    let mut answer = Answer { rcode: u16::from(message.metadata.response_code), ..Answer::default() };
    for record in &message.answers {
        match &record.data {
            RData::A(address) => answer.addresses.push(IpAddr::V4(address.0)),
            RData::AAAA(address) => answer.addresses.push(IpAddr::V6(address.0)),
            RData::TXT(text) => answer.texts.push(text.to_string()),
            _ => {}
        }
    }
    answer.extended = message.edns.as_ref().and_then(extended_error);
    Some(answer)
}

fn extended_error(edns: &Edns) -> Option<(u16, String)> {
    let Some(EdnsOption::Unknown(_, data)) = edns.option(EXTENDED_ERROR.into()) else { return None };
    let (code, text) = data.split_first_chunk()?;
    Some((u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()))
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

// RFC 1035 §4.1.1.
const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;
/// RFC 8914 §2.
const EXTENDED_ERROR: u16 = 15;
/// RFC 8914 §4.16.
const BLOCKED: u16 = 15;
/// RFC 8914 §4.19.
const PROHIBITED: u16 = 18;
/// What a client says it takes (RFC 9715 §3.1).
const EDNS_SIZE: u16 = 1232;
/// Room for servers that send more than was said.
const MAX_UDP: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(5);

    fn addresses_of(name: &str) -> Question {
        Question::Addresses(name.parse().unwrap())
    }

    /// A NOERROR answer to the query without records, as bytes.
    fn empty_answer(query: &[u8]) -> Vec<u8> {
        let mut answer = Message::from_vec(query).unwrap();
        answer.metadata.message_type = MessageType::Response;
        answer.to_vec().unwrap()
    }

    #[tokio::test]
    async fn an_answer_to_another_question_does_not_end_the_wait() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, question) = (server.local_addr().unwrap(), addresses_of("a.example"));
        let asked = tokio::spawn(async move { ask(address, Transport::Udp, &question, PATIENCE).await });
        let mut buffer = [0; 512];
        let (length, client) = server.recv_from(&mut buffer).await.unwrap();
        let right = empty_answer(&buffer[..length]);
        let mut other_id = right.clone();
        other_id[0] ^= 1;
        let other_name = empty_answer(&encode(&query(&addresses_of("b.example")).unwrap()).unwrap());
        let mut refusal = right.clone();
        refusal[3] |= 5;
        for wrong in [&b"x"[..], &other_id, &other_name, &buffer[..length]] {
            server.send_to(wrong, client).await.unwrap();
        }
        server.send_to(&refusal, client).await.unwrap();
        assert!(asked.await.unwrap().unwrap().refuses());
    }

    #[tokio::test]
    async fn a_closed_port_and_silence_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let question = addresses_of("a.example");
        assert_eq!(ask(closed, Transport::Tcp, &question, PATIENCE).await, Err(NoAnswer::Refused));
        assert_eq!(ask(closed, Transport::Udp, &question, PATIENCE).await, Err(NoAnswer::Refused));
        let heard = ask(silent.local_addr().unwrap(), Transport::Tcp, &question, Duration::from_millis(50)).await;
        assert_eq!(heard, Err(NoAnswer::TimedOut));
    }

    /// A server that shows this certificate for `other.example` to whoever comes.
    async fn show(pair: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The client may turn away at the certificate.
                let _ = acceptor.accept(stream).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn whoever_shakes_hands_speaks_tls_whatever_its_certificate_says() {
        let pair = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
        assert_eq!(speaks_tls(show(&pair).await, "dns.example", PATIENCE).await, Ok(()));
    }

    #[tokio::test]
    async fn only_a_certificate_of_a_known_authority_for_that_name_is_vouched_for() {
        let [pair, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap());
        let address = show(&pair).await;
        for (name, known, expected) in
            [("other.example", &pair, true), ("other.example", &other, false), ("dns.example", &pair, false)]
        {
            let known = [known.cert.der().clone()];
            assert_eq!(is_vouched_for(address, name, &known, PATIENCE).await, Ok(expected), "{name}");
        }
        assert_eq!(connects(address, PATIENCE).await, Ok(()));
    }

    #[tokio::test]
    async fn whoever_hangs_up_or_says_something_else_does_not_speak_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
            }
        });
        assert!(speaks_tls(address, "127.0.0.1", PATIENCE).await.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, &query(&addresses_of("a.example")).unwrap());
        }

        #[test]
        fn no_bytes_behind_the_header_of_an_answer_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), counts: [u8; 3]) {
            let query = query(&addresses_of("a.example")).unwrap();
            let mut bytes = empty_answer(&encode(&query).unwrap());
            for (place, count) in [7, 9, 11].into_iter().zip(counts) {
                bytes[place] = count % 8;
            }
            bytes.extend(tail);
            let _ = read(&bytes, &query);
        }
    }
}
