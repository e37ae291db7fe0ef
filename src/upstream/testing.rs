//! What the tests of this module share: messages written by hand, and servers that answer as they are told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::chain::Fault;
use super::wire::{HEADER, Malformed, Message, Writer, kind};
use super::{Dnssec, Question};
use crate::name::DomainName;

/// The cap on TTLs that tests read answers with.
pub(super) const MAX_TTL: Duration = Duration::from_secs(3600);

/// The name that `text` says.
pub(super) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// A question without DNSSEC.
pub(super) fn question(text: &str, record_type: u16) -> Question {
    Question { name: name(text), record_type, dnssec: Dnssec::default() }
}

/// A name as record data.
pub(super) fn target(text: &str) -> Vec<u8> {
    name(text).as_wire().to_vec()
}

/// SOA data with this minimum.
pub(super) fn soa(minimum: u32) -> Vec<u8> {
    let mut data = [target("ns.example"), target("admin.example")].concat();
    for value in [1, 2, 3, 4, minimum] {
        data.extend_from_slice(&u32::to_be_bytes(value));
    }
    data
}

/// A response being written: records go in the order of their sections.
#[derive(Clone)]
pub(super) struct Packet(Vec<u8>);

impl Packet {
    /// A response to the query, the question echoed as it came.
    pub(super) fn to(query: &[u8]) -> Self {
        let question = query[HEADER..].iter().position(|byte| *byte == 0).unwrap() + HEADER + 5;
        let mut bytes = query[..question].to_vec();
        bytes[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        Self(bytes)
    }

    /// A response to the question, with id 0.
    pub(super) fn answering(question: &Question) -> Self {
        Self::to(&Writer::new(question.name.as_name(), question.record_type).finish())
    }

    pub(super) fn rcode(mut self, code: u8) -> Self {
        self.0[3] |= code;
        self
    }

    pub(super) fn truncated(mut self) -> Self {
        self.0[2] |= 0x02;
        self
    }

    pub(super) fn answer(self, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Self {
        self.record(6, owner, kind, ttl, data)
    }

    pub(super) fn authority(self, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Self {
        self.record(8, owner, kind, ttl, data)
    }

    pub(super) fn additional(self, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Self {
        self.record(10, owner, kind, ttl, data)
    }

    fn record(mut self, count: usize, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Self {
        let counted = u16::from_be_bytes([self.0[count], self.0[count + 1]]) + 1;
        self.0[count..count + 2].copy_from_slice(&counted.to_be_bytes());
        let mut owner_wire = target(&owner.to_ascii_lowercase());
        if owner.bytes().any(|byte| byte.is_ascii_uppercase()) {
            owner_wire.make_ascii_uppercase();
        }
        self.0.extend_from_slice(&owner_wire);
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&kind::CLASS_IN.to_be_bytes());
        self.0.extend_from_slice(&ttl.to_be_bytes());
        self.0.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        self.0.extend_from_slice(data);
        self
    }

    /// One address for the name that was asked for.
    pub(super) fn with_address(self, question: &Question, address: [u8; 4]) -> Self {
        let owner = question.name.to_string();
        self.answer(&owner, kind::A, 300, &address)
    }

    pub(super) fn build(self) -> Vec<u8> {
        self.0
    }

    /// What is made of the packet as a response to the question.
    pub(super) fn read(self, question: &Question) -> Result<Answer, Fault> {
        let bytes = self.build();
        Answer::read(&Message::parse(&bytes).map_err(|Malformed| Fault::Malformed)?, question, MAX_TTL)
    }
}

/// The answer's records as another implementation reads them, in a message where its question stands first.
pub(super) fn shown(answer: &Answer, question: &Question) -> hickory_proto::op::Message {
    shown_at(answer, question, Duration::ZERO, false)
}

/// The same with an age.
pub(super) fn shown_at(answer: &Answer, question: &Question, age: Duration, stale: bool) -> hickory_proto::op::Message {
    let mut bytes = Writer::new(question.name.as_name(), question.record_type).finish().into_vec();
    let [answers, authorities] = answer.counts();
    bytes[2..4].copy_from_slice(&[0x81, 0x80 | answer.rcode()]);
    bytes[5] = 1;
    bytes[6..8].copy_from_slice(&answers.to_be_bytes());
    bytes[8..10].copy_from_slice(&authorities.to_be_bytes());
    answer.write(age, stale, &mut bytes);
    hickory_proto::op::Message::from_vec(&bytes).unwrap()
}

/// What a server was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) query: Vec<u8>,
    pub(super) from: SocketAddr,
    pub(super) over_tcp: bool,
}

impl Asked {
    /// The name as it was spelled.
    pub(super) fn spelled(&self) -> &[u8] {
        let end = self.query[HEADER..].iter().position(|byte| *byte == 0).unwrap();
        &self.query[HEADER..HEADER + end]
    }

    /// A response with one address.
    pub(super) fn address(&self, address: [u8; 4]) -> Vec<u8> {
        let (owner, _) = super::wire::plain_name(&self.query, HEADER).unwrap();
        Packet::to(&self.query).answer(&owner.to_string(), kind::A, 300, &address).build()
    }
}

/// A server on loopback: what it answers is a function of what it is asked.
#[derive(Debug)]
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl FakeServer {
    /// Listens on UDP and TCP; every message of the returned list is sent, over TCP with its length before it.
    pub(super) async fn start(answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let tasks = vec![
            tokio::spawn(serve_udp(udp, asked.clone(), answer.clone())),
            tokio::spawn(serve_tcp(tcp, asked.clone(), answer)),
        ];
        Self { address, asked, tasks }
    }

    /// The same without TCP.
    pub(super) async fn without_tcp(answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, _) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let tasks = vec![tokio::spawn(serve_udp(udp, asked.clone(), Arc::new(answer)))];
        Self { address, asked, tasks }
    }

    /// A server that answers every name with this address.
    pub(super) async fn healthy(address: [u8; 4]) -> Self {
        Self::start(move |asked| vec![asked.address(address)]).await
    }

    /// A server that never answers.
    pub(super) async fn silent() -> Self {
        Self::start(|_| Vec::new()).await
    }

    /// All it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A port that nobody listens on.
pub(super) async fn dead_port() -> SocketAddr {
    bind_both().await.0.local_addr().unwrap()
}

async fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

type Answering = Arc<dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync>;

async fn serve_udp(socket: UdpSocket, log: Arc<Mutex<Vec<Asked>>>, answer: Answering) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let asked = Asked { query: buffer[..length].to_vec(), from, over_tcp: false };
        log.lock().unwrap().push(asked.clone());
        for datagram in answer(&asked) {
            let _ = socket.send_to(&datagram, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, log: Arc<Mutex<Vec<Asked>>>, answer: Answering) {
    while let Ok((mut stream, from)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else {
            continue;
        };
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.unwrap();
        let asked = Asked { query, from, over_tcp: true };
        log.lock().unwrap().push(asked.clone());
        for message in answer(&asked) {
            stream.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
            stream.write_all(&message).await.unwrap();
        }
    }
}
