//! systemd's units of engines, with the drop-ins that change them.

use std::path::PathBuf;

use super::foreign;
use crate::inspect::doctor::report::Report;
use crate::inspect::machine::Machine;

/// One setting of a unit, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitSetting {
    /// The file.
    pub(super) path: PathBuf,
    /// The line, from 1.
    pub(super) line: usize,
    /// Such as `Environment`.
    pub(super) key: String,
    /// What it is set to.
    pub(super) value: String,
}

/// The settings of a service's `[Service]` section, in the order in which systemd takes them: its own file, then drop-ins
/// by name. An empty value takes back what was set before by that key.
pub(super) fn service_settings(machine: &Machine, service: &str, report: &mut Report) -> Vec<UnitSetting> {
    let mut found: Vec<UnitSetting> = Vec::new();
    for path in files(machine, service, report) {
        let Some(text) = foreign::text(machine, &path, report) else { continue };
        for setting in foreign::settings(&text).filter(|setting| setting.section == "Service") {
            if setting.value.is_empty() {
                found.retain(|earlier| earlier.key != setting.key);
                continue;
            }
            let (key, value) = (setting.key.to_owned(), setting.value.to_owned());
            found.push(UnitSetting { path: path.clone(), line: setting.line, key, value });
        }
    }
    found
}

/// The unit of a service, the first in systemd's own order, and all its drop-ins.
fn files(machine: &Machine, service: &str, report: &mut Report) -> Vec<PathBuf> {
    let places = FOLDERS.iter().map(|folder| PathBuf::from(format!("{folder}/{service}")));
    let unit = places.into_iter().find(|path| matches!(machine.read(path), Ok(Some(_))));
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        for path in foreign::list(machine, format!("{folder}/{service}.d"), ".conf", report) {
            if !drop_ins.iter().any(|earlier| earlier.file_name() == path.file_name()) {
                drop_ins.push(path);
            }
        }
    }
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    unit.into_iter().chain(drop_ins).collect()
}

/// The words of a value, as systemd splits them: by space, with quotes around words that have some.
pub(super) fn words(value: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in value.chars() {
        match (character, quote) {
            ('"' | '\'', None) => quote = Some(character),
            (end, Some(open)) if end == open => quote = None,
            (space, None) if space.is_whitespace() => words.push(String::new()),
            (other, _) => words.last_mut().expect("there is one from the start").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Where units stand; what comes first counts.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect::doctor::local::testing::Tree;

    #[test]
    fn drop_ins_come_after_the_unit_by_name_and_may_take_back() {
        let tree = Tree::of(&[
            (
                "usr/lib/systemd/system/docker.service",
                "[Unit]\nA=0\n[Service]\nEnvironment=A=1\nExecStart=/usr/bin/dockerd\n",
            ),
            ("etc/systemd/system/docker.service.d/20.conf", "[Service]\nEnvironment=C=3\n"),
            ("usr/lib/systemd/system/docker.service.d/10.conf", "[Service]\nEnvironment=\nEnvironment=B=2\n"),
            ("usr/lib/systemd/system/docker.service.d/20.conf", "[Service]\nEnvironment=D=4\n"),
        ]);
        let found = service_settings(&tree.machine, "docker.service", &mut Report::default());
        let values: Vec<&str> = found.iter().map(|setting| setting.value.as_str()).collect();
        assert_eq!(values, ["/usr/bin/dockerd", "B=2", "C=3"]);
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(words(r#""HTTP_PROXY=http://a b" 'C=d'  E=f"#), ["HTTP_PROXY=http://a b", "C=d", "E=f"]);
    }

    proptest! {
        #[test]
        fn no_value_panics(text in "[\\PC\"' =]{0,100}") {
            prop_assert!(words(&text).iter().all(|word| !word.is_empty()));
        }
    }
}
