//! One HTTP/1.1 request over a Unix socket, answered whole or as a stream: what pullgate's own control API and a
//! container engine's have in common.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why an exchange did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeFault {
    /// The socket cannot be connected to.
    #[error(transparent)]
    Unreachable(io::Error),
    /// The other side broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The target is no path of a URL.
    #[error("`{0}` is no path of a URL")]
    Target(String),
    /// The answer is longer than would be taken.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
}

/// Sends a request without a body to the server behind `socket`; `host` is what it is told about its own name.
///
/// # Errors
/// The socket cannot be connected to, or the other side broke off.
pub async fn send(
    socket: &Path,
    host: &str,
    method: Method,
    target: &str,
) -> Result<Response<Incoming>, ExchangeFault> {
    let stream = UnixStream::connect(socket).await.map_err(ExchangeFault::Unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the exchange; what goes wrong on it is told to the request as well.
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header(HOST, host);
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| ExchangeFault::Target(target.to_owned()))?;
    Ok(sender.send_request(request).await?)
}

/// Reads the whole body of an answer, `limit` bytes at most.
///
/// # Errors
/// The other side broke off, or says more than that.
pub async fn read_whole(response: Response<Incoming>, limit: usize) -> Result<Bytes, ExchangeFault> {
    let body = Limited::new(response.into_body(), limit).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => ExchangeFault::Broken(*broken),
        Err(error) if error.is::<LengthLimitError>() => ExchangeFault::TooLong(limit),
        Err(error) => ExchangeFault::Unreachable(io::Error::other(error)),
    })
}
