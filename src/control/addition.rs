//! The lines of policy that would let a denied name through, and no other.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::name::DomainName;
use crate::observe::pulls::Pull;
use crate::policy::judge::{Denial, Judgement, Verdict};
use crate::policy::pattern::Pattern;
use crate::policy::preset::{self, Preset};
use crate::policy::snapshot::{GroupRef, Snapshot};

/// Lines of policy to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// The entry that they go into, and where it is written; `None`: they are an entry of their own.
    pub to: Option<String>,
    /// The lines.
    pub lines: String,
}

impl Addition {
    /// For a name as it was judged: a name that a preset has is had with the preset, any other is an entry of its own.
    /// `None` where a rule denies it or no group has the client, so that another rule would help nothing, and for what no
    /// rule can be about.
    pub(super) fn of(snapshot: &Snapshot, name: &DomainName, judgement: Judgement<'_>) -> Option<Self> {
        let (Verdict::Deny(denial) | Verdict::Audit(denial)) = judgement.verdict else { return None };
        let is_open = matches!(denial, Denial::Unlisted | Denial::Catalogue(_));
        let text = name.to_string();
        if !is_open || Pattern::parse(&text).is_err() {
            return None;
        }
        let mut lines =
            with_preset(snapshot, name).unwrap_or_else(|| format!("name = \"{text}\"\nhosts = [\"{text}\"]\n"));
        lines.insert_str(0, "[[registry]]\n");
        if let Some(group) = judgement.group.and_then(GroupRef::known_name) {
            let _ = writeln!(lines, "groups = [{}]", toml_edit::Value::from(group));
        }
        Some(Self { to: None, lines })
    }

    /// The same for a name that was asked for right after a registry's: most likely that registry sends downloads there.
    #[must_use]
    pub fn after(name: &str, pull: &Pull) -> Self {
        Self { to: Some(pull.place().to_string()), lines: format!("{}\n", Pull::line(name)) }
    }
}

/// The keys of an entry with the preset that has a name, if the name tells all that the preset needs.
fn with_preset(snapshot: &Snapshot, name: &DomainName) -> Option<String> {
    if let Some(found) = preset::recognize(name).filter(|found| found.missing.is_empty() && found.is_covered) {
        let values: Vec<String> = found.values.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
        let values = if values.is_empty() { String::new() } else { format!("values = {{ {} }}\n", values.join(", ")) };
        return Some(format!("{}{values}", key_of(found.preset)));
    }
    let preset = snapshot.preset_with(name.as_name())?;
    let expansion = preset.expand(&[], &BTreeMap::new()).ok()?;
    expansion.hosts.iter().any(|(pattern, _)| pattern.matches(name.as_name())).then(|| key_of(preset))
}

fn key_of(preset: &Preset) -> String {
    format!("preset = \"{}\"\n", preset.id)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};
    use crate::policy::judge::Asker;

    const POLICY: &str = "version = 1\n[[registry]]\nname = \"a\"\nhosts = [\"a.example\"]\ngroups = [\"c\\\"i\"]\n\
                          [[deny]]\nhosts = [\"bad.example\"]\n\
                          [[group]]\nname = \"c\\\"i\"\nclients = [\"10.0.0.0/8\"]\n\
                          [[group]]\nname = \"dev\"\nclients = [\"10.1.0.0/16\"]\nregistries = []\n";

    /// The lines for a name, and that a policy with them allows it for the same client.
    fn lines(client: &str, name: &str) -> Option<String> {
        let asker = Asker { client: client.parse::<IpAddr>().unwrap(), listener: None };
        let name: DomainName = name.parse().unwrap();
        let allows = |text: String| {
            let compiled = load(vec![Source::new("a.toml", text)], &Options::default(), SystemTime::now());
            let snapshot = compiled.unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot;
            let judgement = snapshot.judge(&asker, name.as_name());
            (judgement.verdict.resolves(), Addition::of(&snapshot, &name, judgement).map(|addition| addition.lines))
        };
        let (_, lines) = allows(POLICY.to_owned());
        if let Some(lines) = &lines {
            assert_eq!(allows(format!("{POLICY}{lines}")), (true, None), "{lines}");
        }
        lines
    }

    #[test]
    fn what_nothing_lists_is_an_entry_or_a_preset_for_the_clients_group_and_then_allowed() {
        for (client, name, expected) in [
            (
                "10.1.0.1",
                "b.example",
                "[[registry]]\nname = \"b.example\"\nhosts = [\"b.example\"]\ngroups = [\"dev\"]\n",
            ),
            ("10.0.0.1", "quay.io", "[[registry]]\npreset = \"quay-io\"\ngroups = ['c\"i']\n"),
            (
                "10.1.0.1",
                "pkg-containers.githubusercontent.com",
                "[[registry]]\npreset = \"ghcr\"\ngroups = [\"dev\"]\n",
            ),
            (
                "10.1.0.1",
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "[[registry]]\npreset = \"ecr-private\"\nvalues = { account = \"123456789012\", region = \"eu-west-1\" }\n\
                 groups = [\"dev\"]\n",
            ),
        ] {
            assert_eq!(lines(client, name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn where_another_rule_would_help_nothing_there_are_no_lines() {
        for (client, name) in [
            ("10.0.0.1", "a.example"),
            ("10.0.0.1", "bad.example"),
            ("10.1.0.1", "a.example"),
            ("192.0.2.1", "b.example"),
            ("10.1.0.1", "odd\\010name.example"),
            ("10.1.0.1", "."),
        ] {
            assert_eq!(lines(client, name), None, "{client} {name}");
        }
    }
}
