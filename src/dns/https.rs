//! DNS over HTTPS (RFC 8484): queries as requests of HTTP/2 or HTTP/1.1, on connections that [`super::tcp`] took.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Peer;
use super::pipeline::{Pipeline, Step};
use super::tcp::IDLE_TIME;
use crate::net::connections::Activity;
use crate::net::stop::stop;

/// What a client may ask for in the handshake.
pub(super) const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Serves a connection until the client ends it or says nothing for a while, or until `stopped`.
pub(super) async fn serve_stream(
    stream: TlsStream<TcpStream>,
    peer: Peer,
    pipeline: Arc<Pipeline>,
    activity: &Arc<Activity>,
    stopped: watch::Receiver<()>,
) {
    let client = Arc::new(Client { peer, pipeline, activity: Arc::clone(activity), in_flight: AtomicUsize::new(0) });
    let service = service_fn(|request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, Infallible>(client.respond(request).await) }
    });
    let builder = bounded();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop(stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = client.quiet() => {
            client.pipeline.counters().tcp_timed_out.increment();
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client = %peer.client, "a DoH connection broke off");
    }
}

/// HTTP with a bound for all that a client can make us hold.
fn bounded() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).max_headers(MAX_HEADERS);
    builder.http1().max_buf_size(MAX_HEADER_BUFFER);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADER_LIST);
    builder.http2().initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    builder
}

/// Who is at the other end of a connection.
struct Client {
    peer: Peer,
    pipeline: Arc<Pipeline>,
    activity: Arc<Activity>,
    in_flight: AtomicUsize,
}

impl Client {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let _in_flight = InFlight::of(self);
        match self.answer(request).await {
            Ok(answer) => message(answer),
            Err(refusal) => {
                self.pipeline.counters().https_refused.increment();
                refusal.into_response()
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
        let query = query_of(request).await?;
        let mut answer = Vec::new();
        match self.pipeline.answer(&query, &self.peer, &mut answer) {
            Step::Drop => return Err(Refusal::NoQuery),
            Step::Reply => {}
            Step::Miss(miss) => self.pipeline.finish(&miss, &mut answer).await,
        }
        Ok(answer)
    }

    /// Ready when the client has asked nothing for a while and waits for nothing.
    async fn quiet(&self) {
        loop {
            self.activity.quiet(IDLE_TIME).await;
            if self.in_flight.load(Ordering::Relaxed) == 0 {
                return;
            }
            self.activity.touch();
        }
    }
}

/// A request that is being answered, for as long as it is wanted: one whose stream the client resets is dropped half-way.
struct InFlight<'c>(&'c Client);

impl<'c> InFlight<'c> {
    fn of(client: &'c Client) -> Self {
        client.activity.touch();
        client.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(client)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.activity.touch();
    }
}

/// The query in a request (RFC 8484 §4.1).
async fn query_of(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::Elsewhere);
    }
    match *request.method() {
        Method::GET => parse_parameter(request.uri().query().unwrap_or_default()).map(Bytes::from),
        Method::POST if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != MESSAGE) => {
            Err(Refusal::NoMessage)
        }
        Method::POST if request.body().size_hint().lower() > MAX_QUERY as u64 => Err(Refusal::TooLong),
        Method::POST => {
            let body = Limited::new(request.into_body(), MAX_QUERY).collect();
            let body = timeout(IDLE_TIME, body).await.map_err(|_elapsed| Refusal::TooSlow)?;
            Ok(body.map_err(|_too_long_or_broken_off| Refusal::TooLong)?.to_bytes())
        }
        _ => Err(Refusal::Method),
    }
}

/// The message in `dns=…`, base64url without padding.
fn parse_parameter(parameters: &str) -> Result<Vec<u8>, Refusal> {
    let mut values = parameters.split('&').filter_map(|parameter| parameter.strip_prefix("dns="));
    let value = values.next().ok_or(Refusal::NoQuery)?;
    BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| Refusal::NoQuery)
}

/// An answer may be out of date with the next policy, so nobody on the way is to keep it.
fn message(answer: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not answered with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Elsewhere,
    Method,
    NoMessage,
    NoQuery,
    TooLong,
    TooSlow,
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Self::Elsewhere => (StatusCode::NOT_FOUND, "DNS queries go to /dns-query\n"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "DNS queries come by GET or POST\n"),
            Self::NoMessage => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/dns-message\n"),
            Self::NoQuery => (StatusCode::BAD_REQUEST, "no DNS query: `dns` is the message in base64url\n"),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "no DNS query is this long\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        if self == Self::Method {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

/// RFC 8484 §4.1 leaves the path to the server; this one is everybody's.
pub(super) const PATH: &str = "/dns-query";
const MESSAGE: &str = "application/dns-message";
/// Requests of one connection at a time. Each may hold a whole [`MAX_QUERY`] and some kilobytes of HTTP, on each of all
/// connections; those beyond wait at the client.
const MAX_STREAMS: u32 = 16;
/// Several times what a query padded as RFC 8467 asks is long.
const MAX_QUERY: usize = 4 * 1024;
/// What a client may send before it is read: the least that HTTP/2 begins with.
const WINDOW: u32 = 65_535;
const MAX_HEADERS: usize = 64;
/// Room for a GET request of the longest query.
const MAX_HEADER_LIST: u32 = 16 * 1024;
const MAX_HEADER_BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parameter_is_base64url_without_padding() {
        assert_eq!(parse_parameter("dns=AAABAAAB").unwrap(), [0, 0, 1, 0, 0, 1]);
        assert_eq!(parse_parameter("ct=x&dns=_-8").unwrap(), [0xff, 0xef]);
        for refused in ["", "dns", "xdns=AAAA", "dns=AA==", "dns=+/8", "dns=%41"] {
            assert_eq!(parse_parameter(refused), Err(Refusal::NoQuery), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_parameters_are_read_or_refused(parameters in ".{0,200}") {
            let _ = parse_parameter(&parameters);
        }
    }
}
