//! A small HTTP/1.1 server in which everything is bounded: connections, heads, and the time of each step.
//!
//! The control socket and the metrics listener are made of it. It answers one request a connection and never reads a
//! request's body, so that a client cannot make it hold anything.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

/// A request as handlers see it: its head.
pub type Head = Request<()>;

/// What a handler answers.
pub type Reply = Response<ReplyBody>;

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the listener's backlog.
    pub connections: usize,
    /// From the connection to the end of the request's head.
    pub head: Duration,
    /// From the request's head to the answer's; a longer one is answered 503.
    pub handling: Duration,
    /// How long a client may leave bytes of the answer untaken.
    pub stall: Duration,
    /// The whole exchange, unless the answer is a stream.
    pub whole: Duration,
}

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The number of the user.
    pub user: u32,
}

/// A listener whose connections are served.
pub trait Accept: Send {
    /// One connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Whose connection it is; `None`: nobody can tell. Handlers find it among the extensions of the head.
    fn peer(_: &Self::Io) -> Option<Peer> {
        None
    }
}

/// An answer's body: whole, or a stream of chunks that ends when its sender is dropped.
#[derive(Debug)]
pub enum ReplyBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// Chunks as they come.
    Stream(mpsc::Receiver<Bytes>),
}

/// Serves `listener` until the future is dropped; that closes all connections.
pub async fn serve<L, H, F>(listener: L, limits: Limits, handler: H)
where
    L: Accept,
    H: Fn(Head) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.next(), if connections.len() < limits.connections => match accepted {
                Ok(io) => {
                    let peer = L::peer(&io);
                    connections.spawn(serve_connection(io, peer, limits, handler.clone()));
                }
                // Out of descriptors, mostly: without a pause the loop would spin until there is one again.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve_connection<I, H, F>(io: I, peer: Option<Peer>, limits: Limits, handler: H)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Head) -> F,
    F: Future<Output = Reply>,
{
    let streaming = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let mut head = request.map(|_| ());
        peer.map(|peer| head.extensions_mut().insert(peer));
        let answer = handler(head);
        let streaming = Arc::clone(&streaming);
        async move {
            let reply = tokio::time::timeout(limits.handling, answer).await;
            let reply = reply.unwrap_or_else(|_| failure(StatusCode::SERVICE_UNAVAILABLE, "it took too long"));
            streaming.store(matches!(reply.body(), ReplyBody::Stream(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Unstalled::new(io, limits.stall)), service);
    tokio::pin!(connection);
    let ended = tokio::time::timeout(limits.whole, &mut connection).await.is_ok();
    if !ended && streaming.load(Ordering::Relaxed) {
        // How a client's connection ends is the client's business.
        let _ = connection.await;
    }
}

/// An answer with `body` as JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    // Our reports hold strings, numbers and lists of them only: nothing that JSON cannot say.
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    with_type(status, "application/json", ReplyBody::Whole(Full::new(text.into())))
}

/// An answer with `body` as text of the given media type.
pub fn text(media_type: &'static str, body: String) -> Reply {
    with_type(StatusCode::OK, media_type, ReplyBody::Whole(Full::new(body.into())))
}

/// An answer that goes on for as long as `chunks` has a sender.
pub fn stream(media_type: &'static str, chunks: mpsc::Receiver<Bytes>) -> Reply {
    with_type(StatusCode::OK, media_type, ReplyBody::Stream(chunks))
}

/// An answer that says what is wrong with the request: `{"error": message}`.
pub fn failure(status: StatusCode, message: &str) -> Reply {
    json(status, &serde_json::json!({ "error": message }))
}

/// 405, with the method that would have done (RFC 9110 §15.5.6).
pub fn wrong_method(allowed: &'static str) -> Reply {
    let mut reply = failure(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}"));
    reply.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static(allowed));
    reply
}

fn with_type(status: StatusCode, media_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media_type));
    reply
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(chunks) => chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl Accept for TcpListener {
    type Io = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Io> {
        self.accept().await.map(|(io, _)| io)
    }
}

impl Accept for UnixListener {
    type Io = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Io> {
        self.accept().await.map(|(io, _)| io)
    }

    fn peer(io: &Self::Io) -> Option<Peer> {
        io.peer_cred().ok().map(|credentials| Peer { user: credentials.uid() })
    }
}

/// A connection that fails when the other side takes nothing for a while.
struct Unstalled<I> {
    io: I,
    stall: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<I: AsyncWrite + Unpin> Unstalled<I> {
    fn new(io: I, stall: Duration) -> Self {
        Self { io, stall, timer: None }
    }

    /// Watches over one attempt to write, flush or close.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut I>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = attempt(Pin::new(&mut self.io), context) {
            self.timer = None;
            return Poll::Ready(done);
        }
        let deadline = Instant::now() + self.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Unstalled<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Unstalled<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(context, AsyncWrite::poll_shutdown)
    }
}

/// The most bytes of a request's head that are kept (hyper's own least is 8 KiB).
const MAX_HEAD: usize = 8 * 1024;
/// The most header fields of a request.
const MAX_HEADERS: usize = 32;
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 2,
        head: Duration::from_secs(2),
        handling: Duration::from_secs(3),
        stall: Duration::from_secs(4),
        whole: Duration::from_secs(30),
    };

    /// A server that answers `/slow` never, `/large` with more than any socket's buffer, and the rest with `{}`.
    async fn start() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = |head: Head| async move {
            match head.uri().path() {
                "/slow" => std::future::pending().await,
                "/large" => text("text/plain", "x".repeat(64 << 20)),
                _ => json(StatusCode::OK, &serde_json::json!({})),
            }
        };
        (address, tokio::spawn(serve(listener, LIMITS, handler)))
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_connection_closed() {
        let (address, _server) = start().await;
        let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n{}\n"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_ends_is_answered_503() {
        let (address, _server) = start().await;
        let answer = ask(address, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_its_head_is_closed_and_does_not_keep_others_out() {
        let (address, _server) = start().await;
        let mut slow = Vec::new();
        for _ in 0..LIMITS.connections {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            slow.push(stream);
        }
        let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_larger_than_the_limit_is_refused() {
        let (address, _server) = start().await;
        let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(3 * MAX_HEAD));
        let answer = ask(address, &request).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_closed() {
        let (address, _server) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let began = Instant::now();
        tokio::time::sleep(LIMITS.stall * 2).await;
        let mut taken = Vec::new();
        let _ = stream.read_to_end(&mut taken).await;
        assert!(taken.len() < 64 << 20, "the whole answer came");
        assert!(began.elapsed() < LIMITS.whole, "only the limit of the whole exchange ended it");
    }
}
