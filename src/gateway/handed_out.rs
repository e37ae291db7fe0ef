//! Paths beyond the specification's that a registry has handed out itself: the token service that a 401 names, where an
//! upload goes on, where a download lies. They are good for what they were handed out for, and for nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::headers::is_own;
use crate::name::DomainName;
use crate::policy::images::Access;
use crate::policy::repository::Repository;

/// What a path was handed out for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Tokens.
    Token,
    /// What a request for a repository led to, which has to be allowed still.
    Repository(Repository, Access),
}

/// The paths, of all registries.
#[derive(Debug, Default)]
pub(super) struct HandedOut {
    paths: Mutex<HashMap<(DomainName, String), (Purpose, Instant)>>,
}

impl HandedOut {
    /// What `path` of the registry `name` was handed out for, if it was, and if `method` is one that it may be for.
    pub(super) fn purpose(&self, name: &DomainName, method: &Method, path: &str) -> Option<Purpose> {
        let paths = self.lock();
        let (purpose, since) = paths.get(&(name.clone(), path.to_owned()))?;
        let may = match purpose {
            Purpose::Token => [Method::GET, Method::POST].contains(method),
            Purpose::Repository(_, Access::Pull) => [Method::GET, Method::HEAD].contains(method),
            Purpose::Repository(_, Access::Push) => true,
        };
        (may && since.elapsed() < LIFETIME).then(|| purpose.clone())
    }

    /// Notes what a response hands out: `request` is what the request was for.
    pub(super) fn learn(&self, name: &DomainName, request: Option<&Purpose>, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::UNAUTHORIZED {
            let realms = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(realm);
            for path in realms.filter_map(|realm| own_path(&realm, name)) {
                self.insert(name, path, Purpose::Token);
            }
        }
        let leads_on = status.is_redirection() || [StatusCode::ACCEPTED, StatusCode::CREATED].contains(&status);
        if let (true, Some(purpose @ Purpose::Repository(..))) = (leads_on, request) {
            let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
            if let Some(path) = location.and_then(|location| own_path(location, name)) {
                self.insert(name, path, purpose.clone());
            }
        }
    }

    fn insert(&self, name: &DomainName, path: String, purpose: Purpose) {
        if path.len() > MAX_PATH {
            return;
        }
        let mut paths = self.lock();
        if paths.len() >= MAX_PATHS {
            paths.retain(|_, (_, since)| since.elapsed() < LIFETIME);
        }
        if paths.len() >= MAX_PATHS {
            let oldest = paths.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| paths.remove(&oldest));
        }
        paths.insert((name.clone(), path), (purpose, Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(DomainName, String), (Purpose, Instant)>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of a URL that is on the registry itself: absolute there, or without a host. One with a percent sign or a dot
/// segment is not taken: what was handed out is recognised letter by letter, and must have one reading.
fn own_path(url: &str, name: &DomainName) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    if uri.host().is_some() && !is_own(&uri, name) {
        return None;
    }
    let path = uri.path();
    let is_plain = path.starts_with('/') && !path.split('/').any(|segment| segment == "." || segment == "..");
    is_plain.then(|| path.to_owned())
}

/// The realm of a Bearer challenge (RFC 6750 §3). Parameters come in any order, as tokens or quoted strings.
fn realm(challenge: &HeaderValue) -> Option<String> {
    let (scheme, parameters) = challenge.to_str().ok()?.trim_start().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut rest = parameters.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        let (value, after) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        if key.trim().eq_ignore_ascii_case("realm") {
            return Some(value.trim().to_owned());
        }
        rest = after.split_once(',').map_or("", |(_, next)| next).trim_start();
    }
    None
}

/// Longer than a big push takes from one chunk to the next.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Each chunk of an upload may have a path of its own.
const MAX_PATHS: usize = 4096;
const MAX_PATH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> DomainName {
        "ghcr.io".parse().unwrap()
    }

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_realm_of_a_challenge_is_found_in_any_order() {
        for (challenge, expected) in [
            (
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull""#,
                Some("https://ghcr.io/token"),
            ),
            (r#"bearer service="a=b,c", realm="https://ghcr.io/token""#, Some("https://ghcr.io/token")),
            ("Bearer service=x,realm=https://ghcr.io/token", Some("https://ghcr.io/token")),
            ("Bearer realm=https://ghcr.io/token", Some("https://ghcr.io/token")),
            (r#"Basic realm="https://ghcr.io/token""#, None),
            ("Bearer", None),
            (r#"Bearer realm=""#, None),
        ] {
            assert_eq!(realm(&challenge.parse().unwrap()).as_deref(), expected, "{challenge}");
        }
    }

    #[test]
    fn the_token_service_on_the_registry_itself_may_be_asked_once_it_was_named() {
        let handed = HandedOut::default();
        let purpose = |path| handed.purpose(&registry(), &Method::GET, path);
        assert_eq!(purpose("/token"), None);
        let challenge = headers(WWW_AUTHENTICATE, r#"Bearer realm="https://ghcr.io/token?x=1",service="ghcr.io""#);
        handed.learn(&registry(), None, StatusCode::UNAUTHORIZED, &challenge);
        assert_eq!(purpose("/token"), Some(Purpose::Token));
        assert_eq!(handed.purpose(&registry(), &Method::DELETE, "/token"), None);
        assert_eq!(handed.purpose(&"quay.io".parse().unwrap(), &Method::GET, "/token"), None);
        let foreign = headers(WWW_AUTHENTICATE, r#"Bearer realm="https://auth.example/other""#);
        handed.learn(&registry(), None, StatusCode::UNAUTHORIZED, &foreign);
        assert_eq!(purpose("/other"), None);
    }

    #[test]
    fn where_an_upload_goes_on_is_for_that_repository_alone() {
        let handed = HandedOut::default();
        let push = Purpose::Repository(Repository::parse("a/b").unwrap(), Access::Push);
        handed.learn(&registry(), Some(&push), StatusCode::ACCEPTED, &headers(LOCATION, "/uploads/7?state=x"));
        assert_eq!(handed.purpose(&registry(), &Method::PATCH, "/uploads/7"), Some(push.clone()));
        let pull = Purpose::Repository(Repository::parse("a/b").unwrap(), Access::Pull);
        let elsewhere = headers(LOCATION, "https://cdn.example/blob");
        handed.learn(&registry(), Some(&pull), StatusCode::TEMPORARY_REDIRECT, &elsewhere);
        assert_eq!(handed.purpose(&registry(), &Method::GET, "/blob"), None);
        handed.learn(&registry(), Some(&pull), StatusCode::FOUND, &headers(LOCATION, "https://ghcr.io/downloads/9"));
        assert_eq!(handed.purpose(&registry(), &Method::GET, "/downloads/9"), Some(pull));
        assert_eq!(handed.purpose(&registry(), &Method::PUT, "/downloads/9"), None);
        handed.learn(&registry(), Some(&push), StatusCode::OK, &headers(LOCATION, "/v2/c/d/manifests/1"));
        assert_eq!(handed.purpose(&registry(), &Method::GET, "/v2/c/d/manifests/1"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_handed_out_is_forgotten_in_time_and_in_number() {
        let handed = HandedOut::default();
        let push = Purpose::Repository(Repository::parse("a/b").unwrap(), Access::Push);
        for number in 0..=MAX_PATHS {
            tokio::time::advance(Duration::from_micros(1)).await;
            let location = headers(LOCATION, &format!("/uploads/{number}"));
            handed.learn(&registry(), Some(&push), StatusCode::ACCEPTED, &location);
        }
        assert_eq!(handed.lock().len(), MAX_PATHS);
        assert_eq!(handed.purpose(&registry(), &Method::PUT, "/uploads/0"), None, "the oldest made room");
        assert!(handed.purpose(&registry(), &Method::PUT, "/uploads/1").is_some());
        tokio::time::advance(LIFETIME).await;
        assert_eq!(handed.purpose(&registry(), &Method::PUT, "/uploads/1"), None);
    }
}
