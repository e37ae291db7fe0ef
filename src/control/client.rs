//! The control API from the other side: what the commands ask a running server.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::control::exchange::{self, ExchangeFault};
use crate::control::report::{
    AskedReport, CheckReport, DryRunReport, HistoryReport, LogEntry, LogReport, OverlayOutcomeReport, OverlayReport,
    OverlaysReport, PolicyHistoryReport, PolicyReport, ReloadReport, RolloutReport, SignalsReport, Stats, StatusReport,
    UnusedReport,
};

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing is there.
    #[error("pullgate is not running: no socket at {}", .0.display())]
    NotRunning(PathBuf),
    /// Something was there once.
    #[error("pullgate is not running: nobody answers at {}", .0.display())]
    Dead(PathBuf),
    /// The socket is not for this user.
    #[error("{} may only be used by its owner and its group", .0.display())]
    Forbidden(PathBuf),
    /// Reading or writing failed.
    #[error("cannot talk to the server at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the server broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// It took too long.
    #[error("the server did not answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The answer is not what this version understands.
    #[error("the server's answer is not understood ({0}); is it of another version?")]
    NotUnderstood(String),
    /// A followed log came to its end.
    #[error("the server ended the stream: it stopped, or this reader did not keep up")]
    Ended,
    /// The request is wrong: a name that is none, an address that is none.
    #[error("{0}")]
    Invalid(String),
    /// The server cannot do it now.
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// Entries as they happen.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// Asks the server that listens at `socket`. Each request fails with a [`ClientError`] that says why.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// How it is.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        self.get("/v1/status").await
    }

    /// Reloads the policy; a refused policy is a report, not an error.
    pub async fn reload(&self) -> Result<ReloadReport, ClientError> {
        self.ask(Method::POST, "/v1/reload").await
    }

    /// What a reload would come to, and what it would make of the questions since so long ago (`24h`); faults are a
    /// report, not an error.
    pub async fn dry_run(&self, replay: Option<&str>) -> Result<DryRunReport, ClientError> {
        let replay = replay.map(|time| ("replay", time.to_owned()));
        let query: Vec<_> = [("dry-run", "true".to_owned())].into_iter().chain(replay).collect();
        self.ask(Method::POST, &with_query("/v1/reload", &query)).await
    }

    /// The policies that can be rolled back to.
    pub async fn policy_history(&self) -> Result<PolicyHistoryReport, ClientError> {
        self.get("/v1/policy/history").await
    }

    /// Puts a kept generation in force; `None` ends that. What is refused is a report, not an error.
    pub async fn roll_back(&self, generation: Option<u64>) -> Result<ReloadReport, ClientError> {
        let query = match generation {
            Some(generation) => ("generation", generation.to_string()),
            None => ("end", "true".to_owned()),
        };
        self.ask(Method::POST, &with_query("/v1/policy/rollback", &[query])).await
    }

    /// Has each receiver of signals told a test; what does not arrive is a report, not an error.
    pub async fn test_signals(&self) -> Result<SignalsReport, ClientError> {
        self.ask(Method::POST, "/v1/signal/test").await
    }

    /// What is on top of the policy files.
    pub async fn overlays(&self) -> Result<Vec<OverlayReport>, ClientError> {
        self.get("/v1/overlay").await.map(|report: OverlaysReport| report.overlays)
    }

    /// Puts a change on top of the policy in force; `query` holds `kind`, `what` and perhaps `group`, `for`, `ticket` and
    /// `reason`. What is refused is a report, not an error.
    pub async fn put_overlay(&self, query: &[(&str, String)]) -> Result<OverlayOutcomeReport, ClientError> {
        self.ask(Method::POST, &with_query("/v1/overlay", query)).await
    }

    /// Ends such a change; `query` holds `kind`, `what` and perhaps `group`.
    pub async fn end_overlay(&self, query: &[(&str, String)]) -> Result<OverlayOutcomeReport, ClientError> {
        self.ask(Method::DELETE, &with_query("/v1/overlay", query)).await
    }

    /// The policy in force.
    pub async fn policy(&self) -> Result<PolicyReport, ClientError> {
        self.get("/v1/policy").await
    }

    /// The verdict on one question; `query` holds `name`, `client`, `group` and `type`; or `image`, `push`, `client`
    /// and `group`.
    pub async fn check(&self, query: &[(&str, String)]) -> Result<CheckReport, ClientError> {
        self.get(&with_query("/v1/check", query)).await
    }

    /// The last entries; `query` may hold `limit`, `client` and `name`.
    pub async fn log(&self, query: &[(&str, String)]) -> Result<Vec<LogEntry>, ClientError> {
        self.get(&with_query("/v1/log", query)).await.map(|report: LogReport| report.entries)
    }

    /// Entries from now on; `query` may hold `client` and `name`.
    pub async fn events(&self, query: &[(&str, String)]) -> Result<Events, ClientError> {
        let response = within(PATIENCE, self.send(Method::GET, &with_query("/v1/events", query))).await?;
        if response.status() == StatusCode::OK {
            return Ok(Events { body: response.into_body(), buffer: Vec::new() });
        }
        let status = response.status();
        let body = exchange::read_whole(response, MAX_ANSWER).await.map_err(|fault| self.failure(fault))?;
        Err(refusal(status, &body))
    }

    /// What the history has; `query` may hold `since`, `client`, `group`, `name`, `verdict` and `limit`.
    pub async fn history(&self, query: &[(&str, String)]) -> Result<HistoryReport, ClientError> {
        self.get(&with_query("/v1/history", query)).await
    }

    /// Sums over the history; `query` may hold `since`, `client`, `group`, `name`, `verdict` and `top`.
    pub async fn stats(&self, query: &[(&str, String)]) -> Result<Stats, ClientError> {
        self.get(&with_query("/v1/stats", query)).await
    }

    /// The rules without a hit in so many days.
    pub async fn unused(&self, days: u32) -> Result<UnusedReport, ClientError> {
        self.get(&with_query("/v1/unused", &[("days", days.to_string())])).await
    }

    /// What was asked since so long ago (`24h`), and what the policy files in force say to it.
    pub async fn asked(&self, since: &str) -> Result<AskedReport, ClientError> {
        self.get(&with_query("/v1/asked", &[("since", since.to_owned())])).await
    }

    /// What each group still needs to be enforced, by what was asked in so many days.
    pub async fn rollout(&self, days: u32) -> Result<RolloutReport, ClientError> {
        self.get(&with_query("/v1/rollout", &[("days", days.to_string())])).await
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, target).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(method, target).await?;
            let status = response.status();
            let body = exchange::read_whole(response, MAX_ANSWER).await.map_err(|fault| self.failure(fault))?;
            Ok((status, body))
        };
        let (status, body) = within(PATIENCE, exchange).await?;
        match status {
            StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => {
                serde_json::from_slice(&body).map_err(|error| ClientError::NotUnderstood(error.to_string()))
            }
            _ => Err(refusal(status, &body)),
        }
    }

    async fn send(&self, method: Method, target: &str) -> Result<Response<Incoming>, ClientError> {
        exchange::send(&self.socket, "pullgate", method, target).await.map_err(|fault| self.failure(fault))
    }

    fn failure(&self, fault: ExchangeFault) -> ClientError {
        match fault {
            ExchangeFault::Unreachable(source) => self.unreachable(source),
            ExchangeFault::Broken(source) => ClientError::Broken(source),
            fault @ (ExchangeFault::Target(_) | ExchangeFault::TooLong(_)) => {
                ClientError::NotUnderstood(fault.to_string())
            }
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::NotRunning(path),
            io::ErrorKind::ConnectionRefused => ClientError::Dead(path),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(path),
            _ => ClientError::Io { path, source },
        }
    }
}

impl ClientError {
    /// What would do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRunning(_) | Self::Dead(_) => {
                Some("start it with `pullgate serve`, or name its socket with --socket")
            }
            Self::Forbidden(_) => Some("use sudo, or join the socket's group"),
            _ => None,
        }
    }
}

impl Events {
    /// The next entry; `None` when the server ends the stream: it stops, or this reader did not keep up.
    pub async fn next(&mut self) -> Result<Option<LogEntry>, ClientError> {
        loop {
            while let Some(line) = take_line(&mut self.buffer) {
                if let Some(data) = line.strip_prefix(b"data: ") {
                    let entry = serde_json::from_slice(data);
                    return entry.map(Some).map_err(|error| ClientError::NotUnderstood(error.to_string()));
                }
            }
            // A stream has no end of its own: however it breaks off, the server ended it.
            let Some(Ok(frame)) = self.body.frame().await else { return Ok(None) };
            if let Some(chunk) = frame.data_ref() {
                self.buffer.extend_from_slice(chunk);
            }
        }
    }
}

/// The first whole line, without its end, if there is one yet.
fn take_line(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = buffer.iter().position(|&byte| byte == b'\n')?;
    let mut line: Vec<u8> = buffer.drain(..=end).collect();
    line.pop();
    Some(line)
}

async fn within<T>(
    patience: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(patience, exchange).await.unwrap_or(Err(ClientError::TimedOut))
}

/// The server's own words for an answer that is neither 200 nor 422.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    match answer.as_ref().and_then(|answer| answer["error"].as_str()) {
        Some(message) if status == StatusCode::BAD_REQUEST => ClientError::Invalid(message.to_owned()),
        Some(message) => ClientError::Refused(message.to_owned()),
        None => ClientError::NotUnderstood(format!("status {status}")),
    }
}

fn with_query(path: &str, query: &[(&str, String)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{encoded}")
}

/// How long an exchange may take: a policy of a million rules compiles well within it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of an answer that are taken.
const MAX_ANSWER: usize = 1 << 30;
