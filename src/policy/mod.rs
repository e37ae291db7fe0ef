//! The policy: from files to a snapshot, and from a question to a verdict. Knows nothing of DNS messages or sockets.

mod ancestors;
mod apart;
pub mod compile;
pub mod document;
pub mod exceptions;
pub mod image_reference;
pub mod image_set;
pub mod images;
pub mod judge;
pub mod kept;
pub mod matcher;
pub mod overlay;
pub mod pattern;
pub mod preset;
pub mod probe;
pub mod reason;
pub mod reload;
pub mod replay;
pub mod repository;
pub mod rollback;
pub mod shared_suffix;
pub mod snapshot;
mod state_file;
pub mod store;
pub mod watch;
pub mod why;
