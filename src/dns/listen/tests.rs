//! Real sockets on loopback, from binding to a stop.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket as Client};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::dns::testing::{Lab, POLICY, parse, query, with_opt};

/// How long a missing answer holds up a test before it fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that runs until it is stopped.
struct Served {
    lab: Lab,
    addresses: Vec<(SocketAddr, Transport)>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<io::Result<()>>,
}

impl Served {
    async fn on(listen: &[&str]) -> Self {
        let lab = Lab::with(POLICY, |settings| {
            settings.server.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
            settings.server.workers = 2;
        })
        .await;
        let listeners = Listeners::bind(&lab.settings.server).unwrap();
        let addresses = listeners.addresses();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(listeners.run(Arc::clone(&lab.pipeline), shutdown));
        Self { lab, addresses, stop, running }
    }

    fn port(&self) -> u16 {
        self.addresses[0].0.port()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }
}

/// A client that takes answers from `server` only, as a stub's connected socket does.
async fn client_of(server: SocketAddr) -> Client {
    let own: IpAddr = if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let client = Client::bind((own, 0)).await.unwrap();
    client.connect(server).await.unwrap();
    client
}

async fn receive(client: &Client) -> Message {
    let mut buffer = [0; 2048];
    let length = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.expect("an answer").unwrap();
    parse(&buffer[..length])
}

async fn ask_udp(server: SocketAddr, name: &str) -> ResponseCode {
    let client = client_of(server).await;
    client.send(&query(name, RecordType::A)).await.unwrap();
    receive(&client).await.metadata.response_code
}

async fn send_tcp(server: SocketAddr, packets: &[Vec<u8>]) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    for packet in packets {
        stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
        stream.write_all(packet).await.unwrap();
    }
    stream
}

async fn receive_tcp(stream: &mut TcpStream) -> Message {
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    parse(&answer)
}

#[tokio::test]
async fn udp_and_tcp_are_on_the_same_port_and_answer() {
    let served = Served::on(&["127.0.0.1:0", "[::1]:0"]).await;
    assert_eq!(served.addresses[0].0, served.addresses[1].0);
    for &(address, transport) in &served.addresses {
        for (name, expected) in [("ok.example", ResponseCode::NoError), ("evil.test", ResponseCode::NXDomain)] {
            let rcode = if transport == Transport::Udp {
                ask_udp(address, name).await
            } else {
                receive_tcp(&mut send_tcp(address, &[query(name, RecordType::A)]).await).await.metadata.response_code
            };
            assert_eq!(rcode, expected, "{address} {transport:?} {name}");
        }
    }
    let counters = served.lab.pipeline.counters();
    assert_eq!((counters.queries_udp.value(), counters.queries_tcp.value()), (4, 4));
    served.stop().await;
}

#[tokio::test]
async fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    let cases = [("0.0.0.0:0", vec!["127.0.0.1", "127.0.0.2"]), ("[::]:0", vec!["::1", "127.0.0.1", "127.0.0.3"])];
    for (listen, asked) in cases {
        let served = Served::on(&[listen]).await;
        for address in asked {
            let server = SocketAddr::new(address.parse().unwrap(), served.port());
            // The first comes from a task, the second from the cache, the third is denied on the spot.
            for name in ["ok.example", "ok.example", "evil.test"] {
                ask_udp(server, name).await;
            }
        }
        served.stop().await;
    }
}

#[tokio::test]
async fn a_wildcard_listener_is_known_by_the_address_that_was_asked() {
    for (listen, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "127.0.0.3"), ("[::]:0", "::1")] {
        let mut served = Served::on(&[listen]).await;
        let server = SocketAddr::new(asked.parse().unwrap(), served.port());
        ask_udp(server, "evil.test").await;
        receive_tcp(&mut send_tcp(server, &[query("evil.test", RecordType::A)]).await).await;
        for _ in 0..2 {
            assert_eq!(served.lab.events.recv().await.unwrap().listener, server);
        }
        served.stop().await;
    }
}

#[tokio::test]
async fn an_ipv4_and_an_ipv6_wildcard_share_a_port() {
    let first = Served::on(&["0.0.0.0:0"]).await;
    let port = first.port();
    first.stop().await;
    let served = Served::on(&[&format!("[::]:{port}"), &format!("0.0.0.0:{port}")]).await;
    for address in ["127.0.0.1", "::1"] {
        assert_eq!(ask_udp(SocketAddr::new(address.parse().unwrap(), port), "evil.test").await, ResponseCode::NXDomain);
    }
    served.stop().await;
}

#[tokio::test]
async fn more_datagrams_than_a_batch_are_all_answered() {
    let served = Served::on(&["127.0.0.1:0"]).await;
    let client = client_of(served.addresses[0].0).await;
    for _ in 0..100 {
        client.send(&with_opt(query("evil.test", RecordType::A), b"")).await.unwrap();
    }
    for _ in 0..100 {
        assert_eq!(receive(&client).await.metadata.response_code, ResponseCode::NXDomain);
    }
    served.stop().await;
}

#[tokio::test]
async fn equal_questions_of_different_clients_and_transports_are_one_upstream() {
    let served = Served::on(&["127.0.0.1:0", "127.0.0.1:0"]).await;
    let name = "held.good.example";
    let mut clients = Vec::new();
    for (address, _) in served.addresses.iter().filter(|(_, transport)| *transport == Transport::Udp) {
        for _ in 0..10 {
            let client = client_of(*address).await;
            client.send(&query(name, RecordType::A)).await.unwrap();
            clients.push(client);
        }
    }
    let mut stream = send_tcp(served.addresses[0].0, &[query(name, RecordType::A)]).await;
    served.lab.upstream.wait_for(name).await;
    served.lab.upstream.release();
    for client in &clients {
        assert_eq!(receive(client).await.metadata.response_code, ResponseCode::NoError);
    }
    assert_eq!(receive_tcp(&mut stream).await.metadata.response_code, ResponseCode::NoError);
    // One question; what is held back is put again, as to any server that is late.
    assert_eq!(served.lab.resolved(), 1);
    assert!(served.lab.upstream.asked().len() < clients.len());
    served.stop().await;
}

#[tokio::test]
async fn many_misses_at_once_are_all_answered_each_with_its_own() {
    let served = Served::on(&["127.0.0.1:0"]).await;
    let client = client_of(served.addresses[0].0).await;
    for index in 0..100 {
        let kind = if index % 2 == 0 { "chain" } else { "plain" };
        let mut question = query(&format!("{kind}.n{index}.good.example"), RecordType::A);
        question[1] = index;
        client.send(&question).await.unwrap();
    }
    for _ in 0..100 {
        let answer = receive(&client).await;
        let name = answer.queries[0].name().to_ascii();
        assert!(name.contains(&format!(".n{}.", answer.metadata.id & 0xff)), "{name}");
        assert_eq!(answer.answers.len(), if name.starts_with("chain") { 2 } else { 1 }, "{name}");
    }
    let asked: HashSet<String> = served.lab.upstream.asked().into_iter().map(|(name, _)| name).collect();
    assert_eq!((asked.len(), served.lab.resolved()), (100, 100));
    served.stop().await;
}

#[tokio::test]
async fn a_miss_whose_upstream_fails_is_answered_so() {
    let served = Served::on(&["127.0.0.1:0"]).await;
    served.lab.upstream.break_down();
    for _ in 0..2 {
        assert_eq!(ask_udp(served.addresses[0].0, "ok.example").await, ResponseCode::ServFail);
    }
    assert_eq!(served.lab.pipeline.counters().failed.value(), 2);
    served.stop().await;
}

#[tokio::test]
async fn what_is_in_flight_is_answered_before_the_end() {
    let served = Served::on(&["127.0.0.1:0"]).await;
    let server = served.addresses[0].0;
    let client = client_of(server).await;
    client.send(&query("held.udp.good.example", RecordType::A)).await.unwrap();
    let mut stream = send_tcp(server, &[query("held.tcp.good.example", RecordType::A)]).await;
    let upstream = Arc::clone(&served.lab.upstream);
    upstream.wait_for("held.udp.good.example").await;
    upstream.wait_for("held.tcp.good.example").await;
    served.stop.send(()).unwrap();
    upstream.release();
    assert_eq!(receive(&client).await.metadata.response_code, ResponseCode::NoError);
    assert_eq!(receive_tcp(&mut stream).await.metadata.response_code, ResponseCode::NoError);
    served.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(server).await.is_err());
}

#[tokio::test]
async fn what_had_arrived_before_the_end_is_answered() {
    let lab = Lab::with(POLICY, |settings| settings.server.listen = vec!["127.0.0.1:0".parse().unwrap()]).await;
    let listeners = Listeners::bind(&lab.settings.server).unwrap();
    let client = client_of(listeners.addresses()[0].0).await;
    for _ in 0..50 {
        client.send(&query("evil.test", RecordType::A)).await.unwrap();
    }
    listeners.run(Arc::clone(&lab.pipeline), std::future::ready(())).await.unwrap();
    for _ in 0..50 {
        assert_eq!(receive(&client).await.metadata.response_code, ResponseCode::NXDomain);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_bounded() {
    let lab = Lab::with(POLICY, |settings| settings.server.listen = vec!["127.0.0.1:0".parse().unwrap()]).await;
    let listeners = Listeners::bind(&lab.settings.server).unwrap();
    // A client that neither asks nor leaves does not hold up the end.
    let _idle = std::net::TcpStream::connect(listeners.addresses()[0].0).unwrap();
    let start = tokio::time::Instant::now();
    listeners.run(Arc::clone(&lab.pipeline), std::future::ready(())).await.unwrap();
    assert!(start.elapsed() <= DRAIN_TIME);
}

#[test]
fn a_taken_port_names_the_process_that_has_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = bind_to(taken.local_addr().unwrap()).unwrap_err();
    assert!(error.is_port_taken());
    let text = error.to_string();
    assert!(text.contains(&format!("(process {})", std::process::id())) && text.contains("TCP 127.0.0.1:"), "{text}");
    assert!(error.hint().unwrap().contains("listen on another address"));

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = bind_to(taken.local_addr().unwrap()).unwrap_err().to_string();
    assert!(text.starts_with("cannot listen on UDP 127.0.0.1:"), "{text}");
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    let first = bind_to("127.0.0.1:0".parse().unwrap()).unwrap();
    assert!(bind_to(first.addresses()[0].0).unwrap_err().is_port_taken());
}

#[test]
fn an_address_that_no_interface_has_yet_is_bound_in_advance() {
    // TEST-NET-1: no host has it.
    let listeners = bind_to("192.0.2.1:0".parse().unwrap()).unwrap();
    assert_eq!(listeners.addresses()[0].0.ip().to_string(), "192.0.2.1");
}

#[test]
fn a_port_that_needs_a_privilege_says_which() {
    let error = SocketError {
        purpose: "UDP",
        address: "127.0.0.1:53".parse().unwrap(),
        source: io::ErrorKind::PermissionDenied.into(),
        owner: None,
    };
    assert_eq!(error.to_string(), "cannot listen on UDP 127.0.0.1:53: not permitted");
    assert!(error.hint().unwrap().contains("CAP_NET_BIND_SERVICE"));
}

fn bind_to(address: SocketAddr) -> Result<Listeners, BindError> {
    let server = crate::config::Settings::embedded(&crate::config::Environment::default()).server;
    Listeners::bind(&Server { listen: vec![address], workers: 2, ..server })
}
