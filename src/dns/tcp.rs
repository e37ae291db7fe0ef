//! DNS over TCP, and what TLS carries over it: pipelined queries, answers in whatever order they are ready (RFC 7766),
//! and nothing that a client can hold on to for long.
//!
//! Every connection is on a clock: for its first byte, for each whole query, for taking its answers. There is a limit
//! for all connections and for each client's; the connection that beats it takes the place of the one that has been
//! quiet longest, so that a crowd of idle connections never shuts out somebody with a question.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pipeline::{Pipeline, Step};
use super::{Counters, Peer, Transport, https};
use crate::net::backoff::Backoff;
use crate::net::connections::{Activity, Connections};
use crate::net::stop::stop;

/// One TCP listener.
pub(super) struct Server {
    listener: SocketAddr,
    carriage: Carriage,
    pipeline: Arc<Pipeline>,
    connections: Arc<Connections>,
}

/// How messages travel on a connection.
#[derive(Clone)]
pub(super) enum Carriage {
    /// Each behind its length (RFC 7766).
    Plain,
    /// The same within TLS (RFC 7858).
    Tls(TlsAcceptor),
    /// As HTTP requests within TLS (RFC 8484).
    Https(TlsAcceptor),
}

impl fmt::Debug for Carriage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.transport().name())
    }
}

impl Carriage {
    /// What it is called elsewhere.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Plain => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
            Self::Https(_) => Transport::Https,
        }
    }
}

impl Server {
    /// A server known by the address `listener`; `connections` is shared by all.
    pub(super) fn new(
        listener: SocketAddr,
        carriage: Carriage,
        pipeline: Arc<Pipeline>,
        connections: Arc<Connections>,
    ) -> Self {
        Self { listener, carriage, pipeline, connections }
    }

    /// Takes connections until `stopped`, then waits for those that are being answered.
    pub(super) async fn run(self, listener: TcpListener, stopped: watch::Receiver<()>) {
        let mut tasks = JoinSet::new();
        let mut backoff = Backoff::default();
        let mut stop = pin!(stop(stopped.clone()));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    backoff = Backoff::default();
                    tasks.spawn(self.connection(stream, client, stopped.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot take a TCP connection");
                    self.pipeline.counters().tcp_accept_failed.increment();
                    backoff.wait().await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(listener);
        tasks.join_all().await;
    }

    /// Everything that one connection does.
    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        stopped: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + use<> {
        let counters = self.pipeline.counters();
        counters.tcp_connections.increment();
        let asked = stream.local_addr().unwrap_or(self.listener);
        let peer = Peer::new(client, asked, self.carriage.transport());
        let (place, evicted) = self.connections.enter(peer.address());
        if evicted {
            counters.tcp_evicted.increment();
        }
        let (carriage, pipeline) = (self.carriage.clone(), Arc::clone(&self.pipeline));
        async move {
            // Answers are small and complete: waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            let activity = Arc::clone(&place.activity);
            tokio::select! {
                () = serve(carriage, stream, (peer, pipeline), &activity, stopped) => {}
                () = activity.evicted.notified() => {}
            }
        }
    }
}

/// Serves a connection in its own way, after the handshake if there is one.
async fn serve(
    carriage: Carriage,
    stream: TcpStream,
    (peer, pipeline): (Peer, Arc<Pipeline>),
    activity: &Arc<Activity>,
    stopped: watch::Receiver<()>,
) {
    match carriage {
        Carriage::Plain => serve_stream(stream, peer, pipeline, activity, stopped).await,
        Carriage::Tls(acceptor) => {
            if let Some(stream) = shake_hands(&acceptor, stream, pipeline.counters(), stopped.clone()).await {
                serve_stream(stream, peer, pipeline, activity, stopped).await;
            }
        }
        Carriage::Https(acceptor) => {
            if let Some(stream) = shake_hands(&acceptor, stream, pipeline.counters(), stopped.clone()).await {
                https::serve_stream(stream, peer, pipeline, activity, stopped).await;
            }
        }
    }
}

/// The stream within, unless the client takes too long, has other ideas, or `stopped`.
async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    counters: &Counters,
    stopped: watch::Receiver<()>,
) -> Option<TlsStream<TcpStream>> {
    let bounded = |session: &mut ServerConnection| session.set_buffer_limit(Some(SEGMENT));
    tokio::select! {
        shaken = timeout(IDLE_TIME, acceptor.accept_with(stream, bounded)) => {
            let stream = shaken.ok().and_then(Result::ok);
            if stream.is_none() {
                counters.tls_failed.increment();
            }
            stream
        }
        () = stop(stopped) => None,
    }
}

/// Serves a stream of length-prefixed queries (RFC 1035 §4.2.2) until the client ends it, is too slow, or `stopped`.
pub(super) async fn serve_stream<S: AsyncRead + AsyncWrite>(
    stream: S,
    peer: Peer,
    pipeline: Arc<Pipeline>,
    activity: &Activity,
    stopped: watch::Receiver<()>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (answers, queue) = mpsc::channel(ANSWERS_WAITING);
    let reading = async {
        let mut stop = pin!(stop(stopped));
        let queries = Queries { reader, buffer: Vec::new() };
        let ended = tokio::select! {
            ended = answer_queries(queries, peer, &pipeline, activity, answers) => ended,
            () = &mut stop => Ok(()),
        };
        count_end(&ended, pipeline.counters());
        // What is in flight is still written; the writer ends when nobody can add to its queue.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = write_answers(writer, queue) => {}
        () = reading => {}
    }
}

/// Why a client is read no further.
#[derive(Debug, PartialEq, Eq)]
enum End {
    TooSlow,
    TooLong,
}

fn count_end(ended: &Result<(), End>, counters: &Counters) {
    match ended {
        Ok(()) => {}
        Err(End::TooSlow) => counters.tcp_timed_out.increment(),
        Err(End::TooLong) => counters.tcp_oversized.increment(),
    }
}

/// Hands each query to the pipeline. Room for its answer is had first, so that a client that does not read is not read
/// from either.
async fn answer_queries<R: AsyncRead + Unpin>(
    mut queries: Queries<R>,
    peer: Peer,
    pipeline: &Arc<Pipeline>,
    activity: &Activity,
    answers: mpsc::Sender<Vec<u8>>,
) -> Result<(), End> {
    let mut first_byte = FIRST_BYTE_TIME;
    while let Some(query) = queries.next(first_byte).await? {
        first_byte = IDLE_TIME;
        activity.touch();
        let Ok(place) = answers.clone().reserve_owned().await else { return Ok(()) };
        let mut answer = Vec::new();
        match pipeline.answer(query, &peer, &mut answer) {
            Step::Drop => {}
            Step::Reply => drop(place.send(answer)),
            Step::Miss(miss) => {
                let pipeline = Arc::clone(pipeline);
                tokio::spawn(async move {
                    pipeline.finish(&miss, &mut answer).await;
                    place.send(answer);
                });
            }
        }
    }
    Ok(())
}

/// Takes a stream apart into queries, however its segments are cut.
struct Queries<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Queries<R> {
    /// The next query; `None` when the client has ended the stream. Its first byte must come within `first_byte`, all of
    /// it within [`IDLE_TIME`]: a client that sends a byte a second is as slow as one that sends nothing.
    async fn next(&mut self, first_byte: Duration) -> Result<Option<&[u8]>, End> {
        let whole = Instant::now() + IDLE_TIME;
        let mut length = [0; 2];
        match timeout(first_byte, self.reader.read(&mut length[..1])).await {
            Ok(Ok(1)) => {}
            Ok(_ended) => return Ok(None),
            Err(_elapsed) => return Err(End::TooSlow),
        }
        let rest = async {
            self.reader.read_exact(&mut length[1..]).await?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > MAX_QUERY {
                return Ok(Err(End::TooLong));
            }
            self.buffer.resize(length, 0);
            self.reader.read_exact(&mut self.buffer).await?;
            io::Result::Ok(Ok(()))
        };
        match timeout_at(whole, rest).await {
            Ok(Ok(Ok(()))) => Ok(Some(&self.buffer)),
            Ok(Ok(Err(end))) => Err(end),
            Ok(Err(_broken_off)) => Ok(None),
            Err(_elapsed) => Err(End::TooSlow),
        }
    }
}

/// Writes answers as they come, several at once where several wait. Ends when no more can come, or when the client does
/// not take them.
async fn write_answers<W: AsyncWrite + Unpin>(mut writer: W, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut segment = Vec::new();
    while let Some(answer) = queue.recv().await {
        segment.clear();
        push_framed(&answer, &mut segment);
        while segment.len() < SEGMENT {
            let Ok(answer) = queue.try_recv() else { break };
            push_framed(&answer, &mut segment);
        }
        let written = async {
            writer.write_all(&segment).await?;
            // TLS may keep back what the connection had no room for.
            writer.flush().await
        };
        match timeout(WRITE_TIME, written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let _ = timeout(WRITE_TIME, writer.shutdown()).await;
}

fn push_framed(answer: &[u8], segment: &mut Vec<u8>) {
    let length = u16::try_from(answer.len()).expect("the writer of answers stays within 65535 bytes");
    segment.extend_from_slice(&length.to_be_bytes());
    segment.extend_from_slice(answer);
}

/// RFC 7766 §6.2.3 asks for seconds: enough to use a connection again, too little to collect them.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(5);
/// No query that a client means is longer; without a limit, 64 KiB a connection could be held by sending nothing.
pub(super) const MAX_QUERY: usize = 16 * 1024;
/// A client that connects has its query ready.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(2);
/// A client that takes nothing for this long has gone.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Queries of one connection that are resolved or whose answers wait to be written.
const ANSWERS_WAITING: usize = 64;
/// Answers are gathered up to this before they are written; TLS keeps no more than this of what a client does not take.
const SEGMENT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
