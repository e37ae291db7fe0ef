//! Plain DNS with one server: a datagram from a socket of its own, over to TCP where that is called for.
//!
//! Believed is what comes from the server's address to the random port that asked, with the random id, and with the
//! question in the very letters it was sent in (RFC 5452, draft-vixie-dnsext-dns0x20). Whatever else arrives is
//! ignored: it neither ends the wait nor counts against the server, but enough of it moves the question to TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::Question;
use super::answer::Answer;
use super::chain::Fault;
use super::inquiry::{Inquiry, Transport, Trouble};
use super::query::{Edns, Letters, Query, Reply};
use super::wire::{HEADER, Layout, Message, rcode};

/// One server, spoken to in the clear.
#[derive(Debug)]
pub(super) struct Plain {
    address: SocketAddr,
    /// Whether the server was seen to change the letters of the question: then mixing them is no use.
    folds_case: AtomicBool,
    /// Until when the server is asked without EDNS, since it was seen not to know it.
    without_edns: Mutex<Option<Instant>>,
    near_misses: AtomicU64,
    streams: AtomicU64,
}

/// What the wait for a datagram ended with.
#[derive(Debug)]
pub(super) enum Datagram {
    Answer(Answer),
    /// Cut short, or one of too many that were not the answer.
    AskByStream,
    /// The answer in other letters than asked.
    OtherLetters,
}

impl Plain {
    pub(super) fn new(address: SocketAddr) -> Self {
        let [near_misses, streams] = [const { AtomicU64::new(0) }; 2];
        Self { address, folds_case: AtomicBool::new(false), without_edns: Mutex::default(), near_misses, streams }
    }

    /// The query for a question as this server is to get it.
    pub(super) fn query(&self, question: &Question) -> (Query, Edns) {
        let edns = self.edns();
        (Query::new(question, self.letters(), edns), edns)
    }

    /// Counts a datagram that was not the answer waited for.
    pub(super) fn count_near_miss(&self) {
        self.near_misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes on from what the wait for the first datagram ended with, over to TCP or without EDNS where that is called for.
    pub(super) async fn carry_on(
        &self,
        inquiry: &Inquiry,
        edns: Edns,
        first: Result<Datagram, Trouble>,
    ) -> Result<Answer, Trouble> {
        match self.follow(inquiry, edns, first).await {
            Err(Trouble::Failing(fault @ Fault::Refused(rcode::FORMERR | rcode::NOTIMP))) if edns == Edns::Yes => {
                self.ask_without_edns(inquiry, fault).await
            }
            outcome => outcome,
        }
    }

    async fn follow(
        &self,
        inquiry: &Inquiry,
        edns: Edns,
        datagram: Result<Datagram, Trouble>,
    ) -> Result<Answer, Trouble> {
        match datagram? {
            Datagram::Answer(answer) => Ok(answer),
            Datagram::AskByStream => self.ask_by_stream(inquiry, edns).await,
            Datagram::OtherLetters => match self.ask_by_stream(inquiry, edns).await {
                Err(Trouble::Dead(error)) => self.ask_in_lower_case(inquiry, edns, error).await,
                outcome => outcome,
            },
        }
    }

    /// For a server that does not understand queries with EDNS (RFC 6891 §6.2.2).
    async fn ask_without_edns(&self, inquiry: &Inquiry, fault: Fault) -> Result<Answer, Trouble> {
        let datagram = self.ask_by_datagram(inquiry, Edns::No).await;
        let answer = self.follow(inquiry, Edns::No, datagram).await.map_err(|_no_better| Trouble::Failing(fault))?;
        *self.without_edns.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + WITHOUT_EDNS);
        Ok(answer)
    }

    async fn ask_by_datagram(&self, inquiry: &Inquiry, edns: Edns) -> Result<Datagram, Trouble> {
        let query = Query::new(&inquiry.question, self.letters(), edns);
        let socket = UdpSocket::from_std(self.socket()?).map_err(Trouble::Local)?;
        inquiry.spend_packet()?;
        socket.send(query.as_bytes()).await.map_err(Trouble::dead)?;
        let mut buffer = vec![0; RECEIVE_BUFFER];
        for _ in 0..MAX_NEAR_MISSES {
            let length = socket.recv(&mut buffer).await.map_err(Trouble::dead)?;
            let put = Put { query: &query, edns, question: &inquiry.question };
            if let Some(end) = read_datagram(&mut buffer[..length], &put, inquiry.max_ttl) {
                return end;
            }
            self.count_near_miss();
        }
        Ok(Datagram::AskByStream)
    }

    async fn ask_by_stream(&self, inquiry: &Inquiry, edns: Edns) -> Result<Answer, Trouble> {
        inquiry.spend_packet()?;
        self.streams.fetch_add(1, Ordering::Relaxed);
        let query = Query::new(&inquiry.question, self.letters(), edns);
        let mut response = exchange_framed(self.address, query.as_bytes()).await?;
        let message = match query.recognise(&response) {
            Reply::Ours(message) => message,
            Reply::OtherLetters(message) => {
                self.folds_case.store(true, Ordering::Relaxed);
                message
            }
            Reply::NotUnderstood(code) => return Err(Trouble::Failing(Fault::Refused(code))),
            Reply::Foreign => return Err(Trouble::Failing(Fault::Malformed)),
        };
        if message.truncated() {
            return Err(Trouble::Failing(Fault::Malformed));
        }
        let layout = message.layout();
        read_answer(&mut response, layout, &inquiry.question, inquiry.max_ttl).map_err(Trouble::Failing)
    }

    /// For a server that changes the letters and has no TCP: what is left is the random port and id.
    async fn ask_in_lower_case(&self, inquiry: &Inquiry, edns: Edns, no_stream: io::Error) -> Result<Answer, Trouble> {
        self.folds_case.store(true, Ordering::Relaxed);
        match self.ask_by_datagram(inquiry, edns).await? {
            Datagram::Answer(answer) => Ok(answer),
            Datagram::AskByStream | Datagram::OtherLetters => Err(Trouble::Dead(no_stream)),
        }
    }

    /// A new socket: a port that the kernel picks at random, and only this server's datagrams and its host's ICMP errors
    /// come in, so a dead port is noticed at once.
    pub(super) fn socket(&self) -> Result<std::net::UdpSocket, Trouble> {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any).map_err(Trouble::Local)?;
        socket.connect(self.address).map_err(Trouble::dead)?;
        socket.set_nonblocking(true).map_err(Trouble::Local)?;
        Ok(socket)
    }

    fn edns(&self) -> Edns {
        let until = *self.without_edns.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) { Edns::No } else { Edns::Yes }
    }

    fn letters(&self) -> Letters {
        if self.folds_case.load(Ordering::Relaxed) { Letters::Lower } else { Letters::Mixed }
    }
}

#[async_trait]
impl Transport for Plain {
    async fn ask(&self, inquiry: &Inquiry) -> Result<Answer, Trouble> {
        let edns = self.edns();
        let first = self.ask_by_datagram(inquiry, edns).await;
        self.carry_on(inquiry, edns, first).await
    }

    fn plain(&self) -> Option<&Plain> {
        Some(self)
    }

    fn near_misses(&self) -> u64 {
        self.near_misses.load(Ordering::Relaxed)
    }

    fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }
}

/// A question as it was put to a server.
pub(super) struct Put<'a> {
    pub(super) query: &'a Query,
    pub(super) edns: Edns,
    pub(super) question: &'a Question,
}

/// Ends the wait for a datagram, if this is one to end it: anything else is ignored.
pub(super) fn read_datagram(
    datagram: &mut [u8],
    put: &Put<'_>,
    max_ttl: Duration,
) -> Option<Result<Datagram, Trouble>> {
    match put.query.recognise(datagram) {
        Reply::Ours(message) if message.truncated() => Some(Ok(Datagram::AskByStream)),
        Reply::Ours(message) => match read_answer(datagram, message.layout(), put.question, max_ttl) {
            Ok(answer) => Some(Ok(Datagram::Answer(answer))),
            Err(Fault::Malformed) => None,
            Err(fault) => Some(Err(Trouble::Failing(fault))),
        },
        Reply::OtherLetters(_) => Some(Ok(Datagram::OtherLetters)),
        Reply::NotUnderstood(code) if put.edns == Edns::Yes => Some(Err(Trouble::Failing(Fault::Refused(code)))),
        Reply::NotUnderstood(_) | Reply::Foreign => None,
    }
}

/// Reads a response whose question is this one, in whatever letters. Names in records may point at the question, and are
/// to have the letters of the name, not those that were mixed for the server.
fn read_answer(response: &mut [u8], layout: Layout, question: &Question, max_ttl: Duration) -> Result<Answer, Fault> {
    let name = question.name.as_wire();
    let echoed = response.get_mut(HEADER..HEADER + name.len()).ok_or(Fault::Malformed)?;
    echoed.copy_from_slice(name);
    Answer::read(&Message::again(response, layout), question, max_ttl)
}

/// Sends one message over a connection of its own and reads one (RFC 7766 §8). Waits as long as its caller lets it.
async fn exchange_framed(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, Trouble> {
    let mut stream = TcpStream::connect(server).await.map_err(Trouble::dead)?;
    let length = u16::try_from(query.len()).expect("a query is a name and some 30 bytes");
    let framed = [&length.to_be_bytes(), query].concat();
    stream.write_all(&framed).await.map_err(Trouble::dead)?;
    let length = stream.read_u16().await.map_err(Trouble::dead)?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await.map_err(Trouble::dead)?;
    Ok(response)
}

/// Datagrams that are not the answer, after which the question goes to TCP: someone may be guessing (RFC 5452 §9.2).
pub(super) const MAX_NEAR_MISSES: u32 = 20;
/// Room for servers that send more than they were told to.
pub(super) const RECEIVE_BUFFER: usize = 4096;
/// How long a server that knows no EDNS is asked without: it may be replaced by one that does.
const WITHOUT_EDNS: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests;
