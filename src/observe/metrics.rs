//! Every number there is, for Prometheus. Labels hold words of the program and servers of the settings; a name or an
//! address that a client sent never becomes one, so that the number of series is fixed.

mod decisions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::dns::pipeline::Pipeline;
use crate::event::EventSink;
use crate::gateway;
use crate::net::counter::Reading;
use crate::observe::dnstap;
use crate::observe::exposition::{Exposition, Kind};
use crate::observe::http::{self, Head, Limits, Reply};
use crate::observe::query_log::QueryLog;
use crate::observe::recent::Recent;
use crate::observe::signals;
use crate::observe::totals::Totals;
use crate::observe::visitors::Visitors;
use crate::observe::writer::LineWriter;
use crate::policy::exceptions::Exception;
use crate::policy::store::{PolicyState, PolicyStore};
use crate::upstream::{Resolver, ServerCounters};

/// Where the numbers come from.
#[derive(Clone)]
pub struct Metrics {
    /// What was answered; `None`: this process answers no questions.
    pub pipeline: Option<Arc<Pipeline>>,
    /// What the gateway did; `None`: this process has none.
    pub gateway: Option<Arc<gateway::Counters>>,
    /// What was resolved.
    pub resolver: Arc<Resolver>,
    /// What is in force.
    pub policy: Arc<PolicyStore>,
    /// Which events were dropped.
    pub events: EventSink,
    /// Which followers were dropped.
    pub recent: Arc<Recent>,
    /// Which lines were dropped; `None`: the log is not ours.
    pub log: Option<LineWriter>,
    /// Where lines about questions go.
    pub lines: QueryLog,
    /// Who looks at the page; `None`: there is none.
    pub page: Option<Arc<Visitors>>,
    /// How whole messages are sent; `None`: nobody reads them.
    pub dnstap: Option<Arc<dnstap::Standing>>,
    /// What was decided.
    pub totals: Arc<Totals>,
    /// How telling people goes; `None`: this process tells nobody.
    pub signals: Option<(Arc<signals::Counts>, Arc<signals::NewNames>)>,
    /// How many tasks panicked.
    pub panics: Arc<AtomicU64>,
    /// When the program started.
    pub started: SystemTime,
}

/// Serves the numbers at `/metrics` until dropped.
pub async fn serve(listener: TcpListener, metrics: Metrics) {
    let metrics = Arc::new(metrics);
    let handler = move |head: Head| {
        let metrics = Arc::clone(&metrics);
        async move { metrics.answer(&head).await }
    };
    http::serve(listener, LIMITS, handler).await;
}

impl Metrics {
    /// The numbers as an answer, reckoned off the threads that answer queries.
    pub async fn reply(&self) -> Reply {
        let metrics = self.clone();
        match spawn_blocking(move || metrics.render()).await {
            Ok(text) => http::text(MEDIA_TYPE, text),
            Err(_panic) => http::failure(StatusCode::INTERNAL_SERVER_ERROR, "a defect of the program; see its log"),
        }
    }

    async fn answer(&self, head: &Head) -> Reply {
        match (head.uri().path(), head.method()) {
            ("/metrics", &Method::GET) => self.reply().await,
            ("/metrics", _) => http::wrong_method("GET"),
            _ => http::failure(StatusCode::NOT_FOUND, "the numbers are at /metrics"),
        }
    }

    /// The numbers as text.
    pub fn render(&self) -> String {
        let mut text = Exposition::default();
        self.write_program(&mut text);
        self.write_policy(&mut text);
        decisions::write(&mut text, &self.totals, &self.policy.current().snapshot, self.gateway.is_some());
        if let Some(pipeline) = &self.pipeline {
            write_dns(&mut text, &pipeline.counters().snapshot());
        }
        if let Some(gateway) = &self.gateway {
            write_gateway(&mut text, &gateway.snapshot());
        }
        self.write_upstream(&mut text);
        self.write_log(&mut text);
        if let Some(visitors) = &self.page {
            write_page(&mut text, visitors);
        }
        if let Some((counts, names)) = &self.signals {
            write_signals(&mut text, counts, names);
        }
        text.finish()
    }

    fn write_program(&self, text: &mut Exposition) {
        text.family("pullgate_build_info", Kind::Gauge, "The program's version; always 1.");
        text.sample("pullgate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started = seconds(self.started);
        text.single("process_start_time_seconds", Kind::Gauge, "When the process started, in Unix time.", started);
        let panics = self.panics.load(Ordering::Relaxed);
        text.single("pullgate_panics_total", Kind::Counter, "Tasks that ended by a defect of the program.", panics);
    }

    fn write_policy(&self, text: &mut Exposition) {
        let status = self.policy.status();
        let help = "1 for how the policy is: ok, degraded, rolled-back or deny-all.";
        text.family("pullgate_policy_state", Kind::Gauge, help);
        for (state, word) in [
            (PolicyState::Ok, "ok"),
            (PolicyState::Degraded, "degraded"),
            (PolicyState::RolledBack, "rolled-back"),
            (PolicyState::DenyAll, "deny-all"),
        ] {
            text.sample("pullgate_policy_state", &[("state", word)], u8::from(status.state == state));
        }
        let help = "Changes on top of the policy files, by what they do.";
        text.family("pullgate_policy_overlays", Kind::Gauge, help);
        for kind in ["allow", "block", "mode"] {
            let count = status.overlays.iter().filter(|overlay| overlay.change.kind() == kind).count();
            text.sample("pullgate_policy_overlays", &[("kind", kind)], count);
        }
        write_exceptions(text, self.policy.current().snapshot.exceptions(), SystemTime::now());
        let generation = status.generation;
        text.single("pullgate_policy_generation", Kind::Gauge, "The number of the policy in force.", generation);
        text.single("pullgate_policy_rules", Kind::Gauge, "Rules in force.", status.rules);
        let since = seconds(status.since);
        let help = "When the policy in force came into force, in Unix time.";
        text.single("pullgate_policy_applied_timestamp_seconds", Kind::Gauge, help, since);
        let help = "1 if the policy files as they are could be taken, when they were last read.";
        let succeeded = u8::from(status.faults.is_empty());
        text.single("pullgate_policy_last_load_successful", Kind::Gauge, help, succeeded);
        let help = "When the policy files were last read, in Unix time.";
        let loaded = seconds(status.loaded);
        text.single("pullgate_policy_last_load_timestamp_seconds", Kind::Gauge, help, loaded);
        let warnings = status.warnings.len();
        text.single("pullgate_policy_warnings", Kind::Gauge, "Warnings of the policy in force.", warnings);
        let faults = status.faults.len();
        text.single("pullgate_policy_faults", Kind::Gauge, "Faults of the policy files as they are.", faults);
        text.family("pullgate_policy_reloads_total", Kind::Counter, "Policies taken, by what became of them.");
        text.sample("pullgate_policy_reloads_total", &[("result", "applied")], status.applied);
        text.sample("pullgate_policy_reloads_total", &[("result", "refused")], status.refused);
    }

    fn write_upstream(&self, text: &mut Exposition) {
        let counters = self.resolver.counters();
        for (name, help, value) in [
            ("asked", "Questions that went upstream, refreshes among them.", counters.asked),
            ("coalesced", "Questions that waited for an equal one under way.", counters.coalesced),
            ("failed", "Questions that ended without a server's answer.", counters.failed),
            ("busy", "Questions turned away since too many were under way.", counters.busy),
            ("stale", "Failed questions that a stale answer was found for.", counters.stale),
            ("refreshed", "Answers renewed before their time was up.", counters.refreshed),
        ] {
            text.single(&format!("pullgate_upstream_{name}_total"), Kind::Counter, help, value);
        }
        text.single("pullgate_upstream_in_flight", Kind::Gauge, "Questions under way upstream.", counters.in_flight);
        text.single("pullgate_cache_entries", Kind::Gauge, "Answers in the cache.", counters.cached);
        let help = "The bytes that answers in the cache take.";
        text.single("pullgate_cache_bytes", Kind::Gauge, help, counters.cached_bytes);
        let help = "Answers that had to leave the cache for others.";
        text.single("pullgate_cache_evictions_total", Kind::Counter, help, counters.evicted);
        write_servers(text, &counters.servers);
    }

    fn write_log(&self, text: &mut Exposition) {
        let dropped = self.events.dropped();
        let unwritten = self.log.as_ref().map_or(0, LineWriter::dropped) + self.lines.dropped();
        text.family("pullgate_log_dropped_total", Kind::Counter, "Log entries dropped, by the limit that was met.");
        for (reason, value) in
            [("budget", dropped.over_budget), ("queue", dropped.queue_full), ("unwritten", unwritten)]
        {
            text.sample("pullgate_log_dropped_total", &[("reason", reason)], value);
        }
        if let (Some(standing), Some(dropped)) = (&self.dnstap, self.events.dropped_messages()) {
            let sent = standing.sent();
            text.single("pullgate_dnstap_sent_total", Kind::Counter, "Messages sent to the reader of dnstap.", sent);
            let help = "Exchanges dropped since the reader of dnstap was away or slow.";
            text.single("pullgate_dnstap_dropped_total", Kind::Counter, help, dropped);
            let connected = u8::from(standing.is_connected());
            text.single("pullgate_dnstap_connected", Kind::Gauge, "1 while the reader of dnstap is there.", connected);
        }
        let help = "Readers of the event stream dropped because they did not keep up.";
        let followers = self.recent.dropped_followers();
        text.single("pullgate_log_followers_dropped_total", Kind::Counter, help, followers);
    }
}

/// How many entries of the policy files end, and when the first of them do.
fn write_exceptions(text: &mut Exposition, exceptions: &[Exception], now: SystemTime) {
    let (name, help) = ("pullgate_exceptions", "Entries with an end, by whether it is still to come or has passed.");
    text.family(name, Kind::Gauge, help);
    let ended = exceptions.iter().filter(|exception| exception.left(now).is_none()).count();
    text.sample(name, &[("state", "running")], exceptions.len() - ended);
    text.sample(name, &[("state", "ended")], ended);
    let name = "pullgate_exception_expires_timestamp_seconds";
    let help = "When an entry ends or ended, in Unix time; of the first 1000 to end.";
    text.family(name, Kind::Gauge, help);
    for exception in exceptions.iter().take(MAX_EXCEPTIONS) {
        let Exception { entry, kind, owner, ticket, expires, .. } = exception;
        let (kind, [owner, ticket]) = (kind.to_string(), [owner, ticket].map(|text| text.as_deref().unwrap_or("")));
        let labels = [("kind", &*kind), ("entry", entry), ("owner", owner), ("ticket", ticket)];
        text.sample(name, &labels, seconds(*expires));
    }
}

/// What people were told.
fn write_signals(text: &mut Exposition, counts: &signals::Counts, names: &signals::NewNames) {
    let name = "pullgate_signals_total";
    text.family(name, Kind::Counter, "Messages to those of the settings' signals, by what became of them.");
    for (kind, result, count) in counts.all() {
        text.sample(name, &[("kind", kind), ("result", result)], count);
    }
    let help = "Denied names not watched for signals, since there were too many different ones.";
    text.single("pullgate_signal_names_unwatched_total", Kind::Counter, help, names.unwatched());
}

/// The DNS counters: those of queries as one family by transport, the others each as its own.
fn write_dns(text: &mut Exposition, readings: &[Reading]) {
    let transport = |reading: &Reading| reading.name.strip_prefix("queries_");
    text.family("pullgate_queries_total", Kind::Counter, "Queries that came, by transport.");
    for reading in readings {
        if let Some(transport) = transport(reading) {
            text.sample("pullgate_queries_total", &[("transport", transport)], reading.value);
        }
    }
    for reading in readings.iter().filter(|reading| transport(reading).is_none()) {
        text.single(&format!("pullgate_{}_total", reading.name), Kind::Counter, reading.help, reading.value);
    }
}

/// Who looks at the page, and who was turned away.
fn write_page(text: &mut Exposition, visitors: &Visitors) {
    text.single("pullgate_page_streams", Kind::Gauge, "Browsers that the page is open in.", visitors.streams());
    let refused = "pullgate_page_refused_total";
    text.family(refused, Kind::Counter, "Requests that the page refused, by what was wrong with them.");
    for (reason, counter) in [("host", &visitors.host), ("site", &visitors.site), ("full", &visitors.full)] {
        text.sample(refused, &[("reason", reason)], counter.value());
    }
}

/// The gateway's counters, each as a family.
fn write_gateway(text: &mut Exposition, readings: &[Reading]) {
    for reading in readings {
        text.single(&format!("pullgate_gateway_{}_total", reading.name), Kind::Counter, reading.help, reading.value);
    }
}

/// Each server that may be asked. Their names come from the settings and the host, not from clients.
fn write_servers(text: &mut Exposition, servers: &[ServerCounters]) {
    type Value = fn(&ServerCounters) -> Option<f64>;
    #[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 takes a few million years")]
    let families: [(&str, Kind, &str, Value); 8] = [
        ("requests_total", Kind::Counter, "Attempts at a server.", |server| Some(server.asked as f64)),
        ("answers_total", Kind::Counter, "Attempts that ended with an answer.", |server| Some(server.answered as f64)),
        ("failures_total", Kind::Counter, "Attempts that ended with a failure.", |server| Some(server.failed as f64)),
        ("timeouts_total", Kind::Counter, "Attempts that ended without a word from the server.", |server| {
            Some(server.timed_out as f64)
        }),
        ("tcp_total", Kind::Counter, "Attempts that went over to TCP.", |server| Some(server.streams as f64)),
        ("near_misses_total", Kind::Counter, "Datagrams that were not the answer waited for.", |server| {
            Some(server.near_misses as f64)
        }),
        ("round_trip_seconds", Kind::Gauge, "The smoothed round trip.", |server| {
            server.round_trip.map(|round_trip| round_trip.as_secs_f64())
        }),
        ("resting", Kind::Gauge, "1 while the server is left alone.", |server| Some(f64::from(server.resting))),
    ];
    for (name, kind, help, value) in families {
        let name = format!("pullgate_upstream_server_{name}");
        text.family(&name, kind, help);
        for server in servers {
            if let Some(value) = value(server) {
                text.sample(&name, &[("server", &server.server)], value);
            }
        }
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// As many as of rules: more is more than a collector wants.
const MAX_EXCEPTIONS: usize = 1000;
/// Scrapers are few and quick; what is not is kept from holding anything.
const LIMITS: Limits = Limits {
    connections: 16,
    head: Duration::from_secs(2),
    handling: Duration::from_secs(5),
    stall: Duration::from_secs(5),
    whole: Duration::from_secs(15),
};
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Place;
    use crate::policy::snapshot::EntryKind;

    fn reading(name: &'static str, value: u64) -> Reading {
        Reading { name, help: "Some.", value }
    }

    #[test]
    fn queries_are_one_family_and_the_other_counters_their_own() {
        let mut text = Exposition::default();
        write_dns(&mut text, &[reading("queries_udp", 3), reading("failed", 2), reading("queries_tcp", 1)]);
        assert_eq!(
            text.finish(),
            "# HELP pullgate_queries_total Queries that came, by transport.\n\
             # TYPE pullgate_queries_total counter\n\
             pullgate_queries_total{transport=\"udp\"} 3\n\
             pullgate_queries_total{transport=\"tcp\"} 1\n\
             # HELP pullgate_failed_total Some.\n# TYPE pullgate_failed_total counter\npullgate_failed_total 2\n"
        );
    }

    #[test]
    fn exceptions_are_counted_and_told_with_whom_to_ask() {
        let exception = |entry: &str, expires: u64| Exception {
            entry: entry.to_owned(),
            kind: EntryKind::Registry,
            expires: UNIX_EPOCH + Duration::from_secs(expires),
            owner: Some("platform".to_owned()),
            ticket: None,
            groups: Vec::new(),
            place: Place { path: std::path::Path::new("a.toml").into(), line: 1, column: 1 },
        };
        let mut text = Exposition::default();
        write_exceptions(&mut text, &[exception("a", 50), exception("b", 100)], UNIX_EPOCH + Duration::from_secs(50));
        let text = text.finish();
        let labels = "kind=\"registry\",entry=\"b\",owner=\"platform\",ticket=\"\"";
        for line in [
            "pullgate_exceptions{state=\"running\"} 1\n".to_owned(),
            "pullgate_exceptions{state=\"ended\"} 1\n".to_owned(),
            format!("pullgate_exception_expires_timestamp_seconds{{{labels}}} 100\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn a_server_that_never_answered_has_no_round_trip() {
        let mut text = Exposition::default();
        let server = ServerCounters {
            server: "127.0.0.1:53".into(),
            asked: 2,
            answered: 0,
            failed: 2,
            timed_out: 1,
            streams: 0,
            near_misses: 0,
            round_trip: None,
            resting: true,
        };
        write_servers(&mut text, &[server]);
        let text = text.finish();
        assert!(text.contains("pullgate_upstream_server_resting{server=\"127.0.0.1:53\"} 1\n"));
        assert!(!text.contains("round_trip_seconds{"));
    }
}
