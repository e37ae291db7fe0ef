//! `pullgate images import` on files that administrators have.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use super::harness::{Ended, pullgate};

const SETTINGS: &str =
    r#"{"restricted_images": {"enabled": true, "allow_official_images": true, "allow_verified_publishers": false}}"#;
const REGISTRIES: &str = "resource \"docker_org_setting_registry_access_management\" \"r\" {\n  org_name = var.org\n  \
    enabled = true\n  custom_registries = [{ address = \"ghcr.io\", friendly_name = \"GitHub\", allowed = true }]\n  \
    standard_registry_docker_hub = { allowed = false }\n}\n";

/// A folder with files to import, and settings whose policy folder is in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("policy.d")).unwrap();
        let settings = format!("[policy]\npath = {:?}\n", folder.path("policy.d").display().to_string());
        fs::write(folder.path("pullgate.toml"), settings).unwrap();
        for (name, text) in files {
            fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn import(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = pullgate(&["images", "import"]);
        command.args(arguments).args(["--config", "pullgate.toml"]).current_dir(self.0.path());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ended::from(child.wait_with_output().unwrap())
    }
}

#[test]
fn settings_from_standard_input_are_printed_as_a_policy() {
    let ended = Files::new(&[]).import(&["--organization", "myorg", "-"], SETTINGS);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("official            = \"allow\"   # standard input:1\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("    \"myorg\",   # --organization\n"), "{}", ended.stdout);
}

#[test]
fn a_server_takes_the_registries_that_were_imported() {
    let files = Files::new(&[("main.tf", REGISTRIES)]);
    let ended = files.import(&["main.tf", "--output", "draft.toml"], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("draft.toml is written"), "{}", ended.stdout);
    fs::rename(files.path("draft.toml"), files.path("policy.d/docker.toml")).unwrap();
    let config = files.path("pullgate.toml").display().to_string();
    let check = |name| {
        let ended = pullgate(&["check", name, "--config", &config]).output().unwrap();
        Ended::from(ended).code
    };
    assert_eq!((check("ghcr.io"), check("registry-1.docker.io")), (Some(0), Some(1)));
}

#[test]
fn a_file_that_exists_is_not_written_over_and_the_policy_folder_is_not_written_to() {
    let files = Files::new(&[("registry.json", r#"{"allowedOrgs": ["myorg"]}"#), ("there.toml", "mine")]);
    let ended = files.import(&["registry.json", "--output", "there.toml"], "");
    assert_eq!(ended.code, Some(74));
    assert_eq!(ended.stderr, "pullgate: there.toml exists: nothing was written\n");
    assert_eq!(fs::read_to_string(files.path("there.toml")).unwrap(), "mine");
    let ended = files.import(&["registry.json", "--output", "policy.d/new.toml"], "");
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("is the policy folder: what is written there is in force"), "{}", ended.stderr);
    assert!(!files.path("policy.d/new.toml").exists());
}

#[test]
fn the_faults_of_all_files_are_told_and_nothing_is_printed() {
    let files = Files::new(&[("a.json", r#"{"allowedOrgs": [1]}"#), ("b.tf", "resource {\n  a = \n}\n")]);
    let ended = files.import(&["a.json", "b.tf"], "");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""));
    assert!(ended.stderr.contains("a.json:1:18: ") && ended.stderr.contains("b.tf:2:"), "{}", ended.stderr);
    let ended = files.import(&["missing.json", "gone.json"], "");
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("missing.json: ") && ended.stderr.contains("gone.json: "), "{}", ended.stderr);
}

#[test]
fn a_kind_can_be_forced() {
    let files = Files::new(&[("x", r#"{"allowedOrgs": ["myorg"]}"#)]);
    assert_eq!(files.import(&["x", "--from", "registry-json"], "").code, Some(0));
    let ended = files.import(&["x", "--from", "organization-settings"], "");
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("`restricted_images` is missing"), "{}", ended.stderr);
}

#[test]
fn json_tells_what_was_found_and_where() {
    let files = Files::new(&[("main.tf", REGISTRIES)]);
    let ended = files.import(&["main.tf", "--json"], "");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["registries"][0]["preset"], "ghcr");
    assert_eq!(report["registries"][0]["stated"][0]["place"]["line"], 4);
    assert_eq!(report["left_out"][0]["what"], "Docker Hub");
    assert_eq!((&report["images"], &report["written"]), (&Value::Null, &Value::Null));
    assert!(report["policy"].as_str().unwrap().contains("preset = \"ghcr\""));
    assert!(!ended.stderr.contains("warning"), "they are in the report");
}
