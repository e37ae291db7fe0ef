//! Files of other programs: read where they can be, and never a reason for the doctor to fail. What cannot be read is
//! unseen; what is not written in its own format is a warning, once.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::inspect::doctor::report::{Finding, Report};
use crate::inspect::machine::Machine;

/// One `key = value` of a file in sections, such as a systemd unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting<'t> {
    /// The line, from 1.
    pub(super) line: usize,
    /// The section's name; empty before the first.
    pub(super) section: &'t str,
    /// The key.
    pub(super) key: &'t str,
    /// The value, without space around it.
    pub(super) value: &'t str,
}

/// The text of a file; `None` where there is none.
pub(super) fn text(machine: &Machine, path: impl AsRef<Path>, report: &mut Report) -> Option<String> {
    let path = path.as_ref();
    machine.read(path).unwrap_or_else(|error| {
        unseen(report, format!("{} cannot be read: {error}", path.display()));
        None
    })
}

/// The paths in a folder whose names end so; none where there is no such folder.
pub(super) fn list(machine: &Machine, folder: impl AsRef<Path>, ending: &str, report: &mut Report) -> Vec<PathBuf> {
    let folder = folder.as_ref();
    let mut paths = machine.list(folder).unwrap_or_else(|error| {
        unseen(report, format!("{} cannot be listed: {error}", folder.display()));
        Vec::new()
    });
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths
}

/// A file of JSON.
pub(super) fn json<T: DeserializeOwned>(machine: &Machine, path: impl AsRef<Path>, report: &mut Report) -> Option<T> {
    let path = path.as_ref();
    let text = text(machine, path, report)?;
    serde_json::from_str(&text).map_err(|error| invalid(report, path, error.line(), "JSON")).ok()
}

/// A file of TOML.
pub(super) fn toml(machine: &Machine, path: impl AsRef<Path>, report: &mut Report) -> Option<toml::Table> {
    let path = path.as_ref();
    let text = text(machine, path, report)?;
    let parsed = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        invalid(report, path, before.matches('\n').count() + 1, "TOML");
    });
    parsed.ok()
}

/// The settings of a file in sections. Lines that are none are passed over, as most readers do.
pub(super) fn settings(text: &str) -> impl Iterator<Item = Setting<'_>> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let (key, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';', '[']))?;
        Some(Setting { line: index + 1, section, key: key.trim(), value: value.trim() })
    })
}

/// Says once that something was not seen.
pub(super) fn unseen(report: &mut Report, what: String) {
    if !report.unseen.contains(&what) {
        report.unseen(what);
    }
}

fn invalid(report: &mut Report, path: &Path, line: usize, format: &str) {
    let title = format!("{}:{line}: not valid {format}", path.display());
    if !report.findings.iter().any(|finding| finding.title == title) {
        let finding = Finding::warning("files", title);
        report.add(finding.meaning("what it sets is not known here, and its own program may refuse it as well"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::local::testing::Tree;

    #[test]
    fn what_is_not_in_its_format_is_a_warning_once_with_its_line() {
        let tree = Tree::of(&[("etc/a.json", "{\n\"dns\": [,]}"), ("etc/b.toml", "a = 1\nb = \n")]);
        let mut report = Report::default();
        for _ in 0..2 {
            assert_eq!(json::<serde_json::Value>(&tree.machine, "/etc/a.json", &mut report), None);
            assert_eq!(toml(&tree.machine, "/etc/b.toml", &mut report), None);
        }
        let titles: Vec<&str> = report.findings.iter().map(|finding| finding.title.as_str()).collect();
        assert_eq!(titles, ["/etc/a.json:2: not valid JSON", "/etc/b.toml:2: not valid TOML"]);
    }

    #[test]
    fn what_cannot_be_read_is_unseen_once() {
        let tree = Tree::of(&[("etc/daemon.json/x", "")]);
        let mut report = Report::default();
        for _ in 0..2 {
            assert_eq!(text(&tree.machine, "/etc/daemon.json", &mut report), None);
        }
        assert_eq!(report.unseen.len(), 1, "{report:?}");
        assert_eq!(text(&tree.machine, "/etc/absent", &mut report), None);
        assert_eq!(report.unseen.len(), 1, "what is not there is no news");
    }

    #[test]
    fn settings_know_their_section_and_line() {
        let text = "a=1\n[Resolve]\n# b=2\nDNS = 192.0.2.1 \n\nword\n[Other]\nc==\n";
        let read: Vec<_> = settings(text).map(|s| (s.line, s.section, s.key, s.value)).collect();
        assert_eq!(read, [(1, "", "a", "1"), (4, "Resolve", "DNS", "192.0.2.1"), (8, "Other", "c", "=")]);
    }
}
