//! The systemd units against the program they run.

use std::path::Path;
use std::process::{Command, Output};

use pullgate::config::Environment;

/// The units: the resolver's and the gateway's.
const RESOLVER: &str = include_str!("../systemd/pullgate.service");
const GATEWAY: &str = include_str!("../systemd/pullgate-gateway.service");
/// What looks whether presets have drifted, and what starts it.
const DISCOVER: &str = include_str!("../systemd/pullgate-discover.service");
const DISCOVER_TIMER: &str = include_str!("../systemd/pullgate-discover.timer");
const PROGRAM: &str = env!("CARGO_BIN_EXE_pullgate");

/// The values of a setting of a unit.
fn values(unit: &'static str, setting: &str) -> Vec<&'static str> {
    let of_setting = |line: &'static str| line.split_once('=').filter(|(name, _)| *name == setting);
    unit.lines().filter_map(of_setting).map(|(_, value)| value).collect()
}

fn pullgate(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("cargo built the program for this test")
}

#[test]
fn every_command_of_the_unit_exists() {
    for (unit, setting) in [
        (RESOLVER, "ExecStart"),
        (RESOLVER, "ExecReload"),
        (GATEWAY, "ExecStart"),
        (GATEWAY, "ExecReload"),
        (DISCOVER, "ExecStart"),
    ] {
        let commands = values(unit, setting);
        assert_eq!(commands.len(), 1, "{setting}");
        let words: Vec<&str> = commands[0].split_whitespace().collect();
        let (program, arguments) = words.split_first().unwrap();
        assert_eq!(*program, "/usr/bin/pullgate");
        let help = pullgate(&[arguments, &["--help"]].concat());
        assert!(help.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&help.stderr));
        let usage = format!("Usage: pullgate {}", arguments[0]);
        assert!(String::from_utf8_lossy(&help.stdout).contains(&usage), "{usage}");
    }
}

#[test]
fn what_starting_again_would_not_help_is_what_the_unit_does_not_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("pullgate.toml");
    std::fs::write(&settings, "[server]\nlistenn = []\n").unwrap();
    let wrong_settings = pullgate(&["serve", "--config", settings.to_str().unwrap()]);
    let wrong_usage = pullgate(&["serve", "--no-such-option"]);
    let codes: Vec<String> =
        [wrong_usage, wrong_settings].iter().map(|output| output.status.code().unwrap().to_string()).collect();
    for unit in [RESOLVER, GATEWAY] {
        assert_eq!(values(unit, "RestartPreventExitStatus"), [codes.join(" ")]);
    }
}

#[test]
fn the_unit_s_folders_are_where_the_program_looks() {
    let folder_of = |unit, setting: &str| values(unit, setting)[0].split(' ').next_back().unwrap().to_owned();
    let folder = |setting| folder_of(RESOLVER, setting);
    let root = Environment::default();
    assert_eq!(root.state(), Path::new("/var/lib").join(folder("StateDirectory")));
    assert_eq!(root.control_socket(), Path::new("/run").join(folder("RuntimeDirectory")).join("control.sock"));
    let socket = Path::new("/run").join(folder_of(GATEWAY, "RuntimeDirectory")).join("control.sock");
    assert_eq!(root.gateway_state(), Path::new("/var/lib").join(folder_of(GATEWAY, "StateDirectory")));
    assert_eq!(root.gateway_socket(), socket);
    assert!(values(GATEWAY, "ExecReload")[0].ends_with(&socket.display().to_string()));
    let settings = include_str!("../config/pullgate.toml");
    let policy = Path::new("/etc").join(folder("ConfigurationDirectory"));
    assert!(settings.contains(&format!("\"{}\"", policy.display())), "{}", policy.display());
}

#[test]
fn the_unit_s_user_is_made_by_its_sysusers_file() {
    let users = include_str!("../systemd/sysusers.d/pullgate.conf");
    for unit in [RESOLVER, GATEWAY, DISCOVER] {
        for setting in ["User", "Group"] {
            let user = values(unit, setting)[0];
            assert!(users.lines().any(|line| line.starts_with(&format!("u {user} "))), "{setting} {user}");
        }
    }
}

#[test]
fn nothing_starts_the_look_at_the_presets_but_its_timer_and_that_only_where_it_is_enabled() {
    assert!(values(DISCOVER, "WantedBy").is_empty(), "it has no place in the boot of a machine");
    assert_eq!(values(DISCOVER_TIMER, "WantedBy"), ["timers.target"]);
    assert_eq!(values(DISCOVER, "Type"), ["oneshot"]);
    assert_eq!(values(DISCOVER, "SuccessExitStatus"), ["69"], "without a network nothing is known to be lacking");
}
