//! The site's own proxy, asked to connect us to a registry (RFC 9110 §9.3.6).

use std::fmt;
use std::io;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::dial::DialError;
use super::stream::Stream;
use crate::config::ParentProxy;

/// Has `proxy`, at the other end of `stream`, connect to a host, as it stands in a URL, and a port.
///
/// # Errors
/// It does not, and says why.
pub(crate) async fn connect(
    proxy: &ParentProxy,
    stream: TcpStream,
    host: impl fmt::Display,
    port: u16,
) -> Result<Box<dyn Stream>, DialError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_ANSWER)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request(proxy, &format!("{host}:{port}"))).await.map_err(broken)?;
    if !response.status().is_success() {
        return Err(DialError::Proxy { proxy: proxy.to_string(), answer: said(&response) });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn request(proxy: &ParentProxy, authority: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::connect(authority).body(Empty::new()).expect("a name and a port make an authority");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(authority).expect("names are shown in ASCII"));
    let authorization = proxy.authorization.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        headers.insert(PROXY_AUTHORIZATION, authorization);
    }
    request
}

/// Status and reason, as the proxy gave them.
fn said<B>(response: &Response<B>) -> String {
    let phrase = response.extensions().get::<ReasonPhrase>();
    let reason = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    let reason = reason.or_else(|| response.status().canonical_reason().map(str::to_owned)).unwrap_or_default();
    format!("{} {reason}", response.status().as_u16())
}

fn broken(error: hyper::Error) -> DialError {
    DialError::Connect(io::Error::other(error))
}

/// A proxy has little to say.
const MAX_ANSWER: usize = 16 * 1024;
