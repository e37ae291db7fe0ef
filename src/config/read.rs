//! From the text of `pullgate.toml` to [`Settings`]: every key, every fault at once.
//!
//! Relative paths start at the folder of the settings file.

mod gateway;
mod signal;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::{
    Ancestors, Blocked, Cache, Control, Dnstap, DnstapReader, Environment, History, Log, LogFormat, Page, Policy,
    PolicySource, QueryLog, Route, Server, Settings, Tls, Upstream, UpstreamServer, bytes,
};
use crate::address::{self, DNS_PORT};
use crate::diagnostic::{Diagnostic, Source};
use crate::name::DomainName;
use crate::policy::document::Mode;
use crate::policy::pattern::{Pattern, Reach};
use crate::record_type;
use crate::tree::{self, Format, Node, Report, Table, Value, Written};

impl Settings {
    /// Reads a settings file (TOML); what is not written has its default.
    ///
    /// # Errors
    /// All faults of the file, warnings among them.
    pub fn parse(source: &Source, environment: &Environment) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(source);
        let folder = source.path().parent().unwrap_or(Path::new("")).to_owned();
        let defaults = Self::defaults(environment);
        let listeners = defaults.server.listen.iter().map(|&value| Written { value, span: 0..0 }).collect();
        let mut reader = Reader { folder, listeners, report: &mut report };
        let settings = match tree::parse(source, Format::Toml, reader.report) {
            Some(table) => reader.settings(table, defaults),
            None => defaults,
        };
        let refused = report.has_faults();
        let diagnostics = report.finish();
        if refused { Err(diagnostics) } else { Ok((settings, diagnostics)) }
    }
}

/// What the walk carries along.
struct Reader<'r, 's> {
    /// Where relative paths start.
    folder: PathBuf,
    /// Every address that TCP is served on; the default ones until others are written.
    listeners: Vec<Written<SocketAddr>>,
    report: &'r mut Report<'s>,
}

impl<'s> Reader<'_, 's> {
    fn settings(&mut self, mut file: Table<'s>, defaults: Settings) -> Settings {
        let Settings {
            server,
            upstream,
            policy,
            blocked,
            cache,
            statics: _,
            metrics: _,
            page: _,
            log,
            dnstap: _,
            history,
            control,
            gateway: _,
            signals: _,
        } = defaults;
        let settings = Settings {
            server: self.section(&mut file, "server", server, Self::server),
            upstream: self.section(&mut file, "upstream", upstream, Self::upstream),
            policy: self.section(&mut file, "policy", policy, Self::policy),
            blocked: self.section(&mut file, "blocked", blocked, Self::blocked),
            cache: self.section(&mut file, "cache", cache, Self::cache),
            statics: self.section(&mut file, "static", BTreeMap::new(), Self::statics),
            metrics: self.section(&mut file, "metrics", None, Self::metrics),
            page: self.section(&mut file, "page", None, Self::page),
            log: self.section(&mut file, "log", log, Self::log),
            dnstap: self.section(&mut file, "dnstap", None, Self::dnstap),
            history: self.section(&mut file, "history", history, Self::history),
            control: self.section(&mut file, "control", control, Self::control),
            gateway: self.section(&mut file, "gateway", None, Self::gateway),
            signals: self.signals(&mut file),
        };
        file.finish(self.report);
        settings
    }

    /// A section's value, or its default when the section is not written.
    fn section<T>(
        &mut self,
        file: &mut Table<'s>,
        name: &'static str,
        default: T,
        read: impl FnOnce(&mut Self, &mut Table<'s>, T) -> T,
    ) -> T {
        let Some(mut table) = file.take(name).and_then(|node| node.table(self.report)) else { return default };
        let value = read(self, &mut table, default);
        table.finish(self.report);
        value
    }

    fn server(&mut self, table: &mut Table<'s>, default: Server) -> Server {
        if table.get("listen").is_some() {
            self.listeners.clear();
        }
        let listen = self.listen(table, "listen", DNS_PORT).unwrap_or(default.listen);
        let clients = self.clients(table).unwrap_or(default.clients);
        let workers = table.take("workers").and_then(|workers| workers.integer(self.report, 0..=MAX_WORKERS));
        let workers = workers.and_then(|workers| usize::try_from(workers.value).ok()).filter(|&workers| workers > 0);
        let record_types = self.record_types(table).unwrap_or(default.record_types);
        let tls = self.section(table, "tls", None, Self::tls);
        Server { listen, clients, workers: workers.unwrap_or(default.workers), record_types, tls }
    }

    fn tls(&mut self, table: &mut Table<'s>, _: Option<Tls>) -> Option<Tls> {
        let certificate = table.require("certificate", "\"/etc/pullgate/tls.crt\"", self.report);
        let key = table.require("key", "\"/etc/pullgate/tls.key\"", self.report);
        let dot = self.listen(table, "dot", DOT_PORT).unwrap_or_default();
        let doh = self.listen(table, "doh", DOH_PORT).unwrap_or_default();
        if dot.is_empty() && doh.is_empty() {
            self.report.fault(
                table.span(),
                "a certificate without listeners",
                "write `dot = [\"127.0.0.1:853\"]` or `doh = …`",
            );
        }
        let (certificate, key) = (certificate.and_then(|node| self.path(node)), key.and_then(|node| self.path(node)));
        Some(Tls { certificate: certificate?.value, key: key?.value, dot, doh })
    }

    /// Listeners of one key; an empty list and an address that is taken already are faults.
    fn listen(&mut self, table: &mut Table<'s>, key: &'static str, port: u16) -> Option<Vec<SocketAddr>> {
        let node = table.take(key)?;
        let addresses = self.some(node, |node, report| socket(node, port, report), "write one address at least")?;
        for address in &addresses {
            self.claim(address);
        }
        Some(values(addresses))
    }

    /// Two listeners cannot have one address; port 0 is another one each time.
    fn claim(&mut self, address: &Written<SocketAddr>) {
        let taken = self.listeners.iter().any(|other| other.value == address.value);
        if taken && address.value.port() != 0 {
            let message = format!("`{}` is listened on twice", address.value);
            self.report.fault(address.span.clone(), message, "keep one of them");
        }
        self.listeners.push(address.clone());
    }

    fn clients(&mut self, table: &mut Table<'s>) -> Option<Vec<IpNet>> {
        let node = table.take("clients")?;
        let ranges = self.some(node, range, "nobody would be answered: write ranges, or leave the key out")?;
        for range in ranges.iter().filter(|range| range.value.prefix_len() == 0) {
            let message = format!("`{}` lets the whole internet ask", range.value);
            self.report.warning(
                range.span.clone(),
                message,
                "an open resolver is used for attacks: name your networks",
            );
        }
        Some(values(ranges))
    }

    fn record_types(&mut self, table: &mut Table<'s>) -> Option<Vec<u16>> {
        let node = table.take("record-types")?;
        let read = |node: Node<'s>, report: &mut Report<'_>| node.parsed(report, record_type::parse);
        let mut types =
            values(self.some(node, read, "no name would have an address: write types, or leave the key out")?);
        types.sort_unstable();
        types.dedup();
        Some(types)
    }

    fn upstream(&mut self, table: &mut Table<'s>, default: Upstream) -> Upstream {
        let servers = table.take("servers").and_then(|servers| self.servers(servers));
        let timeout = self.duration(table, "timeout", TIMEOUTS);
        let routes = table.take("route").and_then(|routes| routes.list(self.report, Node::table)).unwrap_or_default();
        let mut routed = HashSet::new();
        Upstream {
            servers: servers.unwrap_or(default.servers),
            timeout: timeout.unwrap_or(default.timeout),
            routes: routes.into_iter().filter_map(|route| self.route(route, &mut routed)).collect(),
        }
    }

    fn route(&mut self, mut table: Table<'s>, routed: &mut HashSet<DomainName>) -> Option<Route> {
        let domains = table.require("domains", "[\"corp.example\"]", self.report);
        let domains = domains.and_then(|node| self.some(node, domain, "write the domains that these servers know"));
        let servers = table.require("servers", "[\"10.0.0.53\"]", self.report);
        let spans = servers.as_ref().map(|servers| servers.span.clone());
        let servers = servers.and_then(|servers| self.servers(servers));
        table.finish(self.report);
        if let (Some(span), true) = (spans, servers.as_ref().is_some_and(|all| all.contains(&UpstreamServer::System))) {
            self.report.fault(span, "a route cannot use the system's servers", "name the servers of these domains");
        }
        for domain in domains.iter().flatten() {
            if !routed.insert(domain.value.clone()) {
                self.report.fault(
                    domain.span.clone(),
                    format!("`{}` has a route already", domain.value),
                    "keep one of them",
                );
            }
        }
        Some(Route { domains: values(domains?), servers: servers? })
    }

    /// Upstream servers: at least one, each once, none of them this resolver.
    fn servers(&mut self, node: Node<'s>) -> Option<Vec<UpstreamServer>> {
        let read = |node: Node<'s>, report: &mut Report<'_>| node.parsed(report, UpstreamServer::parse);
        let servers = self.some(node, read, "nothing would resolve: write `[\"system\"]` or an address")?;
        let mut seen = HashSet::new();
        for server in &servers {
            if !seen.insert(&server.value) {
                self.report.fault(
                    server.span.clone(),
                    format!("`{}` is listed twice", server.value),
                    "keep one of them",
                );
            }
            if server.value.addr().is_some_and(|addr| self.is_own(addr)) {
                let message = format!("`{}` is this resolver itself", server.value);
                self.report.fault(server.span.clone(), message, "write the address of another server");
            }
        }
        Some(values(servers))
    }

    /// Whether a question sent to `addr` would come back to one of the listeners.
    fn is_own(&self, addr: SocketAddr) -> bool {
        let listeners = self.listeners.iter().map(|listener| listener.value);
        listeners
            .filter(|listener| listener.port() == addr.port())
            .any(|listener| listener.ip() == addr.ip() || (listener.ip().is_unspecified() && addr.ip().is_loopback()))
    }

    fn policy(&mut self, table: &mut Table<'s>, default: Policy) -> Policy {
        let source = table.take("path").and_then(|path| self.path(path));
        Policy {
            source: source.map_or(default.source, |path| PolicySource::Directory(path.value)),
            mode: table.take("mode").and_then(|mode| mode.choice(self.report, MODES)).unwrap_or(default.mode),
            group: table.take("group").and_then(|group| group.name(self.report)).map(|group| group.value),
            state: table.take("state").and_then(|state| self.path(state)).map_or(default.state, |path| path.value),
            strict: table.take("strict").and_then(|strict| strict.boolean(self.report)).unwrap_or(default.strict),
        }
    }

    fn blocked(&mut self, table: &mut Table<'s>, default: Blocked) -> Blocked {
        let ancestors = table.take("ancestors").and_then(|word| word.choice(self.report, ANCESTORS));
        let contact = table.take("contact").and_then(|contact| contact.parsed(self.report, read_contact));
        Blocked {
            ttl: self.ttl(table, "ttl", BLOCKED_TTLS).unwrap_or(default.ttl),
            ancestors: ancestors.unwrap_or(default.ancestors),
            contact: contact.map(|contact| contact.value).or(default.contact),
        }
    }

    fn cache(&mut self, table: &mut Table<'s>, default: Cache) -> Cache {
        let entries = table.take("entries").and_then(|entries| entries.integer(self.report, 0..=MAX_CACHE_ENTRIES));
        Cache {
            entries: entries.and_then(|entries| usize::try_from(entries.value).ok()).unwrap_or(default.entries),
            max_ttl: self.ttl(table, "max-ttl", MAX_TTLS).unwrap_or(default.max_ttl),
            stale: self.ttl(table, "stale", STALE_TIMES).unwrap_or(default.stale),
        }
    }

    fn statics(&mut self, table: &mut Table<'s>, mut statics: Statics) -> Statics {
        for member in table.take_all() {
            let name = host(&member.key);
            let addresses = self.static_addresses(member.value);
            match name {
                Err((message, hint)) => self.report.fault(member.key_span, message, hint),
                Ok(name) if statics.contains_key(&name) => {
                    self.report.fault(member.key_span, format!("`{name}` is written twice"), "keep one of them");
                }
                Ok(name) => drop(statics.insert(name, addresses.unwrap_or_default())),
            }
        }
        statics
    }

    /// One address, or a list of them.
    fn static_addresses(&mut self, node: Node<'s>) -> Option<Vec<IpAddr>> {
        if let Value::String(_) = node.value {
            return static_address(node, self.report).map(|address| vec![address.value]);
        }
        self.some(node, static_address, "write its addresses, as in `[\"172.17.0.1\"]`").map(values)
    }

    fn metrics(&mut self, table: &mut Table<'s>, _: Option<SocketAddr>) -> Option<SocketAddr> {
        let Some(node) = table.take("listen") else { return Some(DEFAULT_METRICS) };
        self.metrics_listener(node)
    }

    fn metrics_listener(&mut self, node: Node<'s>) -> Option<SocketAddr> {
        let address = socket(node, DEFAULT_METRICS.port(), self.report)?;
        self.claim(&address);
        if !address.value.ip().is_loopback() {
            let message = format!("`{}` shows the metrics to the network", address.value);
            self.report.warning(
                address.span,
                message,
                "listen on `127.0.0.1`, or see that only the collector reaches it",
            );
        }
        Some(address.value)
    }

    fn page(&mut self, table: &mut Table<'s>, _: Option<Page>) -> Option<Page> {
        let listen = match table.take("listen") {
            Some(node) => self.page_listener(node),
            None => Some(DEFAULT_PAGE),
        };
        let read = |node: Node<'s>, report: &mut Report<'_>| node.parsed(report, host);
        let names = table.take("names").and_then(|node| self.some(node, read, "write a name, or leave the key out"));
        Some(Page { listen: listen?, names: names.map(values).unwrap_or_default() })
    }

    fn page_listener(&mut self, node: Node<'s>) -> Option<SocketAddr> {
        let address = socket(node, DEFAULT_PAGE.port(), self.report)?;
        self.claim(&address);
        if !address.value.ip().is_loopback() {
            let message = format!("`{}` shows the page to the network", address.value);
            let hint = "it says who asks for what, to whoever reaches it: listen on `127.0.0.1`, and put a proxy in front \
                        that asks who comes";
            self.report.warning(address.span, message, hint);
        }
        Some(address.value)
    }

    fn log(&mut self, table: &mut Table<'s>, default: Log) -> Log {
        let queries = table.take("queries").and_then(|queries| queries.choice(self.report, QUERY_LOGS));
        let format = table.take("format").and_then(|format| format.choice(self.report, LOG_FORMATS));
        let file = table.take("file").and_then(|file| self.path(file)).map(|file| file.value);
        Log {
            queries: queries.unwrap_or(default.queries),
            format: format.unwrap_or(default.format),
            file: file.or(default.file),
        }
    }

    fn dnstap(&mut self, table: &mut Table<'s>, _: Option<Dnstap>) -> Option<Dnstap> {
        let unix = table.take("socket").and_then(|path| self.path(path)).map(|path| path.value);
        let tcp = table.take("address").and_then(|address| socket(address, DNSTAP_PORT, self.report));
        let queries = table.take("queries").and_then(|queries| queries.choice(self.report, TAPPED));
        let identity = table.take("identity").and_then(|identity| identity.name(self.report));
        let bidirectional = table.take("bidirectional").and_then(|it| it.boolean(self.report));
        let reader = match (unix, tcp) {
            (Some(path), None) => DnstapReader::Unix(path),
            (None, Some(address)) => DnstapReader::Tcp(address.value),
            _ => {
                let hint = "write `socket = \"/run/dnstap.sock\"`, or `address = \"127.0.0.1:6000\"`";
                self.report.fault(table.span(), "dnstap needs one reader, on a Unix socket or by TCP", hint);
                return None;
            }
        };
        Some(Dnstap {
            reader,
            queries: queries.unwrap_or(QueryLog::All),
            identity: identity.map(|identity| identity.value),
            bidirectional: bidirectional.unwrap_or(true),
        })
    }

    fn history(&mut self, table: &mut Table<'s>, default: Option<History>) -> Option<History> {
        let enabled = table.take("enabled").and_then(|enabled| enabled.boolean(self.report)).unwrap_or(true);
        let keep = self.duration(table, "keep", HISTORY_TIMES);
        let size = table.take("size").and_then(|size| size.parsed(self.report, history_size));
        let default = default.filter(|_| enabled)?;
        Some(History { keep: keep.unwrap_or(default.keep), size: size.map_or(default.size, |size| size.value) })
    }

    fn control(&mut self, table: &mut Table<'s>, default: Control) -> Control {
        let Some(socket) = table.take("socket").and_then(|socket| self.path(socket)) else { return default };
        if socket.value.as_os_str().len() > MAX_SOCKET_PATH {
            let hint = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes");
            self.report.fault(socket.span, "too long a path", hint);
        }
        Control { socket: socket.value }
    }

    /// A list of at least one item.
    fn some<T>(
        &mut self,
        node: Node<'s>,
        read: impl Fn(Node<'s>, &mut Report<'_>) -> Option<Written<T>>,
        hint: &str,
    ) -> Option<Vec<Written<T>>> {
        if node.is_empty_array() {
            self.report.fault(node.span, "an empty list", hint);
            return None;
        }
        node.list(self.report, read)
    }

    fn path(&mut self, node: Node<'s>) -> Option<Written<PathBuf>> {
        Some(node.name(self.report)?.map(|path| self.folder.join(path)))
    }

    /// A duration of whole seconds, as DNS counts them.
    fn ttl(&mut self, table: &mut Table<'s>, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let span = table.get(key).map(|node| node.span.clone());
        let ttl = self.duration(table, key, range)?;
        if ttl.subsec_nanos() != 0 {
            self.report.fault(span.unwrap_or_default(), "a fraction of a second", "write whole seconds, as in `10s`");
        }
        Some(ttl)
    }

    fn duration(
        &mut self,
        table: &mut Table<'s>,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let node = table.take(key)?;
        if let Value::Integer(number) = node.value {
            self.report.fault(node.span, "a number without a unit", format!("write `\"{number}s\"` for seconds"));
            return None;
        }
        let read = |text: &str| match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => {
                let (least, most) =
                    (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
                Err((format!("`{text}` is out of range"), format!("write a duration from {least} to {most}")))
            }
            Err(_) => Err((
                format!("`{text}` is no duration"),
                "write a number with its unit, as in `10s` or `1h`".to_owned(),
            )),
        };
        node.parsed(self.report, read).map(|duration| duration.value)
    }
}

type Statics = BTreeMap<DomainName, Vec<IpAddr>>;

fn values<T>(written: Vec<Written<T>>) -> Vec<T> {
    written.into_iter().map(|written| written.value).collect()
}

fn socket(node: Node<'_>, port: u16, report: &mut Report<'_>) -> Option<Written<SocketAddr>> {
    node.parsed(report, |text| address::parse_socket(text, port).map_err(|fault| (fault.message, fault.hint)))
}

fn range(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<IpNet>> {
    node.parsed(report, |text| address::parse_range(text).map_err(|fault| (fault.message, fault.hint)))
}

fn static_address(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<IpAddr>> {
    node.parsed(report, |text| match text.parse::<IpAddr>() {
        Ok(address) => Ok(address::plain(address)),
        Err(_) => Err((format!("`{text}` is not an address"), "write it as in `172.17.0.1` or `fd00::1`".to_owned())),
    })
}

/// A line of words for people.
fn read_contact(text: &str) -> Result<String, (String, String)> {
    let hint = || format!("write a line of at most {MAX_CONTACT} bytes, as in `platform team, #registries`");
    match text.trim() {
        "" => Err(("no words".to_owned(), hint())),
        words if words.len() > MAX_CONTACT => Err((format!("{} bytes", words.len()), hint())),
        words if words.chars().any(char::is_control) => Err(("a control character".to_owned(), hint())),
        words => Ok(words.to_owned()),
    }
}

fn history_size(text: &str) -> Result<u64, (String, String)> {
    let hint = || "write it as in `64 MiB`, from 8 MiB to 64 GiB".to_owned();
    match bytes::parse(text) {
        Some(size) if HISTORY_SIZES.contains(&size) => Ok(size),
        Some(_) => Err((format!("`{text}` is out of range"), hint())),
        None => Err((format!("`{text}` is no size"), hint())),
    }
}

/// The domain of a route, which stands for everything below it too.
fn domain(node: Node<'_>, report: &mut Report<'_>) -> Option<Written<DomainName>> {
    node.parsed(report, |text| match host(text) {
        Err(_) if text == "." => {
            Err(("`.` stands for every name".to_owned(), "write the servers of all names into `[upstream]`".to_owned()))
        }
        Err(_) if matches!(Pattern::parse(text).map(|pattern| pattern.reach()), Ok(Reach::Below | Reach::Subtree)) => {
            let base = text.trim_start_matches('*').trim_start_matches('.');
            Err((format!("`{text}` is a wildcard"), format!("a domain stands for all names below it: write `{base}`")))
        }
        read => read,
    })
}

/// A name without wildcards.
fn host(text: &str) -> Result<DomainName, (String, String)> {
    let pattern = Pattern::parse(text).map_err(|fault| (fault.message, fault.hint))?;
    pattern.exact().ok_or_else(|| (format!("`{text}` is a wildcard"), "write one host name".to_owned()))
}

/// Beside the collector on the same machine; the port that DNS servers' metrics are usually on.
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9153);
/// Beside the browser on the same machine.
const DEFAULT_PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8053);
/// RFC 7858 §3.1.
const DOT_PORT: u16 = 853;
/// RFC 8484 uses HTTPS's own.
const DOH_PORT: u16 = 443;
/// It has to fit a string of a TXT record, and an HTTP header.
const MAX_CONTACT: usize = 200;
/// More threads than any machine has cores are a slip of the pen.
const MAX_WORKERS: i64 = 1024;
/// About 5 GB of answers.
const MAX_CACHE_ENTRIES: i64 = 10_000_000;
/// `sun_path` of Linux, without its NUL.
const MAX_SOCKET_PATH: usize = 107;
/// Below, no distant server answers; above, every client has given up.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);
/// Above an hour, a name that was just allowed stays away for too long.
const BLOCKED_TTLS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);
/// RFC 8767 §4 caps TTLs at a week.
const MAX_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);
/// RFC 8767 §5 speaks of one to three days.
const STALE_TIMES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 24 * 60 * 60);
/// An hour is what it is kept by; a year and a day compares one December with the next.
const HISTORY_TIMES: RangeInclusive<Duration> = Duration::from_secs(60 * 60)..=Duration::from_secs(366 * 24 * 60 * 60);
/// The file grows by doubling, from a megabyte; beyond the upper end, reading it takes minutes.
const HISTORY_SIZES: RangeInclusive<u64> = 8 << 20..=64 << 30;
const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];
const ANCESTORS: &[(&str, Ancestors)] = &[("nxdomain", Ancestors::Nxdomain), ("nodata", Ancestors::Nodata)];
const QUERY_LOGS: &[(&str, QueryLog)] = &[("off", QueryLog::Off), ("denied", QueryLog::Denied), ("all", QueryLog::All)];
const TAPPED: &[(&str, QueryLog)] = &[("denied", QueryLog::Denied), ("all", QueryLog::All)];
/// What readers of dnstap are usually given.
const DNSTAP_PORT: u16 = 6000;
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

#[cfg(test)]
mod tests;
