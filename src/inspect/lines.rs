//! Lines of policy that people are to take over, and what to know of the names in them.

use std::fmt::Write;

use serde::Serialize;

use crate::name::DomainName;
use crate::policy::pattern::Pattern;
use crate::policy::preset::{self, Recognized};
use crate::policy::shared_suffix;

/// Who else gets in with a host, or would with a wildcard over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedReport {
    /// Whether the name itself lets strangers in, and not only a wildcard.
    pub exact: bool,
    /// Who else gets in.
    pub message: String,
    /// What to write.
    pub hint: String,
}

/// What to know of a name under a suffix that others have names under.
pub(super) fn shared(name: &DomainName) -> Option<SharedReport> {
    let text = name.to_string();
    let warn = |pattern: &str| shared_suffix::warning(&Pattern::parse(pattern).ok()?);
    if let Some(warning) = warn(&text) {
        return Some(SharedReport { exact: true, message: warning.message, hint: warning.hint });
    }
    let (_, parent) = text.split_once('.')?;
    let warning = warn(&format!("*.{parent}"))?;
    Some(SharedReport { exact: false, message: warning.message, hint: format!("write `{text}`, and no wildcard") })
}

/// A `[[registry]]` with a preset.
pub(super) struct PresetEntry {
    pub(super) name: DomainName,
    pub(super) recognized: Recognized,
    hosts: Vec<Pattern>,
    group: Option<String>,
}

impl PresetEntry {
    /// For a registry's own name; values that the name does not tell are found in the other hosts' names.
    pub(super) fn of(name: &DomainName, group: Option<&str>, others: &[&DomainName]) -> Option<Self> {
        let recognized = preset::recognize(name)?.completed(others.iter().copied());
        let hosts = recognized.hosts().filter(|_| recognized.missing.is_empty())?;
        let entry = Self { name: name.clone(), recognized, hosts, group: group.map(str::to_owned) };
        entry.covers(name).then_some(entry)
    }

    pub(super) fn covers(&self, name: &DomainName) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(name.as_name()))
    }

    pub(super) fn toml(&self) -> String {
        let mut toml = format!("[[registry]]\npreset = \"{}\"\n", self.recognized.preset.id);
        if !self.recognized.values.is_empty() {
            let values = self.recognized.values.iter().map(|(key, value)| format!("{key} = \"{value}\""));
            let _ = writeln!(toml, "values = {{ {} }}", values.collect::<Vec<_>>().join(", "));
        }
        push_groups(&mut toml, self.group.as_deref());
        toml
    }
}

/// Adds the line that says who may use an entry; where there are no groups, none.
pub(super) fn push_groups<'g>(toml: &mut String, groups: impl IntoIterator<Item = &'g str>) {
    let groups: Vec<String> = groups.into_iter().map(quoted).collect();
    if !groups.is_empty() {
        let _ = writeln!(toml, "groups = [{}]", groups.join(", "));
    }
}

/// An array of strings.
pub(super) fn list(names: impl IntoIterator<Item = impl ToString>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| quoted(&name.to_string())).collect();
    format!("[{}]", names.join(", "))
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// Text that ends no comment: names of files and of people's registries may hold anything.
pub(super) fn on_one_line(text: &str) -> String {
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if is_odd(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_by_name_or_by_the_wildcard_that_somebody_may_write() {
        let exact = |name: &str| shared(&name.parse().unwrap()).map(|shared| shared.exact);
        assert_eq!(exact("storage.googleapis.com"), Some(true));
        assert_eq!(exact("d111.cloudfront.net"), Some(false));
        assert_eq!(exact("bucket.s3.eu-west-1.amazonaws.com"), Some(false));
        assert_eq!(exact("ghcr.io"), None);
        assert_eq!(exact("registry"), None);
    }
}
