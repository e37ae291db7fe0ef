//! The settings as run: every value checked, every default filled in. A restart applies them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Environment, Gateway, Signal};
use crate::name::DomainName;
use crate::policy::document::Mode;

/// Everything `pullgate.toml` decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`.
    pub server: Server,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[policy]`.
    pub policy: Policy,
    /// `[blocked]`.
    pub blocked: Blocked,
    /// `[cache]`.
    pub cache: Cache,
    /// `[static]`: names answered from here, always allowed.
    pub statics: BTreeMap<DomainName, Vec<IpAddr>>,
    /// `listen` of `[metrics]`; `None`: no metrics are served.
    pub metrics: Option<SocketAddr>,
    /// `[page]`; `None`: no page is served.
    pub page: Option<Page>,
    /// `[log]`.
    pub log: Log,
    /// `[dnstap]`; `None`: nobody is told.
    pub dnstap: Option<Dnstap>,
    /// `[history]`; `None`: none is kept.
    pub history: Option<History>,
    /// `[control]`.
    pub control: Control,
    /// `[gateway]`; `None`: no name is steered.
    pub gateway: Option<Gateway>,
    /// `[[signal]]`, in file order.
    pub signals: Vec<Signal>,
}

/// `[server]`: where questions are taken, and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// UDP and TCP; port 0: TCP binds first, UDP takes its port.
    pub listen: Vec<SocketAddr>,
    /// Networks that are answered at all; IPv4-mapped IPv6 ranges are IPv4 already.
    pub clients: Vec<IpNet>,
    /// Threads that answer, at least 1.
    pub workers: usize,
    /// Record types that allowed names answer, sorted.
    pub record_types: Vec<u16>,
    /// DNS over TLS and HTTPS.
    pub tls: Option<Tls>,
}

/// `[server.tls]`: encrypted listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// DNS over TLS (RFC 7858).
    pub dot: Vec<SocketAddr>,
    /// DNS over HTTPS (RFC 8484).
    pub doh: Vec<SocketAddr>,
}

/// `[upstream]`: where allowed names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// For names that no route and no service takes; at least one.
    pub servers: Vec<UpstreamServer>,
    /// How long a question may take in all, retries and other servers included.
    pub timeout: Duration,
    /// `[[upstream.route]]`, in file order.
    pub routes: Vec<Route>,
}

/// One upstream server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamServer {
    /// `system`: what the host itself uses, followed live.
    System,
    /// UDP, and TCP where needed.
    Plain(SocketAddr),
    /// DNS over TLS.
    Tls {
        /// Where.
        addr: SocketAddr,
        /// The name its certificate must have.
        name: String,
    },
    /// DNS over HTTPS.
    Https {
        /// Where.
        addr: SocketAddr,
        /// The name its certificate must have.
        name: String,
        /// The path of the resource, with its leading `/`.
        path: String,
    },
}

/// `[[upstream.route]]`: names that other servers resolve (split horizon).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// These names and everything below them.
    pub domains: Vec<DomainName>,
    /// Never [`UpstreamServer::System`]; at least one.
    pub servers: Vec<UpstreamServer>,
}

/// `[policy]`: which policy, and how strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where it comes from.
    pub source: PolicySource,
    /// What a denial means in groups that do not say.
    pub mode: Mode,
    /// The group of clients that no group claims.
    pub group: Option<String>,
    /// Where the last good policy and the history are kept.
    pub state: PathBuf,
    /// Whether a warning refuses the policy.
    pub strict: bool,
}

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Every `*.toml` and `*.json` of this folder.
    Directory(PathBuf),
    /// The text of one TOML document in the program.
    Embedded(&'static str),
}

/// `[blocked]`: what a denied question is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// How long clients may keep the denial.
    pub ttl: Duration,
    /// What the ancestors of allowed names are answered.
    pub ancestors: Ancestors,
    /// Whom people ask about the policy; printable, at most 200 bytes.
    pub contact: Option<String>,
}

/// What a denied name with allowed names below it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ancestors {
    /// The same as every denied name.
    #[default]
    Nxdomain,
    /// That it exists without records (RFC 8020).
    Nodata,
}

/// `[cache]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How many answers are kept; 0: none.
    pub entries: usize,
    /// The longest an answer counts as fresh.
    pub max_ttl: Duration,
    /// How long after that it still serves while upstreams fail (RFC 8767).
    pub stale: Duration,
}

/// `[page]`: what happens, for people with a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it is served.
    pub listen: SocketAddr,
    /// What else a browser may call it, beside that address, loopback and `localhost`.
    pub names: Vec<DomainName>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Which questions are logged.
    pub queries: QueryLog,
    /// In which form.
    pub format: LogFormat,
    /// Where those go; `None`: with the rest of the log.
    pub file: Option<PathBuf>,
}

/// `[dnstap]`: whole messages for programs that read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dnstap {
    /// Who reads them.
    pub reader: DnstapReader,
    /// Which questions; never [`QueryLog::Off`].
    pub queries: QueryLog,
    /// What this server calls itself; `None`: the host's name.
    pub identity: Option<String>,
    /// Whether the reader answers, as those on a socket do.
    pub bidirectional: bool,
}

/// Where a reader of dnstap listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnstapReader {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

/// Which questions are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryLog {
    /// None.
    Off,
    /// Denied ones, and those that audit lets through.
    #[default]
    Denied,
    /// All.
    All,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[history]`: what is kept of the last days, in the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// For how long.
    pub keep: Duration,
    /// How many bytes its file may take.
    pub size: u64,
}

/// `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket that `pullgate status` and its like speak to.
    pub socket: PathBuf,
}

impl Settings {
    /// What runs without a settings file: an unprivileged loopback port, Docker Hub, the host's own upstream.
    pub fn embedded(environment: &Environment) -> Self {
        let defaults = Self::defaults(environment);
        Self {
            server: Server { listen: vec![EMBEDDED_LISTEN], ..defaults.server },
            policy: Policy { source: PolicySource::Embedded(EMBEDDED_POLICY), ..defaults.policy },
            ..defaults
        }
    }

    /// What an empty settings file means.
    pub(super) fn defaults(environment: &Environment) -> Self {
        Self {
            server: Server {
                listen: vec![DEFAULT_LISTEN],
                clients: DEFAULT_CLIENTS.to_vec(),
                workers: environment.cores.max(1),
                record_types: DEFAULT_RECORD_TYPES.to_vec(),
                tls: None,
            },
            upstream: Upstream { servers: vec![UpstreamServer::System], timeout: DEFAULT_TIMEOUT, routes: Vec::new() },
            policy: Policy {
                source: PolicySource::Directory(DEFAULT_POLICY_PATH.into()),
                mode: Mode::default(),
                group: None,
                state: environment.state(),
                strict: false,
            },
            blocked: Blocked { ttl: DEFAULT_BLOCKED_TTL, ancestors: Ancestors::default(), contact: None },
            cache: Cache { entries: DEFAULT_CACHE_ENTRIES, max_ttl: DEFAULT_MAX_TTL, stale: DEFAULT_STALE },
            statics: BTreeMap::new(),
            metrics: None,
            page: None,
            log: Log { queries: QueryLog::default(), format: LogFormat::default(), file: None },
            dnstap: None,
            history: Some(History { keep: DEFAULT_HISTORY_KEEP, size: DEFAULT_HISTORY_SIZE }),
            control: Control { socket: environment.control_socket() },
            gateway: None,
            signals: Vec::new(),
        }
    }
}

/// The port DNS clients ask without being told, on this machine only: wider is a decision.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Needs no privilege, and collides with neither DNS nor mDNS.
const EMBEDDED_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);
/// The registry that an unconfigured engine asks first.
const EMBEDDED_POLICY: &str = "version = 1\n\n[[registry]]\npreset = \"docker-hub\"\n";
const DEFAULT_POLICY_PATH: &str = "/etc/pullgate/policy.d";
/// Loopback, private, shared (RFC 6598), unique local and link-local networks: an open resolver is never the default.
const DEFAULT_CLIENTS: [IpNet; 8] = [
    v4([127, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];
/// A, CNAME, AAAA, SVCB, HTTPS: what it takes to connect. The rest (TXT, NULL, …) mostly carries data out.
const DEFAULT_RECORD_TYPES: [u16; 5] = [1, 5, 28, 64, 65];
/// Clients ask again after 5 s; an answer must come well before.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// A name that was just allowed resolves this soon where the client caches denials.
const DEFAULT_BLOCKED_TTL: Duration = Duration::from_secs(10);
/// About 50 MB when full.
const DEFAULT_CACHE_ENTRIES: usize = 100_000;
/// Registries move their CDN within hours.
const DEFAULT_MAX_TTL: Duration = Duration::from_secs(60 * 60);
/// RFC 8767 §5 suggests one to three days.
const DEFAULT_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// A week has its pattern: what only happens on Sundays is in it.
const DEFAULT_HISTORY_KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Some 100,000 rows: a name of a client in an hour is one.
const DEFAULT_HISTORY_SIZE: u64 = 64 << 20;

const fn v4(address: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = address;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}
