//! Walks of pulls from a registry in this process.

use std::time::Duration;

use super::testing::{Asked, Lab, Ports, Reply, digest, manifest, proxy, reply, rows};
use super::{Keyring, Platform, Walked};

const TOKEN: &str = "s3cret-token";

/// A registry that has a token service, an index, and its blobs elsewhere, as Docker Hub has them.
fn hub(asked: &Asked, ports: Ports) -> Reply {
    let tls = ports.tls;
    let authorized = asked.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
    let realm =
        format!(r#"Bearer realm="https://auth.example:{tls}/token", service=the registry, scope=repository:app:pull"#);
    let entry = |number, arch| {
        format!(r#"{{"digest":"{}","platform":{{"os":"linux","architecture":"{arch}"}}}}"#, digest(number))
    };
    match (asked.host.as_str(), path(asked)) {
        ("auth.example", "/token") => reply(200, &[], &format!(r#"{{"token":"{TOKEN}"}}"#)),
        ("registry.example", _) if !authorized => reply(401, &[("www-authenticate", &realm)], "{}"),
        ("registry.example", "/v2/app/manifests/1") => {
            reply(200, &[], &format!(r#"{{"manifests":[{},{}]}}"#, entry(7, "arm64"), entry(8, "amd64")))
        }
        ("registry.example", path) if path.ends_with(&digest(8)) => reply(200, &[], &manifest()),
        ("registry.example", path) if path.contains("/blobs/") => {
            let place = format!("https://cdn.example:{tls}/data?X-Signature=s3cret-signature");
            reply(307, &[("location", &place)], "")
        }
        ("cdn.example", "/data") => reply(302, &[("location", "./again?X-Signature=s3cret-signature")], ""),
        ("cdn.example", "/again") => reply(206, &[], "x"),
        _ => reply(404, &[], ""),
    }
}

fn path(asked: &Asked) -> &str {
    asked.line.split([' ', '?']).nth(1).unwrap()
}

/// A registry that wants to know nobody, whose blobs are where `blob` says.
fn open(asked: &Asked, blob: impl FnOnce() -> Reply) -> Reply {
    match path(asked) {
        "/v2/" => reply(200, &[], "{}"),
        path if path.ends_with("/manifests/1") => reply(200, &[], &manifest()),
        path if path.contains("/blobs/") => blob(),
        _ => reply(404, &[], ""),
    }
}

fn end(walked: &Walked) -> &str {
    walked.end.as_deref().unwrap_or("it went to its end")
}

#[tokio::test]
async fn a_pull_is_walked_to_every_host_that_it_needs() {
    let lab = Lab::new(hub).await;
    assert_eq!(
        lab.hosts("registry.example:TLS/app:1").await,
        [
            "registry.example api ping,manifest,config,layer,signature 401,200,307,404",
            "auth.example auth token 200",
            "cdn.example blob config,layer 302,206",
        ]
    );
    let asked = lab.asked();
    let manifests: Vec<&str> =
        asked.iter().filter(|asked| asked.line.contains("/manifests/1")).map(|a| &*a.line).collect();
    assert_eq!(manifests, ["HEAD /v2/app/manifests/1", "GET /v2/app/manifests/1"]);
    let token = asked.iter().find(|asked| asked.host == "auth.example").unwrap();
    assert_eq!(token.line, "GET /token?service=the+registry&scope=repository%3Aapp%3Apull");
    for away in asked.iter().filter(|asked| asked.host == "cdn.example") {
        assert_eq!((away.authorization.as_deref(), away.range.as_deref()), (None, Some("bytes=0-0")), "{away:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_walk_holds_a_secret() {
    let lab = Lab::new(|asked, ports| match path(asked) {
        "/token" if asked.line.contains("service=fails") => reply(403, &[], "s3cret words"),
        path if path.contains("/blobs/") => {
            let place = format!("https://gone.example:{}/s3cret/x?sig=s3cret", ports.tls);
            reply(307, &[("location", &place)], "")
        }
        _ => hub(asked, ports),
    })
    .await;
    let walked = lab.walk(&lab.wanted("registry.example:TLS/app:1")).await;
    let shown = format!("{walked:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("gone.example"), "{shown}");
}

#[tokio::test]
async fn the_image_of_a_platform_is_walked_or_all_of_them() {
    let lab = Lab::new(hub).await;
    let wanted = lab.wanted("registry.example:TLS/app:1");
    let other = super::Wanted { platform: Some("windows/amd64".parse().unwrap()), ..wanted.clone() };
    assert_eq!(
        end(&lab.walk(&other).await),
        "there is no image for windows/amd64; there are: linux/arm64, linux/amd64"
    );
    let all = lab.walk(&super::Wanted { platform: None, ..wanted }).await;
    assert!(end(&all).ends_with(&format!("answers 404 for `app` at {}", digest(7))), "{all:#?}");
    assert_eq!(Platform::here().os, "linux");
}

#[tokio::test]
async fn a_registry_that_challenges_at_the_ping_alone_gets_its_token_all_the_same() {
    let lab = Lab::new(|asked, ports| {
        let authorized = asked.authorization.is_some();
        match path(asked) {
            "/v2/" => hub(asked, ports),
            "/token" => reply(200, &[], r#"{"access_token":"t"}"#),
            _ if !authorized => reply(404, &[], r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
            _ => open(asked, || reply(200, &[], "x")),
        }
    })
    .await;
    assert_eq!(lab.hosts("registry.example:TLS/app:1").await.len(), 2);
}

#[tokio::test]
async fn a_registry_that_knows_no_head_or_answers_it_strangely_is_walked() {
    for status in [404, 405, 403, 500, 200] {
        let lab = Lab::new(move |asked, _| {
            if asked.line.starts_with("HEAD") {
                reply(status, &[], "")
            } else {
                open(asked, || reply(200, &[], "blob"))
            }
        })
        .await;
        let rows = lab.hosts("registry.example:TLS/app:1").await;
        assert!(rows[0].starts_with("registry.example api,blob ping,manifest,config,layer"), "{rows:?}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_a_password_gets_it_from_a_helper() {
    let challenge = r#"Negotiate, Basic realm="the registry", charset="UTF-8""#;
    let mut lab = Lab::new(move |asked, _| match asked.authorization.as_deref() {
        Some(basic) if basic.starts_with("Basic ") => open(asked, || reply(200, &[], "x")),
        _ => reply(401, &[("www-authenticate", challenge)], ""),
    })
    .await;
    let wanted = lab.wanted("registry.example:TLS/app:1");
    let without = lab.walk(&wanted).await;
    assert!(end(&without).ends_with("wants a user and a password, and there is none here"), "{without:#?}");
    lab.keyring = keyring(r#"{"credsStore":"lab"}"#);
    let walked = lab.walk(&wanted).await;
    assert_eq!(walked.end, None, "{walked:#?}");
    let note = "docker-credential-lab was asked for credentials: which hosts it needs is not seen here";
    assert!(walked.notes.iter().any(|has| has == note), "{walked:#?}");
}

/// A keyring of this `config.json`, with the helpers of the tests.
fn keyring(config: &str) -> Keyring {
    let (keyring, troubles) = Keyring::of(|name| (name == "DOCKER_AUTH_CONFIG").then(|| config.into()));
    assert_eq!(troubles, [""; 0]);
    keyring.with_helpers_in(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/helpers:/usr/bin:/bin"))
}

#[tokio::test]
async fn an_identity_token_is_posted_and_where_nobody_takes_that_shown_in_a_get() {
    for takes_post in [true, false] {
        let mut lab = Lab::new(move |asked, ports| match (path(asked), asked.line.starts_with("POST")) {
            ("/token", true) if takes_post && asked.body.contains("refresh_token=an+identity") => hub(asked, ports),
            ("/token", true) => reply(405, &[], ""),
            ("/token", false) if asked.authorization.is_none() => reply(401, &[], ""),
            _ => hub(asked, ports),
        })
        .await;
        lab.keyring = keyring(&format!(
            r#"{{"auths":{{"registry.example:{}":{{"identitytoken":"an identity"}}}}}}"#,
            lab.ports.tls
        ));
        let rows = lab.hosts("registry.example:TLS/app:1").await;
        assert_eq!(rows[1], if takes_post { "auth.example auth token 200" } else { "auth.example auth token 405,200" });
    }
}

#[tokio::test]
async fn credentials_go_to_no_token_service_without_tls() {
    let mut lab = Lab::new(|asked, ports| match path(asked) {
        "/token" => hub(asked, ports),
        _ if asked.authorization.is_some() => hub(asked, ports),
        _ => reply(401, &[("www-authenticate", r#"Bearer realm="http://gone.example/token""#)], ""),
    })
    .await;
    lab.keyring = keyring(r#"{"credsStore":"lab"}"#);
    let walked = lab.walk(&lab.wanted("registry.example:TLS/app:1")).await;
    let note = "http://gone.example is not shown credentials: it has no TLS";
    assert!(walked.notes.iter().any(|has| has == note), "{walked:#?}");
}

#[tokio::test]
async fn where_a_manifest_says_that_layers_are_is_walked_as_well() {
    let lab = Lab::new(|asked, ports| {
        let urls = format!(r#"["https://cdn.example:{}/layer","ftp://x.example/","https://cdn.example/2"]"#, ports.tls);
        let (config, own, foreign) = (digest(1), digest(2), digest(3));
        let body = format!(
            r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"{own}"}},{{"digest":"{foreign}","urls":{urls}}}]}}"#
        );
        match path(asked) {
            "/layer" => reply(206, &[], "x"),
            path if path.ends_with("/manifests/1") => reply(200, &[], &body),
            _ => open(asked, || reply(206, &[], "x")),
        }
    })
    .await;
    let walked = lab.walk(&lab.wanted("registry.example:TLS/app:1")).await;
    assert_eq!(rows(&walked)[1], "cdn.example blob layer-url 206");
    let note = "a layer's `urls` hold something that clients pass over: it is neither https nor http";
    assert!(walked.notes.iter().any(|has| has == note), "{walked:#?}");
    assert!(lab.asked().iter().all(|asked| !asked.line.contains(&digest(3))), "not asked of the registry");
}

#[tokio::test]
async fn a_registry_on_this_machine_may_be_without_tls() {
    let lab = Lab::new(|asked, _| open(asked, || reply(200, &[], "x"))).await;
    let walked = lab.walk(&lab.wanted("localhost:PLAIN/app:1")).await;
    assert_eq!((walked.end.as_deref(), walked.hosts.len()), (None, 1));
    assert!(walked.hosts[0].is_plain, "{walked:#?}");
}

#[tokio::test]
async fn a_manifest_may_be_elsewhere_and_its_host_may_want_a_token_of_its_own() {
    let lab = Lab::new(|asked, ports| match (asked.host.as_str(), path(asked)) {
        ("registry.example", path) if path.contains("/manifests/") => {
            reply(307, &[("location", &format!("https://deep.example:{}{path}", ports.tls))], "")
        }
        ("deep.example", _) if asked.authorization.is_none() => {
            let realm = format!("Bearer realm=https://auth.example:{}/token", ports.tls);
            reply(401, &[("www-authenticate", &realm)], "")
        }
        ("auth.example", _) => reply(200, &[], r#"{"token":"t"}"#),
        _ => open(asked, || reply(200, &[], "x")),
    })
    .await;
    let rows = lab.hosts("registry.example:TLS/app:1").await;
    assert_eq!(rows[1..], ["deep.example api manifest,signature 401,200,404", "auth.example auth token 200"]);
    let for_deep = lab.asked().into_iter().filter(|asked| asked.authorization.is_some());
    assert!(for_deep.into_iter().all(|asked| asked.host == "deep.example"));
}

#[tokio::test]
async fn a_push_shows_where_uploads_go_and_is_cancelled() {
    let lab = Lab::new(|asked, ports| {
        let place = format!("https://cdn.example:{}/upload/1?state=s3cret", ports.tls);
        match asked.line.split('?').next().unwrap() {
            "POST /v2/app/blobs/uploads/" => reply(202, &[("location", &place)], ""),
            "DELETE /upload/1" => reply(204, &[], ""),
            _ => open(asked, || reply(200, &[], "x")),
        }
    })
    .await;
    let wanted = super::Wanted { push: true, ..lab.wanted("registry.example:TLS/app:1") };
    let walked = lab.walk(&wanted).await;
    assert_eq!(rows(&walked)[1], "cdn.example blob upload 204");
    assert_eq!(lab.asked().iter().filter(|asked| asked.line.starts_with("DELETE /upload/1?state=s3cret")).count(), 1);
}

#[tokio::test]
async fn a_redirect_without_end_is_left_and_told() {
    let lab = Lab::new(|asked, _| open(asked, || reply(302, &[("location", "?again")], ""))).await;
    let walked = lab.walk(&lab.wanted("registry.example:TLS/app:1")).await;
    assert_eq!(end(&walked), "no blob of it could be had");
    assert!(
        walked.notes[0].starts_with("config: more than 10 redirects, the last to https://registry.example:"),
        "{walked:#?}"
    );
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_seen_and_the_rest_walked() {
    let lab = Lab::new(|asked, _| {
        let place = if asked.line.contains(&digest(1)) { "https://gone.example/x" } else { "/own" };
        match path(asked) {
            "/own" => reply(206, &[], "x"),
            _ => open(asked, || reply(307, &[("location", place)], "")),
        }
    })
    .await;
    let rows = lab.hosts("registry.example:TLS/app:1").await;
    assert_eq!(rows[1], "gone.example blob config its name has no address");
}

#[tokio::test]
async fn a_certificate_of_another_name_ends_the_walk() {
    let lab = Lab::new(|asked, _| open(asked, || reply(200, &[], "x"))).await;
    let walked = lab.walk(&lab.wanted("other.test:TLS/app:1")).await;
    assert!(walked.hosts[0].outcomes[0].starts_with("TLS: "), "{walked:#?}");
    assert!(end(&walked).starts_with("https://other.test:"), "nobody asks it without TLS: {walked:#?}");
}

#[tokio::test]
async fn proxies_are_asked_for_names_and_the_rows_say_so() {
    let ports = std::sync::Arc::new(std::sync::OnceLock::<Ports>::new());
    let known = std::sync::Arc::clone(&ports);
    let (proxies, lines) = proxy(move |head| {
        let ports = known.get()?;
        Some(if head.starts_with("CONNECT ") { ports.tls } else { ports.plain })
    })
    .await;
    let lab = Lab::through(proxies, |asked, _| match path(asked) {
        "/plain" => reply(206, &[], "x"),
        _ => open(asked, || reply(307, &[("location", "http://gone.example/plain?sig=1")], "")),
    })
    .await;
    ports.set(lab.ports).unwrap();
    let walked = lab.walk(&lab.wanted("registry.example:TLS/app:1")).await;
    assert_eq!(walked.end, None, "{walked:#?}");
    assert!(walked.hosts.iter().all(|seen| seen.proxy.as_deref().is_some_and(|proxy| !proxy.contains("hunter2"))));
    let lines = lines.lock().unwrap();
    assert!(lines.contains(&format!("CONNECT registry.example:{} HTTP/1.1", lab.ports.tls)), "{lines:?}");
    assert!(lines.contains(&"GET http://gone.example/plain?sig=1 HTTP/1.1".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn a_walk_ends_at_its_deadline_with_what_it_has_seen() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://cdn.example:{}/x", silent.local_addr().unwrap().port());
    let lab = Lab::new(move |asked, _| open(asked, || reply(307, &[("location", &place)], ""))).await;
    let wanted = super::Wanted { limit: Duration::from_millis(300), ..lab.wanted("registry.example:TLS/app:1") };
    let walked = lab.walk(&wanted).await;
    assert_eq!(end(&walked), "not done within 300ms");
    assert!(rows(&walked)[0].starts_with("registry.example api"), "{walked:#?}");
}
