//! Emergencies: a name allowed, blocked, a group under audit, on top of the policy files and for a while.

use nix::unistd::{Uid, User};

use crate::harness::{Place, Upstream};

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

const POLICY: &str = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n[[deny]]\nhosts = [\"bad.example\"]\n\
    [[group]]\nname = \"ci\"\nclients = [\"127.0.0.0/8\"]\nregistries = [\"*\"]\n[[group]]\nname = \"default\"\n";

fn me() -> String {
    User::from_uid(Uid::effective()).unwrap().map_or(format!("user {}", Uid::effective()), |user| user.name)
}

#[test]
fn an_allowed_name_resolves_at_once_over_a_restart_and_says_by_whom_until_it_is_ended() {
    let mut server = Place::new(POLICY, Upstream::start()).serve();
    assert_eq!(server.ask("new.example").0, NXDOMAIN);
    let terms = ["--group", "ci", "--for", "2h", "--ticket", "T-7", "--reason", "the mirror is down"];
    let ended = server.place.run(&[&["allow", "new.example"][..], &terms].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = format!("allow new.example for group ci, by {}, 1h 59m left, ticket T-7: the mirror is down", me());
    assert_eq!(ended.stdout.replace("2h left", "1h 59m left"), format!("in force: generation 2, {line}\n"));
    assert_eq!(server.ask("new.example").0, NOERROR);
    let logged = server.wait_logged("overlay in force");
    for part in [format!("by {}", me()), "T-7".to_owned(), "the mirror is down".to_owned()] {
        assert!(logged.contains(&part), "{part}: {logged}");
    }

    let check = server.place.run(&["check", "new.example", "--group", "ci"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.contains("rule: new.example (overlay-1:1)"), "{}", check.stdout);
    assert!(check.stdout.contains(&format!("overlay: {line}")), "{}", check.stdout);
    assert_eq!(server.place.run(&["check", "new.example", "--group", "default"]).code, Some(1));
    assert!(server.place.run(&["status"]).stdout.contains(&format!("  overlay  {line}\n")));
    assert!(server.request("GET /v1/metrics").contains("pullgate_policy_overlays{kind=\"allow\"} 1"));
    let folder = server.place.path("policy.d").display().to_string();
    assert_eq!(
        server.place.run(&["policy", "diff", &folder, "--no-replay"]).stdout,
        "no verdict differs, but other terms of the entries do\n"
    );

    let server = server.restart();
    assert_eq!(server.ask("new.example").0, NOERROR);
    assert_eq!(server.place.run(&["overlay"]).stdout, format!("{line}\n"));
    assert_eq!(server.place.run(&["allow", "--end", "new.example", "--group", "ci"]).code, Some(0));
    assert_eq!(server.ask("new.example").0, NXDOMAIN);
    assert_eq!(server.place.run(&["overlay"]).stdout, "nothing is on top of the policy files\n");
}

#[test]
fn a_blocked_name_and_a_group_under_audit_are_so_at_once() {
    let server = Place::new(POLICY, Upstream::start()).serve();
    assert_eq!(server.place.run(&["block", ".a.example"]).code, Some(0));
    assert_eq!(server.ask("a.example").0, NXDOMAIN);
    assert_eq!(server.place.run(&["mode", "audit", "--group", "ci", "--for", "1h"]).code, Some(0));
    assert_eq!((server.ask("a.example").0, server.ask("unlisted.example").0), (NXDOMAIN, NOERROR));
    let check = server.place.run(&["check", "unlisted.example"]);
    assert!(
        check.stdout.contains("audit  unlisted.example") && check.stdout.contains("overlay: mode audit"),
        "{}",
        check.stdout
    );
    let list = server.place.run(&["overlay", "--json"]);
    let overlays: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!((&overlays[0]["kind"], &overlays[0]["until"]), (&"block".into(), &serde_json::Value::Null));
    assert_eq!(server.place.run(&["block", "--end", ".a.example"]).code, Some(0));
    assert_eq!(server.place.run(&["mode", "audit", "--group", "ci", "--end"]).code, Some(0));
    assert_eq!((server.ask("a.example").0, server.ask("unlisted.example").0), (NOERROR, NXDOMAIN));
}

#[test]
fn what_an_overlay_may_not_do_is_refused_with_the_reason() {
    let server = Place::new(POLICY, Upstream::start()).serve();
    for (arguments, code, said) in [
        (&["allow", "bad.example", "--for", "1h"][..], 78, "which no overlay beats"),
        (&["allow", "a.example", "--group", "ci", "--for", "1h"], 78, "the policy files allow it already"),
        (&["allow", "new.example", "--for", "8d"], 78, "longer than 7 days"),
        (&["allow", "new.example", "--group", "cii", "--for", "1h"], 78, "the policy has no group `cii`"),
        (&["block", "localhost"], 78, "which the resolver answers itself"),
        (&["allow", "new.example", "--end"], 78, "there is no overlay `allow new.example`"),
        (&["allow", "new.example"], 64, "--for"),
        (&["allow", "*.example", "--for", "1h"], 64, "one name is allowed at a time"),
        (&["mode", "off", "--for", "1h"], 64, "off"),
        (&["allow", "new.example", "--for", "1h", "--reason", "a\nb"], 78, "a control character"),
    ] {
        let ended = server.place.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
    for (request, status) in [
        ("GET /v1/overlay", "200"),
        ("PUT /v1/overlay", "405"),
        ("POST /v1/overlay?kind=allow", "400"),
        ("POST /v1/overlay?kind=allow&what=*.example&for=1h", "400"),
        ("POST /v1/overlay?kind=allow&what=new.example", "422"),
        ("POST /v1/overlay?kind=allow&what=new.example&for=soon", "400"),
        ("POST /v1/overlay?kind=allow&what=new.example&fro=1h", "400"),
        ("DELETE /v1/overlay?kind=allow&what=new.example", "422"),
    ] {
        let answer = server.request(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    assert_eq!(server.ask("new.example").0, NXDOMAIN);
}

#[test]
fn one_client_under_audit_is_let_through_and_its_group_is_not() {
    let server = Place::new(POLICY, Upstream::start()).serve();
    let audited = server.place.run(&["mode", "audit", "--client", "127.0.0.1", "--for", "10m"]);
    assert_eq!(audited.code, Some(0), "{audited:?}");
    let line = format!("mode audit for client 127.0.0.1, by {}, ", me());
    assert!(audited.stdout.starts_with(&format!("in force: generation 2, {line}")), "{}", audited.stdout);
    assert_eq!((server.ask("unlisted.example").0, server.ask("bad.example").0), (NOERROR, NXDOMAIN));
    let check = |client: &str| server.place.run(&["check", "unlisted.example", "--client", client]);
    let own = check("127.0.0.1");
    assert!(own.stdout.contains("audit  unlisted.example") && own.stdout.contains("overlay: mode audit"), "{own:?}");
    let other = check("127.0.0.2");
    assert!(other.code == Some(1) && !other.stdout.contains("overlay"), "{other:?}");
    let wrong = server.place.run(&["mode", "audit", "--client", "127.0.0.2", "--end"]);
    assert!(wrong.stderr.contains("there is no overlay `mode audit` for client 127.0.0.2"), "{}", wrong.stderr);
    let refused = server.request("POST /v1/overlay?kind=allow&what=new.example&for=1h&client=10.0.0.1");
    assert!(refused.contains("one client can be given a mode, and nothing else"), "{refused}");
    assert_eq!(server.place.run(&["mode", "audit", "--client", "127.0.0.1", "--end"]).code, Some(0));
    assert_eq!(server.ask("unlisted.example").0, NXDOMAIN);
}
