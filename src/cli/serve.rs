//! `pullgate serve`: runs the resolver, and says what it serves and how to try it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::failure::Failure;
use super::options::{Loaded, Options};
use super::output::{Output, counted};
use super::{ExitCode, Outcome};
use crate::config::{LogFormat, PolicySource, Settings, UpstreamServer};
use crate::control::socket::SocketError;
use crate::daemon::{self, Daemon, Process, Role, StartError};
use crate::dns::Transport;
use crate::dns::listen::BindError;
use crate::gateway::GatewayError;
use crate::name::DomainName;
use crate::observe::logging;
use crate::policy::judge::Asker;
use crate::policy::pattern::Pattern;
use crate::policy::snapshot::{EntryKind, Snapshot};
use crate::policy::store::PolicyState;

/// Run the resolver
///
/// Without a settings file it serves the built-in default: 127.0.0.1:5300, Docker Hub allowed,
/// allowed names resolved by whatever this machine uses. It prints what it serves and the lines
/// to try it.
///
/// A changed policy is in force within a second; SIGHUP and `pullgate reload` take it at once.
/// Changed settings need a restart. SIGTERM stops, with answers in flight given first.
///
/// Examples:
///   pullgate serve
///   pullgate serve --policy ./policy.d --listen 127.0.0.1:5301
///   pullgate serve --config /etc/pullgate/pullgate.toml
///
/// Exit codes:
///   0   stopped as told
///   69  a port or the control socket is taken
///   74  reading or writing failed
///   78  the settings are faulty (a faulty policy is no reason not to start: the last good one is
///       in force then, or, if there is none, every name is denied)
#[derive(Debug, Default, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn run(options: &Options, output: &mut Output) -> Outcome {
    run_as(Role::Resolver, &options.settings()?, output)
}

/// Runs a process of this role until it is told to stop.
pub(super) fn run_as(role: Role, loaded: &Loaded, output: &mut Output) -> Outcome {
    let log = logging::start(loaded.settings.log.format)
        .map_err(|error| Failure::Io(format!("the log cannot be started: {error}")))?;
    for warning in &loaded.warnings {
        match loaded.settings.log.format {
            LogFormat::Text => eprintln!("{warning}"),
            LogFormat::Json => tracing::warn!(%warning, "settings warning"),
        }
    }
    let process = Process { log: Some(log.clone()), panics: daemon::count_panics() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loaded.settings.server.workers)
        .enable_all()
        .build()
        .map_err(|error| Failure::Io(format!("cannot start: {error}")))?;
    let served = runtime.block_on(serve(role, loaded, process, output));
    runtime.shutdown_timeout(SHUTDOWN);
    log.flush();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(role: Role, loaded: &Loaded, process: Process, output: &mut Output) -> Result<(), Failure> {
    let stop = daemon::termination().map_err(|error| Failure::Io(format!("cannot listen to signals: {error}")))?;
    let daemon = Daemon::start(&loaded.settings, role, process).await?;
    // Who reads the log as JSON has the same in its first lines, and no use for prose between them.
    if loaded.settings.log.format == LogFormat::Text {
        // A reader that is gone is no reason not to serve.
        let _ = introduce(&daemon, loaded, output).and_then(|()| output.finish());
    }
    daemon.run(stop).await.map_err(|error| Failure::Io(format!("serving ended: {error}")))
}

fn introduce(daemon: &Daemon, loaded: &Loaded, output: &mut Output) -> Result<(), Failure> {
    let Loaded { settings, file, .. } = loaded;
    writeln!(output, "pullgate {} serves", env!("CARGO_PKG_VERSION"))?;
    for (address, transport) in daemon.listening() {
        writeln!(output, "  {transport:9} {address}")?;
    }
    if let Some(address) = daemon.metrics_address() {
        writeln!(output, "  metrics   http://{address}/metrics")?;
    }
    if let Some(address) = daemon.page_address() {
        writeln!(output, "  page      http://{address}/")?;
    }
    writeln!(output, "  control   {}", daemon.control_socket().display())?;
    let source = match file {
        Some(file) => file.display().to_string(),
        None => "built in: there is no settings file".to_owned(),
    };
    writeln!(output, "  settings  {source}")?;
    writeln!(output, "  upstream  {}", upstreams(settings))?;
    introduce_policy(daemon, settings, output)?;
    introduce_trial(daemon, output)
}

fn introduce_policy(daemon: &Daemon, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let status = daemon.policy().status();
    let source = match &settings.policy.source {
        PolicySource::Directory(folder) => folder.display().to_string(),
        PolicySource::Embedded(_) => "built in".to_owned(),
    };
    writeln!(output, "  policy    {source}: {}", entries(&daemon.policy().current().snapshot))?;
    match status.state {
        PolicyState::Ok => return Ok(()),
        PolicyState::Degraded => {
            writeln!(output, "            degraded: it has faults, the last good one is in force")?;
        }
        PolicyState::RolledBack => writeln!(output, "            rolled back: an earlier one is in force")?,
        PolicyState::DenyAll => writeln!(output, "            deny-all: it has faults, every name is denied")?,
    }
    status.faults.iter().for_each(|fault| eprintln!("{fault}"));
    Ok(())
}

/// `docker-hub, nexus (12 rules)`; long lists are cut.
fn entries(snapshot: &Snapshot) -> String {
    let allowing = snapshot.entries().iter().filter(|entry| entry.kind != EntryKind::Deny);
    let mut names: Vec<&str> = allowing.map(|entry| entry.name.as_str()).collect();
    let more = names.len().saturating_sub(MAX_ENTRIES);
    names.truncate(MAX_ENTRIES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let rules = counted(snapshot.rule_count(), "rule");
    if names.is_empty() { rules } else { format!("{}{more} ({rules})", names.join(", ")) }
}

fn upstreams(settings: &Settings) -> String {
    let servers = settings.upstream.servers.iter().map(|server| match server {
        UpstreamServer::System => "whatever this machine uses".to_owned(),
        UpstreamServer::Plain(address) => address.to_string(),
        UpstreamServer::Tls { addr, name } => format!("tls://{addr}#{name}"),
        UpstreamServer::Https { addr, name, path } => format!("https://{addr}{path}#{name}"),
    });
    servers.collect::<Vec<_>>().join(", ")
}

/// The lines to try: an allowed and a denied name of this very policy.
fn introduce_trial(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let listening = daemon.listening();
    let Some((address, _)) = listening.iter().find(|(_, transport)| *transport == Transport::Udp.name()) else {
        return Ok(());
    };
    let policy = daemon.policy().current();
    let (allowed, denied) = (allowed_name(&policy.snapshot), denied_name(&policy.snapshot));
    if allowed.is_some() || denied.is_some() {
        writeln!(output, "Try, from another terminal:")?;
    }
    let allowed = allowed.map(|name| [dig(*address, &name), "# allowed".to_owned()]);
    let denied = denied.map(|name| [dig(*address, &name), "# denied: NXDOMAIN, EDE 15 (Blocked)".to_owned()]);
    output.table(&allowed.into_iter().chain(denied).collect::<Vec<_>>())
}

fn dig(address: SocketAddr, name: &DomainName) -> String {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("  dig @{ip} -p {} {name}", address.port())
}

fn allowed_name(snapshot: &Snapshot) -> Option<DomainName> {
    let allowing = snapshot.rules().filter(|rule| rule.entry().kind != EntryKind::Deny).take(MAX_TRIED);
    let patterns = allowing.filter_map(|rule| Pattern::parse(&rule.pattern().to_string()).ok());
    patterns.filter_map(|pattern| pattern.exact()).find(|name| resolves(snapshot, name))
}

fn denied_name(snapshot: &Snapshot) -> Option<DomainName> {
    let names = DENIED_EXAMPLES.iter().filter_map(|name| name.parse().ok());
    names.into_iter().find(|name| !resolves(snapshot, name))
}

fn resolves(snapshot: &Snapshot, name: &DomainName) -> bool {
    let asker = Asker { client: IpAddr::V4(Ipv4Addr::LOCALHOST), listener: None };
    snapshot.judge(&asker, name.as_name()).verdict.resolves()
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::Bind(error @ BindError::Certificate(_)) => Self::Settings { message, hint: error.hint() },
            StartError::Upstream(_) | StartError::Gateway(GatewayError::Roots(_)) => {
                Self::Settings { message, hint: None }
            }
            StartError::Gateway(GatewayError::Socket(error)) => Self::Unavailable { message, hint: error.hint() },
            StartError::Bind(error) => Self::Unavailable { message, hint: error.hint() },
            StartError::Control(SocketError::InUse(_)) | StartError::Metrics { .. } | StartError::Page { .. } => {
                Self::Unavailable { message, hint: None }
            }
            StartError::Control(_) | StartError::Signals(_) | StartError::Log { .. } => Self::Io(message),
        }
    }
}

/// Names that hardly any policy allows all of.
const DENIED_EXAMPLES: [&str; 4] = ["ghcr.io", "quay.io", "registry.gitlab.com", "denied.example"];
/// How many rules are looked through for a name to try.
const MAX_TRIED: usize = 100;
/// How many registries and services are named.
const MAX_ENTRIES: usize = 8;
/// How long threads that still compile a policy are waited for.
const SHUTDOWN: std::time::Duration = std::time::Duration::from_millis(500);
