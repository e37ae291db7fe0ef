//! A worker: one thread that answers what comes over UDP, in place or as soon as an upstream has answered.
//!
//! It has a socket of its own and a runtime of its own, so that nothing on the path of a query wakes another thread. What
//! no cache holds leaves by [`Express`] in the same turn that brought it; only what takes long becomes a task.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pipeline::{Miss, Pipeline, Step};
use super::udp::{Answer, Datagram, Inbox, Origin, Socket};
use crate::net::stop::stop;
use crate::upstream::{Arrival, Express, Landing};

/// Answers what comes, on this thread, until `stopped`; then what has come already, and what is in flight, for `drain` at
/// most. `listener` is the address that the bound socket is known by.
///
/// # Errors
/// The socket cannot be handed to a runtime or waited for.
pub(super) fn work(
    socket: UdpSocket,
    listener: SocketAddr,
    pipeline: Arc<Pipeline>,
    stopped: watch::Receiver<()>,
    drain: Duration,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut worker = Worker::new(Socket::new(socket, listener)?, pipeline);
        worker.serve(stopped).await?;
        if tokio::time::timeout(drain, worker.drain()).await.is_err() {
            tracing::warn!(after = ?drain, "gave up on answers in flight");
        }
        Ok(())
    })
}

/// A socket with what is needed to answer on it.
struct Worker {
    socket: Arc<Socket>,
    pipeline: Arc<Pipeline>,
    inbox: Inbox,
    express: Express<Waiting>,
    outbox: Outbox,
    /// What takes long.
    tasks: JoinSet<()>,
}

/// A client whose question is under way.
struct Waiting {
    miss: Box<Miss>,
    origin: Origin,
}

/// Answers to be sent, in buffers that are used again.
#[derive(Default)]
struct Outbox {
    answers: Vec<Answer>,
    ready: usize,
}

impl Worker {
    fn new(socket: Socket, pipeline: Arc<Pipeline>) -> Self {
        let express = pipeline.express();
        Self {
            socket: Arc::new(socket),
            pipeline,
            inbox: Inbox::new(),
            express,
            outbox: Outbox::default(),
            tasks: JoinSet::new(),
        }
    }

    async fn serve(&mut self, stopped: watch::Receiver<()>) -> io::Result<()> {
        let mut stop = pin!(stop(stopped));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                () = self.express.ready() => {}
                ready = self.socket.readable() => ready?,
            }
            let received = self.socket.receive_ready(&mut self.inbox);
            self.turn(received).await;
        }
    }

    /// Answers what came before the end, then waits for what is in flight.
    async fn drain(&mut self) {
        for _ in 0..BATCHES_AFTER_STOP {
            let received = self.socket.receive(&mut self.inbox);
            let is_last = received.is_err();
            self.turn(received).await;
            if is_last {
                break;
            }
        }
        while !self.express.is_idle() || !self.tasks.is_empty() {
            tokio::select! {
                () = self.express.ready() => {}
                Some(_) = self.tasks.join_next() => {}
            }
            self.turn(Ok(0)).await;
        }
    }

    /// Answers the datagrams of one receiving call and what upstreams have answered.
    async fn turn(&mut self, received: io::Result<usize>) {
        let count = match received {
            Ok(count) => count,
            Err(error) => {
                pause_unless_transient(&error).await;
                0
            }
        };
        let now = Instant::now();
        contain(|| {
            self.answer(count, now);
            self.express.turn();
            self.land();
        });
        self.socket.send_all(self.outbox.take(), &self.pipeline).await;
        if count > 0 {
            self.pipeline.settle(now.elapsed());
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Hands `count` datagrams to the pipeline.
    fn answer(&mut self, count: usize, now: Instant) {
        let batch = self.pipeline.batch(now);
        for Datagram { bytes, origin } in self.inbox.datagrams(count) {
            let peer = self.socket.peer(origin);
            let express = &mut self.express;
            self.outbox.add(origin, |out| match batch.answer(bytes, &peer, out) {
                Step::Miss(miss) => {
                    express.ask(miss.lookup().clone(), Waiting { miss, origin: *origin }, now);
                    false
                }
                step => step.is_reply(),
            });
        }
    }

    /// Answers the questions that have come to their end.
    fn land(&mut self) {
        while let Some(arrival) = self.express.arrival() {
            match arrival {
                Arrival::Landed(Waiting { miss, origin }, resolution) => {
                    self.outbox.add(&origin, |out| self.pipeline.conclude_miss(&miss, resolution, out).is_reply());
                }
                Arrival::Later(waiting, landing) => {
                    self.tasks.spawn(finish(Arc::clone(&self.socket), Arc::clone(&self.pipeline), waiting, landing));
                }
            }
        }
    }
}

/// Waits for the end of a question and sends its answer.
async fn finish(socket: Arc<Socket>, pipeline: Arc<Pipeline>, waiting: Waiting, landing: Landing) {
    let Waiting { miss, origin: to } = waiting;
    let mut bytes = Vec::new();
    let resolution = landing.resolution().await;
    if pipeline.conclude_miss(&miss, resolution, &mut bytes).is_reply() {
        socket.send_all(&[Answer { bytes, to }], &pipeline).await;
    }
}

impl Outbox {
    /// Adds the answer that `write` writes, if it says that it has.
    fn add(&mut self, to: &Origin, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        if self.ready == self.answers.len() {
            self.answers.push(Answer::empty());
        }
        let answer = &mut self.answers[self.ready];
        if write(&mut answer.bytes) {
            answer.to = *to;
            self.ready += 1;
        }
    }

    /// What is ready, to be sent now.
    fn take(&mut self) -> &[Answer] {
        &self.answers[..std::mem::take(&mut self.ready)]
    }
}

/// A defect costs the turn that met it, not the worker and all who ask it. The panic itself is counted and logged by the
/// process's panic hook; what has been taken into a turn is dropped, and answered to nobody.
fn contain(turn: impl FnOnce()) {
    let _panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn));
}

/// An empty socket and an interrupted call come again by themselves; so does an ICMP error of an earlier answer. Anything
/// else (no memory) is given a moment instead of a spinning loop.
async fn pause_unless_transient(error: &io::Error) {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    if !matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused) {
        tracing::debug!(%error, "cannot receive over UDP");
        tokio::time::sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_millis(10);
/// What a full receive buffer holds, and an end for a stop under load.
const BATCHES_AFTER_STOP: usize = 64;
