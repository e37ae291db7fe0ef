//! What is wrong with `[[images]]`, what works but hardly as meant, and what makes another policy of it.

use std::time::SystemTime;

use crate::diagnostic::{Diagnostic, Source};
use crate::policy::compile::{Compiled, Options, load};
use crate::policy::document::DataPath;
use crate::policy::snapshot::Digest;

const HUB: &str = "[[registry]]\npreset = \"docker-hub\"\npath = \"inspect\"\n";
const TABLE: &str = "[[images]]\nregistry = \"docker-hub\"\nallow = [\"@build-tools\"]\n";

fn compile(files: &[(&str, &str)], options: &Options) -> Result<Compiled, Vec<Diagnostic>> {
    let source = |(path, text): &(&str, &str)| {
        let version = if text.starts_with('{') { "" } else { "version = 1\n" };
        Source::new(*path, format!("{version}{text}"))
    };
    load(files.iter().map(source).collect(), options, SystemTime::UNIX_EPOCH)
}

fn with_gateway() -> Options {
    Options { has_gateway: true, ..Options::default() }
}

/// The complaints about some files: file, line and message, warnings marked.
fn complaints(files: &[(&str, &str)]) -> Vec<String> {
    let told = |complaint: &Diagnostic| {
        let line = complaint.excerpt.as_ref().map_or(0, |excerpt| excerpt.line);
        let mark = if complaint.is_fault() { "" } else { "warning: " };
        format!("{}:{line}: {mark}{}", complaint.path.display(), complaint.message)
    };
    let found = compile(files, &with_gateway()).map_or_else(|found| found, |compiled| compiled.warnings);
    found.iter().map(told).collect()
}

fn about(text: &str) -> Vec<String> {
    complaints(&[("a", text)])
}

#[test]
fn a_path_through_the_gateway_needs_one() {
    let registry = "[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n";
    for (path, faults) in [("direct", 0), ("pass", 1)] {
        let text = format!("{registry}path = {path:?}\n");
        let found = compile(&[("a", &text)], &Options::default()).err().unwrap_or_default();
        assert_eq!(found.len(), faults, "{path}");
        assert!(found.iter().all(|fault| fault.message == "a path through the gateway, and there is none"));
        assert!(compile(&[("a", &text)], &with_gateway()).is_ok());
    }
}

#[test]
fn what_is_inspected_has_images_and_what_has_images_is_inspected() {
    assert_eq!(about(HUB), ["a:4: `docker-hub` is inspected, and nothing says which of its images are allowed"]);
    for path in ["", "path = \"pass\"\n", "path = \"direct\"\n"] {
        let text = format!("[[registry]]\npreset = \"docker-hub\"\n{path}{TABLE}");
        let found = about(&text);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with(": `docker-hub` is not inspected: its images cannot be told apart"), "{found:?}");
    }
    assert_eq!(about(&format!("{HUB}{TABLE}")), [""; 0]);
}

#[test]
fn a_registry_and_groups_that_are_unknown_are_met_with_the_nearest() {
    let hint = |text: &str| compile(&[("a", text)], &with_gateway()).unwrap_err().remove(0).hint.unwrap();
    let wrong = format!("{HUB}{TABLE}[[images]]\nregistry = \"docker-hbu\"\n");
    assert_eq!(about(&wrong), ["a:9: unknown registry `docker-hbu`"]);
    assert_eq!(hint(&wrong), "did you mean `docker-hub`?");
    let service = "[[service]]\nname = \"s\"\nnames = [\"s.example\"]\n[[images]]\nregistry = \"s\"\n";
    assert_eq!(hint(service), "it is a service, which has no images");
    let group = "[[group]]\nname = \"default\"\nregistries = [\"*\"]\n";
    let text = format!("{HUB}{TABLE}{group}[[images]]\nregistry = \"docker-hub\"\ngroups = [\"defualt\"]\n");
    assert!(about(&text).contains(&"a:13: unknown group `defualt`".to_owned()), "{:?}", about(&text));
}

#[test]
fn two_tables_for_one_group_are_a_fault_in_whatever_files() {
    let group = "[[group]]\nname = \"default\"\nregistries = [\"*\"]\n[[group]]\nname = \"ci\"\nregistries = [\"*\"]\n";
    let files = |b: &str| complaints(&[("a", &format!("{HUB}{TABLE}{group}")), ("b", b)]);
    assert_eq!(files(TABLE), ["b:3: a second `[[images]]` of `docker-hub` for everyone else"]);
    let for_ci = format!("{TABLE}groups = [\"ci\"]\n");
    assert_eq!(files(&for_ci), [""; 0]);
    assert_eq!(files(&format!("{for_ci}{for_ci}")), ["b:9: a second `[[images]]` of `docker-hub` for group `ci`"]);
    let twice = files(&format!("{TABLE}groups = [\"ci\", \"ci\"]\n"));
    assert_eq!(twice, ["b:5: warning: `ci` is listed twice"]);
}

#[test]
fn categories_are_for_docker_hub_alone() {
    let keys = "official = \"allow\"\nverified-publishers = \"allow\"\nsponsored-oss = \"deny\"\ncommunity = \"deny\"\npublishers = { verified = [] }\nbadges = \"off\"\n";
    let registry = "[[registry]]\npreset = \"ghcr\"\npath = \"inspect\"\n[[images]]\nregistry = \"ghcr\"\n";
    let found = about(&format!("{registry}{keys}"));
    let names = ["official", "verified-publishers", "sponsored-oss", "community", "publishers", "badges"];
    let wanted: Vec<String> =
        (7..).zip(names).map(|(line, key)| format!("a:{line}: `{key}` is about Docker Hub")).collect();
    assert_eq!(found, wanted);
    assert_eq!(about(&format!("{HUB}{TABLE}{keys}")), [""; 0]);
}

#[test]
fn a_publisher_has_one_badge() {
    let publishers = "publishers = { verified = [\"a\", \"b\"], sponsored = [\"b\"] }\n";
    assert_eq!(about(&format!("{HUB}{TABLE}{publishers}")), ["a:8: `b` is listed as verified and as sponsored"]);
}

#[test]
fn builds_that_would_break_are_warned_of() {
    let warned = |text: &str| {
        let found = about(&format!("{HUB}[[images]]\nregistry = \"docker-hub\"\n{text}"));
        assert!(found.iter().all(|found| found.contains("builds need")), "{found:?}");
        found.len() == 1
    };
    for text in [
        "official = \"allow\"\n",
        "verified-publishers = \"allow\"\n",
        "allow = [\"docker/dockerfile\"]\n",
        "mode = \"enforce\"\n",
    ] {
        assert!(warned(text), "{text}");
    }
    for text in [
        "allow = [\"@build-tools\"]\n",
        "allow = [\"docker/*\", \"moby/buildkit\"]\n",
        "verified-publishers = \"allow\"\nsponsored-oss = \"allow\"\ncommunity = \"allow\"\n",
        "deny = [\"@build-tools\"]\n",
        "mode = \"audit\"\n",
    ] {
        assert!(!warned(text), "{text}");
    }
}

#[test]
fn a_group_left_without_images_and_a_table_left_without_a_group_are_warned_of() {
    let group = |name: &str, registries: &str| format!("[[group]]\nname = {name:?}\nregistries = {registries}\n");
    let groups = [group("default", "[\"*\"]"), group("ci", "[\"*\"]"), group("none", "[]")].concat();
    let for_group = |name: &str| format!("{TABLE}groups = [{name:?}]\n");
    assert_eq!(
        about(&format!("{HUB}{}{}{groups}", for_group("ci"), for_group("none"))),
        [
            "a:4: warning: no image of `docker-hub` is allowed to group `default`",
            "a:9: warning: no group that may use `docker-hub` is left for this table",
        ]
    );
    assert_eq!(about(&format!("{HUB}{}{TABLE}{groups}", for_group("ci"))), [""; 0]);
}

#[test]
fn patterns_that_match_nothing_of_the_registry_are_warned_of() {
    let warning = |pattern: &str| {
        let text = format!("{HUB}{TABLE}deny = [{pattern:?}]\n");
        let found = compile(&[("a", &text)], &with_gateway()).unwrap().warnings;
        found.first().map(|found| format!("{} | {}", found.message, found.hint.as_deref().unwrap_or_default()))
    };
    for (pattern, told) in [
        (
            "nginx",
            "no repository of Docker Hub is named `nginx` | official images are `library/*`: write `library/nginx`",
        ),
        ("*", "no repository of Docker Hub is named as `*` | write `*/*` or `**`"),
        (
            "a/b/*",
            "no repository of Docker Hub is named as `a/b/*` | there a name is a namespace, `/` and a repository",
        ),
        ("docker.io/prom/*", "`docker.io/prom/*` begins with the registry's host | write `prom/*`"),
        ("registry-1.docker.io/a/b", "`registry-1.docker.io/a/b` begins with the registry's host | write `a/b`"),
    ] {
        assert_eq!(warning(pattern).as_deref(), Some(told));
    }
    for pattern in ["library/nginx", "**", "*/*", "a/**", "**/x"] {
        assert_eq!(warning(pattern), None, "{pattern}");
    }
    let ghcr = "[[registry]]\npreset = \"ghcr\"\npath = \"inspect\"\n[[images]]\nregistry = \"ghcr\"\nallow = [\"a\", \"a/b/c/*\"]\n";
    assert_eq!(about(ghcr), [""; 0], "other registries have any depth");
}

#[test]
fn a_path_that_leads_nobody_to_the_gateway_is_warned_of() {
    let trial = format!("{HUB}mode = \"audit\"\n{TABLE}");
    assert_eq!(
        about(&trial),
        ["a:4: warning: a registry on trial (`mode = \"audit\"`) is answered with its own addresses"]
    );
}

#[test]
fn organizations_without_images_of_the_hub_are_warned_of() {
    let file = ("registry.json", "{\"allowedOrgs\": [\"mycompany\"]}");
    let registry = "[[registry]]\npreset = \"docker-hub\"\n";
    assert_eq!(
        complaints(&[("a", registry), file]),
        ["registry.json:1: warning: organizations of Docker Hub, and no `[[images]]` that is about it"]
    );
    assert_eq!(complaints(&[("a", &format!("{HUB}{TABLE}")), file]), [""; 0]);
}

#[test]
fn images_of_an_expired_registry_are_left_out_with_it() {
    let text = format!("{HUB}expires = 1960-01-01T00:00:00Z\n{TABLE}[[registry]]\npreset = \"ghcr\"\n");
    let compiled = compile(&[("a", &text)], &with_gateway()).unwrap();
    assert_eq!((compiled.snapshot.images().count(), compiled.warnings.len()), (0, 1));
}

#[test]
fn of_an_inspected_registry_the_hosts_that_take_requests_are_steered_and_no_others() {
    let paths = |text: &str| -> Vec<String> {
        let compiled = compile(&[("a", text)], &with_gateway()).unwrap();
        let steered = compiled.snapshot.rules().filter(|rule| rule.data_path() != DataPath::Direct);
        steered.map(|rule| format!("{} {:?}", rule.pattern(), rule.data_path())).collect()
    };
    assert_eq!(paths(&format!("{HUB}{TABLE}")), ["registry-1.docker.io Inspect"]);
    let own = |path: &str| {
        format!(
            "[[registry]]\nname = \"r\"\nredirects = [\"blobs.example\"]\nhosts = [\"r.example\", \"*.r.example\"]\npath = {path:?}\n"
        )
    };
    let images = "[[images]]\nregistry = \"r\"\n";
    assert_eq!(paths(&format!("{}{images}", own("inspect"))), ["r.example Inspect", "*.r.example Inspect"]);
    assert_eq!(paths(&own("pass")), ["r.example Pass", "*.r.example Pass", "blobs.example Pass"]);
    assert_eq!(paths(&own("direct")), [""; 0]);
}

// ── the digest ──

fn digest(files: &[(&str, &str)]) -> Digest {
    compile(files, &with_gateway()).unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot.digest()
}

/// A policy in which each line of `lines` may be changed.
fn policy(lines: &[&str]) -> String {
    format!("{HUB}{TABLE}{}\n", lines.join("\n"))
}

#[test]
fn every_key_of_images_changes_the_digest() {
    let groups =
        "[[group]]\nname = \"ci\"\nregistries = [\"*\"]\n[[group]]\nname = \"default\"\nregistries = [\"*\"]\n";
    let changed = [
        policy(&[]),
        policy(&["mode = \"audit\""]),
        policy(&["official = \"allow\""]),
        policy(&["verified-publishers = \"allow\""]),
        policy(&["sponsored-oss = \"allow\""]),
        policy(&["community = \"allow\""]),
        policy(&["badges = \"off\""]),
        policy(&["publishers = { verified = [\"a\"] }"]),
        policy(&["publishers = { sponsored = [\"a\"] }"]),
        policy(&["organizations = [\"a\"]"]),
        policy(&["deny = [\"a/*\"]"]),
        policy(&["push = [\"a/*\"]"]),
        policy(&["exempt-clients = [\"10.0.0.0/8\"]"]),
        policy(&["catalog = \"allow\""]),
        policy(&["search = \"allow\""]),
        policy(&[]).replace("[\"@build-tools\"]", "[\"@build-tools\", \"a/b\"]"),
        policy(&[]).replace("[\"@build-tools\"]", "[\"@build-tools\", \"a/*\"]"),
        policy(&[groups]),
        policy(&["groups = [\"ci\"]", groups, TABLE]),
        policy(&["groups = [\"default\"]", groups, TABLE]),
        "[[registry]]\npreset = \"docker-hub\"\npath = \"pass\"\n".to_owned(),
        "[[registry]]\npreset = \"docker-hub\"\n".to_owned(),
    ];
    let digests: std::collections::HashSet<Digest> = changed.iter().map(|text| digest(&[("a", text)])).collect();
    assert_eq!(digests.len(), changed.len());
    let file = ("registry.json", "{\"allowedOrgs\": [\"b\"]}");
    assert!(!digests.contains(&digest(&[("a", &policy(&[])), file])));
}

#[test]
fn what_changes_no_verdict_on_an_image_changes_no_digest() {
    for (one, same) in [
        ("official = \"deny\"\ncatalog = \"deny\"", "badges = \"lookup\"\nmode = \"enforce\""),
        ("deny = [\"a/b\", \"a/*\"]", "# why\ndeny = [\"a/*\", \"a/b\", \"a/b\"]"),
        ("organizations = [\"a\", \"b\"]", "organizations = [\"b\", \"a\", \"a\"]"),
        ("exempt-clients = [\"10.0.0.1\"]", "exempt-clients = [\"::ffff:10.0.0.1\"]"),
    ] {
        assert_eq!(digest(&[("a", &policy(&[one]))]), digest(&[("a", &policy(&[same]))]), "{one}");
    }
    let dockers = ("registry.json", "{\"allowedOrgs\": [\"a\"]}");
    assert_eq!(
        digest(&[("a", &policy(&["organizations = [\"a\"]"]))]),
        digest(&[("a", &policy(&[])), dockers]),
        "where an organization is written makes no difference"
    );
    assert_eq!(digest(&[("a", HUB), ("b", TABLE)]), digest(&[("a", TABLE), ("b", HUB)]));
}
