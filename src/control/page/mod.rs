//! The page: what happens, for people with a browser. It reads, and changes nothing.
//!
//! ```text
//! request ─gate─▶ document, stream of events, or what the control API says ─▶ answer, under strict headers
//! ```

mod document;
mod gate;
mod stream;

pub use gate::Called;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::net::TcpListener;

use self::gate::{Gate, Refusal};
use super::api::{Api, BadRequest, Parameters, bad_request};
use super::{check, denied, past};
use crate::name::DomainName;
use crate::observe::http::{self, Head, Limits, Reply};
use crate::observe::visitors::Visitors;

/// Serves the page until dropped; beside its address it may be called by these names.
pub async fn serve(listener: TcpListener, names: Vec<DomainName>, api: Arc<Api>) {
    let Ok(bound) = listener.local_addr() else { return };
    let visitors = api.metrics.page.clone().unwrap_or_default();
    let page = Arc::new(Page { api, gate: Gate::new(bound.ip(), names), visitors });
    let handler = move |head: Head| {
        let page = Arc::clone(&page);
        async move { guarded(page.answer(&head).await) }
    };
    http::serve(listener, LIMITS, handler).await;
}

struct Page {
    api: Arc<Api>,
    gate: Gate,
    visitors: Arc<Visitors>,
}

impl Page {
    async fn answer(&self, head: &Head) -> Reply {
        if let Err(refusal) = self.gate.admit(head) {
            return self.refuse(refusal);
        }
        let query = Parameters::of(head);
        let reply = match head.uri().path() {
            "/" => Ok(http::text("text/html; charset=utf-8", document::html().to_owned())),
            "/events" => self.events(head, &query),
            "/check" => check::check(&self.api, &query).await,
            "/denied" => denied::denied(&self.api, &query).await,
            "/unused" => past::unused(&self.api, &query).await,
            _ => Ok(http::failure(StatusCode::NOT_FOUND, "there is nothing here; the page is at /")),
        };
        reply.unwrap_or_else(bad_request)
    }

    fn events(&self, head: &Head, query: &Parameters) -> Result<Reply, BadRequest> {
        query.only(&[])?;
        Ok(match *head.method() {
            // It has no body to wait for.
            Method::HEAD => http::text("text/event-stream", String::new()),
            _ => stream::open(&self.api, &self.visitors),
        })
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::Host => self.visitors.host.increment(),
            Refusal::Site => self.visitors.site.increment(),
            Refusal::Method => {}
        }
        let mut reply = http::text("text/plain; charset=utf-8", refusal.explanation().to_owned());
        *reply.status_mut() = refusal.status();
        if refusal == Refusal::Method {
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        reply
    }
}

/// The answer with what keeps other sites from having anything of it, and caches from keeping it.
fn guarded(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(document::policy()));
    reply
}

const GUARDS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];
/// Some people with some tabs each; a stream may stand for as long as it is read.
const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(2),
    handling: Duration::from_secs(20),
    stall: Duration::from_secs(10),
    whole: Duration::from_secs(40),
};
