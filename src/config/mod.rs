//! `pullgate.toml`: from the text of the file (`read`) to the settings as run (`Settings`).

mod environment;
mod read;
mod settings;
mod upstream_server;

pub use environment::{Environment, SYSTEM_SOCKET};
pub use settings::{
    Ancestors, Blocked, Cache, Control, Log, LogFormat, Policy, PolicySource, QueryLog, Route, Server, Settings, Tls,
    Upstream, UpstreamServer,
};
