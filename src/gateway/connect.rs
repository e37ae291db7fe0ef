//! For engines that must name a proxy: connections to registries by CONNECT (RFC 9110 §9.3.6), judged and carried on as
//! those that the resolver steers here. Nothing else is proxied.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::admission::{Admission, Way};
use super::connection::{self, Announced};
use super::stream::Stream;
use super::{Client, Shared};
use crate::event::{Bearing, Decision};
use crate::net::connections::Activity;

/// Serves a connection whose client speaks to a proxy, to its end.
pub(super) async fn serve<S: Stream + 'static>(
    shared: Arc<Shared>,
    stream: S,
    client: Client,
    activity: &Arc<Activity>,
) {
    let activity = Arc::clone(activity);
    let tunnel: Arc<std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>> = Arc::default();
    let started = Arc::clone(&tunnel);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, client, activity) = (Arc::clone(&shared), client.clone(), Arc::clone(&activity));
        let response = match accept(&shared, &client, &request) {
            Ok(announced) => {
                let carried = tokio::spawn(carry(shared, request, client, announced, activity));
                *started.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(carried);
                Response::new(Full::default())
            }
            Err(refusal) => {
                shared.counters.connects_refused.increment();
                *refusal
            }
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the proxy broke");
    }
    // The tunnel lives as long as this connection has its place.
    let carried = tunnel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(carried) = carried {
        let _ = Aborting(carried).finish().await;
    }
}

/// A task that ends with whoever waits for it.
struct Aborting(tokio::task::JoinHandle<()>);

impl Aborting {
    async fn finish(mut self) -> Result<(), tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes a CONNECT for a name that the client may reach.
fn accept(
    shared: &Shared,
    client: &Client,
    request: &Request<Incoming>,
) -> Result<Announced, Box<Response<Full<Bytes>>>> {
    shared.counters.connects.increment();
    if request.method() != Method::CONNECT {
        return Err(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "this proxy carries connections to registries only (CONNECT)",
        ));
    }
    let authority = request.uri().authority();
    let name = authority.and_then(|authority| authority.host().parse().ok());
    let port = authority.and_then(Authority::port_u16).filter(|&port| port > 0);
    let (Some(name), Some(port)) = (name, port) else {
        return Err(refusal(StatusCode::BAD_REQUEST, "CONNECT needs a host name and a port"));
    };
    if !shared.ports.contains(&port) {
        return Err(refusal(
            StatusCode::FORBIDDEN,
            &format!("no registry is reached on port {port} through this proxy"),
        ));
    }
    let policy = shared.policy.current();
    let admission = Admission::judge(&policy, client, &name);
    if admission.way() != Way::Refused {
        return Ok(Announced { name, port });
    }
    shared.events.tallies().open().add_untimed(&admission.decided(&policy, client, &name));
    shared.events.tell(Decision::Deny, Bearing::None, || admission.event(client, &name));
    let reason = admission.judgement.verdict;
    Err(refusal(StatusCode::FORBIDDEN, &format!("registry access to {name} is not allowed: {reason}")))
}

/// Carries what comes through the tunnel.
async fn carry(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    client: Client,
    announced: Announced,
    activity: Arc<Activity>,
) {
    match hyper::upgrade::on(request).await {
        Ok(upgraded) => connection::serve(shared, TokioIo::new(upgraded), client, Some(announced), &activity).await,
        Err(error) => tracing::debug!(%error, "a client did not use its tunnel"),
    }
}

/// Go prints the reason phrase of a proxy's refusal.
fn refusal(status: StatusCode, text: &str) -> Box<Response<Full<Bytes>>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    if let Ok(phrase) = ReasonPhrase::try_from(text.as_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Box::new(response)
}

const HEAD_TIME: Duration = Duration::from_secs(30);
const MAX_HEAD: usize = 16 * 1024;
