//! A socket to one server that many questions share: sent and received many datagrams a system call.
//!
//! Each question has a random id of its own among those that are out, and letters of its own; the port is one that the
//! kernel picked at random, and a line takes only so many questions for so long before another one takes its place.
//! What is no answer to a question that is out is ignored as on a socket of its own, and counts against all of them:
//! whichever has seen too much of it goes to TCP (RFC 5452 §9.2).

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use foldhash::fast::RandomState;
use nix::sys::socket::{self, MsgFlags, MultiHeaders};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::time::Instant;

use super::Question;
use super::exchange::{Datagram, MAX_NEAR_MISSES, Put, RECEIVE_BUFFER, read_datagram};
use super::inquiry::Trouble;
use super::query::{Edns, Query};
use super::server::Server;
use super::wire::HEADER;
use crate::net::watched::{self, Watched};

/// A line to one server, with what is asked over it and who waits for it.
pub(super) struct Line<W> {
    socket: Watched,
    server: Arc<Server>,
    opened: Instant,
    taken: usize,
    is_open: bool,
    out: HashMap<u16, Out<W>, RandomState>,
    unsent: Vec<u16>,
    /// Questions that are over, by id and letters: what still comes for them is late or twice, and no guess.
    over: HashSet<u64, RandomState>,
    strays: u32,
}

/// A question that is out.
pub(super) struct Out<W> {
    pub(super) waiter: W,
    pub(super) asked: Instant,
    pub(super) edns: Edns,
    query: Query,
    question: Arc<Question>,
    strays_before: u32,
}

/// How the wait for a datagram ended, and for whom.
pub(super) type Ended<W> = (Out<W>, Result<Datagram, Trouble>);

/// Places for the datagrams of one receiving or sending call.
pub(super) struct Buffers {
    bytes: Vec<u8>,
    headers: MultiHeaders<()>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BATCH * RECEIVE_BUFFER], headers: MultiHeaders::preallocate(BATCH, None) }
    }
}

impl<W> Line<W> {
    /// A line over a new socket.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub(super) fn open(server: Arc<Server>, socket: UdpSocket) -> io::Result<Self> {
        // More than the default where the system allows it: the answers to all questions may come at once.
        let _as_it_is = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
        Ok(Self {
            socket: watched::for_reading(socket)?,
            server,
            opened: Instant::now(),
            taken: 0,
            is_open: true,
            out: HashMap::with_capacity_and_hasher(BATCH, RandomState::default()),
            unsent: Vec::with_capacity(BATCH),
            over: HashSet::with_capacity_and_hasher(MAX_QUESTIONS, RandomState::default()),
            strays: 0,
        })
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Whether it takes another question.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.is_open && self.taken < MAX_QUESTIONS && now.saturating_duration_since(self.opened) < LIFETIME
    }

    /// Whether nothing is out.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether the next question leaves with others.
    pub(super) fn is_filling(&self) -> bool {
        (1..BATCH).contains(&self.unsent.len())
    }

    /// Takes a question, to be sent with the next ones.
    pub(super) fn take(
        &mut self,
        question: Arc<Question>,
        (mut query, edns): (Query, Edns),
        asked: Instant,
        waiter: W,
    ) {
        while self.out.contains_key(&query.id()) {
            query.renew_id();
        }
        self.taken += 1;
        self.unsent.push(query.id());
        self.out.insert(query.id(), Out { waiter, asked, edns, query, question, strays_before: self.strays });
    }

    /// Sends what was taken. What does not fit into the socket's buffer is left for the next time.
    pub(super) fn send(&mut self, buffers: &mut Buffers, ended: &mut Vec<Ended<W>>) {
        while !self.unsent.is_empty() {
            match self.send_batch(buffers) {
                Ok(sent) => {
                    self.unsent.drain(..sent);
                    self.heed_errors(ended);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.fail(&error, ended),
            }
        }
    }

    fn send_batch(&self, buffers: &mut Buffers) -> io::Result<usize> {
        let queries =
            self.unsent.iter().take(BATCH).map(|id| self.out.get(id).map_or(&[][..], |out| out.query.as_bytes()));
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut count = 0;
        for (slice, query) in slices.iter_mut().zip(queries) {
            *slice = [IoSlice::new(query)];
            count += 1;
        }
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let sent = socket::sendmmsg(fd, &mut buffers.headers, &slices[..count], [None; BATCH], [], flags)?;
        Ok(sent.count())
    }

    /// Asks the system whether the server's host has said that nobody listens there. It wakes nobody for that.
    pub(super) fn heed_errors(&mut self, ended: &mut Vec<Ended<W>>) {
        if let Ok(Some(error)) | Err(error) = self.socket.get_ref().take_error() {
            self.fail(&error, ended);
        }
    }

    /// Whether the system has said that something waits; if not, the task is woken when it does.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(context).map(|_| ())
    }

    /// Receives what waits, up to a batch.
    pub(super) fn receive(&mut self, buffers: &mut Buffers, max_ttl: Duration, ended: &mut Vec<Ended<W>>) {
        let mut lengths = [0; BATCH];
        let mut count = 0;
        let received = self.socket.try_io(Interest::READABLE, |socket| {
            count = receive_into(socket.as_raw_fd(), buffers, &mut lengths)?;
            // A batch that is not full has emptied the socket.
            if count == BATCH { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        for (buffer, length) in buffers.bytes.chunks_exact_mut(RECEIVE_BUFFER).zip(&lengths[..count]) {
            self.read(&mut buffer[..*length], max_ttl, ended);
        }
        match received {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.fail(&error, ended),
            _ => {}
        }
    }

    fn read(&mut self, datagram: &mut [u8], max_ttl: Duration, ended: &mut Vec<Ended<W>>) {
        let id = datagram.first_chunk().map(|id| u16::from_be_bytes(*id));
        if let Some(out) = id.and_then(|id| self.out.get(&id)) {
            let put = Put { query: &out.query, edns: out.edns, question: &out.question };
            if let Some(end) = read_datagram(datagram, &put, max_ttl) {
                ended.extend(id.and_then(|id| self.end(id)).map(|out| (out, end)));
                return;
            }
        }
        if !self.is_over(datagram) {
            self.stray(ended);
        }
    }

    /// Ignores a datagram, as often as each question can bear it.
    fn stray(&mut self, ended: &mut Vec<Ended<W>>) {
        self.strays += 1;
        if let Some(plain) = self.server.plain() {
            plain.count_near_miss();
        }
        let strays = self.strays;
        for out in self.end_all(|out| strays - out.strays_before >= MAX_NEAR_MISSES) {
            self.is_open = false;
            ended.push((out, Ok(Datagram::AskByStream)));
        }
    }

    /// The server cannot be reached, or this host has no room: so say the socket's errors, to all who are out.
    fn fail(&mut self, error: &io::Error, ended: &mut Vec<Ended<W>>) {
        self.unsent.clear();
        let again = || error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
        ended.extend(self.end_all(|_| true).into_iter().map(|out| (out, Err(Trouble::dead(again())))));
    }

    /// The questions that are out.
    pub(super) fn out(&self) -> impl Iterator<Item = &Out<W>> {
        self.out.values()
    }

    /// The same, to be changed.
    pub(super) fn out_mut(&mut self) -> impl Iterator<Item = &mut Out<W>> {
        self.out.values_mut()
    }

    /// Takes out the questions that this is so of: they are over.
    pub(super) fn end_all(&mut self, is_so: impl Fn(&Out<W>) -> bool) -> Vec<Out<W>> {
        let ids: Vec<u16> = self.out.iter().filter(|(_, out)| is_so(out)).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.end(id)).collect()
    }

    fn end(&mut self, id: u16) -> Option<Out<W>> {
        let out = self.out.remove(&id)?;
        self.over.insert(self.over.hasher().hash_one((id, out.query.question())));
        Some(out)
    }

    fn is_over(&self, datagram: &[u8]) -> bool {
        let name = datagram.get(HEADER..).unwrap_or_default();
        let Some(length) = name.iter().position(|byte| *byte == 0) else { return false };
        let (Some(id), Some(question)) = (datagram.first_chunk(), name.get(..length + 5)) else { return false };
        self.over.contains(&self.over.hasher().hash_one((u16::from_be_bytes(*id), question)))
    }
}

fn receive_into(fd: i32, buffers: &mut Buffers, lengths: &mut [usize; BATCH]) -> io::Result<usize> {
    let mut places = buffers.bytes.chunks_exact_mut(RECEIVE_BUFFER);
    let mut slices: [_; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(places.next().unwrap_or_default())]);
    let messages = socket::recvmmsg(fd, &mut buffers.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let mut count = 0;
    for (message, length) in messages.zip(lengths) {
        *length = message.bytes;
        count += 1;
    }
    Ok(count)
}

/// Datagrams a system call.
const BATCH: usize = 32;
/// Answers to all questions of a line, some of them large, as the kernel counts them.
const SOCKET_BUFFER: usize = 1 << 19;
/// Questions over one port: a new socket costs a few microseconds, which so many share.
const MAX_QUESTIONS: usize = 256;
/// How long a port is used at most.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);
