//! The program as people and scripts meet it: the real binary, its output, its exit codes, its sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asserts;
mod discover;
mod exceptions;
mod harness;
mod images_ca;
mod import;
mod learn;
mod overlay;
mod page;
mod replay;
mod review;
mod rollback;
mod rollout;
mod setup;
mod signals;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Stdio;

use harness::{Ended, PATIENCE, Place, Server, Upstream, pullgate, receive, send};
use nix::sys::signal::Signal;

const ALLOW_A: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n";
const BROKEN: &str = "[[registry]]\nname = \"a\"\nhosts = [\"https://a.example\"]\n";
const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

fn place(policy: &str) -> Place {
    Place::new(policy, Upstream::start())
}

fn server(policy: &str) -> Server {
    place(policy).serve()
}

#[test]
fn serve_resolves_what_is_allowed_and_nothing_else_and_says_how_to_try_it() {
    let mut server = server(ALLOW_A);
    assert_eq!(server.ask("a.example"), (NOERROR, 1));
    assert_eq!(server.ask("b.example"), (NXDOMAIN, 0));
    assert_eq!(server.ask("localhost"), (NOERROR, 1));
    let port = server.dns.port();
    server.wait_printed("pullgate 0.");
    let allowed = server.wait_printed(&format!("dig @127.0.0.1 -p {port} a.example "));
    assert!(allowed.ends_with("# allowed"), "{allowed}");
    let denied = server.wait_printed(&format!("dig @127.0.0.1 -p {port} ghcr.io "));
    assert!(denied.ends_with("# denied: NXDOMAIN, EDE 15 (Blocked)"), "{denied}");
}

#[test]
fn a_command_line_without_a_command_serves() {
    let place = place(ALLOW_A);
    let mut child = place.command(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.starts_with("pullgate "), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_changed_policy_is_in_force_once_reload_says_so() {
    let server = server(ALLOW_A);
    server.place.write_policy(&ALLOW_A.replace("a.example", "b.example"));
    let ended = server.place.run(&["reload"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(server.ask("b.example"), (NOERROR, 1));
    assert_eq!(server.ask("a.example"), (NXDOMAIN, 0));
}

#[test]
fn reloads_under_load_lose_no_question_and_each_is_in_force_when_it_says_so() {
    let always = "[[registry]]\nname = \"always\"\nhosts = [\"always.example\"]\n";
    let server = server(&format!("{ALLOW_A}{always}"));
    let mut reloads = 0;
    std::thread::scope(|scope| {
        let ask_on = || {
            for _ in 0..4000 {
                // A lost answer ends in a time-out, and that in a panic.
                assert_eq!(server.ask("always.example"), (NOERROR, 1));
                assert_eq!(server.ask("never.example"), (NXDOMAIN, 0));
                assert!(matches!(server.ask("a.example"), (NOERROR, 1) | (NXDOMAIN, 0)));
            }
        };
        let clients = [scope.spawn(ask_on), scope.spawn(ask_on), scope.spawn(ask_on)];
        while clients.iter().any(|client| !client.is_finished()) {
            let (on, off) = if reloads % 2 == 0 { ("b.example", "a.example") } else { ("a.example", "b.example") };
            server.place.write_policy(&format!("{}{always}", ALLOW_A.replace("a.example", on)));
            assert!(server.request("POST /v1/reload").contains("200 OK"));
            assert_eq!((server.ask(on), server.ask(off)), ((NOERROR, 1), (NXDOMAIN, 0)));
            reloads += 1;
        }
    });
    assert!(reloads >= 5, "{reloads} reloads are no test");
}

#[test]
fn a_refused_reload_shows_the_place_and_changes_nothing() {
    let server = server(ALLOW_A);
    server.place.write_policy(BROKEN);
    let ended = server.place.run(&["reload"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("policy.d/a.toml:4:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("write `a.example`"), "{}", ended.stderr);
    assert_eq!(server.ask("a.example"), (NOERROR, 1));

    let status = server.place.run(&["status"]);
    assert_eq!(status.code, Some(1));
    assert!(status.stdout.starts_with("degraded"), "{}", status.stdout);
    assert!(status.stdout.contains("policy.d/a.toml:4:"), "{}", status.stdout);

    let json = server.place.run(&["reload", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &report["result"]), (Some(78), &"refused".into()));
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| fault["line"] == 4 && fault["column"] == 10), "{faults:?}");
}

#[test]
fn a_refused_policy_is_logged_fault_by_fault() {
    let mut server = server(ALLOW_A);
    server.place.write_policy(BROKEN);
    server.signal(Signal::SIGHUP);
    let line = server.wait_logged("policy fault");
    assert!(line.contains("policy.d/a.toml:"), "{line}");
}

#[test]
fn a_start_with_a_faulty_policy_and_no_earlier_one_denies_everything_and_says_so() {
    let mut server = server(BROKEN);
    let policy = server.wait_printed("  policy  ");
    assert!(policy.ends_with("policy.d: 0 rules"), "{policy}");
    assert_eq!(server.ask("a.example"), (NXDOMAIN, 0));
    let status = server.place.run(&["status", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((status.code, &report["state"]), (Some(1), &"deny-all".into()));
    server.place.write_policy(ALLOW_A);
    assert_eq!(server.place.run(&["reload"]).code, Some(0));
    assert_eq!(server.place.run(&["status"]).code, Some(0));
}

#[test]
fn faulty_settings_end_with_78_and_the_place() {
    let place = place(ALLOW_A);
    fs::write(place.path("pullgate.toml"), "[server]\nlisten = [\"127.0.0.1:99999\"]\nworker = 1\n").unwrap();
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("pullgate.toml:2:") && ended.stderr.contains("pullgate.toml:3:"), "{}", ended.stderr);
}

#[test]
fn a_taken_port_ends_with_69_and_names_who_has_it() {
    let server = server(ALLOW_A);
    let second = place(ALLOW_A);
    let ended = second.run(&["serve", "--listen", &server.dns.to_string()]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains(&server.dns.to_string()) && ended.stderr.contains("pullgate"), "{}", ended.stderr);
}

#[test]
fn a_taken_control_socket_ends_with_69_and_names_it() {
    let server = server(ALLOW_A);
    let ended = server.place.run(&["serve"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr.contains("control.sock"), "{}", ended.stderr);
    assert_eq!(server.place.run(&["status"]).code, Some(0), "the first server is still reached");
}

#[test]
fn sigterm_ends_the_server_and_takes_its_socket_along() {
    let mut server = server(ALLOW_A);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(!server.place.socket().exists());
    let ended = server.place.run(&["status"]);
    assert_eq!(ended.code, Some(69));
    assert!(ended.stderr.contains("pullgate is not running: no socket at"), "{}", ended.stderr);
}

#[test]
fn a_question_in_flight_is_answered_before_the_server_ends() {
    let upstream = Upstream::gated();
    let mut server = Place::new(ALLOW_A, upstream.address).serve();
    let client = send(server.dns, "a.example");
    upstream.asked.recv_timeout(PATIENCE).unwrap();
    server.signal(Signal::SIGTERM);
    // The upstream stays silent: the answer comes long after the signal, when the time for resolving is up.
    assert_eq!(receive(&client)[3] & 0x0f, SERVFAIL);
    assert_eq!(server.wait(), Some(0));
    drop(upstream.gate);
}

#[test]
fn a_denied_question_reaches_the_log_and_whoever_follows_it() {
    let mut server = server(ALLOW_A);
    let mut follow = server.place.command(&["log", "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(server.ask("denied.example").0, NXDOMAIN);
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let entry: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let expected = ("denied.example", "A", "deny", "127.0.0.1", "NXDOMAIN", "udp");
    let [name, kind, verdict, client, rcode, transport] =
        ["name", "type", "verdict", "client", "rcode", "transport"].map(|key| entry[key].as_str().unwrap());
    assert_eq!((name, kind, verdict, client, rcode, transport), expected);

    let line = server.wait_logged("query denied");
    for part in ["client=127.0.0.1", "name=denied.example", "record_type=A", "reason="] {
        assert!(line.contains(part), "{line}");
    }
    let shown = server.place.run(&["log", "--name", "example", "--limit", "1"]).stdout;
    assert!(shown.contains("deny   127.0.0.1  denied.example A"), "{shown}");
    assert_eq!(server.place.run(&["log", "--client", "10.9.9.9"]).stdout, "");
    server.signal(Signal::SIGTERM);
    assert_eq!(follow.wait().unwrap().code(), Some(69), "there is nothing left to follow");
}

#[test]
fn the_json_log_is_one_object_a_line_also_for_names_with_odd_bytes() {
    let place = place(ALLOW_A);
    place.write_settings("127.0.0.1:0", Upstream::start(), "[log]\nformat = \"json\"\n");
    let mut server = place.serve();
    assert_eq!(server.ask("a\"\n\u{1b}.example").0, NXDOMAIN);
    let line = server.wait_logged("query denied");
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["name"], r#"a\"\010\027.example"#);
}

#[test]
fn under_journald_a_line_begins_with_its_priority_and_not_with_the_time() {
    let server = place(ALLOW_A).serve_with(|command, stderr| {
        command.env("JOURNAL_STREAM", format!("{}:{}", stderr.dev(), stderr.ino()));
    });
    assert!(server.begun.starts_with("<6>serving"), "{}", server.begun);
}

#[test]
fn a_log_that_is_not_journald_s_has_its_time_also_when_a_service_starts_it() {
    let server = place(ALLOW_A).serve_with(|command, _| {
        command.env("JOURNAL_STREAM", "1:2");
    });
    assert!(server.begun.contains("Z  INFO serving"), "{}", server.begun);
}

#[test]
fn systemd_is_told_once_the_server_answers_and_the_watchdog_is_fed() {
    let place = place(ALLOW_A);
    let notify = UnixDatagram::bind(place.path("notify")).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = place.path("notify");
    let server = place.serve_with(|command, _| {
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "300000");
    });
    // From tasks of their own, in any order.
    let mut missing = vec!["READY=1", "STATUS=ok: policy generation 1, 1 rules", "WATCHDOG=1"];
    while !missing.is_empty() {
        let mut message = [0; 1000];
        let length = notify.recv(&mut message).unwrap_or_else(|error| panic!("{missing:?} did not come: {error}"));
        let told = String::from_utf8_lossy(&message[..length]).into_owned();
        missing.retain(|text| !told.contains(text));
    }
    drop(server);
}

#[test]
fn metrics_count_and_hold_no_name_that_a_client_sent() {
    let place = place(ALLOW_A);
    place.write_settings("127.0.0.1:0", Upstream::start(), "[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = place.serve();
    assert_eq!(server.ask("secret.denied.example").0, NXDOMAIN);
    let line = server.wait_printed("metrics");
    let address = line.split('/').nth(2).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\npullgate_denied_total{group=\"\",reason=\"unlisted\"} 1\n"), "{answer}");
    assert!(answer.contains("\npullgate_queries_total{transport=\"udp\"} 1\n"), "{answer}");
    let decided = "pullgate_decisions_total{group=\"\",verdict=\"deny\",type=\"A\",transport=\"udp\"} 1";
    assert!(answer.contains(decided), "{answer}");
    // What it took is counted when it has been sent, which may be just after it came.
    assert!(answer.contains("pullgate_answer_duration_seconds_count{source=\"denied\"} "), "{answer}");
    assert!(!answer.contains("secret"));
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_name_is_served() {
    let place = place(ALLOW_A);
    let more = "[dnstap]\nsocket = \"/nonexistent\"\n";
    place.write_settings("127.0.0.1:0", Upstream::start(), more);
    let server = place.serve();
    assert_eq!(server.ask("a.example").0, NOERROR);
    let served = server.request("GET /v1/metrics");
    let families: Vec<_> = served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.iter().all(|name| name.starts_with("pullgate_") || name.starts_with("process_")), "{families:?}");
    for file in ["grafana/pullgate.json", "prometheus/pullgate.rules.yml"] {
        let text = fs::read_to_string(format!("config/{file}")).unwrap();
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        let named: Vec<_> = words.filter(|word| word.starts_with("pullgate_")).collect();
        assert!(named.len() > 10, "{file}");
        for name in named {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(families.contains(&family), "{file} names {name}");
        }
    }
    let dashboard = fs::read_to_string("config/grafana/pullgate.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().iter().all(|panel| panel["targets"][0]["expr"].is_string()));
}

#[test]
fn the_control_api_is_plain_http_and_refuses_what_it_does_not_know() {
    let server = server(ALLOW_A);
    let mode = fs::metadata(server.place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for (request, status) in [
        ("GET /v1/status", "200"),
        ("POST /v1/reload", "200"),
        ("GET /v1/check?name=a.example", "200"),
        ("GET /v1/policy", "200"),
        ("GET /v1/log?limit=3", "200"),
        ("GET /v1/metrics", "200"),
        ("GET /v1/history?since=1h&verdict=deny", "200"),
        ("GET /v1/stats?top=3", "200"),
        ("GET /v1/unused?days=1", "200"),
        ("GET /v1/history?verdict=perhaps", "400"),
        ("GET /v1/nothing", "404"),
        ("GET /v1/reload", "405"),
        ("POST /v1/status", "405"),
        ("GET /v1/check", "400"),
        ("GET /v1/check?name=a..example", "400"),
        ("GET /v1/check?name=a.example&type=NONE", "400"),
        ("GET /v1/log?clinet=10.0.0.1", "400"),
    ] {
        let answer = server.request(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        if status != "200" {
            assert!(answer.ends_with("\"}\n") && answer.contains("{\"error\":\""), "{answer}");
        }
    }
}

#[test]
fn a_client_that_says_nothing_keeps_no_other_one_waiting() {
    let server = server(ALLOW_A);
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(server.place.socket()).unwrap()).collect();
    assert_eq!(server.place.run(&["status"]).code, Some(0));
    drop(silent);
}

#[test]
fn policies_with_the_same_verdicts_and_other_terms_are_not_called_the_same() {
    let service =
        |server: &str| format!("[[service]]\nname = \"s\"\nnames = [\"s.example\"]\nservers = [\"{server}\"]\n");
    let (old, new) = (place(&service("10.0.0.1")), place(&service("10.0.0.2")));
    let [old_folder, new_folder] = [&old, &new].map(|place| place.path("policy.d").display().to_string());
    let ended = old.run(&["policy", "diff", &old_folder, &new_folder]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "no verdict differs, but other terms of the entries do\n")
    );
    assert_eq!(old.run(&["policy", "diff", &old_folder, &old_folder]).stdout, "");
}

#[test]
fn check_needs_no_server_and_its_exit_code_is_the_verdict() {
    let place = place(ALLOW_A);
    let allowed = place.run(&["check", "a.example"]);
    assert_eq!(allowed.code, Some(0));
    assert!(allowed.stdout.contains("policy.d/a.toml:4"), "{}", allowed.stdout);
    let denied = place.run(&["check", "a.example", "ghcr.io"]);
    assert_eq!(denied.code, Some(1));
    assert!(denied.stdout.contains("pullgate preset show ghcr"), "{}", denied.stdout);
    assert_eq!(place.run(&["check", "https://ghcr.io"]).code, Some(64));
    assert_eq!(place.run(&["check", "a.example", "--group", "nobody"]).code, Some(64));
    place.write_policy(BROKEN);
    assert_eq!(place.run(&["check", "a.example"]).code, Some(78));
}

/// Docker Hub, inspected: official images and those of verified publishers.
const IMAGES: &str = "[[registry]]\npreset = \"docker-hub\"\npath = \"inspect\"\n[[images]]\nregistry = \"docker-hub\"\n\
    official = \"allow\"\nverified-publishers = \"allow\"\npublishers = { verified = [\"bitnami\"] }\n\
    allow = [\"@build-tools\"]\npush = [\"mycompany/*\"]\n";

/// A folder with this policy whose settings have a gateway.
fn place_with_gateway(policy: &str) -> Place {
    let upstream = Upstream::start();
    let place = Place::new(policy, upstream);
    place.write_settings("127.0.0.1:0", upstream, "[gateway]\naddress = \"192.0.2.53\"\n");
    place
}

#[test]
fn check_says_whom_to_ask_about_what_is_denied_and_so_does_a_running_server() {
    let place = place(ALLOW_A);
    place.write_settings("127.0.0.1:0", Upstream::start(), "[blocked]\ncontact = \"platform team, #registries\"\n");
    let line = "       ask: platform team, #registries\n";
    let (denied, allowed) = (place.run(&["check", "b.test"]).stdout, place.run(&["check", "a.example"]).stdout);
    assert!(denied.ends_with(line) && !allowed.contains("ask:"), "{denied}{allowed}");
    let image = place.run(&["check", "ghcr.io/x/y"]).stdout;
    assert!(image.ends_with(line), "{image}");
    let server = place.serve();
    let told = server.request("GET /v1/check?name=b.test");
    assert!(told.contains("\"contact\":\"platform team, #registries\""), "{told}");
}

#[test]
fn check_judges_images_as_it_does_names() {
    let place = place_with_gateway(IMAGES);
    for (arguments, code, shown) in [
        (&["docker.io/nginx:1.27"][..], 0, "allow  pull docker.io/library/nginx:1.27  official images are allowed"),
        (&["docker.io/nginx"], 0, "policy.d/a.toml:7"),
        (&["docker.io/bitnami/redis"], 0, "category: verified-publisher"),
        (&["foo/bar"], 1, "whether `foo` is a verified publisher or a sponsored project is not known here"),
        (&["foo/bar"], 1, "hint: write `allow = [\"foo/bar\"]` in the `[[images]]` at "),
        (&["docker.io/mycompany/app", "--push"], 0, "push = \"mycompany/*\""),
        (
            &["docker.io/library/nginx", "--push"],
            1,
            "deny   push docker.io/library/nginx  push to library/nginx not allowed",
        ),
        (&["ghcr.io/a/b"], 1, "ghcr.io: "),
        (&["nginx"], 1, "hint: a host name is judged; for the image write `docker.io/library/nginx`"),
    ] {
        let ended = place.run(&[&["check"], arguments].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:?}");
        assert!(ended.stdout.contains(shown), "{arguments:?}: {}", ended.stdout);
    }
    for wrong in
        [&["docker.io/Foo/bar"][..], &["nginx:1.27"], &["docker.io/nginx", "--type", "A"], &["ghcr.io", "--push"]]
    {
        assert_eq!(place.run(&[&["check"], wrong].concat()).code, Some(64), "{wrong:?}");
    }
}

#[test]
fn a_running_server_checks_images_as_the_command_does() {
    let server = place_with_gateway(IMAGES).serve();
    for (query, arguments) in [
        ("image=docker.io/nginx:1", &["docker.io/nginx:1"][..]),
        ("image=foo/bar&client=10.0.0.1", &["foo/bar", "--client", "10.0.0.1"]),
        ("image=foo/bar&push=true", &["foo/bar", "--push"]),
    ] {
        let answer = server.request(&format!("GET /v1/check?{query}"));
        let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let ended = server.place.run(&[&["check", "--json"], arguments].concat());
        let reports: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(reports[0], body, "{query}");
    }
    for wrong in ["image=Foo/bar", "image=a/b&push=perhaps", "image=a/b&type=A", "image=a/b&group=nobody"] {
        assert!(server.request(&format!("GET /v1/check?{wrong}")).starts_with("HTTP/1.1 400"), "{wrong}");
    }
}

#[test]
fn a_path_through_the_gateway_is_a_fault_where_the_settings_have_none() {
    let place = place(IMAGES);
    let ended = place.run(&["policy", "lint"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stdout.contains("a path through the gateway, and there is none"), "{}", ended.stdout);
}

#[test]
fn show_and_diff_know_images() {
    let place = place_with_gateway(IMAGES);
    let folder = place.path("policy.d").display().to_string();
    let shown = place.run(&["policy", "show", &folder]).stdout;
    for part in ["registry-1.docker.io", "inspect", "verified-publishers", "@build-tools", "mycompany/*"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let other = place_with_gateway(&IMAGES.replace("mycompany/*", "other/*").replace("official = \"allow\"\n", ""));
    let other_folder = other.path("policy.d").display().to_string();
    let ended = place.run(&["policy", "diff", &folder, &other_folder]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stdout,
        "- images of docker-hub, mycompany/*: push\n~ images of docker-hub, official: allow -> deny\n\
         + images of docker-hub, other/*: push\n"
    );
}

#[test]
fn the_running_server_and_check_say_the_same() {
    let server = server(ALLOW_A);
    let answer = server.request("GET /v1/check?name=a.example&type=TXT");
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let ended = server.place.run(&["check", "a.example", "--type", "TXT", "--json"]);
    let reports: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(reports[0], body);
}

#[test]
fn lint_shows_every_fault_and_ends_with_78() {
    let place = place(BROKEN);
    let ended = place.run(&["policy", "lint"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stdout.contains("policy.d/a.toml:4:"), "{}", ended.stdout);
    place.write_policy(ALLOW_A);
    assert_eq!(place.run(&["policy", "lint"]).code, Some(0));
}

#[test]
fn diff_shows_what_a_folder_would_change_on_the_running_server() {
    let server = server(ALLOW_A);
    let folder = server.place.path("policy.d").display().to_string();
    assert_eq!(server.place.run(&["policy", "diff", &folder]).code, Some(0));
    let changed = place(&ALLOW_A.replace("a.example", "b.example"));
    let folder = changed.path("policy.d").display().to_string();
    let ended = server.place.run(&["policy", "diff", &folder, "--no-replay"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stdout, "- a.example: allow\n+ b.example: allow\n");
    let replayed = server.place.run(&["policy", "diff", &folder]);
    assert_eq!(replayed.code, Some(1));
    let rest = replayed.stdout.strip_prefix(&ended.stdout).expect("the same comes first");
    assert!(rest.starts_with("of 0 questions in the last 24h"), "{rest}");
}

#[test]
fn show_prints_the_policy_in_force() {
    let server = server(ALLOW_A);
    let ended = server.place.run(&["policy", "show", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["generation"], &report["rules"][0]["pattern"]), (&1.into(), &"a.example".into()));
}

#[test]
fn a_preset_is_shown_with_its_sources_and_a_misspelt_one_with_the_one_meant() {
    let shown = Ended::from(pullgate(&["preset", "show", "docker-hub"]).output().unwrap());
    assert!(shown.stdout.contains("registry-1.docker.io") && shown.stdout.contains("preset = \"docker-hub\""));
    let ended = Ended::from(pullgate(&["preset", "show", "docker-hbu"]).output().unwrap());
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("did you mean `docker-hub`?"), "{}", ended.stderr);
    let list = Ended::from(pullgate(&["preset", "list", "--json"]).output().unwrap());
    let presets: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert!(presets.as_array().unwrap().len() > 30);
}

/// `pullgate doctor` for this server, on files that are as they should be.
fn doctor(server: &Server, arguments: &[&str]) -> Ended {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let (address, folder) = (server.dns.to_string(), root.path().display().to_string());
    let fixed = ["doctor", "--no-foreign", "--server", &address, "--root", &folder];
    server.place.run(&[&fixed, arguments].concat())
}

#[test]
fn doctor_knows_pullgate_by_what_only_pullgate_says_and_ends_with_0_when_nothing_is_open() {
    let server = server(ALLOW_A);
    let ended = doctor(&server, &["--allowed", "a.example"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        " is pullgate 0.",
        "a.example resolves on 127.0.0.1, over UDP and TCP",
        "registry-1.docker.io is denied on 127.0.0.1",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
}

#[test]
fn doctor_ends_with_1_when_something_is_open_and_its_json_says_what_mends_it() {
    let server = server("[[group]]\nname = \"ci\"\nclients = [\"127.0.0.0/8\"]\nmode = \"audit\"\n");
    let ended = doctor(&server, &["--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let audit = report["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == "warning").unwrap();
    assert_eq!((&audit["check"], &audit["section"]), (&"policy".into(), &"verify-the-restrictions".into()));
    assert_eq!(audit["fix"], "mode = \"enforce\" in [[group]] `ci`");
}

#[test]
fn doctor_refuses_questions_that_it_would_not_ask() {
    let ended = Ended::from(pullgate(&["doctor", "--root", "/nonexistent", "--denied", "quay.io"]).output().unwrap());
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("--denied means nothing with --root alone"), "{ended:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Ended::from(pullgate(&["man", "--out", folder.path().to_str().unwrap()]).output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for page in ["pullgate.1", "pullgate-serve.1", "pullgate-policy-lint.1", "pullgate-preset-show.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = Ended::from(pullgate(&["completions", shell]).output().unwrap());
        assert!(ended.code == Some(0) && ended.stdout.contains("pullgate"), "{shell}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_64_and_help_with_0() {
    for (arguments, code) in [
        (&["serv"][..], 64),
        (&["check"], 64),
        (&["man", "--listen", "::1"], 64),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        assert_eq!(pullgate(arguments).output().unwrap().status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        pullgate(&["preset", "list", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_history_is_there_after_a_restart_and_says_what_was_denied_and_which_rules_nobody_needs() {
    let place = place("[[registry]]\nname = \"lab\"\nhosts = [\"a.example\", \"never.example\"]\n");
    let mut server = place.clone().serve();
    assert_eq!(server.ask("a.example").0, NOERROR);
    assert_eq!(server.ask("cdn.elsewhere.example").0, NXDOMAIN);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let server = place.serve();
    assert_eq!(server.ask("cdn.elsewhere.example").0, NXDOMAIN);
    let log = server.place.run(&["log", "--since", "1h"]);
    assert!(log.stdout.contains("2 x deny   127.0.0.1  cdn.elsewhere.example  unlisted  after a.example"), "{log:?}");
    assert!(log.stdout.contains("1 x allow  127.0.0.1  a.example  rule  rule a.example"), "{log:?}");
    let stats = server.place.run(&["stats", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats.stdout).unwrap();
    let denied = &stats["denied"][0];
    assert_eq!((&denied["name"], &denied["count"]), (&"cdn.elsewhere.example".into(), &2.into()), "{stats}");
    assert_eq!(denied["line"], "redirects = [\"cdn.elsewhere.example\"]");
    let text = server.place.run(&["stats", "--since", "1h", "--name", "elsewhere.example"]).stdout;
    assert!(text.contains("deny  cdn.elsewhere.example  unlisted") && !text.contains("registry lab  last"), "{text}");
    let unused = server.place.run(&["policy", "unused"]);
    let begins = "1 rule without a hit in 7 days\nthe history only reaches back to ";
    assert!(unused.stdout.starts_with(begins), "{unused:?}");
    assert!(unused.stdout.contains("never.example") && !unused.stdout.contains(" a.example"), "{unused:?}");
    assert_eq!(server.place.run(&["stats", "--since", "whenever"]).code, Some(64));
}

#[test]
fn unused_keys_of_images_are_rules_where_the_gateway_is() {
    let unused = |more: &str| -> Vec<String> {
        let place = place_with_gateway(IMAGES);
        place.write_settings("127.0.0.1:0", Upstream::start(), &format!("[gateway]\naddress = \"192.0.2.53\"\n{more}"));
        let server = place.serve();
        let report = server.place.run(&["policy", "unused", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap_or_else(|_| panic!("{report:?}"));
        let of_images = report["rules"].as_array().unwrap().iter().filter(|rule| rule["kind"] == "images");
        of_images.map(|rule| format!("{} {}", rule["line"], rule["pattern"].as_str().unwrap())).collect()
    };
    let keys = [
        "11 push = \"mycompany/*\"",
        "10 allow = \"@build-tools\"",
        "7 official = \"allow\"",
        "8 verified-publishers = \"allow\"",
    ];
    assert_eq!(unused(""), keys, "what tells whose an image is decides nothing");
    assert_eq!(unused("separate = true\n"), [] as [&str; 0], "only the gateway's own process knows");
}

#[test]
fn without_a_history_the_commands_that_read_it_say_so() {
    let place = place(ALLOW_A);
    place.write_settings("127.0.0.1:0", Upstream::start(), "[history]\nenabled = false\n");
    let server = place.serve();
    for arguments in [&["stats"][..], &["log", "--since", "1d"], &["policy", "unused"]] {
        let ended = server.place.run(arguments);
        assert_eq!(ended.code, Some(69), "{arguments:?}");
        assert!(ended.stderr.contains("no history is kept"), "{ended:?}");
    }
    assert!(!server.place.path("state/history.redb").exists());
}
