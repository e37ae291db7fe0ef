//! Whose verdicts there are on the hosts of a pull: the running server's, or those of the policy files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::compiled;
use super::super::failure::Failure;
use super::super::options::{Loaded, Options};
use crate::control::Client;
use crate::control::explain::{self, OnBehalf, Question};
use crate::control::report::{CheckReport, StatusReport};
use crate::inspect::discover::JudgedBy;
use crate::name::DomainName;
use crate::policy::snapshot::Snapshot;

/// Who judges, on whose behalf.
pub(super) struct Judge {
    source: Source,
    on_behalf: OnBehalf,
    record_types: Vec<u16>,
}

enum Source {
    Server(Client, Box<StatusReport>),
    Files(Box<Snapshot>),
}

impl Judge {
    /// The server where one runs and no policy folder is named, else the files.
    pub(super) async fn of(options: &Options, loaded: &Loaded, on_behalf: OnBehalf) -> Result<Self, Failure> {
        let client = options.client()?;
        let status = if options.policy().is_none() { client.status().await.ok() } else { None };
        let source = match status {
            Some(status) => Source::Server(client, Box::new(status)),
            None => Source::Files(Box::new(compiled::from_settings(loaded)?.snapshot)),
        };
        Ok(Self { source, on_behalf, record_types: loaded.settings.server.record_types.clone() })
    }

    /// The verdict on a name.
    pub(super) async fn check(&self, name: &DomainName) -> Result<CheckReport, Failure> {
        match &self.source {
            Source::Server(client, _) => {
                let asker = match &self.on_behalf {
                    OnBehalf::Client(client) => ("client", client.to_string()),
                    OnBehalf::Group(group) => ("group", group.clone()),
                };
                Ok(client.check(&[("name", name.to_string()), asker]).await?)
            }
            Source::Files(snapshot) => {
                let question = Question { name: name.clone(), record_type: None, on_behalf: self.on_behalf.clone() };
                Ok(explain::check(snapshot, &question, &self.record_types)?)
            }
        }
    }

    /// Whose verdicts these are, in a word.
    pub(super) fn word(&self) -> JudgedBy {
        match self.source {
            Source::Server(..) => JudgedBy::Server,
            Source::Files(_) => JudgedBy::Files,
        }
    }

    /// Where clients of this machine ask: what the server has bound, else what the settings say.
    pub(super) fn listener(&self, loaded: &Loaded) -> Result<SocketAddr, Failure> {
        let bound = match &self.source {
            Source::Server(_, status) => {
                status.listen.iter().find(|listener| listener.transport == "udp").map(|listener| listener.address)
            }
            Source::Files(_) => loaded.settings.server.listen.first().copied(),
        };
        let hint = "start it, or leave --through out";
        let nobody = || Failure::Unavailable {
            message: "there is no listener to resolve names through".to_owned(),
            hint: Some(hint.to_owned()),
        };
        bound.map(reachable).ok_or_else(nobody)
    }
}

/// A listener on every address is reached on this machine's own.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let address = match listener.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listener.port())
}
