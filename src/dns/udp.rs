//! The sockets of plain UDP: many datagrams a system call.
//!
//! A socket bound to a wildcard address learns with each datagram which of the host's addresses was asked, and answers
//! from it: a client drops an answer from any other. Answers stay within 1232 bytes, so the kernel's path MTU discovery
//! is left as it is: there is nothing to fragment on any link DNS is used over (RFC 9715).

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;

use super::answer::OUR_UDP_SIZE;
use super::pipeline::Pipeline;
use super::{Peer, Transport};
use crate::net::watched::{self, Watched};

/// Sets what must be set before the socket is bound, so that no datagram comes without its packet info.
pub(super) fn prepare(socket: &socket2::Socket, address: SocketAddr) -> io::Result<()> {
    // A burst waits here while the worker is busy. Only who may administer the network gets more than the system's limit.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    match Kind::of(address) {
        Kind::V4 | Kind::V6 => {}
        Kind::WildcardV4 => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        Kind::WildcardV6 => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// One worker's socket.
pub(super) struct Socket {
    io: Watched,
    /// Whoever asked the address that it is known by.
    somebody: Peer,
    kind: Kind,
}

/// What a socket is bound to, and so what it tells of each datagram. A wildcard socket tells which address was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    V4,
    V6,
    WildcardV4,
    WildcardV6,
}

/// The address that an answer leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The one the socket is bound to.
    Bound,
    V4(Ipv4Addr),
    /// With the interface, which a link-local address needs and others must not have.
    V6(Ipv6Addr, u32),
}

impl Source {
    /// The address that was asked, where it is not the bound one.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Bound => None,
            Self::V4(address) => Some(address.into()),
            Self::V6(address, _) => Some(address.into()),
        }
    }
}

/// Places for the datagrams of one receiving call.
pub(super) struct Inbox {
    buffers: Box<[[u8; MAX_QUERY]]>,
    arrivals: [Arrival; BATCH],
    /// How many the next call makes room for, which costs whether it is used or not.
    room: usize,
}

/// What the system tells of a datagram.
#[derive(Clone, Copy)]
struct Arrival {
    len: usize,
    origin: Origin,
}

/// Where a datagram came from, and to which of our addresses: its answer goes the same way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    peer: SocketAddr,
    source: Source,
}

/// A received datagram.
pub(super) struct Datagram<'i> {
    pub(super) bytes: &'i [u8],
    pub(super) origin: &'i Origin,
}

/// An answer to be sent.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) to: Origin,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> Self {
        let nothing = Arrival { len: 0, origin: NOBODY };
        Self { buffers: vec![[0; MAX_QUERY]; BATCH].into(), arrivals: [nothing; BATCH], room: FEW }
    }

    /// The first `count` datagrams.
    pub(super) fn datagrams(&self, count: usize) -> impl Iterator<Item = Datagram<'_>> {
        let arrivals = &self.arrivals[..count];
        self.buffers.iter().zip(arrivals).map(|(buffer, it)| Datagram { bytes: &buffer[..it.len], origin: &it.origin })
    }
}

impl Answer {
    /// A place for one.
    pub(super) fn empty() -> Self {
        Self { bytes: Vec::new(), to: NOBODY }
    }
}

impl Socket {
    /// Takes a bound socket into the runtime; `listener` is the address it is known by.
    pub(super) fn new(socket: UdpSocket, listener: SocketAddr) -> io::Result<Self> {
        let somebody = Peer::new(NOBODY.peer, listener, Transport::Udp);
        Ok(Self { io: watched::for_reading(socket)?, somebody, kind: Kind::of(listener) })
    }

    /// Comes back when the system says that datagrams wait.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await.map(|_| ())
    }

    /// Who asked, and the address that was asked: the one this is known by, or one of a wildcard's.
    pub(super) fn peer(&self, origin: &Origin) -> Peer {
        match origin.source.address() {
            None => self.somebody.with_client(origin.peer),
            Some(asked) => {
                Peer::new(origin.peer, SocketAddr::new(asked, self.somebody.listener.port()), Transport::Udp)
            }
        }
    }

    /// Receives as many datagrams as wait, up to a batch, once the system has said that some do. A call that leaves room
    /// has emptied the socket: the runtime is told so at once, and saves the call that would find nothing.
    pub(super) fn receive_ready(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let (mut count, room) = (0, inbox.room);
        let empty = self.io.try_io(Interest::READABLE, |_| {
            count = self.receive(inbox)?;
            if count == room { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        if count > 0 { Ok(count) } else { empty.map(|()| count) }
    }

    /// Receives as many datagrams as wait, up to a batch; the system is asked even if it has not said that any do.
    pub(super) fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        HEADERS.with_borrow_mut(|headers| match self.kind {
            Kind::V4 => self.receive_with(&mut headers.v4, inbox),
            Kind::V6 => self.receive_with(&mut headers.v6, inbox),
            Kind::WildcardV4 => self.receive_with(&mut headers.wildcard_v4, inbox),
            Kind::WildcardV6 => self.receive_with(&mut headers.wildcard_v6, inbox),
        })
    }

    fn receive_with<A: Address>(&self, headers: &mut Headers<A>, inbox: &mut Inbox) -> io::Result<usize> {
        let (fd, kind, receiving) = (self.io.as_raw_fd(), self.kind, headers.receiving(self.kind));
        let count = match inbox.room {
            FEW => receive_into::<A, FEW>(fd, receiving, kind, inbox)?,
            _ => receive_into::<A, BATCH>(fd, receiving, kind, inbox)?,
        };
        inbox.room = if count < FEW { FEW } else { BATCH };
        if kind.is_wildcard() && inbox.arrivals[..count].iter().any(|it| it.origin.source == Source::Bound) {
            // The kernel shortens the room for packet info when it tells none; the next ones would lose theirs.
            headers.receiving = None;
        }
        Ok(count)
    }

    /// Sends every answer that can be sent; waits while the socket's buffer is full.
    pub(super) async fn send_all(&self, mut answers: &[Answer], pipeline: &Pipeline) {
        while let Some(first) = answers.first() {
            let run = answers.iter().take(BATCH).take_while(|answer| answer.to.source == first.to.source).count();
            match self.send(&answers[..run]) {
                Ok(sent) => answers = &answers[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if watched::room_in(self.io.get_ref()).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, client = %first.to.peer, "cannot send over UDP");
                    pipeline.counters().udp_send_failed.increment();
                    answers = &answers[1..];
                }
            }
        }
    }

    /// Sends answers that leave from the same address; returns how many went.
    fn send(&self, answers: &[Answer]) -> io::Result<usize> {
        HEADERS.with_borrow_mut(|headers| match self.kind {
            Kind::V4 => self.send_with(&mut headers.v4, answers),
            Kind::V6 => self.send_with(&mut headers.v6, answers),
            Kind::WildcardV4 => self.send_with(&mut headers.wildcard_v4, answers),
            Kind::WildcardV6 => self.send_with(&mut headers.wildcard_v6, answers),
        })
    }

    fn send_with<A: Address>(&self, headers: &mut Headers<A>, answers: &[Answer]) -> io::Result<usize> {
        let (fd, sending) = (self.io.as_raw_fd(), headers.sending(self.kind));
        match answers.len() {
            ..=FEW => send_from::<A, FEW>(fd, sending, answers),
            _ => send_from::<A, BATCH>(fd, sending, answers),
        }
    }
}

/// Receives up to `N` datagrams.
fn receive_into<A: Address, const N: usize>(
    fd: i32,
    headers: &mut MultiHeaders<A>,
    kind: Kind,
    inbox: &mut Inbox,
) -> io::Result<usize> {
    let Inbox { buffers, arrivals, .. } = inbox;
    let mut places = buffers.iter_mut();
    let mut slices: [_; N] = std::array::from_fn(|_| {
        let place = places.next().expect("an inbox has a buffer for each slot");
        [IoSliceMut::new(place)]
    });
    let messages = socket::recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let mut count = 0;
    for (message, arrival) in messages.zip(arrivals) {
        *arrival = Arrival::of(&message, kind);
        count += 1;
    }
    Ok(count)
}

/// Sends answers, `N` at most, that leave from the same address.
fn send_from<A: Address, const N: usize>(
    fd: i32,
    headers: &mut MultiHeaders<A>,
    answers: &[Answer],
) -> io::Result<usize> {
    let slices: [_; N] = std::array::from_fn(|index| {
        let bytes = answers.get(index).map_or(&[][..], |answer| &answer.bytes);
        [IoSlice::new(bytes)]
    });
    let peers: [_; N] = std::array::from_fn(|index| answers.get(index).and_then(|answer| A::of(answer.to.peer)));
    let (slices, peers) = (&slices[..answers.len()], &peers[..answers.len()]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let sent = match answers.first().map_or(Source::Bound, |answer| answer.to.source) {
        Source::Bound => socket::sendmmsg(fd, headers, slices, peers, [], flags)?.count(),
        Source::V4(address) => {
            let info = packet_info_v4(address);
            let messages = [ControlMessage::Ipv4PacketInfo(&info)];
            socket::sendmmsg(fd, headers, slices, peers, messages, flags)?.count()
        }
        Source::V6(address, interface) => {
            let info = packet_info_v6(address, interface);
            let messages = [ControlMessage::Ipv6PacketInfo(&info)];
            socket::sendmmsg(fd, headers, slices, peers, messages, flags)?.count()
        }
    };
    Ok(sent)
}

impl Arrival {
    fn of<A: Address>(message: &RecvMsg<'_, '_, A>, kind: Kind) -> Self {
        let source = if kind.is_wildcard() { source_of(message) } else { Source::Bound };
        match message.address {
            Some(peer) => Self { len: message.bytes, origin: Origin { peer: peer.peer(), source } },
            // With nobody to answer, an empty packet is as good as any: it is dropped.
            None => Self { len: 0, origin: Origin { source, ..NOBODY } },
        }
    }
}

fn source_of<A>(message: &RecvMsg<'_, '_, A>) -> Source {
    let infos = message.cmsgs().into_iter().flatten().filter_map(|info| match info {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Source::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr))))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some(Source::V6(address, interface))
        }
        _ => None,
    });
    infos.last().unwrap_or(Source::Bound)
}

fn packet_info_v4(address: Ipv4Addr) -> in_pktinfo {
    in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr { s_addr: address.to_bits().to_be() },
        ipi_addr: in_addr { s_addr: 0 },
    }
}

fn packet_info_v6(address: Ipv6Addr, interface: u32) -> in6_pktinfo {
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface }
}

impl Kind {
    fn of(listener: SocketAddr) -> Self {
        match (listener, listener.ip().is_unspecified()) {
            (SocketAddr::V4(_), false) => Self::V4,
            (SocketAddr::V6(_), false) => Self::V6,
            (SocketAddr::V4(_), true) => Self::WildcardV4,
            (SocketAddr::V6(_), true) => Self::WildcardV6,
        }
    }

    fn is_wildcard(self) -> bool {
        matches!(self, Self::WildcardV4 | Self::WildcardV6)
    }

    /// The kernel's view of a batch.
    fn headers<A: Address>(self) -> MultiHeaders<A> {
        let room = match self {
            Self::V4 | Self::V6 => None,
            Self::WildcardV4 => Some(cmsg_space!(in_pktinfo)),
            Self::WildcardV6 => Some(cmsg_space!(in6_pktinfo)),
        };
        MultiHeaders::preallocate(BATCH, room)
    }
}

/// The addresses of one family as the kernel has them. A socket of IPv6 sees all its peers as IPv6.
trait Address: SockaddrLike + Copy {
    /// `None`: it is of another family, and the kernel will say so.
    fn of(peer: SocketAddr) -> Option<Self>;
    fn peer(self) -> SocketAddr;
}

impl Address for SockaddrIn {
    fn of(peer: SocketAddr) -> Option<Self> {
        match peer {
            SocketAddr::V4(v4) => Some(v4.into()),
            SocketAddr::V6(_) => None,
        }
    }

    fn peer(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Address for SockaddrIn6 {
    fn of(peer: SocketAddr) -> Option<Self> {
        match peer {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(v6) => Some(v6.into()),
        }
    }

    fn peer(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}

thread_local! {
    /// They hold pointers, so they stay with their thread; they are only used within a call.
    static HEADERS: RefCell<ThreadHeaders> = RefCell::default();
}

/// Headers for each kind of socket: the kernel writes lengths into them (of addresses, of packet info) that do not suit
/// the others.
#[derive(Default)]
struct ThreadHeaders {
    v4: Headers<SockaddrIn>,
    v6: Headers<SockaddrIn6>,
    wildcard_v4: Headers<SockaddrIn>,
    wildcard_v6: Headers<SockaddrIn6>,
}

/// Headers for both directions, made when they are needed.
struct Headers<A> {
    receiving: Option<MultiHeaders<A>>,
    sending: Option<MultiHeaders<A>>,
}

impl<A: Address> Headers<A> {
    fn receiving(&mut self, kind: Kind) -> &mut MultiHeaders<A> {
        self.receiving.get_or_insert_with(|| kind.headers())
    }

    fn sending(&mut self, kind: Kind) -> &mut MultiHeaders<A> {
        self.sending.get_or_insert_with(|| kind.headers())
    }
}

impl<A> Default for Headers<A> {
    fn default() -> Self {
        Self { receiving: None, sending: None }
    }
}

/// Datagrams a system call. What a switch between kernel and program costs, cold caches included, is shared by so many;
/// larger batches gain little and delay the first answer.
const BATCH: usize = 64;
/// What there is room for while fewer come at a time: then the answer is waited for, not the throughput.
const FEW: usize = 8;
/// What our OPT records tell clients; a longer datagram is cut, and malformed then.
const MAX_QUERY: usize = OUR_UDP_SIZE as usize;
/// What comes within a tenth of a second at a hundred thousand queries a second, as the kernel counts it.
const RECEIVE_BUFFER: usize = 4 << 20;
const NOBODY: Origin = Origin { peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), source: Source::Bound };
