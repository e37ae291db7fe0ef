//! pullgate decides which container registries a machine, a VM or a network can reach, by resolving their names.
//!
//! Two flows, and nothing flows back:
//!
//! ```text
//! packet ─accept─▶ question ─judge─▶ verdict ─┬─ Deny ───────────────────▶ answer ─▶ bytes
//!        dns::wire          policy            └─ Allow ─resolve─▶ records ─▶ answer ─▶ bytes
//!                                                      upstream             dns::answer
//!
//! policy files ─parse─▶ documents (with places) ─compile─▶ snapshot ─swap─▶ one pointer, read once a question
//!               policy::document                 policy::compile    policy::store
//! ```
//!
//! `policy` does not know that DNS exists; `upstream` does not know that a policy exists. A test (`tests/layers.rs`)
//! holds the table of who may import whom.

pub mod address;
mod background;
pub mod diagnostic;
pub mod name;
pub mod net;
pub mod record_type;
pub mod resolv_conf;
pub mod tree;

pub mod config;
pub mod event;
pub mod policy;
pub mod upstream;

pub mod dns;
pub mod gateway;

pub mod control;
pub mod observe;

pub mod inspect;

pub mod cli;
pub mod daemon;
