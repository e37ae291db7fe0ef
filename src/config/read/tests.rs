//! What `pullgate.toml` may say, and what it is told when it may not.

use proptest::prelude::*;

use super::*;
use crate::config::{BadgeSource, Gateway, ParentProxy, ProxyHost, Signal, SignalKind, SignalWay, WebhookUrl};

fn environment() -> Environment {
    Environment { cores: 3, ..Environment::default() }
}

fn parse(text: &str) -> Result<(Settings, Vec<Diagnostic>), Vec<Diagnostic>> {
    Settings::parse(&Source::new("/etc/pullgate/pullgate.toml", text), &environment())
}

fn settings(text: &str) -> Settings {
    parse(text).expect(text).0
}

/// Message and hint of the only fault.
fn fault(text: &str) -> (String, String) {
    let mut faults = parse(text).expect_err(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    let fault = faults.remove(0);
    (fault.message, fault.hint.unwrap_or_default())
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(settings(""), Settings::defaults(&environment()));
}

#[test]
fn the_shipped_file_is_valid_and_says_what_the_defaults_are() {
    let shipped = include_str!("../../../config/pullgate.toml");
    let (read, warnings) = parse(shipped).expect("valid");
    assert_eq!(warnings, []);
    assert_eq!(read, Settings::defaults(&environment()));
}

#[test]
fn every_line_of_the_shipped_file_that_is_commented_out_is_valid_too() {
    let shipped = include_str!("../../../config/pullgate.toml");
    let uncommented = shipped.replace("#: ", "");
    assert_ne!(shipped, uncommented);
    let (read, _) = parse(&uncommented).expect("valid");
    assert!(read.server.tls.is_some() && read.metrics.is_some() && read.page.is_some() && !read.statics.is_empty());
    assert!(!read.upstream.routes.is_empty() && read.policy.group.is_some());
    assert!(read.blocked.contact.is_some() && read.signals.len() == 2);
}

#[test]
fn a_contact_is_a_line_of_words() {
    for text in ["", " ", "a\\u0000b", "a\\nb", &"x".repeat(201)] {
        let (_, hint) = fault(&format!("[blocked]\ncontact = \"{text}\"\n"));
        assert!(hint.contains("a line of at most 200 bytes"), "{text:?}: {hint}");
    }
    let read = settings("[blocked]\ncontact = \" die Plattform, Tür 7 \"\n");
    assert_eq!(read.blocked.contact.as_deref(), Some("die Plattform, Tür 7"));
}

#[test]
fn a_signal_goes_one_way_and_is_about_something() {
    for (text, expected) in [
        ("", "a signal goes one way"),
        ("url = \"http://a/\"\ncommand = [\"/b\"]", "a signal goes one way"),
        ("command = [\"notify\"]", "`notify` is not a whole path"),
        ("command = []", "an empty list"),
        ("command = [\"/b\"]\ntoken-file = \"t\"", "a token is for a webhook"),
        ("url = \"a\"", "neither `http://`"),
        ("url = \"http://a/\"\non = []", "an empty list"),
    ] {
        let (message, _) = fault(&format!("[[signal]]\n{text}\n"));
        assert!(message.starts_with(expected), "{text}: {message}");
    }
    let warned = |url: &str| parse(&format!("[[signal]]\nurl = \"{url}\"\ntoken-file = \"t\"\n")).unwrap().1.len();
    assert_eq!((warned("http://hooks.corp.example/"), warned("http://127.0.0.1/"), warned("https://a/")), (1, 0, 0));
}

#[test]
fn every_signal_is_read() {
    let read = settings(
        r#"
[[signal]]
url = "https://hooks.corp.example/x"
token-file = "hook.token"
on = ["refused", "expiring", "refused"]
[[signal]]
command = ["/usr/local/bin/notify", ""]
clients = 10
"#,
    );
    let expected = [
        Signal {
            way: SignalWay::Webhook {
                url: WebhookUrl {
                    is_tls: true,
                    host: ProxyHost::Name("hooks.corp.example".parse().unwrap()),
                    port: 443,
                    path: "/x".to_owned(),
                },
                token_file: Some("/etc/pullgate/hook.token".into()),
            },
            on: vec![SignalKind::Refused, SignalKind::Expiring],
            clients: 3,
        },
        Signal {
            way: SignalWay::Command(vec!["/usr/local/bin/notify".to_owned(), String::new()]),
            on: SignalKind::ALL.to_vec(),
            clients: 10,
        },
    ];
    assert_eq!(read.signals, expected);
}

#[test]
fn every_key_is_read() {
    let read = settings(
        r#"
[server]
listen = ["127.0.0.1", "[::1]:5300", "127.0.0.1:0", "127.0.0.1:0"]
clients = ["10.0.0.0/8", "::ffff:192.168.0.0/112"]
workers = 7
record-types = ["TXT", "a", "TYPE65", "A"]
[server.tls]
certificate = "tls.crt"
key = "/k"
dot = ["127.0.0.1"]
doh = ["127.0.0.1"]
[upstream]
servers = ["system", "tls://1.1.1.1#cloudflare-dns.com"]
timeout = "1500ms"
[[upstream.route]]
domains = ["Corp.example", "10.in-addr.arpa"]
servers = ["10.0.0.53"]
[policy]
path = "policy"
mode = "audit"
group = "payments"
state = "/s"
strict = true
[blocked]
ttl = "1m"
ancestors = "nodata"
[cache]
entries = 0
max-ttl = "2h"
stale = "0s"
[static]
"host.docker.internal" = ["172.17.0.1", "::ffff:172.17.0.2"]
gateway = "172.17.0.1"
[metrics]
listen = "127.0.0.1"
[log]
queries = "all"
format = "json"
file = "queries.log"
[history]
keep = "1d"
size = "8 MiB"
[control]
socket = "/c.sock"
"#,
    );
    let expected = Settings {
        server: Server {
            listen: ["127.0.0.1:53", "[::1]:5300", "127.0.0.1:0", "127.0.0.1:0"].map(|a| a.parse().unwrap()).to_vec(),
            clients: ["10.0.0.0/8", "192.168.0.0/16"].map(|range| range.parse().unwrap()).to_vec(),
            workers: 7,
            record_types: vec![1, 16, 65],
            tls: Some(Tls {
                certificate: "/etc/pullgate/tls.crt".into(),
                key: "/k".into(),
                dot: vec!["127.0.0.1:853".parse().unwrap()],
                doh: vec!["127.0.0.1:443".parse().unwrap()],
            }),
        },
        upstream: Upstream {
            servers: vec![
                UpstreamServer::System,
                UpstreamServer::Tls { addr: "1.1.1.1:853".parse().unwrap(), name: "cloudflare-dns.com".into() },
            ],
            timeout: Duration::from_millis(1500),
            routes: vec![Route {
                domains: ["corp.example", "10.in-addr.arpa"].map(|name| name.parse().unwrap()).to_vec(),
                servers: vec![UpstreamServer::Plain("10.0.0.53:53".parse().unwrap())],
            }],
        },
        policy: Policy {
            source: PolicySource::Directory("/etc/pullgate/policy".into()),
            mode: Mode::Audit,
            group: Some("payments".into()),
            state: "/s".into(),
            strict: true,
        },
        blocked: Blocked { ttl: Duration::from_secs(60), ancestors: Ancestors::Nodata, contact: None },
        cache: Cache { entries: 0, max_ttl: Duration::from_secs(7200), stale: Duration::ZERO },
        statics: BTreeMap::from([
            (
                "host.docker.internal".parse().unwrap(),
                ["172.17.0.1", "172.17.0.2"].map(|a| a.parse().unwrap()).to_vec(),
            ),
            ("gateway".parse().unwrap(), vec!["172.17.0.1".parse().unwrap()]),
        ]),
        metrics: Some("127.0.0.1:9153".parse().unwrap()),
        log: Log { queries: QueryLog::All, format: LogFormat::Json, file: Some("/etc/pullgate/queries.log".into()) },
        history: Some(History { keep: Duration::from_secs(86400), size: 8 << 20 }),
        control: Control { socket: "/c.sock".into() },
        ..Settings::defaults(&environment())
    };
    assert_eq!(read, expected);
}

#[test]
fn every_key_of_the_gateway_is_read() {
    let read = settings(
        r#"
[gateway]
address = ["192.0.2.53", "2001:db8::53"]
listen = ["192.0.2.53:5000", "0.0.0.0:0"]
connect = ["192.0.2.53"]
parent = "http://proxy.corp.example:8080"
ca = "authority"
upstream-ca = "/r.pem"
badges = "https://hub.lab.test"
separate = true
metrics = "127.0.0.1:9154"
idle-timeout = "90s"
connections = 10
connections-per-client = 20
"#,
    );
    let expected = Gateway {
        addresses: ["192.0.2.53", "2001:db8::53"].map(|address| address.parse().unwrap()).to_vec(),
        listen: ["192.0.2.53:5000", "0.0.0.0:0"].map(|address| address.parse().unwrap()).to_vec(),
        connect: vec!["192.0.2.53:3128".parse().unwrap()],
        parent: Some(ParentProxy {
            host: ProxyHost::Name("proxy.corp.example".parse().unwrap()),
            port: 8080,
            authorization: None,
        }),
        authority: "/etc/pullgate/authority".into(),
        upstream_roots: Some("/r.pem".into()),
        badges: BadgeSource { host: "hub.lab.test".parse().unwrap(), port: 443 },
        separate: true,
        metrics: Some("127.0.0.1:9154".parse().unwrap()),
        idle_timeout: Duration::from_secs(90),
        connections: 10,
        connections_per_client: 10,
    };
    assert_eq!(read.gateway, Some(expected));
}

#[test]
fn a_gateway_needs_an_address_and_nothing_else() {
    assert_eq!(settings("").gateway, None);
    let gateway = settings("[gateway]\naddress = \"192.0.2.53\"").gateway.unwrap();
    assert_eq!(gateway.listen, ["192.0.2.53:443".parse().unwrap()]);
    assert_eq!((gateway.connect, gateway.parent, gateway.separate), (Vec::new(), None, false));
    assert_eq!(fault("[gateway]").0, "`address` is missing");
}

#[test]
fn names_are_steered_to_no_address_that_makes_encryption_optional_or_that_nobody_reaches() {
    for (address, message) in [
        ("127.0.0.1", "`127.0.0.1` is loopback: engines take registries there for ones that need no encryption"),
        ("::1", "`::1` is loopback: engines take registries there for ones that need no encryption"),
        ("::ffff:127.1.2.3", "`127.1.2.3` is loopback: engines take registries there for ones that need no encryption"),
        ("0.0.0.0", "`0.0.0.0` is no address that clients can connect to"),
        ("224.0.0.1", "`224.0.0.1` is no address that clients can connect to"),
        ("gateway.corp.example", "`gateway.corp.example` is not an address"),
    ] {
        assert_eq!(fault(&format!("[gateway]\naddress = \"{address}\"")).0, message);
    }
}

#[test]
fn metrics_are_off_unless_asked_for_and_on_loopback_unless_told() {
    assert_eq!(settings("").metrics, None);
    assert_eq!(settings("[metrics]").metrics, Some("127.0.0.1:9153".parse().unwrap()));
    let (_, warnings) = parse("[metrics]\nlisten = \"0.0.0.0:9153\"").unwrap();
    assert_eq!(warnings[0].message, "`0.0.0.0:9153` shows the metrics to the network");
}

#[test]
fn the_page_is_off_unless_asked_for_and_on_loopback_unless_told() {
    assert_eq!(settings("").page, None);
    let page = settings("[page]").page.unwrap();
    assert_eq!((page.listen, page.names), ("127.0.0.1:8053".parse().unwrap(), Vec::new()));
    let page = settings("[page]\nlisten = \"127.0.0.1:9000\"\nnames = [\"Gate.corp.example\"]").page.unwrap();
    assert_eq!(
        page,
        Page { listen: "127.0.0.1:9000".parse().unwrap(), names: vec!["gate.corp.example".parse().unwrap()] }
    );
    let (_, warnings) = parse("[page]\nlisten = \"0.0.0.0:8053\"").unwrap();
    assert_eq!(warnings[0].message, "`0.0.0.0:8053` shows the page to the network");
    assert_faults(&[
        ("[page]\nnames = [\"*.example\"]", "`*.example` is a wildcard", "write one host name"),
        ("[page]\nnames = []", "an empty list", "write a name, or leave the key out"),
    ]);
    let taken = "[server]\nlisten = [\"127.0.0.1:8053\"]\n[page]\nlisten = \"127.0.0.1:8053\"";
    assert_eq!(fault(taken).0, "`127.0.0.1:8053` is listened on twice");
}

#[test]
fn no_workers_means_one_a_core() {
    assert_eq!(settings("[server]\nworkers = 0").server.workers, 3);
    assert_eq!(Settings::embedded(&Environment::default()).server.workers, 1);
}

/// Checks rows of text, message and hint.
fn assert_faults(rows: &[(&str, &str, &str)]) {
    for &(text, message, hint) in rows {
        assert_eq!(fault(text), (message.to_owned(), hint.to_owned()), "{text}");
    }
}

#[test]
fn wrong_listeners_and_upstreams_say_what_would_do() {
    assert_faults(&[
        ("[sever]", "unknown key `sever`", "did you mean `server`?"),
        ("[server]\nlisten_on = []", "unknown key `listen_on`", "did you mean `listen`?"),
        ("server = 1", "expected a table, found a whole number", "write a table"),
        ("[server]\nlisten = \"127.0.0.1:53\"", "expected an array, found a string", "write `[\"127.0.0.1:53\"]`"),
        ("[server]\nlisten = []", "an empty list", "write one address at least"),
        ("[server]\nlisten = [\"localhost:53\"]", "`localhost:53` is a name, not an address", "write `127.0.0.1`"),
        ("[server]\nlisten = [\"[::1]\", \"::1\"]", "`[::1]:53` is listened on twice", "keep one of them"),
        ("[server]\nclients = []", "an empty list", "nobody would be answered: write ranges, or leave the key out"),
        (
            "[server]\nclients = [\"10.0.0.1/8\"]",
            "`10.0.0.1/8` has bits set beyond its /8",
            "write `10.0.0.0/8` for the network, `10.0.0.1` for the one address",
        ),
        ("[server]\nworkers = -1", "-1 is out of range", "write a number from 0 to 1024"),
        (
            "[server]\nrecord-types = [\"AAAAA\"]",
            "unknown record type `AAAAA`",
            "write a name such as `AAAA`, or a number as `TYPE65`",
        ),
        (
            "[server]\nrecord-types = [\"ANY\"]",
            "no name has records of type ANY",
            "write types of data, such as `A` or `TXT`",
        ),
        (
            "[server.tls]\ncertificate = \"c\"\nkey = \"k\"",
            "a certificate without listeners",
            "write `dot = [\"127.0.0.1:853\"]` or `doh = …`",
        ),
        (
            "[server.tls]\ncertificate = \"c\"\ndot = [\"127.0.0.1\"]",
            "`key` is missing",
            "write `key = \"/etc/pullgate/tls.key\"`",
        ),
        ("[upstream]\nservers = []", "an empty list", "nothing would resolve: write `[\"system\"]` or an address"),
        ("[upstream]\nservers = [\"9.9.9.9\", \"9.9.9.9:53\"]", "`9.9.9.9:53` is listed twice", "keep one of them"),
        (
            "[server]\nlisten = [\"0.0.0.0:53\"]\n[upstream]\nservers = [\"127.0.0.1\"]",
            "`127.0.0.1:53` is this resolver itself",
            "write the address of another server",
        ),
        (
            "[upstream]\nservers = [\"127.0.0.1\"]",
            "`127.0.0.1:53` is this resolver itself",
            "write the address of another server",
        ),
        ("[upstream]\ntimeout = 2", "a number without a unit", "write `\"2s\"` for seconds"),
        (
            "[upstream]\ntimeout = \"soon\"",
            "`soon` is no duration",
            "write a number with its unit, as in `10s` or `1h`",
        ),
        ("[upstream]\ntimeout = \"1ms\"", "`1ms` is out of range", "write a duration from 100ms to 30s"),
        ("[[upstream.route]]\ndomains = [\"a.example\"]", "`servers` is missing", "write `servers = [\"10.0.0.53\"]`"),
        (
            "[[upstream.route]]\ndomains = [\"a.example\"]\nservers = [\"system\"]",
            "a route cannot use the system's servers",
            "name the servers of these domains",
        ),
        (
            "[[upstream.route]]\ndomains = [\".a.example\"]\nservers = [\"10.0.0.53\"]",
            "`.a.example` is a wildcard",
            "a domain stands for all names below it: write `a.example`",
        ),
        (
            "[[upstream.route]]\ndomains = [\"a.example\", \"A.example.\"]\nservers = [\"10.0.0.53\"]",
            "`a.example` has a route already",
            "keep one of them",
        ),
        (
            "[[upstream.route]]\ndomains = [\".\"]\nservers = [\"10.0.0.53\"]",
            "`.` stands for every name",
            "write the servers of all names into `[upstream]`",
        ),
    ]);
}

#[test]
fn other_wrong_keys_and_values_say_what_would_do() {
    assert_faults(&[
        ("[policy]\npath = \"a\\u0000b\"", "a control character, `\\u{0}`", "write plain text on one line"),
        ("[policy]\nmode = \"audti\"", "unknown value `audti`", "did you mean `audit`?"),
        ("[policy]\nstrict = \"yes\"", "expected `true` or `false`, found a string", "write `true` or `false`"),
        ("[policy]\npath = \"\"", "an empty string", "write a name, or leave the key out"),
        ("[blocked]\nttl = \"1500ms\"", "a fraction of a second", "write whole seconds, as in `10s`"),
        ("[blocked]\nancestors = \"refused\"", "unknown value `refused`", "write one of `nxdomain`, `nodata`"),
        ("[cache]\nentries = 1.5", "expected a whole number, found a number", "write a whole number"),
        ("[static]\n\"*.a.example\" = \"10.0.0.1\"", "`*.a.example` is a wildcard", "write one host name"),
        ("[static]\n\"a.example\" = []", "an empty list", "write its addresses, as in `[\"172.17.0.1\"]`"),
        (
            "[static]\n\"a.example\" = [\"b.example\"]",
            "`b.example` is not an address",
            "write it as in `172.17.0.1` or `fd00::1`",
        ),
        (
            "[static]\n\"a.example\" = \"10.0.0.1\"\n\"A.example\" = \"10.0.0.2\"",
            "`a.example` is written twice",
            "keep one of them",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:9153\"]\n[metrics]\nlisten = \"127.0.0.1:9153\"",
            "`127.0.0.1:9153` is listened on twice",
            "keep one of them",
        ),
        ("[log]\nqueries = \"deneid\"", "unknown value `deneid`", "did you mean `denied`?"),
    ]);
}

#[test]
fn a_socket_path_too_long_for_the_kernel_is_refused() {
    assert_eq!(fault(&format!("[control]\nsocket = \"/{}\"", "a".repeat(107))).0, "too long a path");
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = parse("[server]\nworkers = \"many\"\n[cache]\nentries = -1\n[nonsense]\n").unwrap_err();
    assert_eq!(
        faults.iter().map(|fault| fault.excerpt.as_ref().map(|at| at.line)).collect::<Vec<_>>(),
        [Some(2), Some(4), Some(5)]
    );
}

#[test]
fn an_open_resolver_is_warned_of() {
    let (_, warnings) = parse("[server]\nclients = [\"0.0.0.0/0\"]").unwrap();
    assert_eq!(warnings[0].message, "`0.0.0.0/0` lets the whole internet ask");
}

#[test]
fn what_runs_without_a_file_needs_no_privilege() {
    let embedded = Settings::embedded(&Environment { user: 1000, home: Some("/home/a".into()), ..environment() });
    assert_eq!(embedded.server.listen, ["127.0.0.1:5300".parse().unwrap()]);
    assert!(matches!(embedded.policy.source, PolicySource::Embedded(text) if text.contains("docker-hub")));
    assert!(embedded.policy.state.starts_with("/home/a"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(\\[(server|upstream|static|cache|gateway)\\]\n|[a-z-]{1,8} = |\"[a-z0-9.:/#*-]{0,12}\"|[0-9]{1,4}|\\[|\\]|,|\n|\\PC){0,30}") {
        let (Ok((_, found)) | Err(found)) = parse(&text);
        for at in found.iter().filter_map(|found| found.excerpt.as_ref()) {
            prop_assert!(at.line as usize <= text.matches('\n').count() + 1);
        }
    }
}

#[test]
fn a_history_can_be_done_without_and_has_its_limits() {
    assert_eq!(settings("[history]\nenabled = false\nkeep = \"1d\"\n").history, None);
    assert!(settings("[history]\n").history.is_some());
    for (text, message) in [
        ("keep = \"10s\"", "`10s` is out of range"),
        ("size = \"1 MiB\"", "`1 MiB` is out of range"),
        ("size = \"much\"", "`much` is no size"),
    ] {
        let (found, hint) = fault(&format!("[history]\n{text}\n"));
        assert_eq!(found, message);
        assert!(!hint.is_empty(), "{text}");
    }
}

#[test]
fn dnstap_has_one_reader() {
    for text in ["", "socket = \"/s\"\naddress = \"127.0.0.1\""] {
        let (message, hint) = fault(&format!("[dnstap]\n{text}\n"));
        assert_eq!(message, "dnstap needs one reader, on a Unix socket or by TCP");
        assert!(hint.contains("socket") && hint.contains("address"));
    }
    let read = |text: &str| settings(&format!("[dnstap]\n{text}\n")).dnstap.unwrap();
    let tcp = DnstapReader::Tcp("192.0.2.1:6000".parse().unwrap());
    let usual = Dnstap { reader: tcp, queries: QueryLog::All, identity: None, bidirectional: true };
    assert_eq!(read("address = \"192.0.2.1\""), usual);
    let reader = DnstapReader::Unix("/etc/pullgate/dnstap.sock".into());
    let whole = Dnstap { reader, queries: QueryLog::Denied, identity: Some("here".to_owned()), bidirectional: false };
    let keys = "socket = \"dnstap.sock\"\nqueries = \"denied\"\nidentity = \"here\"\nbidirectional = false";
    assert_eq!(read(keys), whole);
}
