//! What a browser is told for as long as the page is open in it, as server-sent events (WHATWG HTML §9.2): `status` at
//! first and whenever the policy's changes, `numbers` every second, `denials` as they come, a few at a time.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::control::api::{Api, aside};
use crate::control::report::{FaultReport, StatusReport};
use crate::control::status;
use crate::observe::http::{self, Reply};
use crate::observe::visitors::{MAX_STREAMS, Place, Visitors};
use crate::policy::store::PolicyStatus;

/// A stream for one more browser, or the advice to come back later.
pub(super) fn open(api: &Arc<Api>, visitors: &Visitors) -> Reply {
    let Some(place) = visitors.enter() else { return full() };
    let (out, events) = mpsc::channel(QUEUE);
    tokio::spawn(Teller::new(Arc::clone(api)).run(out, place));
    http::stream("text/event-stream", events)
}

fn full() -> Reply {
    let message = format!("the page is open in {MAX_STREAMS} browsers already");
    let mut reply = http::failure(StatusCode::SERVICE_UNAVAILABLE, &message);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
    reply
}

/// What a browser has been told.
struct Teller {
    api: Arc<Api>,
    policy: watch::Receiver<PolicyStatus>,
    seen_moment: u64,
    seen_entry: u64,
    turns: u32,
}

/// How the service and the policy are; of a faulty policy some of the faults.
#[derive(Serialize)]
struct Standing {
    #[serde(flatten)]
    status: StatusReport,
    /// How many faults there are.
    fault_count: usize,
    /// How many warnings.
    warning_count: usize,
}

impl Teller {
    fn new(api: Arc<Api>) -> Self {
        let policy = api.policy.subscribe();
        Self { api, policy, seen_moment: 0, seen_entry: 0, turns: 0 }
    }

    /// Tells until the browser is gone.
    async fn run(mut self, out: mpsc::Sender<Bytes>, _place: Place) {
        let mut turns = turns();
        loop {
            tokio::select! {
                () = out.closed() => return,
                _ = turns.tick() => {}
            }
            let Some(news) = self.news().await else { return };
            if !news.is_empty() && out.send(news.into()).await.is_err() {
                return;
            }
        }
    }

    /// What is new; `None` after a defect, which the log has.
    async fn news(&mut self) -> Option<String> {
        let mut news = String::new();
        if self.turns == 0 {
            news.push_str(RECONNECT);
        }
        if self.turns == 0 || self.policy.has_changed().unwrap_or(false) {
            self.policy.mark_unchanged();
            let api = Arc::clone(&self.api);
            push(&mut news, "status", &aside(move || Standing::of(&api)).await?);
        }
        if self.turns.is_multiple_of(TURNS_A_SECOND) {
            let (api, seen) = (Arc::clone(&self.api), self.seen_moment);
            let numbers = aside(move || api.metrics.numbers(seen)).await?;
            self.seen_moment = numbers.moments.last().map_or(seen, |moment| moment.number);
            push(&mut news, "numbers", &numbers);
        }
        let limit = if self.turns == 0 { FIRST_DENIALS } else { DENIALS_A_TURN };
        let denials = self.api.recent.denials(self.seen_entry, limit);
        self.seen_entry = denials.seen;
        if !denials.entries.is_empty() || self.turns == 0 {
            push(&mut news, "denials", &denials);
        }
        self.turns = self.turns.wrapping_add(1).max(1);
        Some(news)
    }
}

impl Standing {
    fn of(api: &Api) -> Self {
        let mut status = status::status(api);
        let [fault_count, warning_count] =
            [&mut status.faults, &mut status.warnings].map(|found: &mut Vec<FaultReport>| {
                let count = found.len();
                found.truncate(MAX_SHOWN);
                count
            });
        Self { status, fault_count, warning_count }
    }
}

fn turns() -> Interval {
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// One event: JSON has no line breaks, so one `data` line holds it.
fn push(news: &mut String, event: &str, data: &impl Serialize) {
    let data = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(news, "event: {event}\ndata: {data}\n\n");
}

const TURN: Duration = Duration::from_millis(250);
const TURNS_A_SECOND: u32 = 4;
/// Nobody reads twenty lines a second.
const DENIALS_A_TURN: usize = 5;
/// What came before the page was opened.
const FIRST_DENIALS: usize = 50;
/// A generated policy may have a fault a line.
const MAX_SHOWN: usize = 50;
/// Turns that a browser may be behind.
const QUEUE: usize = 4;
/// How long a browser waits before it comes back, in milliseconds.
const RECONNECT: &str = "retry: 2000\n\n";
/// The same in seconds, for one that found no place.
const RETRY: &str = "10";
