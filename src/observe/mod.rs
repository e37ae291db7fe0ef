//! What happened, for people: the log, the last denials, the counters, the last days. Changes nothing.

pub mod dnstap;
pub mod history;
pub mod http;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod numbers;
pub mod pulls;
pub mod query_log;
pub mod recent;
pub mod rule_hits;
pub mod signals;
pub mod totals;
pub mod trend;
pub mod visitors;
pub mod writer;

mod exposition;
