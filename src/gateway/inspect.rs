//! An inspected connection: each request is judged by its method and path before anything of it goes on, and what is
//! allowed streams to the registry and back.
//!
//! ```text
//! request ─read─▶ Request ─judge─▶ verdict ─┬─ Deny ───────────────▶ refusal ─▶ response
//!         request          policy::images    └─ Allow ─▶ registry ─▶ headers ─▶ response
//! ```
//!
//! A client's connection has one connection to the registry and shares it with nobody: what one client sends can never be
//! taken for another's. Bodies are never held: what one side does not take, the other does not send.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Mutex;

use super::admission::{Admission, Way};
use super::dial::{DialError, Target};
use super::handed_out::Purpose;
use super::headers::{forward_request, forward_response, has_passed, host_of};
use super::refusal::Refusal;
use super::request::{RepositoryRequest, Request};
use super::stream::{InPieces, Stream};
use super::{Client, Shared};
use crate::event::images::{ImageDecided, ImageKey, ImageSubject};
use crate::event::{Bearing, Decision, Event, EventRule, Subject};
use crate::name::DomainName;
use crate::net::connections::Activity;
use crate::policy::images::{Access, Badge, ImageRules, ImageVerdict, Key, Listing};
use crate::policy::judge::Judgement;
use crate::policy::repository::Repository;
use crate::policy::snapshot::GroupRef;
use crate::policy::store::InForce;

/// A client's inspected connection to one registry.
pub(super) struct Session {
    shared: Arc<Shared>,
    client: Client,
    name: DomainName,
    port: u16,
    /// The connection to the registry, if there is one; requests come one after another.
    upstream: Mutex<Option<SendRequest<Incoming>>>,
}

type HttpRequest = hyper::Request<Incoming>;
type Body = Either<Incoming, Full<Bytes>>;

/// What a request is for and where it goes.
struct Judged {
    /// Path and query as the registry gets them.
    target: Uri,
    /// What its response may hand out more paths for.
    purpose: Option<Purpose>,
}

impl Session {
    /// Of `client`, for the registry `name` on `port`.
    pub(super) fn new(shared: Arc<Shared>, client: Client, name: DomainName, port: u16) -> Arc<Self> {
        Arc::new(Self { shared, client, name, port, upstream: Mutex::default() })
    }

    /// Answers one request.
    async fn answer(&self, mut request: HttpRequest) -> Response<Body> {
        self.shared.counters.requests.increment();
        let method = request.method().clone();
        // The path outlives the request it came in: a refusal is worded by what it was for.
        let uri = request.uri().clone();
        let refuse = |refusal: Refusal| {
            let resource = match Request::parse(&method, uri.path(), uri.query()) {
                Ok(Request::Repository(read)) => Some(read.resource),
                _ => None,
            };
            self.count(&refusal);
            refusal.into_response(&method, resource, self.shared.contact.as_deref()).map(Either::Right)
        };
        if let Err(refusal) = self.accept(&request) {
            return refuse(refusal);
        }
        let policy = arc_swap::Guard::into_inner(self.shared.policy.current());
        let judged = match self.judge(&policy, &request).await {
            Ok(judged) => judged,
            Err(refusal) => return refuse(refusal),
        };
        *request.uri_mut() = judged.target;
        *request.version_mut() = Version::HTTP_11;
        forward_request(request.headers_mut(), &host_of(&self.name, self.port), &self.shared.via);
        match self.send(&policy, request).await {
            Ok(mut response) => {
                let handed_out = &self.shared.handed_out;
                handed_out.learn(&self.name, judged.purpose.as_ref(), response.status(), response.headers());
                forward_response(response.headers_mut(), &self.name, self.port);
                *response.version_mut() = Version::HTTP_11;
                response.map(Either::Left)
            }
            // The client's own body broke off, or is no body.
            Err(SendError::Http(error)) if error.is_user() => refuse(Refusal::Malformed("the body is broken")),
            Err(error) => {
                tracing::warn!(name = %self.name, %error, "a registry does not answer");
                refuse(Refusal::Unreachable(error.to_string()))
            }
        }
    }

    fn count(&self, refusal: &Refusal) {
        let counters = &self.shared.counters;
        match refusal {
            Refusal::Image(_) => counters.images_denied.increment(),
            Refusal::Unknown(_) => counters.requests_unknown.increment(),
            Refusal::Misdirected | Refusal::Malformed(_) | Refusal::Loop => counters.requests_malformed.increment(),
            Refusal::Unreachable(_) => counters.requests_failed.increment(),
        }
    }

    /// Takes a request that can be judged: in origin form, for the host that the connection is for.
    fn accept(&self, request: &HttpRequest) -> Result<(), Refusal> {
        if request.uri().scheme().is_some() || request.uri().authority().is_some() {
            return Err(Refusal::Malformed("the request is not in origin form"));
        }
        if request.version() != Version::HTTP_11 && request.version() != Version::HTTP_10 {
            return Err(Refusal::Malformed("not HTTP/1.1"));
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        match (hosts.next().map(|host| self.is_host(host)), hosts.next()) {
            (Some(true), None) => {}
            (Some(false), None) => return Err(Refusal::Misdirected),
            (None, _) => return Err(Refusal::Malformed("no Host")),
            (Some(_), Some(_)) => return Err(Refusal::Malformed("two Hosts")),
        }
        if has_passed(request.headers(), &self.shared.via) {
            return Err(Refusal::Loop);
        }
        Ok(())
    }

    /// Whether a `Host` is the name of the connection, with its port or none.
    fn is_host(&self, host: &HeaderValue) -> bool {
        let Ok(text) = host.to_str() else { return false };
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse::<u16>().ok()),
            None => (text, Some(self.port)),
        };
        port == Some(self.port) && name.parse::<DomainName>().is_ok_and(|name| name == self.name)
    }

    /// Judges a request by the policy in force now, which may be another than when the connection began.
    async fn judge(&self, policy: &Arc<InForce>, request: &HttpRequest) -> Result<Judged, Refusal> {
        let uri = request.uri();
        let rules = |policy| self.rules(policy);
        let read = match Request::parse(request.method(), uri.path(), uri.query()) {
            Ok(read) => read,
            Err(unknown) => {
                let purpose = self.shared.handed_out.purpose(&self.name, request.method(), uri.path());
                let Some(purpose) = purpose else {
                    rules(policy)?;
                    self.record_unknown(policy, uri.path(), unknown.to_string());
                    return Err(Refusal::Unknown(unknown));
                };
                if let Purpose::Repository(repository, access) = &purpose {
                    self.admit(policy, repository, *access).await?;
                }
                return Ok(Judged { target: origin_form(uri)?, purpose: Some(purpose) });
            }
        };
        match read {
            Request::Version => {
                rules(policy)?;
                Ok(Judged { target: Uri::from_static("/v2/"), purpose: None })
            }
            Request::Listing(listing) => {
                self.admit_listing(policy, listing)?;
                Ok(Judged { target: origin_form(uri)?, purpose: None })
            }
            Request::Repository(mut read) => {
                self.admit(policy, &read.repository, read.access).await?;
                self.settle_mount(policy, &mut read).await;
                let target = read.target().parse().map_err(|_| Refusal::Malformed("a path that is none"))?;
                Ok(Judged { target, purpose: Some(Purpose::Repository(read.repository, read.access)) })
            }
        }
    }

    /// The image rules for this client now; `None`: the registry is no longer inspected.
    fn rules<'p>(&self, policy: &'p InForce) -> Result<Option<ImageRules<'p>>, Refusal> {
        let admission = Admission::judge(policy, &self.client, &self.name);
        match admission.way() {
            Way::Refused => Err(Refusal::Image(format!("{}: {}", self.name, admission.judgement.verdict))),
            Way::Pass => Ok(None),
            Way::Inspect(rule) => {
                let client = self.client.address.ip();
                Ok(Some(policy.snapshot.image_rules(rule, admission.judgement.group, Some(client))))
            }
        }
    }

    /// Lets a request for a repository through, or not.
    async fn admit(&self, policy: &Arc<InForce>, repository: &Repository, access: Access) -> Result<(), Refusal> {
        let Some(rules) = self.rules(policy)? else { return Ok(()) };
        let mut verdict = rules.judge(repository, access, None);
        if let ImageVerdict::NeedsBadge = verdict {
            let badge = self.badge(repository, rules.looks_up_badges()).await;
            let Some(rules) = self.rules(policy)? else { return Ok(()) };
            verdict = rules.judge(repository, access, Some(badge));
        }
        self.conclude(policy, verdict, repository.as_str(), access.word())
    }

    async fn badge(&self, repository: &Repository, may_ask: bool) -> Badge {
        match repository.namespace() {
            Some(namespace) if may_ask => self.shared.badges.of(namespace, &self.shared.dialer).await,
            _ => Badge::Unbadged,
        }
    }

    fn admit_listing(&self, policy: &Arc<InForce>, listing: Listing) -> Result<(), Refusal> {
        let Some(rules) = self.rules(policy)? else { return Ok(()) };
        let action = match listing {
            Listing::Catalog => "catalog",
            Listing::Search => "search",
        };
        self.conclude(policy, rules.judge_listing(listing), "", action)
    }

    /// Counts and tells what was decided, and makes it the answer.
    fn conclude(
        &self,
        policy: &InForce,
        verdict: ImageVerdict<'_>,
        repository: &str,
        action: &'static str,
    ) -> Result<(), Refusal> {
        let counters = &self.shared.counters;
        let outcome = Outcome::of(verdict);
        self.record(policy, &outcome, repository, action);
        match outcome.decision {
            Decision::Allow => counters.images_allowed.increment(),
            Decision::Audit => counters.images_would_deny.increment(),
            Decision::Deny => return Err(Refusal::Image(outcome.reason)),
        }
        Ok(())
    }

    fn record_unknown(&self, policy: &InForce, path: &str, reason: String) {
        let shown: String = path.chars().take(MAX_SHOWN).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
        let outcome = Outcome { decision: Decision::Deny, word: "unknown-request", reason, key: None };
        self.record(policy, &outcome, &shown, "request");
    }

    fn record(&self, policy: &InForce, outcome: &Outcome<'_>, repository: &str, action: &'static str) {
        let Judgement { verdict, group } = Admission::judge(policy, &self.client, &self.name).judgement;
        let group = group.and_then(GroupRef::known_name).map(str::to_owned);
        let entry = verdict.rule().map(|rule| rule.entry().name.clone());
        let Outcome { decision, word, reason, key } = outcome;
        self.shared.events.tallies().images().add(ImageDecided {
            about: Some(ImageSubject {
                client: self.client.address.ip().to_canonical(),
                host: self.name.clone(),
                repository: repository.trim_start_matches('/').to_owned(),
            }),
            group: group.clone(),
            action,
            decision: *decision,
            reason: word,
            key: key
                .filter(|key| key.value().is_some())
                .map(|key| ImageKey { registry: entry.clone().unwrap_or_default(), text: key.to_string() }),
        });
        self.shared.events.tell(*decision, Bearing::None, || {
            let subject = Subject::Image { repository: repository.to_owned(), action };
            let rule = key.map(|key| EventRule { pattern: key.name().to_owned(), place: Some(key.place().clone()) });
            let reason = reason.clone();
            Event { decision: *decision, reason, group, entry, rule, ..self.client.event(&self.name, subject) }
        });
    }

    /// A blob is mounted from a repository that the client may pull, and uploaded otherwise: the client has it, or it
    /// cannot push it.
    async fn settle_mount(&self, policy: &Arc<InForce>, request: &mut RepositoryRequest<'_>) {
        let Some(source) = request.mounts.clone() else { return };
        if self.admit(policy, &source, Access::Pull).await.is_err() {
            self.shared.counters.mounts_withheld.increment();
            request.mounts = None;
        }
    }

    /// Sends a request on the connection to the registry, a new one if there is none or it has ended meanwhile.
    async fn send(&self, policy: &Arc<InForce>, mut request: HttpRequest) -> Result<Response<Incoming>, SendError> {
        let mut upstream = self.upstream.lock().await;
        if let Some(mut sender) = upstream.take()
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    *upstream = Some(sender);
                    return Ok(response);
                }
                // The registry had ended the connection, and nothing of the request was sent.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut sender = self.dial(policy).await?;
        let response = sender.send_request(request).await?;
        *upstream = Some(sender);
        Ok(response)
    }

    async fn dial(&self, policy: &Arc<InForce>) -> Result<SendRequest<Incoming>, SendError> {
        let (servers, private) = {
            let admission = Admission::judge(policy, &self.client, &self.name);
            (admission.servers(), admission.private())
        };
        let forbids =
            |target: crate::name::NameRef<'_>| Admission::judge(policy, &self.client, &self.name).forbids(target);
        let target = Target { name: &self.name, port: self.port, servers, private, forbids: &forbids };
        let stream = self.shared.dialer.dial_tls(&target).await.inspect_err(|_| {
            self.shared.counters.unreachable.increment();
        })?;
        let (sender, connection) = client::Builder::new()
            .max_buf_size(MAX_RESPONSE_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(InPieces::new(stream, PIECE)))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a registry broke");
            }
        });
        Ok(sender)
    }
}

/// What was decided about a request, and why.
struct Outcome<'s> {
    decision: Decision,
    /// Why, in a word.
    word: &'static str,
    /// Why, in a few words.
    reason: String,
    key: Option<&'s Key>,
}

impl<'s> Outcome<'s> {
    fn of(verdict: ImageVerdict<'s>) -> Self {
        let decision = match verdict {
            ImageVerdict::Allow(_) => Decision::Allow,
            ImageVerdict::Audit(_) => Decision::Audit,
            ImageVerdict::Deny(_) | ImageVerdict::NeedsBadge => Decision::Deny,
        };
        Self { decision, word: verdict.reason(), reason: verdict.to_string(), key: verdict.key() }
    }
}

/// Why a registry does not answer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{}", with_cause(_0))]
    Http(#[from] hyper::Error),
}

/// hyper says what went wrong in two parts.
fn with_cause(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Path and query as they were sent.
fn origin_form(uri: &Uri) -> Result<Uri, Refusal> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().map_err(|_| Refusal::Malformed("a path that is none"))
}

/// Serves the requests of a connection, one after another, until the client ends it.
pub(super) async fn serve<S: Stream + 'static>(stream: S, session: Arc<Session>, activity: &Arc<Activity>) {
    let activity = Arc::clone(activity);
    let service = service_fn(move |request: HttpRequest| {
        activity.touch();
        let session = Arc::clone(&session);
        async move { Ok::<_, Infallible>(session.answer(request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_REQUEST_HEAD)
        .max_headers(MAX_HEADERS)
        // Copied into one buffer, what came of the registry frees its own, which is larger, for what comes next.
        .writev(false)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an inspected connection broke");
    }
}

/// Google's registries send headers of up to 128 KiB.
const MAX_RESPONSE_HEAD: usize = 128 * 1024;
/// As much as the front ends of registries take by default. It is also what waits of a body for a client that takes it
/// slowly, and a hundred of those are nothing unusual.
const MAX_REQUEST_HEAD: usize = 32 * 1024;
/// What is read at once of a response. hyper doubles its buffer each time it is filled, up to the size of a head, and has
/// three under way: one byte less than it keeps them small.
const PIECE: u64 = 16 * 1024 - 1;
const MAX_HEADERS: usize = 128;
/// How long a request may take to be sent, from the end of the one before: longer than Go keeps an idle connection (90 s),
/// so that it is not closed under a request.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// What a line of the log shows of a path.
const MAX_SHOWN: usize = 200;
