//! The systemd unit against the program it runs.

use std::path::Path;
use std::process::{Command, Output};

use pullgate::config::Environment;

const UNIT: &str = include_str!("../systemd/pullgate.service");
const PROGRAM: &str = env!("CARGO_BIN_EXE_pullgate");

/// The values of a setting of the unit.
fn values(setting: &str) -> Vec<&'static str> {
    let of_setting = |line: &'static str| line.split_once('=').filter(|(name, _)| *name == setting);
    UNIT.lines().filter_map(of_setting).map(|(_, value)| value).collect()
}

fn pullgate(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("cargo built the program for this test")
}

#[test]
fn every_command_of_the_unit_exists() {
    for setting in ["ExecStart", "ExecReload"] {
        let commands = values(setting);
        assert_eq!(commands.len(), 1, "{setting}");
        let words: Vec<&str> = commands[0].split_whitespace().collect();
        let (program, arguments) = words.split_first().unwrap();
        assert_eq!(*program, "/usr/bin/pullgate");
        let help = pullgate(&[arguments, &["--help"]].concat());
        assert!(help.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&help.stderr));
        let usage = format!("Usage: pullgate {}", arguments.join(" "));
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
    assert_eq!(values("RestartPreventExitStatus"), [codes.join(" ")]);
}

#[test]
fn the_unit_s_folders_are_where_the_program_looks() {
    let folder = |setting: &str| values(setting)[0].split(' ').next_back().unwrap().to_owned();
    let root = Environment::default();
    assert_eq!(root.state(), Path::new("/var/lib").join(folder("StateDirectory")));
    assert_eq!(root.control_socket(), Path::new("/run").join(folder("RuntimeDirectory")).join("control.sock"));
    let settings = include_str!("../config/pullgate.toml");
    let policy = Path::new("/etc").join(folder("ConfigurationDirectory"));
    assert!(settings.contains(&format!("\"{}\"", policy.display())), "{}", policy.display());
}

#[test]
fn the_unit_s_user_is_made_by_its_sysusers_file() {
    let users = include_str!("../systemd/sysusers.d/pullgate.conf");
    for setting in ["User", "Group"] {
        assert!(users.lines().any(|line| line.starts_with(&format!("u {} ", values(setting)[0]))), "{setting}");
    }
}
