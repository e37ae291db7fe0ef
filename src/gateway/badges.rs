//! Which namespaces of Docker Hub are verified publishers' or sponsored projects': asked of the Hub's API, one small request
//! for each namespace that comes up, remembered for a day, and the last known kept for a month.
//!
//! The API is what the Hub's own pages use, `GET /v2/orgs/NAMESPACE/` with a field `badge`; it is in no documentation. A
//! namespace that is no organization, or has no badge, is nobody's in particular: community.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::counters::Counters;
use super::dial::{DialError, Dialer, Target};
use crate::config::BadgeSource;
use crate::policy::images::Badge;

/// What is known of namespaces.
pub(super) struct Badges {
    source: BadgeSource,
    /// Where it is kept over restarts.
    file: PathBuf,
    known: Mutex<HashMap<String, Known>>,
    /// One look-up a namespace, and a few at a time.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    permits: Semaphore,
    counters: Arc<Counters>,
}

/// A namespace's badge, and when the Hub said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    badge: Badge,
    /// Seconds since the epoch.
    since: u64,
    /// When the Hub was last asked in vain; not kept over restarts.
    #[serde(skip)]
    failed: Option<u64>,
}

/// Why the Hub did not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the Hub's API says {0}")]
    Status(StatusCode),
    #[error("not an answer of the Hub's API: {0}")]
    Answer(String),
    #[error("no answer within {}", humantime::format_duration(LOOKUP_TIME))]
    TooSlow,
}

impl Badges {
    /// Begins with what `file` has kept. A file that cannot be read is begun anew.
    pub(super) fn new(source: BadgeSource, file: PathBuf, counters: Arc<Counters>) -> Self {
        let known = match read(&file) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "what was known of publishers cannot be read");
                HashMap::new()
            }
        };
        let (known, flights, permits) = (Mutex::new(known), Mutex::default(), Semaphore::new(MAX_LOOKUPS));
        Self { source, file, known, flights, permits, counters }
    }

    /// The badge of a namespace, asked for if the last answer is older than a day. While the Hub does not answer, the last
    /// known one counts; without one the namespace has none.
    pub(super) async fn of(&self, namespace: &str, dialer: &Dialer) -> Badge {
        self.of_with(namespace, || self.ask(namespace, dialer)).await
    }

    async fn of_with<F: Future<Output = Result<Badge, LookupError>>>(
        &self,
        namespace: &str,
        ask: impl FnOnce() -> F,
    ) -> Badge {
        if let Some(badge) = self.settled(namespace) {
            return badge;
        }
        let flight = Arc::clone(lock(&self.flights).entry(namespace.to_owned()).or_default());
        let turn = flight.lock().await;
        // Whoever had the turn before may have been told.
        let badge = match self.settled(namespace) {
            Some(badge) => badge,
            None => self.renew(namespace, ask()).await,
        };
        drop(turn);
        let mut flights = lock(&self.flights);
        if Arc::strong_count(&flight) == 2 {
            flights.remove(namespace);
        }
        badge
    }

    async fn renew(&self, namespace: &str, asking: impl Future<Output = Result<Badge, LookupError>>) -> Badge {
        let _permit = self.permits.acquire().await;
        self.counters.badges_asked.increment();
        let asked = timeout(LOOKUP_TIME, asking).await.unwrap_or(Err(LookupError::TooSlow));
        match asked {
            Ok(badge) => {
                self.keep(namespace, Known { badge, since: now(), failed: None });
                self.save().await;
                badge
            }
            Err(error) => {
                self.counters.badges_failed.increment();
                tracing::warn!(namespace, %error, "the Hub does not say which badge a namespace has");
                let last = self.lock().get(namespace).copied().filter(|known| known.age(now()) < LAST_KNOWN);
                let known = last.unwrap_or(Known { badge: Badge::Unbadged, since: 0, failed: None });
                self.keep(namespace, Known { failed: Some(now()), ..known });
                known.badge
            }
        }
    }

    /// What needs no asking: an answer of the last day, or one that was asked for in vain a moment ago.
    fn settled(&self, namespace: &str) -> Option<Badge> {
        let known = self.lock().get(namespace).copied()?;
        let now = now();
        let is_fresh = known.age(now) < FRESH;
        let failed_just_now = known.failed.is_some_and(|failed| now.saturating_sub(failed) < RETRY.as_secs());
        (is_fresh || failed_just_now).then(|| known.last_badge(now))
    }

    fn keep(&self, namespace: &str, known: Known) {
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN && !all.contains_key(namespace) {
            let oldest = all.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(namespace.to_owned(), known);
    }

    /// Keeps what is known. A disk that does not take it costs look-ups after a restart, nothing else.
    async fn save(&self) {
        let text = {
            let known = self.lock();
            let lasting: HashMap<&String, &Known> = known.iter().filter(|(_, known)| known.since > 0).collect();
            serde_json::to_string(&lasting)
        };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || write(&file, &text?)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(file = %self.file.display(), %error, "what is known of publishers cannot be kept");
        }
    }

    /// One request to the Hub.
    async fn ask(&self, namespace: &str, dialer: &Dialer) -> Result<Badge, LookupError> {
        let BadgeSource { host, port } = &self.source;
        let nothing = |_: crate::name::NameRef<'_>| None;
        // The settings name this host, and its certificate proves it: its address may be any.
        let target = Target { name: host, port: *port, servers: &[], private: Some(true), forbids: &nothing };
        let stream = dialer.dial_tls(&target).await?;
        let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request(host, namespace)).await;
        let badge = match response {
            Ok(response) => read_response(response).await,
            Err(error) => Err(error.into()),
        };
        driver.abort();
        badge
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        lock(&self.known)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn request(host: &crate::name::DomainName, namespace: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::get(format!("/v2/orgs/{namespace}/"))
        .body(Empty::new())
        .expect("a namespace has nothing in it that a path has not");
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&host.to_string()).expect("names are shown in ASCII"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pullgate/", env!("CARGO_PKG_VERSION"))));
    request
}

async fn read_response(response: hyper::Response<hyper::body::Incoming>) -> Result<Badge, LookupError> {
    let status = response.status();
    // Users' names are redirected to where users are, who have no badges.
    if status == StatusCode::NOT_FOUND || status.is_redirection() {
        return Ok(Badge::Unbadged);
    }
    if status != StatusCode::OK {
        return Err(LookupError::Status(status));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    read_badge(&body.map_err(|error| LookupError::Answer(error.to_string()))?.to_bytes())
}

/// Reads the Hub's answer: an object whose `badge` is a word, nothing, or not there.
pub(super) fn read_badge(body: &[u8]) -> Result<Badge, LookupError> {
    #[derive(Deserialize)]
    struct Organization {
        badge: Option<String>,
    }
    let organization: Organization =
        serde_json::from_slice(body).map_err(|error| LookupError::Answer(error.to_string()))?;
    Ok(match organization.badge.as_deref() {
        Some("verified_publisher") => Badge::VerifiedPublisher,
        Some("open_source") => Badge::SponsoredOss,
        Some(_) | None => Badge::Unbadged,
    })
}

impl Known {
    /// The badge, unless it was heard of too long ago.
    fn last_badge(&self, now: u64) -> Badge {
        if self.age(now) < LAST_KNOWN { self.badge } else { Badge::Unbadged }
    }

    fn age(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.since))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(file: &std::path::Path) -> io::Result<HashMap<String, Known>> {
    if std::fs::metadata(file)?.len() > MAX_FILE {
        return Err(io::Error::other("too large"));
    }
    serde_json::from_slice(&std::fs::read(file)?).map_err(io::Error::other)
}

/// Beside, then in place: a power cut leaves the old file or the new one.
fn write(file: &std::path::Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension("new");
    let mut opened = std::fs::File::create(&beside)?;
    io::Write::write_all(&mut opened, text.as_bytes())?;
    opened.sync_all()?;
    std::fs::rename(&beside, file)
}

/// Badges are given and taken within weeks.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the last known badge counts while the Hub does not answer.
const LAST_KNOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a Hub that did not answer is left alone with one namespace.
const RETRY: Duration = Duration::from_secs(60);
/// A client waits for this; engines give up after 15 s at the soonest.
const LOOKUP_TIME: Duration = Duration::from_secs(4);
/// The Hub's API is not ours to flood.
const MAX_LOOKUPS: usize = 4;
/// Namespaces that are remembered: some 100 bytes each.
const MAX_KNOWN: usize = 10_000;
const MAX_ANSWER: usize = 64 * 1024;
const MAX_FILE: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn badges(folder: &tempfile::TempDir) -> Badges {
        Badges::new(BadgeSource::default(), folder.path().join("badges.json"), Arc::default())
    }

    fn age(badges: &Badges, namespace: &str, by: Duration) {
        let mut known = badges.lock();
        let entry = known.get_mut(namespace).unwrap();
        entry.since -= by.as_secs();
        entry.failed = entry.failed.map(|failed| failed - by.as_secs());
    }

    async fn fails(badges: &Badges, namespace: &str) -> Badge {
        badges.of_with(namespace, || async { Err(LookupError::TooSlow) }).await
    }

    #[test]
    fn the_hubs_answer_is_read() {
        for (body, badge) in [
            (r#"{"orgname":"bitnami","badge":"verified_publisher"}"#, Badge::VerifiedPublisher),
            (r#"{"badge":"open_source","x":[1]}"#, Badge::SponsoredOss),
            (r#"{"badge":""}"#, Badge::Unbadged),
            (r#"{"badge":null}"#, Badge::Unbadged),
            (r#"{"badge":"something new"}"#, Badge::Unbadged),
            ("{}", Badge::Unbadged),
        ] {
            assert_eq!(read_badge(body.as_bytes()).unwrap(), badge, "{body}");
        }
        for body in ["", "[]", "<html>", r#"{"badge":1}"#, r#"{"badge":"#] {
            assert!(read_badge(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_namespace_is_asked_for_once_a_day_however_many_want_to_know() {
        let folder = tempfile::tempdir().unwrap();
        let badges = badges(&folder);
        let asked = AtomicUsize::new(0);
        let of = || {
            badges.of_with("bitnami", || async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(Badge::VerifiedPublisher)
            })
        };
        let (a, b, c) = tokio::join!(of(), of(), of());
        assert_eq!([a, b, c, of().await], [Badge::VerifiedPublisher; 4]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(lock(&badges.flights).is_empty(), "nothing is left of the turns");
        age(&badges, "bitnami", FRESH);
        of().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_last_known_badge_counts_for_a_month_while_the_hub_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let badges = badges(&folder);
        badges.of_with("bitnami", || async { Ok(Badge::VerifiedPublisher) }).await;
        age(&badges, "bitnami", FRESH);
        assert_eq!(fails(&badges, "bitnami").await, Badge::VerifiedPublisher);
        age(&badges, "bitnami", LAST_KNOWN);
        assert_eq!(fails(&badges, "bitnami").await, Badge::Unbadged);
    }

    #[tokio::test]
    async fn a_silent_hub_is_left_alone_for_a_while_and_what_it_did_not_say_is_no_badge() {
        let folder = tempfile::tempdir().unwrap();
        let badges = badges(&folder);
        assert_eq!(fails(&badges, "nobody").await, Badge::Unbadged);
        let again = badges.of_with("nobody", || async { unreachable!("it was asked a moment ago") }).await;
        assert_eq!(again, Badge::Unbadged);
        badges.lock().get_mut("nobody").unwrap().failed = Some(now() - RETRY.as_secs());
        assert_eq!(badges.of_with("nobody", || async { Ok(Badge::SponsoredOss) }).await, Badge::SponsoredOss);
        assert_eq!(badges.counters.badges_failed.value(), 1);
    }

    #[tokio::test]
    async fn what_is_known_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        badges(&folder).of_with("grafana", || async { Ok(Badge::SponsoredOss) }).await;
        let again = badges(&folder).of_with("grafana", || async { unreachable!("it is known") }).await;
        assert_eq!(again, Badge::SponsoredOss);
        std::fs::write(folder.path().join("badges.json"), "{\"grafana\": damaged").unwrap();
        assert_eq!(fails(&badges(&folder), "grafana").await, Badge::Unbadged);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_badge(&body);
        }
    }
}
