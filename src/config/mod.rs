//! `pullgate.toml`: from the text of the file (`read`) to the settings as run (`Settings`).

mod bytes;
mod environment;
mod gateway;
mod read;
mod settings;
mod signal;
mod upstream_server;

pub use environment::{Environment, SYSTEM_SOCKET};
pub use gateway::{BadgeSource, DEFAULT_AUTHORITY, Gateway, ParentProxy, ProxyHost};
pub use settings::{
    Ancestors, Blocked, Cache, Control, Dnstap, DnstapReader, History, Log, LogFormat, Page, Policy, PolicySource,
    QueryLog, Route, Server, Settings, Tls, Upstream, UpstreamServer,
};
pub use signal::{Signal, SignalKind, SignalWay, WebhookUrl};
