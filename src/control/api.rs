//! What the control API and the page answer from, and how they read a request.

use std::pin::Pin;
use std::sync::Arc;

use hyper::StatusCode;
use tokio::task::spawn_blocking;

use crate::control::explain;
use crate::control::report::{Badge, ListenReport};
use crate::observe::http::{self, Head, Reply};
use crate::observe::metrics::Metrics;
use crate::observe::recent::{Filter, Recent};
use crate::observe::signals::Tester;
use crate::policy::store::PolicyStore;
use crate::policy::watch::ReloadHandle;

/// What the API speaks about.
pub struct Api {
    /// What is in force.
    pub policy: Arc<PolicyStore>,
    /// What takes the files anew.
    pub reload: ReloadHandle,
    /// The last questions.
    pub recent: Arc<Recent>,
    /// Every number.
    pub metrics: Metrics,
    /// What is listened on.
    pub listen: Vec<ListenReport>,
    /// The record types handed out where an entry does not say.
    pub record_types: Vec<u16>,
    /// Whom people ask about the policy.
    pub contact: Option<String>,
    /// What tries the signals, if this process sends any.
    pub signals: Option<Tester>,
    /// Who knows the badges of Docker Hub's namespaces, if anybody does.
    pub badges: Option<Arc<dyn Badges>>,
}

/// Knows which namespaces of Docker Hub are verified publishers or sponsored projects.
pub trait Badges: Send + Sync + 'static {
    /// The badge of a namespace; `None`: it could not be found out.
    fn badge(&self, namespace: String) -> Pin<Box<dyn Future<Output = Option<Badge>> + Send + '_>>;
}

/// Why a request is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("there is no parameter `{0}` here")]
    Unknown(String),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{parameter}` is not {expected}")]
    Wrong { parameter: &'static str, expected: &'static str },
    #[error(transparent)]
    Group(#[from] explain::UnknownGroup),
}

/// The parameters of a request line.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(head: &Head) -> Self {
        let query = head.uri().query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Refuses parameters that mean nothing here: a misspelt filter must not pass for none.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), BadRequest> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |(name, _)| Err(BadRequest::Unknown(name.clone())))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        parameter: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, BadRequest> {
        let parse = |text: &str| text.parse().map_err(|_| BadRequest::Wrong { parameter, expected });
        self.value(parameter).map(parse).transpose()
    }

    pub(super) fn filter(&self) -> Result<Filter, BadRequest> {
        Ok(Filter { client: self.parsed("client", "an address")?, name: self.parsed("name", "a name")? })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the end of a chain of results")]
pub(super) fn bad_request(bad: BadRequest) -> Reply {
    http::failure(StatusCode::BAD_REQUEST, &bad.to_string())
}

/// Work over thousands of entries or a million rules, off the threads that answer queries; `None` if it panicked.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(work).await.ok()
}

pub(super) fn defect() -> Reply {
    http::failure(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the program; see its log")
}
