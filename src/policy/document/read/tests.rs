//! What a policy file may say, and what it is told when it may not.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::document::{BadgeLookup, HubSpec, Images, Permission};

fn read(path: &str, text: &str) -> (Document, Vec<Diagnostic>) {
    Document::parse(Source::new(path, text))
}

/// A TOML document without its first line, which is `version = 1`.
fn document(text: &str) -> Document {
    let (document, found) = read("a.toml", &format!("version = 1\n{text}"));
    assert!(found.is_empty(), "{text}: {found:?}");
    document
}

/// Each complaint about a TOML document as `line:column message | hint`.
fn complaints(text: &str) -> Vec<String> {
    let (_, found) = read("a.toml", &format!("version = 1\n{text}"));
    let show = |found: Diagnostic| {
        let at = found.excerpt.expect("a place");
        format!("{}:{} {} | {}", at.line, at.column, found.message, found.hint.unwrap_or_default())
    };
    found.into_iter().map(show).collect()
}

/// What a document says, without places.
fn meaning(document: &Document) -> String {
    let Document { source: _, entries, denies, groups, images, asserts, docker_organizations: _, overlay: _ } =
        document;
    let text = format!("{entries:?}{denies:?}{groups:?}{images:?}{asserts:?}");
    let spans = text.split("span: ").enumerate().map(|(index, part)| match (index, part.find([',', ' '])) {
        (0, _) | (_, None) => part,
        (_, Some(end)) => &part[end..],
    });
    spans.collect()
}

const EVERY_KEY: &str = r#"
version = 1
[[registry]]
preset = "ecr"
include = ["web"]
values = { account = "123456789012", region = ["eu-west-1", "us-east-1"] }
[[registry]]
name = "company-nexus"
hosts = ["Nexus.corp.example."]
redirects = ["layers.s3.eu-west-1.amazonaws.com", "*.blobs.corp.example"]
groups = ["ci", "payments"]
mode = "audit"
cname = "inspect"
private-addresses = true
expires = "2027-01-31T00:00:00Z"
path = "inspect"
owner = "platform"
ticket = "SEC-118"
accept-shared-suffix = true
[[service]]
name = "corp"
names = [".corp.example", ".10.in-addr.arpa", "_ldap._tcp.dc._msdcs.ad.example"]
servers = ["10.0.0.53", "[fd00::53]:5353"]
types = "any"
private-addresses = false
[[service]]
name = "mirror"
names = ["mirror.example"]
types = ["TXT", "A", "TYPE65"]
groups = ["ci"]
[[deny]]
hosts = ["*.untrusted.corp.example"]
groups = ["ci"]
reason = "see SEC-7"
[[group]]
name = "ci"
clients = ["10.20.0.0/16", "fd00:20::/64", "::ffff:10.30.0.0/112", "10.40.0.1"]
listen = ["172.18.0.1:53", "172.19.0.1"]
registries = ["docker-hub", "company-nexus"]
services = ["*"]
inherits = "base"
mode = "enforce"
unlisted = "forward"
[[images]]
registry = "company-nexus"
groups = ["ci"]
mode = "audit"
official = "allow"
verified-publishers = "allow"
sponsored-oss = "deny"
community = "deny"
publishers = { verified = ["bitnami"], sponsored = ["grafana"] }
badges = "off"
organizations = ["mycompany"]
allow = ["prom/*", "a/**/b", "@build-tools"]
deny = ["prom/experimental-*"]
push = ["mycompany/*"]
exempt-clients = ["10.0.9.0/28"]
catalog = "allow"
search = "deny"
"#;

#[test]
fn every_key_is_read() {
    let (document, found) = read("a.toml", EVERY_KEY);
    assert_eq!(found, []);
    let names: Vec<_> = document.entries.iter().map(|entry| entry.name.value.as_str()).collect();
    assert_eq!(names, ["ecr", "company-nexus", "corp", "mirror"]);

    let EntryKindSpec::Registry { preset: Some(preset), .. } = &document.entries[0].kind else { panic!("a preset") };
    assert_eq!((preset.id.value.as_str(), preset.include[0].value.as_str()), ("ecr", "web"));
    let values: Vec<_> = preset.values.iter().map(|(key, values)| (key.value.as_str(), values.len())).collect();
    assert_eq!(values, [("account", 1), ("region", 2)]);

    let nexus = &document.entries[1];
    let patterns: Vec<_> = nexus.patterns.iter().map(|pattern| pattern.value.to_string()).collect();
    assert_eq!(patterns, ["nexus.corp.example", "layers.s3.eu-west-1.amazonaws.com", "*.blobs.corp.example"]);
    let EntryKindSpec::Registry { preset, mode, cname, data_path, hosts } = &nexus.kind else { panic!("a registry") };
    assert_eq!((preset, *mode, *cname), (&None, Some(Mode::Audit), CnamePolicy::Inspect));
    assert_eq!((data_path.as_ref().map(|path| path.value), *hosts), (Some(DataPath::Inspect), 1));
    assert_eq!((nexus.private_addresses, nexus.accept_shared_suffix), (Some(true), true));
    assert_eq!((nexus.owner.as_deref(), nexus.ticket.as_deref()), (Some("platform"), Some("SEC-118")));
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(1_801_353_600);
    assert_eq!(nexus.expires.as_ref().map(|expires| expires.value), Some(expires));

    let EntryKindSpec::Service { servers, types } = &document.entries[2].kind else { panic!("a service") };
    let servers: Vec<_> = servers.iter().map(|server| (server.value.ip.to_string(), server.value.port)).collect();
    assert_eq!(servers, [("10.0.0.53".to_owned(), 53), ("fd00::53".to_owned(), 5353)]);
    assert_eq!(*types, Some(RecordTypes::Any));
    let only = RecordTypes::Only(vec![1, 16, 65]);
    assert_eq!(document.entries[3].kind, EntryKindSpec::Service { servers: Vec::new(), types: Some(only) });

    assert_eq!(document.denies[0].reason.as_deref(), Some("see SEC-7"));
    let group = &document.groups[0];
    let clients: Vec<_> = group.clients.iter().map(|range| range.value.to_string()).collect();
    assert_eq!(clients, ["10.20.0.0/16", "fd00:20::/64", "10.30.0.0/16", "10.40.0.1/32"]);
    assert_eq!(group.listen[1].value, "172.19.0.1:53".parse().unwrap());
    assert_eq!((group.mode, group.unlisted), (Some(Mode::Enforce), Unlisted::Forward));
    assert_eq!(group.inherits.as_ref().map(|base| base.value.as_str()), Some("base"));
}

#[test]
fn every_key_of_images_is_read() {
    let read = read("a.toml", EVERY_KEY).0;
    let images = &read.images[0];
    let texts = |names: &[Written<String>]| names.iter().map(|name| name.value.clone()).collect::<Vec<_>>();
    assert_eq!((images.registry.value.as_str(), texts(&images.groups)), ("company-nexus", vec!["ci".to_owned()]));
    assert_eq!((images.mode, texts(&images.organizations)), (Some(Mode::Audit), vec!["mycompany".to_owned()]));
    let HubSpec { official, verified_publishers, sponsored_oss, community, publishers, badges } = &images.hub;
    let said = [official, verified_publishers, sponsored_oss, community].map(|key| key.as_ref().unwrap().value);
    assert_eq!(said, [Permission::Allow, Permission::Allow, Permission::Deny, Permission::Deny]);
    let publishers = &publishers.as_ref().unwrap().value;
    assert_eq!(
        (texts(&publishers.verified), texts(&publishers.sponsored)),
        (vec!["bitnami".into()], vec!["grafana".into()])
    );
    assert_eq!(badges.as_ref().unwrap().value, BadgeLookup::Off);
    let list = |list: &[Written<Images>]| {
        list.iter()
            .map(|item| match &item.value {
                Images::Pattern(pattern) => pattern.to_string(),
                Images::Set(set) => format!("the set {}", set.name),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&images.allow), ["prom/*", "a/**/b", "the set build-tools"]);
    assert_eq!(list(&images.deny), ["prom/experimental-*"]);
    assert_eq!(images.push[0].value.as_str(), "mycompany/*");
    assert_eq!(images.exempt_clients[0].value.to_string(), "10.0.9.0/28");
    let listings = [&images.catalog, &images.search].map(|key| key.as_ref().unwrap().value);
    assert_eq!(listings, [Permission::Allow, Permission::Deny]);
}

#[test]
fn a_repository_that_is_none_is_met_with_what_to_write() {
    let table = "[[images]]\nregistry = \"docker-hub\"\n";
    for (line, complaint) in [
        (
            "allow = [\"https://docker.io/prom/x\"]",
            "4:10 `https://docker.io/prom/x` is a URL | a repository without its registry: write `prom/x`",
        ),
        (
            "allow = [\"ghcr.io/a/b:1\"]",
            "4:10 `ghcr.io/a/b:1` has a tag, a digest or a port | repositories are allowed with all of their tags and digests: write `a/b`",
        ),
        (
            "deny = [\"a//b\"]",
            "4:9 `a//b`: an empty part of a repository's name | write it as in `prom/*`, `mycompany/**` or `library/nginx`",
        ),
        ("allow = [\"@build-tool\"]", "4:10 unknown set `@build-tool` | the program has `@build-tools`"),
        (
            "push = [\"@build-tools\"]",
            "4:9 a set of images of others | write the repositories that may be pushed to; a set of images is for `allow` and `deny`",
        ),
        (
            "organizations = [\"a/b\"]",
            "4:18 a repository where an organization belongs | an organization has no `/`: write `a`, or list repositories in `allow`",
        ),
        ("official = \"alow\"", "4:12 unknown value `alow` | did you mean `allow`?"),
        ("officials = \"allow\"", "4:1 unknown key `officials` | did you mean `official`?"),
        (
            "allow = [\"Prom/*\"]",
            "4:10 upper-case letters, which no repository's name has: it stands for `prom/*` | write that instead",
        ),
        ("publishers = [\"bitnami\"]", "4:14 expected a table, found an array | write a table"),
    ] {
        let found = complaints(&format!("{table}{line}"));
        assert!(found.len() == 1 && found[0] == complaint, "{line}\n{found:#?}");
    }
    assert_eq!(
        complaints("[[images]]\nofficial = \"allow\""),
        ["2:1 `registry` is missing | write `registry = \"docker-hub\"`"]
    );
}

#[test]
fn dockers_own_registry_json_holds_organizations_and_one_with_a_version_is_a_policy() {
    let (document, found) = read("policy.d/registry.json", r#"{"allowedOrgs": ["one", "two"]}"#);
    assert_eq!(found, []);
    let organizations = document.docker_organizations.unwrap();
    assert_eq!(organizations.iter().map(|name| name.value.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(read("registry.json", r#"{"version": 1}"#).0.docker_organizations, None);
    let message = |text: &str| read("registry.json", text).1[0].message.clone();
    assert_eq!(message(r#"{"allowedOrg": ["one"]}"#), "`allowedOrgs` is missing");
    assert_eq!(message(r#"{"allowedOrgs": "one"}"#), "expected an array, found a string");
    assert_eq!(read("organizations.json", r#"{"allowedOrgs": ["one"]}"#).1[0].message, "`version` is missing");
}

#[test]
fn registries_and_services_keep_the_order_of_the_file() {
    let read = document(
        "[[service]]\nname = \"a\"\nnames = [\"a.example\"]\n[[registry]]\nname = \"b\"\nhosts = [\"b.example\"]\n\
         [[service]]\nname = \"c\"\nnames = [\"c.example\"]\n",
    );
    assert_eq!(read.entries.iter().map(|entry| entry.name.value.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place() {
    assert_eq!(
        complaints(
            "[[registry]]\nname = \"a\"\nhosts = [\"https://ghcr.io\", 1, \"ok.example\"]\ncname = \"tust\"\n\
             [[registri]]\n[[group]]\nname = \"g\"\nclients = [\"10.0.0.1/8\"]\n"
        ),
        [
            "4:10 `https://ghcr.io` is a URL | a host name, not a URL: write `ghcr.io`",
            "4:29 expected a string, found a whole number | write a string",
            "5:9 unknown value `tust` | did you mean `trust`?",
            "6:3 unknown key `registri` | did you mean `registry`?",
            "9:12 `10.0.0.1/8` has bits set beyond its /8 | write `10.0.0.0/8` for the network, `10.0.0.1` for the one address",
        ]
    );
}

#[test]
fn what_is_missing_or_out_of_place_is_a_fault() {
    for (text, complaint) in [
        (
            "[[registry]]\nname = \"a\"",
            "2:1 a registry without hosts | write `hosts = [\"registry.example\"]` or `preset = …`",
        ),
        (
            "[[registry]]\nname = \"a\"\nhosts = []",
            "2:1 a registry without hosts | write `hosts = [\"registry.example\"]` or `preset = …`",
        ),
        (
            "[[registry]]\nhosts = [\"a.example\"]",
            "2:1 a registry without a name | write `name = \"…\"`: logs and groups call it so",
        ),
        (
            "[[registry]]\nname = \"a\"\nhosts = [\"a b\"]",
            "4:10 ` ` cannot be in a host name | letters, digits, `-`, `_`, dots, and `*` as a wildcard",
        ),
        ("[[registry]]\npreset = \"\"", "3:10 an empty string | write a name, or leave the key out"),
        (
            "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\ninclude = [\"web\"]",
            "5:11 this belongs to a preset | write `preset = …` as well, or leave it out",
        ),
        ("[[registry]]\npreset = \"ecr\"\nvalues = { account = 012345678901 }", "4:22 "),
        (
            "[[registry]]\npreset = \"ecr\"\nvalues = { account = 123456789012 }",
            "4:22 a number where text belongs | write `\"123456789012\"`, so that no zero is lost",
        ),
        ("[[service]]\nname = \"a\"", "2:1 a service without names | write `names = [\".corp.example\"]`"),
        ("[[service]]\nnames = [\"a.example\"]", "2:1 `name` is missing | write `name = \"…\"`"),
        ("[[service]]\nname = \"a\"\nnames = [\"a.example\"]\nmode = \"audit\"", "5:1 unknown key `mode` | "),
        (
            "[[service]]\nname = \"a\"\nnames = [\"a.example\"]\nservers = [\"dns.example\"]",
            "5:12 `dns.example` is not an address | write it as in `10.0.0.53`, `10.0.0.53:53` or `[fd00::53]:53`",
        ),
        (
            "[[service]]\nname = \"a\"\nnames = [\"a.example\"]\nservers = [\"10.0.0.53:0\"]",
            "5:12 port 0 takes no questions | leave `:0` out",
        ),
        ("[[service]]\nname = \"a\"\nnames = [\"a.example\"]\ntypes = \"all\"", "5:9 unknown value `all` | "),
        (
            "[[service]]\nname = \"a\"\nnames = [\"a.example\"]\ntypes = [\"ANY\"]",
            "5:10 no name has records of type ANY | write types of data, such as `A` or `TXT`",
        ),
        (
            "[[service]]\nname = \"a\"\nnames = [\"a.example\"]\ntypes = []",
            "5:9 an empty list | no name would have records",
        ),
        (
            "[[deny]]\nhosts = [\"a.example\"]\nreason = \"x\\ny\"",
            "4:10 a control character, `\\n` | write plain text on one line",
        ),
        ("[[deny]]\nreason = \"x\"", "2:1 a deny without hosts | write `hosts = [\"*.untrusted.example\"]`"),
        ("[[group]]\nclients = []", "2:1 `name` is missing | write `name = \"…\"`"),
        (
            "[registry]\npreset = \"ghcr\"",
            "2:1 `registry` is one table | write `[[registry]]` (in JSON an array), since there may be several",
        ),
        (
            "[[registry]]\npreset = \"ghcr\"\nexpires = 2027-01-31",
            "4:11 `2027-01-31` is not a date with a time and an offset | write it as in `2027-01-31T00:00:00Z`",
        ),
        (
            "[[registry]]\npreset = \"ghcr\"\nprivate-addresses = \"yes\"",
            "4:21 expected `true` or `false`, found a string | ",
        ),
        (
            "[[registry]]\npreset = \"ghcr\"\ngroups = \"ci\"",
            "4:10 expected an array, found a string | write `[\"ci\"]`",
        ),
        ("[[registry]]\npreset = \"ghcr\"\ngroups = [\"ci\", \"ci\"]", "4:17 `ci` is listed twice | keep one of them"),
    ] {
        let found = complaints(text);
        assert!(found.len() == 1 && found[0].starts_with(complaint), "{text}\n{found:#?}");
    }
}

#[test]
fn the_version_is_required_and_known() {
    let complaint = |text: &str| read("a.toml", text).1.into_iter().map(|found| found.message).collect::<Vec<_>>();
    assert_eq!(complaint(""), ["`version` is missing"]);
    assert_eq!(complaint("version = 2"), ["version 2 of the policy language is not known"]);
    assert_eq!(complaint("version = \"1\""), ["expected a whole number, found a string"]);
    assert_eq!(complaint("version = 1"), [""; 0]);
}

#[test]
fn a_syntax_error_does_not_hide_the_faults_after_it() {
    let found = complaints("[[registry]]\nname = \"a\nhosts = [\"a.example\"]\n[[group]]\nname = \"g\"\nclints = []\n");
    assert!(found.iter().any(|found| found.starts_with("3:")), "{found:#?}");
    assert!(found.iter().any(|found| found.starts_with("7:1 unknown key `clints`")), "{found:#?}");
}

#[test]
fn a_broken_line_is_told_once_with_what_would_do() {
    for (text, complaint) in [
        ("[[deny]]\nhosts = [\"a.example\" \"b.example\"]", "3:22 missing comma between array elements | expected `,`"),
        ("[[deny]]\nhosts = [a.example]", "3:10 string values must be quoted | expected literal string"),
        ("=======\n", "2:2 extra `=` | expected nothing"),
        ("[[deny]]\nhosts = [\"a.example\"]\nhosts = []", "4:1 `hosts` is written twice | keep one of them"),
    ] {
        let found = complaints(text);
        assert!(found.len() == 1 && found[0].starts_with(complaint), "{text}\n{found:#?}");
    }
}

#[test]
fn strangers_under_a_shared_suffix_are_warned_of_unless_accepted() {
    let registry = "[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\nredirects = [\"*.s3.amazonaws.com\"]\n";
    let found = complaints(registry);
    assert!(found.len() == 1 && found[0].contains("also lets in anyone who makes an S3 bucket"), "{found:?}");
    assert_eq!(complaints(&format!("{registry}accept-shared-suffix = true")), [""; 0]);
    assert_eq!(complaints("[[deny]]\nhosts = [\"*.s3.amazonaws.com\"]"), [""; 0], "a deny may be as wide as it likes");
}

#[test]
fn unicode_is_converted_with_a_warning_that_shows_it() {
    let (document, found) = read("a.toml", "version = 1\n[[deny]]\nhosts = [\"*.bücher.example\"]");
    assert_eq!(document.denies[0].patterns[0].value.to_string(), "*.xn--bcher-kva.example");
    assert!(!found[0].is_fault() && found[0].message.contains("`*.xn--bcher-kva.example`"));
}

#[test]
fn json_is_the_same_tree() {
    let toml: toml::Table = EVERY_KEY.parse().unwrap();
    let json = serde_json::to_string_pretty(&toml).unwrap();
    let (toml, json) = (read("a.toml", EVERY_KEY), read("a.json", &json));
    assert_eq!(json.1, []);
    // The keys of that JSON are sorted, so that services come after registries, as they do in the TOML.
    assert_eq!(meaning(&toml.0), meaning(&json.0));
}

#[test]
fn json_faults_have_places_too() {
    let (_, found) = read("a.json", "{\n  \"version\": 1,\n  \"group\": [{\"name\": \"g\", \"clints\": []}]\n}");
    assert_eq!(found[0].to_string().lines().next(), Some("a.json:3:27: unknown key `clints`"));
}

#[test]
fn a_byte_order_mark_is_no_fault_in_toml_and_explained_in_json() {
    assert_eq!(read("a.toml", "\u{feff}version = 1").1, []);
    let found = read("a.json", "\u{feff}{\"version\": 1}").1;
    assert_eq!(found[0].message, "a byte order mark, which JSON has not (RFC 8259 §8.1)");
}

#[test]
fn the_shipped_example_is_valid_with_and_without_its_comments() {
    let shipped = include_str!("../../../../config/policy.d/10-registries.toml");
    assert_eq!(read("a.toml", shipped).1, []);
    let from = shipped.find("# [[registry]]").unwrap();
    let optional = shipped[from..].lines().filter(|line| {
        line.starts_with("# [[")
            || line.split_once('=').is_some_and(|(key, _)| {
                key.trim_start_matches("# ").trim().chars().all(|c| c.is_ascii_lowercase() || c == '-')
            })
    });
    let uncommented: String = optional.flat_map(|line| [line.trim_start_matches("# "), "\n"]).collect();
    let (document, found) = read("a.toml", &format!("{}{uncommented}", &shipped[..from]));
    assert_eq!(found, []);
    assert_eq!((document.entries.len(), document.denies.len(), document.groups.len()), (5, 1, 1));
}

fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

#[test]
fn a_directory_is_read_in_name_order_without_dotfiles_and_folders() {
    let directory =
        directory(&[("b.toml", b"b"), ("a.json", b"a"), (".c.toml", b"c"), ("d.txt", b"d"), ("e.toml~", b"e")]);
    std::fs::create_dir(directory.path().join("f.toml")).unwrap();
    let sources = read_directory(directory.path()).unwrap();
    assert_eq!(sources.iter().map(Source::text).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn links_are_followed_as_config_maps_need() {
    let directory = directory(&[("real", b"x")]);
    std::os::unix::fs::symlink("real", directory.path().join("a.toml")).unwrap();
    assert_eq!(read_directory(directory.path()).unwrap().len(), 1);
}

#[test]
fn an_empty_or_missing_directory_is_a_fault() {
    let empty = directory(&[("README", b"")]);
    let faults = read_directory(empty.path()).unwrap_err();
    assert_eq!(faults[0].message, "no `*.toml` or `*.json` file in the policy directory");
    let faults = read_directory(&empty.path().join("nowhere")).unwrap_err();
    assert_eq!(faults[0].message, "the policy directory cannot be read: no such file or directory");
    assert!(faults[0].hint.as_ref().unwrap().starts_with("make it"), "{}", faults[0]);
}

#[test]
fn a_slip_in_json_hides_no_other_fault_of_the_file() {
    for slip in ["// a comment\n", "'single': 1,\n", "\"a\": 1 \"b\": 2,\n"] {
        let text = format!(
            "{{\"version\": 1,\n{slip}\"registry\": [{{\"name\": \"a\", \"hosts\": [\"https://x.example\"]}}]}}"
        );
        let (_, found) = Document::parse(Source::new("a.json", text));
        assert_eq!(found.first().map(|fault| fault.excerpt.as_ref().unwrap().line), Some(2), "{slip}: {found:?}");
        let last = found.last().unwrap();
        assert_eq!(last.message, "`https://x.example` is a URL", "{slip}: {found:?}");
    }
}

#[test]
fn a_file_in_place_of_the_directory_is_met_with_the_directory_to_name() {
    let directory = directory(&[("a.toml", b"version = 1")]);
    let faults = read_directory(&directory.path().join("a.toml")).unwrap_err();
    assert_eq!(faults[0].message, "the policy directory cannot be read: not a directory");
    assert_eq!(faults[0].hint.as_deref(), Some("name the directory that holds the policy files"));
}

#[test]
fn every_file_that_cannot_be_read_is_told() {
    let directory = directory(&[("a.toml", b"version = 1 # \xff"), ("b.toml", b"version = 1")]);
    std::os::unix::fs::symlink("nowhere", directory.path().join("c.toml")).unwrap();
    nix::unistd::mkfifo(&directory.path().join("d.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let faults = read_directory(directory.path()).unwrap_err();
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(messages, ["not UTF-8 at byte 14", "cannot be read: no such file or directory", "not a regular file"]);
}

/// A policy as JSON data, made of a few names.
fn policies() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec!["a", "ci", "company-nexus", "", "ü"]);
    let host = prop::sample::select(vec![
        "ghcr.io",
        "*.s3.amazonaws.com",
        ".corp.example",
        "bücher.example",
        "https://x.io",
        "*.com",
        "10.0.0.1",
    ]);
    let hosts = prop::collection::vec(host, 0..3);
    let entry =
        (name.clone(), hosts, any::<bool>(), prop::sample::select(vec!["hosts", "names", "redirects", "hsots"]));
    let entries = prop::collection::vec(entry, 0..3).prop_map(|entries| {
        let table = |(name, hosts, private, key): (&str, Vec<&str>, bool, &str)| json!({"name": name, key: hosts, "private-addresses": private});
        serde_json::Value::Array(entries.into_iter().map(table).collect())
    });
    let kind = prop::sample::select(vec!["registry", "service", "deny", "group", "images", "assert"]);
    (kind, entries, 0..3).prop_map(|(kind, entries, version)| json!({"version": version, kind: entries}))
}

proptest! {
    #[test]
    fn toml_and_json_give_the_same_document_and_the_same_complaints(policy in policies()) {
        let (from_toml, toml_found) = read("a.toml", &toml::to_string(&policy).unwrap());
        let (from_json, json_found) = read("a.json", &serde_json::to_string_pretty(&policy).unwrap());
        prop_assert_eq!(meaning(&from_toml), meaning(&from_json));
        let messages = |found: Vec<Diagnostic>| { let mut all: Vec<_> = found.into_iter().map(|one| one.message).collect(); all.sort(); all };
        prop_assert_eq!(messages(toml_found), messages(json_found));
    }

    #[test]
    fn arbitrary_text_never_panics_and_every_place_lies_in_the_file(
        text in "(version = 1\n|\\[\\[(registry|group|deny|service|assert)\\]\\]\n|(hosts|name|clients|expires|preset|values|expect|image) = |\"[a-z.*:/é0-9]{0,8}\"|[\\[\\]{},=\n]|\\PC){0,30}"
    ) {
        for path in ["a.toml", "a.json"] {
            for found in read(path, &text).1 {
                let at = found.excerpt.unwrap();
                let line = text.split('\n').nth(at.line as usize - 1);
                prop_assert!(line.is_some_and(|line| at.column as usize <= line.chars().count() + 1), "{:?}", at);
            }
        }
    }
}
