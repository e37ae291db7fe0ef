//! What happened, for people: the log, the last denials, the counters. Changes nothing.

pub mod http;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod pulls;
pub mod recent;
pub mod writer;

mod exposition;
