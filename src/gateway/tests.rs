//! A gateway on loopback between a client and a registry, both over TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::testing::{Lab, POLICY, exchange};
use crate::event::images::{ImageDecided, ImageSubject};
use crate::event::{Decision, Subject};

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Status line of an answer.
fn status(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

/// A request on a connection that goes on.
fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: registry.example\r\n\r\n")
}

// ── inspect ──

#[tokio::test]
async fn an_allowed_image_streams_through_and_a_denied_one_never_reaches_the_registry() {
    let lab = Lab::new().await;
    let answer = lab.get("GET", "/v2/good/app/manifests/1").await;
    assert_eq!(status(&answer), "HTTP/1.1 200 OK");
    assert!(answer.ends_with("a manifest") && !answer.contains("keep-alive"), "{answer}");
    let denied = lab.get("GET", "/v2/bad/app/manifests/1").await;
    assert!(status(&denied).starts_with("HTTP/1.1 403 image access denied: "), "{denied}");
    assert!(denied.contains(r#""code":"DENIED""#), "{denied}");
    assert_eq!(lab.registry.lines(), ["GET /v2/good/app/manifests/1"]);
    assert_eq!((lab.counters.images_allowed.value(), lab.counters.images_denied.value()), (1, 1));
}

#[tokio::test]
async fn a_head_of_a_denied_manifest_asks_for_a_get() {
    let lab = Lab::new().await;
    let answer = lab.get("HEAD", "/v2/bad/app/manifests/1").await;
    assert!(status(&answer).starts_with("HTTP/1.1 405 image access denied: "), "{answer}");
    assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
    let blob = lab.get("HEAD", &format!("/v2/bad/app/blobs/{SHA}")).await;
    assert!(status(&blob).starts_with("HTTP/1.1 404 "), "{blob}");
}

#[tokio::test]
async fn what_is_pushed_where_it_may_be_streams_and_its_location_comes_back_as_the_client_went() {
    let lab = Lab::new().await;
    let body = "x".repeat(100_000);
    let put = format!(
        "PUT /v2/good/own/manifests/1 HTTP/1.1\r\nHost: registry.example\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(status(&lab.ask("registry.example", &put).await), "HTTP/1.1 200 OK");
    assert_eq!(lab.registry.asked()[0].body, body.len());
    let upload = lab.get("POST", "/v2/good/own/blobs/uploads/").await;
    let location =
        format!("location: https://registry.example:{}/v2/good/own/blobs/uploads/one?_state=x", lab.gateway.port());
    assert!(upload.contains(&location), "{upload}");
    assert!(status(&lab.get("POST", "/v2/good/app/blobs/uploads/").await).contains("403 image access denied: push"));
}

#[tokio::test]
async fn a_mount_from_a_repository_that_may_not_be_pulled_begins_as_an_upload() {
    let lab = Lab::new().await;
    for (query, expected) in [
        (format!("?mount={SHA}&from=good/app"), format!("POST /v2/good/own/blobs/uploads/?mount={SHA}&from=good/app")),
        (format!("?mount={SHA}&from=bad/app"), "POST /v2/good/own/blobs/uploads/".to_owned()),
        (format!("?mount={SHA}"), "POST /v2/good/own/blobs/uploads/".to_owned()),
    ] {
        let answer = lab.get("POST", &format!("/v2/good/own/blobs/uploads/{query}")).await;
        assert_eq!(status(&answer), "HTTP/1.1 202 Accepted");
        assert_eq!(lab.registry.lines().pop(), Some(expected));
    }
    assert_eq!(lab.counters.mounts_withheld.value(), 1);
}

#[tokio::test]
async fn requests_of_a_connection_go_over_one_to_the_registry_each_judged() {
    let lab = Lab::new().await;
    let mut stream = lab.connect("registry.example").await.unwrap();
    let all = [
        request("GET", "/v2/good/a/manifests/1"),
        request("GET", "/v2/bad/a/manifests/1"),
        "GET /v2/good/b/tags/list?n=5 HTTP/1.1\r\nHost: registry.example\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    let answers = exchange(&mut stream, &all.concat()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 403 ").count(), 1, "{answers}");
    assert_eq!(lab.registry.lines(), ["GET /v2/good/a/manifests/1", "GET /v2/good/b/tags/list?n=5"]);
}

#[tokio::test]
async fn the_registry_hears_nothing_of_the_way_and_the_bearer_as_it_was_sent() {
    let lab = Lab::new().await;
    let request = "GET /v2/good/app/manifests/1?ns=docker.io HTTP/1.1\r\nHost: registry.example\r\n\
        Authorization: Bearer t\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close, x-odd\r\nX-Odd: 1\r\nAccept: a/b\r\n\r\n";
    lab.ask("registry.example", request).await;
    let asked = &lab.registry.asked()[0];
    assert_eq!(asked.line, "GET /v2/good/app/manifests/1");
    let names: Vec<&str> = asked.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["accept", "authorization", "host", "via"]);
    assert_eq!(asked.headers[2].1, format!("registry.example:{}", lab.gateway.port()));
}

#[tokio::test]
async fn the_registrys_own_token_service_is_reached_once_the_registry_has_named_it() {
    let lab = Lab::new().await;
    let token = "/token?scope=repository:good/app:pull";
    assert!(status(&lab.get("GET", token).await).contains("403 image access denied: no such endpoint"));
    assert_eq!(status(&lab.get("GET", "/v2/").await), "HTTP/1.1 401 Unauthorized");
    assert!(lab.get("GET", token).await.ends_with(r#"{"token":"t"}"#));
    assert_eq!(lab.registry.lines().pop().as_deref(), Some("GET /token?scope=repository:good/app:pull"));
}

#[tokio::test]
async fn a_request_with_two_readings_is_refused_and_its_connection_closed() {
    let lab = Lab::new().await;
    for (request, expected) in [
        ("GET /v2/good/app/manifests/1 HTTP/1.1\r\nHost: other.example\r\n\r\n", "421 "),
        ("GET /v2/good/app/manifests/1 HTTP/1.1\r\nHost: registry.example\r\nHost: other.example\r\n\r\n", "400 "),
        ("GET /v2/good/app/manifests/1 HTTP/1.1\r\n\r\n", "400 "),
        ("GET https://registry.example/v2/good/app/manifests/1 HTTP/1.1\r\nHost: registry.example\r\n\r\n", "400 "),
        ("GET /v2/good/app/manifests/1 HTTP/1.1\r\nHost: registry.example:1\r\n\r\n", "421 "),
        (
            "POST /v2/good/own/blobs/uploads/ HTTP/1.1\r\nHost: registry.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "400 ",
        ),
        (
            "POST /v2/good/own/blobs/uploads/ HTTP/1.1\r\nHost: registry.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "400 ",
        ),
    ] {
        let smuggled = format!("{request}GET /v2/bad/secret/manifests/1 HTTP/1.1\r\nHost: registry.example\r\n\r\n");
        let answer = lab.ask("registry.example", &smuggled).await;
        assert!(status(&answer).starts_with(&format!("HTTP/1.1 {expected}")), "{request}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "closed after it: {answer}");
    }
    assert_eq!(lab.registry.lines(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_length_beside_chunks_never_makes_one_request_two() {
    let lab = Lab::new().await;
    let request = "POST /v2/good/own/blobs/uploads/ HTTP/1.1\r\nHost: registry.example\r\nContent-Length: 6\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /v2/bad/secret/manifests/1 HTTP/1.1\r\nHost: registry.example\r\n\r\n";
    lab.ask("registry.example", request).await;
    assert!(lab.registry.lines().iter().all(|line| !line.contains("secret")), "{:?}", lab.registry.lines());
}

#[tokio::test]
async fn a_broken_body_is_the_clients_fault() {
    let lab = Lab::new().await;
    let head =
        "POST /v2/good/own/blobs/uploads/ HTTP/1.1\r\nHost: registry.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["-0\r\n\r\n", "11111111111111111\r\n", "5\nhello\r\n0\r\n\r\n"] {
        let answer = lab.ask("registry.example", &format!("{head}{body}")).await;
        assert!(status(&answer).starts_with("HTTP/1.1 400 "), "{body}: {answer}");
    }
}

#[tokio::test]
async fn odd_paths_reach_no_registry() {
    let lab = Lab::new().await;
    for path in [
        "/v2/good/../bad/app/manifests/1",
        "/v2/good%2fapp/manifests/1",
        "/v2/good//app/manifests/1",
        "/v2/_catalog",
        "/v1/search?q=x",
        "/",
        "/v2/good/app/manifests/1/",
    ] {
        assert!(status(&lab.get("GET", path).await).starts_with("HTTP/1.1 403 "), "{path}");
    }
    assert!(status(&lab.get("DELETE", "/v2/good/app/tags/list").await).starts_with("HTTP/1.1 405 "));
    assert_eq!(lab.registry.lines(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_image_under_audit_is_handed_on_and_told() {
    let policy = POLICY.replace("registry = \"inspected\"", "registry = \"inspected\"\nmode = \"audit\"");
    let mut lab = Lab::with(&policy, |_| {}).await;
    assert_eq!(status(&lab.get("GET", "/v2/bad/app/manifests/1").await), "HTTP/1.1 200 OK");
    assert_eq!(lab.counters.images_would_deny.value(), 1);
    let event = loop {
        let event = lab.events.recv().await.unwrap();
        if event.image().is_some() {
            break event;
        }
    };
    assert_eq!(event.subject, Subject::Image { repository: "bad/app".into(), action: "pull" });
    assert_eq!((event.decision, event.entry.as_deref()), (Decision::Audit, Some("inspected")));
}

#[tokio::test]
async fn what_is_decided_on_images_is_counted_by_whom_and_why_and_by_the_key_that_decided() {
    let lab = Lab::new().await;
    for path in ["/v2/good/app/manifests/1", "/v2/bad/app/manifests/1", "/v2/bad/app/manifests/2", "/no/registry"] {
        lab.get("GET", path).await;
    }
    lab.get("GET", "/v2/_catalog").await;
    let told = |(decided, count): (ImageDecided, u64)| {
        let ImageDecided { about, action, decision, reason, key, .. } = decided;
        let ImageSubject { client, host, repository } = about.unwrap();
        let key = key.map_or_else(|| "-".to_owned(), |key| format!("{} {}", key.registry, key.text));
        format!("{client} {host} {repository:?} {action} {decision:?} {reason} {key} {count}")
    };
    let mut rows: Vec<_> = lab.tallies.images().take().rows.into_iter().map(told).collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"127.0.0.1 registry.example "" catalog Deny catalog - 1"#,
            r#"127.0.0.1 registry.example "bad/app" pull Deny unlisted inspected [[images]] of inspected 2"#,
            r#"127.0.0.1 registry.example "good/app" pull Allow allow inspected allow = "good/*" 1"#,
            r#"127.0.0.1 registry.example "no/registry" request Deny unknown-request - 1"#,
        ]
    );
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_said_to_be_so() {
    let lab = Lab::with(&POLICY.replace("private-addresses = true", ""), |_| {}).await;
    let answer = lab.get("GET", "/v2/good/app/manifests/1").await;
    assert!(
        status(&answer).starts_with("HTTP/1.1 502 the image gateway cannot reach the registry: its name has private"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_know_the_authority_is_told_of() {
    let mut lab = Lab::new().await;
    let stream = TcpStream::connect(lab.gateway).await.unwrap();
    assert!(lab.connect_as_web(stream, "registry.example").await.is_err());
    let event = loop {
        let event = lab.events.recv().await.unwrap();
        if event.decision == Decision::Deny {
            break event;
        }
    };
    assert!(event.reason.contains("images ca install"), "{}", event.reason);
    assert_eq!(lab.counters.untrusted.value(), 1);
}

// ── pass ──

#[tokio::test]
async fn a_passed_connection_is_the_registrys_own_from_end_to_end() {
    let lab = Lab::new().await;
    let stream = TcpStream::connect(lab.gateway).await.unwrap();
    let mut stream = lab.connect_as_web(stream, "passed.example").await.unwrap();
    let request = "GET /anything HTTP/1.1\r\nHost: passed.example\r\nConnection: close\r\n\r\n";
    assert!(exchange(&mut stream, request).await.ends_with("a manifest"));
    assert_eq!(lab.counters.passed.value(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_allowed_or_not_said_is_turned_away_with_an_alert() {
    let mut lab = Lab::new().await;
    let error = lab.connect("forbidden.example").await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    let event = lab.events.recv().await.unwrap();
    assert_eq!((event.name.to_string().as_str(), event.decision), ("forbidden.example", Decision::Deny));
    assert_eq!(event.subject, Subject::Connection);
    let error = lab.connect("192.0.2.1").await.unwrap_err();
    assert!(
        error.to_string().contains("UnrecognisedName") || error.to_string().contains("UnrecognizedName"),
        "{error}"
    );
    assert_eq!((lab.counters.refused.value(), lab.counters.no_name.value()), (1, 1));
}

#[tokio::test]
async fn a_client_outside_the_networks_is_not_served() {
    let lab = Lab::with(POLICY, |settings| settings.listen = vec!["[::1]:0".parse().unwrap()]).await;
    let mut stream = TcpStream::connect(lab.gateway).await.unwrap();
    assert_eq!(exchange(&mut stream, "").await, "");
    assert_eq!((lab.counters.outside_clients.value(), lab.counters.connections.value()), (1, 0));
}

#[tokio::test]
async fn what_is_no_tls_is_ended() {
    let lab = Lab::new().await;
    let mut stream = TcpStream::connect(lab.gateway).await.unwrap();
    let answer = exchange(&mut stream, "GET / HTTP/1.1\r\nHost: passed.example\r\n\r\n").await;
    assert_eq!(answer, "");
    assert_eq!(lab.counters.not_tls.value(), 1);
}

// ── CONNECT ──

/// The answer to a CONNECT, and the stream behind it.
async fn tunnel(lab: &Lab, authority: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(lab.connect).await.unwrap();
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

#[tokio::test]
async fn a_client_that_names_a_proxy_gets_the_same_paths() {
    let lab = Lab::new().await;
    let port = lab.registry.address.port();
    let (head, stream) = tunnel(&lab, &format!("passed.example:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut stream = lab.connect_as_web(stream, "passed.example").await.unwrap();
    let request = "GET /anything HTTP/1.1\r\nHost: passed.example\r\nConnection: close\r\n\r\n";
    assert!(exchange(&mut stream, request).await.ends_with("a manifest"));
    let (head, _) = tunnel(&lab, "passed.example:22").await;
    assert!(head.starts_with("HTTP/1.1 403 no registry is reached on port 22"), "{head}");
    let (head, _) = tunnel(&lab, &format!("forbidden.example:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 403 registry access to forbidden.example is not allowed"), "{head}");
    assert_eq!((lab.counters.connects.value(), lab.counters.connects_refused.value()), (3, 2));
}

#[tokio::test]
async fn a_tunnel_is_for_the_name_that_was_asked_for() {
    let lab = Lab::new().await;
    let (head, stream) = tunnel(&lab, &format!("registry.example:{}", lab.registry.address.port())).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let error = lab.connect_as_web(stream, "passed.example").await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

#[tokio::test]
async fn nothing_but_connect_is_proxied() {
    let lab = Lab::new().await;
    let mut stream = TcpStream::connect(lab.connect).await.unwrap();
    let request = "GET http://passed.example/ HTTP/1.1\r\nHost: passed.example\r\nConnection: close\r\n\r\n";
    assert!(status(&exchange(&mut stream, request).await).starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn registries_are_reached_through_the_sites_proxy_where_there_is_one() {
    let outer = Lab::new().await;
    let proxy = crate::config::ParentProxy {
        host: crate::config::ProxyHost::Address(outer.connect.ip()),
        port: outer.connect.port(),
        authorization: None,
    };
    // The port that a client connects to is the port that the proxy is asked for.
    let listener = std::net::SocketAddr::from(([127, 0, 0, 3], outer.registry.address.port()));
    let lab = Lab::with(POLICY, |settings| {
        settings.parent = Some(proxy);
        settings.listen = vec![listener];
    })
    .await;
    let stream = TcpStream::connect(lab.gateway).await.unwrap();
    let mut stream = outer.connect_as_web(stream, "passed.example").await.unwrap();
    let request = "GET /anything HTTP/1.1\r\nHost: passed.example\r\nConnection: close\r\n\r\n";
    assert!(exchange(&mut stream, request).await.ends_with("a manifest"));
    assert_eq!((outer.counters.connects.value(), outer.counters.passed.value()), (1, 1));
}

// ── publishers ──

#[tokio::test]
async fn the_hub_is_asked_for_a_badge_when_the_policy_depends_on_it() {
    let policy = r#"
version = 1
[[registry]]
preset = "docker-hub"
hosts = ["registry.example"]
path = "inspect"
private-addresses = true
[[images]]
registry = "docker-hub"
official = "allow"
verified-publishers = "allow"
community = "deny"
"#;
    let lab = Lab::with(policy, |_| {}).await;
    assert_eq!(status(&lab.get("GET", "/v2/verified/app/manifests/1").await), "HTTP/1.1 200 OK");
    assert_eq!(lab.registry.lines(), ["GET /v2/orgs/verified/", "GET /v2/verified/app/manifests/1"]);
    let denied = lab.get("GET", "/v2/nobody/app/manifests/1").await;
    assert!(denied.contains("image access denied: community images not allowed"), "{denied}");
    lab.get("GET", "/v2/library/nginx/manifests/1").await;
    lab.get("GET", "/v2/verified/app/manifests/2").await;
    assert_eq!(lab.counters.badges_asked.value(), 2, "once a namespace, and not for official images");
}
