//! `pullgate images ca`: from no authority to one that hosts trust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::harness::{Ended, Place, Upstream, pullgate};

/// A registry that is inspected.
fn inspected(name: &str) -> String {
    format!(
        "[[registry]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\npath = \"inspect\"\n\
         [[images]]\nregistry = \"{name}\"\nallow = [\"**\"]\n"
    )
}

/// A folder with a gateway whose policy inspects `a.example`.
fn place() -> Place {
    let upstream = Upstream::start();
    let place = Place::new(&inspected("a"), upstream);
    let ca = place.path("ca").display().to_string();
    place.write_settings("127.0.0.1:0", upstream, &format!("[gateway]\naddress = \"192.0.2.53\"\nca = {ca:?}\n"));
    place
}

fn ca(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["images", "ca"], arguments].concat())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The files of the authority's folder with this extension.
fn files(place: &Place, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(place.path("ca")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

/// The fingerprint of the certificate that signs now.
fn in_use(place: &Place) -> String {
    let report = json(&ca(place, &["show", "--json"]));
    let certificates = report["certificates"].as_array().unwrap();
    let [certificate] = certificates.iter().filter(|it| it["state"] == "in-use").collect::<Vec<_>>()[..] else {
        panic!("one is in use: {report}")
    };
    certificate["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn an_authority_is_made_once_for_the_names_that_the_policy_has_inspected() {
    let place = place();
    let made = ca(&place, &["init", "--json"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let report = json(&made);
    assert_eq!(report["certificates"][0]["permitted"], serde_json::json!(["a.example"]));
    assert_eq!(report["certificates"][0]["state"], "in-use");
    let [key] = files(&place, "key").try_into().unwrap();
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = ca(&place, &["init"]);
    assert_eq!(again.code, Some(78));
    assert!(again.stderr.contains("images ca rotate"), "{}", again.stderr);
    let shown = ca(&place, &["show"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("in use") && shown.stdout.contains("a.example"), "{}", shown.stdout);
}

#[test]
fn a_name_that_the_policy_has_inspected_since_is_told_and_covered_by_another_authority() {
    let place = place();
    ca(&place, &["init", "--lifetime", "100days"]);
    place.write_policy(&(inspected("a") + &inspected("b")));
    let shown = ca(&place, &["show"]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.stdout.contains("NOT covered, though the policy has them inspected: b.example"), "{}", shown.stdout);
    let next = ca(&place, &["rotate"]);
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    assert_eq!(ca(&place, &["show"]).code, Some(1), "its time has not come");
    assert_eq!(ca(&place, &["rotate", "--overlap", "0s"]).code, Some(0));
    let shown = ca(&place, &["show", "--json"]);
    assert_eq!(shown.code, Some(0));
    let report = json(&shown);
    let mut states: Vec<&str> =
        report["certificates"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["in-use", "next", "previous"]);
    assert_eq!(ca(&place, &["show", "--pem"]).stdout.matches("BEGIN CERTIFICATE").count(), 3);
    for _ in 0..3 {
        let before = in_use(&place);
        assert_eq!(ca(&place, &["rotate", "--overlap", "0s"]).code, Some(0));
        assert_ne!(in_use(&place), before, "also when both were made within a second");
    }
    let late = ca(&place, &["rotate", "--overlap", "1000days"]);
    assert_eq!(late.code, Some(78), "the one in use ends before");
    assert_eq!(files(&place, "crt").len(), 6);
}

#[test]
fn without_a_name_to_be_for_no_authority_is_made() {
    let place = Place::new("[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\n", Upstream::start());
    let folder = place.path("ca").display().to_string();
    let ended = ca(&place, &["init", "--ca", &folder]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("path = \"inspect\""), "{}", ended.stderr);
    let named = ca(&place, &["init", "--ca", &folder, "--name", "*.cloudfront.net"]);
    assert_eq!(named.code, Some(0), "{}", named.stderr);
    assert!(named.stderr.contains("others have names as well"), "{}", named.stderr);
    assert_eq!(ca(&place, &["init", "--ca", &folder, "--name", "https://a"]).code, Some(78), "there is one by now");
    let missing = ca(&place, &["rotate", "--ca", &place.path("none").display().to_string()]);
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("images ca init"), "{}", missing.stderr);
}

#[test]
fn a_host_trusts_it_by_its_folder_or_by_a_file_and_stops_to_when_that_is_undone() {
    let place = place();
    ca(&place, &["init"]);
    let bundle = place.path("bundle.pem");
    fs::write(&bundle, ca(&place, &["show", "--pem"]).stdout).unwrap();
    let root = place.path("root");
    fs::create_dir_all(root.join("usr/sbin")).unwrap();
    fs::write(root.join("usr/sbin/update-ca-certificates"), "").unwrap();
    let root_argument = root.display().to_string();
    let added = || fs::read_dir(root.join("usr/local/share/ca-certificates")).map(Iterator::count).unwrap_or_default();
    let paths = [place.path("ca"), bundle].map(|path| path.display().to_string());
    for path in &paths {
        let install = |more: &[&str]| {
            let arguments = [&["images", "ca", "install", "--root", &root_argument, "--ca", path], more].concat();
            Ended::from(pullgate(&arguments).output().unwrap())
        };
        let shown = install(&[]);
        assert_eq!((shown.code, added()), (Some(0), 0), "{}", shown.stderr);
        assert!(shown.stdout.contains("update-ca-certificates"), "{}", shown.stdout);
        let written = install(&["--write", "--json"]);
        assert_eq!((written.code, added()), (Some(0), 1), "{}", written.stderr);
        assert_eq!(json(&written)["target"], "ca");
        assert_eq!(install(&["--undo"]).code, Some(0));
        assert_eq!(added(), 0);
    }
    let by_setup = ["setup", "--root", &root_argument, "ca", "--ca", &paths[0]];
    assert!(Ended::from(pullgate(&by_setup).output().unwrap()).stdout.contains("update-ca-certificates"));
    let nothing = ["images", "ca", "install", "--root", &root_argument];
    let nothing = Ended::from(pullgate(&nothing).output().unwrap());
    assert_eq!(nothing.code, Some(78));
    assert!(nothing.stderr.contains("show --pem"), "{}", nothing.stderr);
}
