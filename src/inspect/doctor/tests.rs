//! Whole examinations, with name servers of our own on loopback, one for each way in which a server can behave.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{RData, Record, RecordType};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::inspect::machine::Machine;
use crate::policy::document::{Mode, Unlisted};
use crate::policy::probe::{NOT_A_CLIENT, PROBE_NAME, Regime, Standing};

/// How a server behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// As pullgate that allows `registry-1.docker.io` and denies the rest, under this regime.
    Pullgate(Regime),
    /// The same, with an upstream that does not answer.
    PullgateAlone,
    /// As one to whom this client is none.
    TurnsAway,
    /// Refuses without a reason.
    Refuses,
    /// Knows no TXT, as a small forwarder, and gives every name an address.
    PermissiveWithoutText,
    /// Gives every name an address.
    Permissive,
    /// Says that no name exists, as forwarders do for `.invalid`.
    Nxdomain,
    /// Gives every TXT question a text.
    Wildcard,
    /// Takes questions and answers none.
    Silent,
}

const ENFORCING: Regime = Regime::Rules { mode: Mode::Enforce, unlisted: Unlisted::Deny };
const AUDITING: Regime = Regime::Rules { mode: Mode::Audit, unlisted: Unlisted::Deny };
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Manner {
    /// The answer's bytes.
    fn answer(self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_query(question.clone());
        let record = |data| Record::from_rdata(question.name().clone(), 60, data);
        let address = || record(RData::A(A(Ipv4Addr::new(192, 0, 2, 7))));
        let text = |text: String| record(RData::TXT(TXT::new(vec![text])));
        let asks_text = question.query_type() == RecordType::TXT;
        match self {
            Self::PullgateAlone if name == "registry-1.docker.io" => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            Self::PullgateAlone => return Self::Pullgate(ENFORCING).answer(&query.to_vec().unwrap()),
            Self::Pullgate(regime) if name == PROBE_NAME && asks_text => {
                let standing =
                    Standing { version: "0.1.0", generation: 1, client: LOOPBACK, regime, group: Some("ci") };
                answer.add_answer(text(standing.to_string()));
            }
            Self::Pullgate(regime) if name == "registry-1.docker.io" || regime == AUDITING => {
                answer.add_answer(address());
            }
            Self::Pullgate(_) | Self::Nxdomain => answer.metadata.response_code = ResponseCode::NXDomain,
            Self::TurnsAway => {
                answer.metadata.response_code = ResponseCode::Refused;
                let mut edns = Edns::new();
                let note = [&18u16.to_be_bytes()[..], NOT_A_CLIENT.as_bytes()].concat();
                edns.options_mut().insert(EdnsOption::Unknown(15, note));
                answer.set_edns(edns);
            }
            Self::Refuses => answer.metadata.response_code = ResponseCode::Refused,
            Self::PermissiveWithoutText if asks_text => answer.metadata.response_code = ResponseCode::Refused,
            Self::Wildcard if asks_text => {
                answer.add_answer(text("hello".to_owned()));
            }
            Self::Permissive | Self::PermissiveWithoutText | Self::Wildcard => {
                answer.add_answer(address());
            }
            Self::Silent => return None,
        }
        Some(answer.to_vec().unwrap())
    }
}

/// Starts a server that answers over UDP in one manner and over TCP in another.
async fn server(udp: Manner, tcp: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = udp.answer(&buffer[..length]) {
                socket.send_to(&answer, client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(stream, tcp));
        }
    });
    address
}

async fn serve_connection(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut query = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut query).await?;
    let Some(answer) = manner.answer(&query) else {
        // Held open until the client gives up.
        return stream.read_u8().await.map(drop);
    };
    stream.write_u16(u16::try_from(answer.len()).unwrap()).await?;
    stream.write_all(&answer).await
}

/// One examination: name servers and other resolvers, each with its manner.
async fn examined(servers: &[Manner], foreign: &[Manner]) -> Report {
    let mut request = Request { timeout: Duration::from_millis(300), ..Request::default() };
    for manner in servers {
        request.servers.push(server(*manner, *manner).await);
    }
    for manner in foreign {
        request.foreign.push(server(*manner, *manner).await);
    }
    examine_with(&request).await
}

async fn examine_with(request: &Request) -> Report {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    examine(&Scene::of(&Machine::under(root.path()), request, None)).await
}

/// The finding whose title holds these words, which there has to be.
fn finding<'r>(report: &'r Report, words: &str) -> &'r Finding {
    let found = report.findings.iter().find(|finding| finding.title.contains(words));
    found.unwrap_or_else(|| panic!("no finding says `{words}`: {report:#?}"))
}

#[tokio::test]
async fn with_pullgate_alone_nothing_is_open() {
    let report = examined(&[Manner::Pullgate(ENFORCING)], &[]).await;
    assert!(report.is_clean(), "{report:#?}");
    assert!(finding(&report, "is pullgate 0.1.0").title.contains("group ci"));
    assert_eq!(finding(&report, "registry-1.docker.io resolves").severity, Severity::Ok);
    assert_eq!(finding(&report, "quay.io is denied").severity, Severity::Ok);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_problem() {
    let report = examined(&[Manner::PullgateAlone], &[]).await;
    let found = finding(&report, "registry-1.docker.io does not resolve");
    assert_eq!(found.severity, Severity::Problem);
    assert!(found.meaning.contains("its upstream does not answer"), "{found:?}");
    assert_eq!(finding(&report, "quay.io is denied").severity, Severity::Ok);
}

#[tokio::test]
async fn who_does_not_say_that_it_is_pullgate_is_not() {
    for manner in [Manner::Permissive, Manner::Nxdomain, Manner::Wildcard] {
        let report = examined(&[manner], &[]).await;
        assert_eq!(finding(&report, "is not pullgate").severity, Severity::Problem);
    }
}

#[tokio::test]
async fn a_second_name_server_is_a_way_round_and_shows_what_it_leaks() {
    for other in [Manner::Permissive, Manner::PermissiveWithoutText] {
        let report = examined(&[Manner::Pullgate(ENFORCING), other], &[]).await;
        let second = finding(&report, "is not pullgate, and resolves quay.io");
        assert_eq!(second.severity, Severity::Problem);
        assert!(second.fix.as_deref().unwrap().starts_with("pullgate setup"));
    }
}

#[tokio::test]
async fn a_client_outside_the_networks_is_told_the_line_that_takes_it_in() {
    let report = examined(&[Manner::TurnsAway], &[]).await;
    let refused = finding(&report, "is pullgate, and refuses 127.0.0.1");
    assert_eq!(refused.severity, Severity::Problem);
    let fix = refused.fix.clone().unwrap();
    assert!(fix.contains("clients = […, \"127.0.0.1\"]"), "{fix}");
    assert!(finding(&examined(&[Manner::Refuses], &[]).await, "refuses to answer").severity == Severity::Problem);
}

#[tokio::test]
async fn a_server_that_is_silent_is_a_problem() {
    let report = examined(&[Manner::Silent], &[]).await;
    assert_eq!(finding(&report, "does not answer: no answer in time").severity, Severity::Problem);
}

#[tokio::test]
async fn a_server_that_answers_over_one_transport_only_is_a_problem() {
    let pullgate = Manner::Pullgate(ENFORCING);
    for (udp, tcp, words) in [(pullgate, Manner::Silent, "over TCP"), (Manner::Silent, pullgate, "over UDP")] {
        let request = Request {
            servers: vec![server(udp, tcp).await],
            timeout: Duration::from_millis(300),
            ..Request::default()
        };
        let report = examine_with(&request).await;
        assert_eq!(finding(&report, &format!("does not answer {words}")).severity, Severity::Problem);
        let problems = report.findings.iter().filter(|finding| finding.severity == Severity::Problem);
        assert_eq!(problems.count(), 1, "{report:#?}");
    }
}

#[tokio::test]
async fn audit_and_forwarding_are_told() {
    let forwarding = Regime::Rules { mode: Mode::Enforce, unlisted: Unlisted::Forward };
    for (regime, words, severity) in [
        (AUDITING, "under audit", Severity::Warning),
        (forwarding, "does not list resolve", Severity::Note),
        (Regime::NoGroup, "no group takes this client", Severity::Problem),
        (Regime::NoPolicy, "no valid policy", Severity::Problem),
    ] {
        let report = examined(&[Manner::Pullgate(regime)], &[]).await;
        assert_eq!(finding(&report, words).severity, severity);
        assert_eq!(report.worst(), severity, "{report:#?}");
    }
}

#[tokio::test]
async fn another_resolver_that_answers_is_open_and_one_that_pullgate_answers_for_is_not() {
    let pullgate = Manner::Pullgate(ENFORCING);
    let report = examined(&[pullgate], &[Manner::Permissive, pullgate]).await;
    let open = finding(&report, "is open, and quay.io resolves there");
    assert_eq!(open.severity, Severity::Problem);
    assert!(open.fix.as_deref().unwrap().starts_with("pullgate setup redirect"));
    assert_eq!(finding(&report, "come to pullgate: port 53 is redirected").severity, Severity::Ok);
}

#[tokio::test]
async fn another_resolver_that_is_silent_is_closed() {
    let report = examined(&[Manner::Pullgate(ENFORCING)], &[Manner::Silent]).await;
    assert_eq!(finding(&report, "port 53 of other resolvers is closed").severity, Severity::Ok);
}

#[tokio::test]
async fn names_of_the_command_line_are_the_ones_that_count() {
    let request = Request {
        servers: vec![server(Manner::Pullgate(ENFORCING), Manner::Pullgate(ENFORCING)).await],
        allowed: Some("nexus.corp.example".parse().unwrap()),
        denied: Some("registry-1.docker.io".parse().unwrap()),
        timeout: Duration::from_millis(300),
        ..Request::default()
    };
    let report = examine_with(&request).await;
    assert_eq!(finding(&report, "nexus.corp.example does not resolve").severity, Severity::Problem);
    let denied = finding(&report, "registry-1.docker.io is not denied");
    assert!(denied.fix.as_deref().unwrap().starts_with("pullgate check registry-1.docker.io --client 127.0.0.1"));
}

#[tokio::test]
async fn files_alone_ask_nobody() {
    let report = examine_with(&Request { foreign: public_resolvers(), ..Request::default() }).await;
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.unseen.iter().any(|what| what.contains("not running here")), "{report:#?}");
}

#[tokio::test]
async fn files_that_are_none_or_too_long_are_unseen_and_hang_nobody() {
    let root = TempDir::new().unwrap();
    let place = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for path in ["etc/hosts", "etc/docker/daemon.json", "run/systemd/resolve/resolv.conf", "proc/7/comm"] {
        nix::unistd::mkfifo(&place(path), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    fs::write(place("etc/netplan/long.yaml"), "#".repeat(2 << 20)).unwrap();
    let servers: Vec<String> = (0..10_000).map(|number| format!("nameserver fd18::{number:x}")).collect();
    fs::write(place("etc/resolv.conf"), servers.join("\n")).unwrap();
    // A process that ended between two looks.
    fs::write(place("proc/8/comm"), "dockerd\n").unwrap();
    let (machine, request) = (Machine::under(root.path()), Request::default());
    let report = examine(&Scene::of(&machine, &request, None)).await;
    for path in ["/etc/hosts", "/etc/docker/daemon.json", "/run/systemd/resolve/resolv.conf", "/etc/netplan/long.yaml"]
    {
        assert!(report.unseen.iter().any(|what| what.starts_with(path)), "{path}: {report:#?}");
    }
    let servers = finding(&report, "/etc/resolv.conf names 10000 servers");
    assert!(servers.title.len() < 200, "a title is no list of everything: {servers:?}");
}
