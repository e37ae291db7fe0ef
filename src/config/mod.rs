//! `pullgate.toml`: the file as written (`spec`) and the settings as run (`Settings`).

mod environment;
mod settings;

pub use environment::Environment;
pub use settings::{
    Ancestors, Blocked, Cache, Control, Log, LogFormat, Policy, PolicySource, QueryLog, Route, Server, Settings, Tls,
    Upstream, UpstreamServer,
};
