//! The resolver as a whole, against servers on loopback.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tokio::time::{advance, pause, resume};

use super::testing::{Asked, FakeServer, MAX_TTL, Packet, name};
use super::wire::kind;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn plain(server: &FakeServer) -> UpstreamServer {
    UpstreamServer::Plain(server.address)
}

fn settings(servers: Vec<UpstreamServer>) -> config::Upstream {
    config::Upstream { servers, timeout: Duration::from_millis(1500), routes: Vec::new() }
}

fn start_with(upstream: &config::Upstream) -> Arc<Resolver> {
    let cache = config::Cache { entries: 1000, max_ttl: MAX_TTL, stale: DAY };
    Resolver::start(upstream, &cache, &[]).unwrap()
}

fn start(servers: &[&FakeServer]) -> Arc<Resolver> {
    start_with(&settings(servers.iter().map(|server| plain(server)).collect()))
}

fn lookup(text: &str) -> OwnedLookup {
    let name = name(text);
    Lookup { name: name.as_name(), record_type: kind::A, dnssec: Dnssec::default(), servers: &[] }.to_owned()
}

/// How a question ends: the first address, or why there is none.
async fn resolve(resolver: &Arc<Resolver>, lookup: OwnedLookup) -> Result<String, Failure> {
    match resolver.resolve(lookup).await {
        Resolution::Answer(held) => Ok(held.answer.addresses()[0].to_string()),
        Resolution::Failed(failure) => Err(failure),
    }
}

/// A server that answers while the switch is on, and else fails.
async fn switched(on: &Arc<AtomicBool>) -> FakeServer {
    let on = on.clone();
    FakeServer::start(move |asked: &Asked| {
        let failure = || Packet::to(&asked.query).rcode(2).build();
        vec![if on.load(Ordering::Relaxed) { asked.address([192, 0, 2, 1]) } else { failure() }]
    })
    .await
}

/// Lets time pass, with nothing under way.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn what_was_resolved_is_found_by_the_next_probe() {
    let server = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = start(&[&server]);
    let lookup = lookup("registry.example");
    assert!(matches!(resolver.probe(&lookup.as_lookup()), Probe::Miss));
    assert_eq!(resolve(&resolver, lookup.clone()).await.unwrap(), "192.0.2.1");
    assert!(matches!(resolver.probe(&lookup.as_lookup()), Probe::Hit(held) if !held.stale));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_thousand_equal_questions_are_one_upstream() {
    let server = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = start(&[&server]);
    let questions: Vec<_> = (0..1000)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolve(&resolver, lookup("registry.example")).await })
        })
        .collect();
    for question in questions {
        assert_eq!(question.await.unwrap().unwrap(), "192.0.2.1");
    }
    assert_eq!(server.asked().len(), 1);
    let counters = resolver.counters();
    assert_eq!((counters.asked, counters.in_flight), (1, 0));
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_and_remembered() {
    let server = switched(&Arc::default()).await;
    let resolver = start(&[&server]);
    let ask = || resolve(&resolver, lookup("registry.example"));
    assert_eq!(
        tokio::join!(ask(), ask(), ask()),
        (Err(Failure::Failing), Err(Failure::Failing), Err(Failure::Failing))
    );
    assert_eq!(ask().await, Err(Failure::Failing));
    assert!(matches!(resolver.probe(&lookup("registry.example").as_lookup()), Probe::Failed(Failure::Failing)));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_takes_no_answer_from_others() {
    let server = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = start(&[&server]);
    let mut leaving = Box::pin(resolver.resolve(lookup("registry.example")));
    let started = std::future::poll_fn(|context| std::task::Poll::Ready(leaving.as_mut().poll(context))).await;
    assert!(started.is_pending());
    let staying = resolve(&resolver, lookup("registry.example"));
    drop(leaving);
    assert_eq!(staying.await.unwrap(), "192.0.2.1");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn what_is_past_its_time_is_served_when_the_servers_fail_and_then_at_once() {
    let on = Arc::new(AtomicBool::new(true));
    let server = switched(&on).await;
    let resolver = start(&[&server]);
    resolve(&resolver, lookup("registry.example")).await.unwrap();
    on.store(false, Ordering::Relaxed);
    pass(Duration::from_secs(301)).await;
    let Resolution::Answer(held) = resolver.resolve(lookup("registry.example")).await else { panic!("no answer") };
    assert!(held.stale);
    let asked = server.asked().len();
    assert!(matches!(resolver.probe(&lookup("registry.example").as_lookup()), Probe::Hit(held) if held.stale));
    assert_eq!((server.asked().len(), resolver.counters().stale), (asked, 1));
    on.store(true, Ordering::Relaxed);
    pass(Duration::from_secs(1)).await;
    let Resolution::Answer(held) = resolver.resolve(lookup("registry.example")).await else { panic!("no answer") };
    assert!(!held.stale);
}

#[tokio::test]
async fn a_refresh_renews_in_the_background() {
    let server = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = start(&[&server]);
    resolve(&resolver, lookup("registry.example")).await.unwrap();
    pass(Duration::from_secs(280)).await;
    let probe = || resolver.probe(&lookup("registry.example").as_lookup());
    assert!(matches!(probe(), Probe::Hit(held) if !held.refresh_due), "not in use yet");
    assert!(matches!(probe(), Probe::Hit(held) if held.refresh_due));
    resolver.refresh(lookup("registry.example"));
    resolver.refresh(lookup("registry.example"));
    while resolver.counters().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(probe(), Probe::Hit(held) if held.age < Duration::from_secs(10)));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn when_too_much_is_under_way_a_question_is_turned_away_and_counted() {
    let server = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = start(&[&server]);
    let all = u32::try_from(MAX_IN_FLIGHT).unwrap();
    let permits = resolver.permits.clone().try_acquire_many_owned(all).unwrap();
    assert_eq!(resolve(&resolver, lookup("registry.example")).await, Err(Failure::Busy));
    assert_eq!(resolver.counters().busy, 1);
    drop(permits);
    resolve(&resolver, lookup("registry.example")).await.unwrap();
}

#[tokio::test]
async fn with_a_silent_first_server_a_question_is_answered_by_the_second() {
    let (silent, healthy) = (FakeServer::silent().await, FakeServer::healthy([192, 0, 2, 2]).await);
    let resolver = start(&[&silent, &healthy]);
    assert_eq!(resolve(&resolver, lookup("registry.example")).await.unwrap(), "192.0.2.2");
    assert_eq!(resolve(&resolver, lookup("other.example")).await.unwrap(), "192.0.2.2");
    assert_eq!(silent.asked().len(), 1);
}

#[tokio::test]
async fn a_first_server_that_sends_only_garbage_is_passed_over() {
    let garbage = FakeServer::start(|_| vec![b"no DNS message at all".to_vec()]).await;
    let healthy = FakeServer::healthy([192, 0, 2, 2]).await;
    let resolver = start(&[&garbage, &healthy]);
    for text in ["a.example", "b.example", "c.example"] {
        assert_eq!(resolve(&resolver, lookup(text)).await.unwrap(), "192.0.2.2");
    }
    assert_eq!(garbage.asked().len(), 1);
}

#[tokio::test]
async fn near_misses_do_not_count_against_the_server() {
    let server = FakeServer::start(|asked| {
        let mut guess = asked.address([6, 6, 6, 6]);
        guess[0] ^= 1;
        [vec![guess; 15], vec![asked.address([192, 0, 2, 1])]].concat()
    });
    let server = server.await;
    let resolver = start(&[&server]);
    for index in 0..70 {
        assert_eq!(resolve(&resolver, lookup(&format!("n{index}.example"))).await.unwrap(), "192.0.2.1");
    }
    let counters = &resolver.counters().servers[0];
    assert!(counters.near_misses >= 1000 && !counters.resting && counters.failed == 0, "{counters:?}");
}

#[tokio::test]
async fn the_route_with_the_longest_domain_answers_and_else_the_default() {
    let [default, corp, dev] = [1, 2, 3].map(|last| FakeServer::healthy([192, 0, 2, last]));
    let (default, corp, dev) = tokio::join!(default, corp, dev);
    let route = |domain: &str, server| config::Route { domains: vec![name(domain)], servers: vec![plain(server)] };
    let routes = vec![route("corp.example", &corp), route("dev.corp.example", &dev)];
    let resolver = start_with(&config::Upstream { routes, ..settings(vec![plain(&default)]) });
    for (text, address) in [
        ("registry.example", "192.0.2.1"),
        ("xcorp.example", "192.0.2.1"),
        ("corp.example", "192.0.2.2"),
        ("nexus.corp.example", "192.0.2.2"),
        ("nexus.dev.corp.example", "192.0.2.3"),
    ] {
        assert_eq!(resolve(&resolver, lookup(text)).await.unwrap(), address, "{text}");
    }
}

#[tokio::test]
async fn the_servers_of_a_service_answer_for_it_and_are_cached_apart() {
    let (default, own) = (FakeServer::healthy([192, 0, 2, 1]).await, FakeServer::healthy([10, 0, 0, 53]).await);
    let resolver = start(&[&default]);
    let special = OwnedLookup { servers: [own.address].into(), ..lookup("registry.example") };
    assert_eq!(resolve(&resolver, special.clone()).await.unwrap(), "10.0.0.53");
    assert!(matches!(resolver.probe(&lookup("registry.example").as_lookup()), Probe::Miss));
    assert!(matches!(resolver.probe(&special.as_lookup()), Probe::Hit(_)));
}

#[tokio::test]
async fn this_program_itself_is_never_asked() {
    let listener: SocketAddr = "127.0.0.1:5300".parse().unwrap();
    let cache = config::Cache { entries: 10, max_ttl: MAX_TTL, stale: DAY };
    let upstream = settings(vec![UpstreamServer::Plain(listener)]);
    let error = Resolver::start(&upstream, &cache, &[listener]).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:5300") && error.to_string().contains("[upstream]"), "{error}");

    let healthy = FakeServer::healthy([192, 0, 2, 1]).await;
    let resolver = Resolver::start(&settings(vec![plain(&healthy)]), &cache, &[listener]).unwrap();
    let looping = OwnedLookup { servers: [listener].into(), ..lookup("registry.example") };
    assert_eq!(resolve(&resolver, looping).await, Err(Failure::Unreachable));
}

/// A resolver that follows the system whose files lie under `root`.
fn start_system(root: &Path, own: &[SocketAddr]) -> Result<Arc<Resolver>, UpstreamError> {
    let cache = config::Cache { entries: 10, max_ttl: MAX_TTL, stale: DAY };
    Resolver::start_under(SystemPaths::under(root), &settings(vec![UpstreamServer::System]), &cache, own)
}

fn write_resolv_conf(root: &Path, text: &str) {
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/resolv.conf"), text).unwrap();
}

fn default_servers(resolver: &Resolver) -> Vec<String> {
    let servers = resolver.routes.servers(&lookup("registry.example").as_lookup());
    servers.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_system_that_names_no_server_but_this_one_is_waited_for() {
    let own = ["127.0.0.1:53".parse().unwrap()];
    for text in ["", "search corp.example\n", "nameserver 127.0.0.1\n"] {
        let root = tempfile::tempdir().unwrap();
        write_resolv_conf(root.path(), text);
        let resolver = start_system(root.path(), &own).unwrap();
        assert!(default_servers(&resolver).is_empty());
        let failed = resolver.resolve(lookup("registry.example")).await;
        assert!(matches!(failed, Resolution::Failed(Failure::Unreachable)), "{failed:?}");
        write_resolv_conf(root.path(), "nameserver 127.0.0.1\nnameserver 192.0.2.53\n");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(default_servers(&resolver), ["192.0.2.53:53"]);
        assert!(
            matches!(resolver.probe(&lookup("registry.example").as_lookup()), Probe::Miss),
            "the failure is forgotten"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_setup_under_a_running_server_and_a_vpn_that_comes_and_goes_are_followed_within_two_seconds() {
    let root = tempfile::tempdir().unwrap();
    write_resolv_conf(root.path(), "nameserver 192.0.2.53\n");
    let resolver = start_system(root.path(), &["127.0.0.1:53".parse().unwrap()]).unwrap();
    let write = |path: &str, text: &str| {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), text).unwrap();
    };
    let steps = [
        ("etc/pullgate/resolv.conf", "nameserver 192.0.2.53\n", "192.0.2.53:53"),
        ("etc/resolv.conf", "nameserver 127.0.0.1\n", "192.0.2.53:53"),
        ("run/NetworkManager/no-stub-resolv.conf", "nameserver 10.8.0.1\n", "10.8.0.1:53"),
        ("run/NetworkManager/no-stub-resolv.conf", "nameserver 192.0.2.54\n", "192.0.2.54:53"),
    ];
    for (path, text, server) in steps {
        write(path, text);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(default_servers(&resolver), [server], "{path}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_system_is_followed_and_a_host_between_networks_keeps_its_servers() {
    let root = tempfile::tempdir().unwrap();
    write_resolv_conf(root.path(), "nameserver 192.0.2.53\n");
    let resolver = start_system(root.path(), &[]).unwrap();
    let route = resolver.routes.current().id(&lookup("registry.example").as_lookup());
    for (text, servers) in [("nameserver 192.0.2.54\n", "192.0.2.54:53"), ("", "192.0.2.54:53")] {
        write_resolv_conf(root.path(), text);
        for _ in 0..3 {
            tokio::time::sleep(SYSTEM_POLL).await;
        }
        assert_eq!(default_servers(&resolver), [servers], "{text:?}");
    }
    assert_ne!(
        resolver.routes.current().id(&lookup("registry.example").as_lookup()),
        route,
        "another network, another cache"
    );
}
