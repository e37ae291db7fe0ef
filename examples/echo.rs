//! What a DNS server cannot be cheaper than, for `tests/bench`: one thread that receives up to 64 datagrams with one
//! system call, sets QR in each, and sends them back with another. It reads nothing and decides nothing.
//!
//! A measuring stick, not a product: it would answer answers, so it listens on loopback only.
//!
//! ```text
//! echo LISTEN     # 127.0.0.1:5300
//! ```

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::{array, env};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

fn main() -> Result<(), Box<dyn Error>> {
    let listen: SocketAddrV4 = env::args().nth(1).ok_or("usage: echo LISTEN")?.parse()?;
    if !listen.ip().is_loopback() {
        return Err("it answers answers: loopback only".into());
    }
    let socket = UdpSocket::bind(listen)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    let mut batch = Batch::new();
    loop {
        match batch.receive(&socket).and_then(|count| batch.send(&socket, count)) {
            // A client that is gone.
            Ok(()) | Err(Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Buffers that are used again for each batch.
struct Batch {
    datagrams: Vec<[u8; LARGEST_QUERY]>,
    lengths: [usize; BATCH],
    peers: [Option<SockaddrIn>; BATCH],
    receive_headers: MultiHeaders<SockaddrIn>,
    send_headers: MultiHeaders<SockaddrIn>,
}

impl Batch {
    fn new() -> Self {
        Self {
            datagrams: vec![[0; LARGEST_QUERY]; BATCH],
            lengths: [0; BATCH],
            peers: [None; BATCH],
            receive_headers: MultiHeaders::preallocate(BATCH, None),
            send_headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Takes what has come, waiting for the first, and makes responses of it; returns how many.
    fn receive(&mut self, socket: &UdpSocket) -> Result<usize, Errno> {
        let mut places = self.datagrams.iter_mut();
        let mut slices: [_; BATCH] = array::from_fn(|_| {
            let datagram = places.next().expect("a batch has a datagram for each slot");
            [IoSliceMut::new(datagram)]
        });
        let flags = MsgFlags::MSG_WAITFORONE;
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.receive_headers, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for message in messages {
            (self.lengths[count], self.peers[count]) = (message.bytes, message.address);
            count += 1;
        }
        for datagram in &mut self.datagrams[..count] {
            datagram[QR.0] |= QR.1;
        }
        Ok(count)
    }

    /// Sends the first `count` datagrams back.
    fn send(&mut self, socket: &UdpSocket, count: usize) -> Result<(), Errno> {
        let slices: [_; BATCH] = array::from_fn(|index| [IoSlice::new(&self.datagrams[index][..self.lengths[index]])]);
        let mut done = 0;
        while done < count {
            let (slices, peers) = (&slices[done..count], &self.peers[done..count]);
            let flags = MsgFlags::empty();
            done += sendmmsg(socket.as_raw_fd(), &mut self.send_headers, slices, peers, [], flags)?.count();
        }
        Ok(())
    }
}

const BATCH: usize = 64;
const LARGEST_QUERY: usize = 512;
/// As pullgate has it.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The bit that makes a query a response (RFC 1035 §4.1.1), and the byte it is in.
const QR: (usize, u8) = (2, 0x80);
