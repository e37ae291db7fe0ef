//! The layers of ARCHITECTURE.md, held against the `use` lines and paths of `src`: who may import whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src` and what it may name of ours. The reasons are in ARCHITECTURE.md.
const LAYERS: &[(&str, &[&str])] = &[
    ("name", &[]),
    ("diagnostic", &[]),
    ("record_type", &[]),
    ("address", &[]),
    ("background", &[]),
    ("resolv_conf", &["address"]),
    ("tree", &["diagnostic"]),
    ("net", &[]),
    ("policy", &["name", "diagnostic", "record_type", "address", "background", "tree"]),
    ("config", &["name", "diagnostic", "record_type", "address", "tree", "policy"]),
    ("event", &["name", "diagnostic", "config", "policy"]),
    ("upstream", &["name", "resolv_conf", "net", "config"]),
    ("gateway", &["name", "diagnostic", "record_type", "address", "net", "event", "config", "policy", "upstream"]),
    ("dns", &["name", "diagnostic", "record_type", "net", "event", "config", "policy", "upstream"]),
    (
        "observe",
        &[
            "name",
            "diagnostic",
            "record_type",
            "background",
            "net",
            "event",
            "config",
            "policy",
            "upstream",
            "gateway",
            "dns",
        ],
    ),
    ("control", &["name", "diagnostic", "record_type", "config", "policy", "gateway", "observe"]),
    (
        "inspect",
        &[
            "name",
            "diagnostic",
            "record_type",
            "address",
            "resolv_conf",
            "tree",
            "config",
            "policy",
            "upstream",
            "gateway",
            "observe",
            "control",
        ],
    ),
    (
        "daemon",
        &[
            "name",
            "diagnostic",
            "record_type",
            "net",
            "event",
            "config",
            "policy",
            "upstream",
            "gateway",
            "dns",
            "observe",
            "control",
        ],
    ),
    ("cli", &["*"]),
];

/// Crates whose API moves: named in one file, or in tests alone.
const SINGLE_USERS: &[(&str, &[&str])] = &[
    ("hickory_resolver", &["src/upstream/encrypted.rs"]),
    ("hickory_server", &[]),
    ("hickory_proto", &["src/inspect/doctor/ask.rs"]),
];

/// What the policy must not name: it judges plain values.
const STRANGE_TO_POLICY: &[&str] = &["hickory_", "UdpSocket", "TcpListener", "TcpStream"];

/// The files of `src/policy` that may name the async runtime.
const POLICY_SHELL: &[&str] = &["src/policy/store", "src/policy/watch"];

#[test]
fn no_module_imports_one_that_its_layer_does_not_allow() {
    let mut wrong = Vec::new();
    for file in sources() {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module `{module}` has no row in the table", file.display()));
            continue;
        };
        for (line, used) in imports(&file) {
            if used != module && !allowed.contains(&used.as_str()) && *allowed != ["*"] {
                wrong.push(format!("{}:{line}: `{module}` may not import `{used}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_crate_whose_api_moves_is_named_in_one_file() {
    for (name, homes) in SINGLE_USERS {
        let tests = |file: &Path| {
            file.ends_with("testing.rs") || file.ends_with("tests.rs") || file.starts_with("src/dns/plain")
        };
        let users = sources().into_iter().filter(|file| !tests(file) && code(file).contains(name));
        assert_eq!(users.collect::<Vec<_>>(), homes.iter().map(PathBuf::from).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn the_policy_knows_neither_sockets_nor_dns_messages_and_only_its_shell_is_async() {
    for file in sources().into_iter().filter(|file| file.starts_with("src/policy")) {
        let text = code(&file);
        for word in STRANGE_TO_POLICY {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
        let shell = POLICY_SHELL.iter().any(|name| file.to_string_lossy().starts_with(name));
        assert!(shell || !text.contains("tokio"), "{} names tokio", file.display());
    }
}

#[test]
fn only_main_and_the_commands_print_or_exit() {
    for file in sources() {
        if file.starts_with("src/cli") || file == Path::new("src/main.rs") {
            continue;
        }
        let text = code(&file);
        for word in ["println!", "print!(", "process::exit"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

/// Every Rust file of `src`, relative to the package.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the tests run in the package's folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The module directly below the crate that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file.components().nth(1).expect("a file below src").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// A file's code above its unit tests, comments blanked.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable file");
    let above = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = above.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every `crate::module` of a file's code, with its line; of `crate::{a, b::c}` both.
fn imports(file: &Path) -> BTreeSet<(usize, String)> {
    let text = code(file);
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let line = text[..at].lines().count();
        let rest = &text[at + "crate::".len()..];
        let paths = rest.strip_prefix('{').map_or_else(|| vec![rest], top_level_items);
        for path in paths {
            let word: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if word.starts_with(char::is_lowercase) {
                found.insert((line, word));
            }
        }
    }
    found
}

/// The items of a brace list whose opening brace has been read, split at its own commas.
fn top_level_items(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (1, 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            items.push(&list[start..at]);
            break;
        }
    }
    items
}
