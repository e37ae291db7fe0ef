//! What the policy makes of one name or image: `/v1/check`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Addition, Badge, LogEntry, OverlayReport, Pull, RuleReport, VerdictWord};

/// `GET /v1/check?name=&client=&type=`, or of an image `GET /v1/check?image=&push=&client=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The name, in presentation form; the image, as people type it.
    pub name: String,
    /// `pull` or `push`, of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// The verdict.
    pub verdict: VerdictWord,
    /// Why, in a few words.
    pub reason: String,
    /// The client's group.
    pub group: Option<String>,
    /// The registry, service or deny that decided.
    pub entry: Option<String>,
    /// The rule that decided; of an image the key of its `[[images]]`.
    pub rule: Option<RuleReport>,
    /// Whose an image of Docker Hub is, if that is known: `official`, `verified-publisher`, `sponsored-oss`, `community`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// What the Hub says of the image's namespace, where that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<Badge>,
    /// The overlay that the rule, or the group's mode, is of, as a running server has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayReport>,
    /// What else to know about the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What would allow a denied name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The lines that would let a name through that nothing lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<Addition>,
    /// Whom to ask about what is not allowed, if the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// When a running server last heard the name, right after a registry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// A question for a name that nothing lists, which a client asked right after a registry's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// Who asked.
    pub client: IpAddr,
    /// The registry.
    pub after: Pull,
    /// The line of policy with which the name would be one of that registry's redirect hosts.
    pub line: String,
}

impl CheckReport {
    /// The same with what a server's log, oldest entry first, has to say of a name that is not allowed.
    #[must_use]
    pub fn with_log(self, entries: &[LogEntry]) -> Self {
        let about = |entry: &&LogEntry| self.verdict != VerdictWord::Allow && entry.name == self.name;
        let asked = entries.iter().rev().filter(about).find_map(Asked::of);
        let after = asked.as_ref().filter(|_| self.add.is_some());
        let add = after.map(|asked| Addition::after(&self.name, &asked.after)).or(self.add);
        Self { add, asked, ..self }
    }

    /// The same with whom to ask, of what is not allowed.
    #[must_use]
    pub fn with_contact(self, contact: Option<&str>) -> Self {
        let contact = contact.filter(|_| self.verdict != VerdictWord::Allow).map(str::to_owned);
        Self { contact, ..self }
    }

    /// The same with the overlay that decided: that of the rule, else one of the client's or its group's mode where the
    /// mode tells.
    #[must_use]
    pub fn with_overlays(self, overlays: &[OverlayReport], client: Option<IpAddr>) -> Self {
        let of_rule = |overlay: &OverlayReport| {
            let place = format!("{OVERLAY_PLACE}{}", overlay.id);
            self.rule
                .as_ref()
                .and_then(|rule| rule.path.as_ref())
                .is_some_and(|path| path.as_os_str() == place.as_str())
        };
        let has_mode_told = match self.verdict {
            VerdictWord::Audit => true,
            VerdictWord::Deny => self.rule.is_none(),
            VerdictWord::Allow => false,
        };
        let is_mode = |overlay: &&OverlayReport| has_mode_told && overlay.kind == "mode";
        let of_client = |overlay: &&OverlayReport| overlay.client.is_some() && overlay.client == client;
        let of_mode = |overlay: &&OverlayReport| {
            overlay.client.is_none() && (overlay.group.is_none() || overlay.group == self.group)
        };
        let modes = || overlays.iter().filter(is_mode);
        let of_some_mode = || modes().find(of_client).or_else(|| modes().find(of_mode));
        let found = overlays.iter().find(|overlay| of_rule(overlay)).or_else(of_some_mode);
        Self { overlay: found.cloned(), ..self }
    }
}

impl Asked {
    fn of(entry: &LogEntry) -> Option<Self> {
        let after = entry.after.clone()?;
        Some(Self { at: entry.at.clone(), client: entry.client, after, line: Pull::line(&entry.name) })
    }
}

/// How the places of overlays' rules begin; a number follows.
const OVERLAY_PLACE: &str = "overlay-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::recent::tests::denied;

    #[test]
    fn a_denied_names_check_says_after_which_registry_it_was_asked_last() {
        let after = |name: &str| Pull { name: name.to_owned(), registry: "lab".to_owned(), rule: None };
        let entry = |name: &str, pull| LogEntry { after: pull, ..denied(name) };
        let log = [
            entry("cdn.example", Some(after("old.example"))),
            entry("cdn.example", Some(after("registry.example"))),
            entry("cdn.example", None),
            entry("below.cdn.example", Some(after("other.example"))),
        ];
        let asked = |verdict| check("cdn.example", verdict).with_log(&log).asked;
        let found = asked(VerdictWord::Deny).unwrap();
        assert_eq!(
            (found.after.name.as_str(), found.line.as_str()),
            ("registry.example", r#"redirects = ["cdn.example"]"#)
        );
        assert_eq!(asked(VerdictWord::Allow), None);
        assert_eq!(check("elsewhere.example", VerdictWord::Deny).with_log(&log).asked, None);
    }

    fn check(name: &str, verdict: VerdictWord) -> CheckReport {
        let (name, reason) = (name.to_owned(), String::new());
        CheckReport {
            name,
            access: None,
            verdict,
            reason,
            group: None,
            entry: None,
            rule: None,
            category: None,
            badge: None,
            overlay: None,
            note: None,
            hint: None,
            add: None,
            contact: None,
            asked: None,
        }
    }
}
