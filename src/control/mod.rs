//! The control socket: HTTP/1.1 and JSON over a Unix socket; its types, server and client.

pub mod addition;
pub mod api;
mod caller;
mod check;
pub mod client;
mod denied;
pub mod diff;
pub mod effective;
mod exception;
pub mod exchange;
pub mod explain;
mod overlay;
pub mod page;
mod past;
pub mod replay;
pub mod report;
mod rollout;
pub mod server;
pub mod socket;
mod status;

pub use client::{Client, ClientError};
