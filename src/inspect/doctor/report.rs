//! What `doctor` found: the types of its `--json`, and of the text made from them.

use serde::{Serialize, Serializer};

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where the client stands: `host`, `virtual machine (kvm)`, `container (docker)`, `WSL distribution (Debian)`.
    pub place: String,
    /// What is so, in the order of the checks.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why; a sentence each.
    pub unseen: Vec<String>,
}

/// One thing that is so, and what it means for the restrictions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check says it, in one word that does not change: `nameservers`.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is so, on one line.
    pub title: String,
    /// What that means.
    pub meaning: String,
    /// The exact command, or the file and line, that mends it.
    pub fix: Option<String>,
    /// The anchor of the section of README.md to read.
    pub section: Section,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; nothing has to be done.
    Note,
    /// Depends on what else the site does, or will become a problem.
    Warning,
    /// Clients get around the policy, or cannot work.
    Problem,
}

/// A section of README.md. A test holds that each is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Docker Engine on Linux.
    DockerEngine,
    /// A Docker VM whose gateway runs pullgate.
    DockerVm,
    /// WSL2.
    Wsl,
    /// libvirt.
    Libvirt,
    /// Lima, Colima, Rancher Desktop.
    Lima,
    /// CI runners.
    CiRunners,
    /// Kubernetes nodes.
    Kubernetes,
    /// Redirecting port 53.
    Transparent,
    /// How to see that the restrictions hold.
    Verify,
    /// What names cannot tell.
    CannotSee,
}

impl Report {
    /// Adds what was found.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds what could not be looked at, and why.
    pub fn unseen(&mut self, what: impl Into<String>) {
        self.unseen.push(what.into());
    }

    /// Adds all of another report's.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.unseen.extend(other.unseen);
    }

    /// The worst severity found.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// Whether nothing is open: no finding is worse than a note.
    pub fn is_clean(&self) -> bool {
        self.worst() <= Severity::Note
    }
}

impl Finding {
    /// Something is as it should be.
    pub fn ok(check: &'static str, title: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, title.into())
    }

    /// Something is good to know.
    pub fn note(check: &'static str, title: impl Into<String>) -> Self {
        Self::new(check, Severity::Note, title.into())
    }

    /// Something may let clients around.
    pub fn warning(check: &'static str, title: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, title.into())
    }

    /// Something lets clients around, or stops them.
    pub fn problem(check: &'static str, title: impl Into<String>) -> Self {
        Self::new(check, Severity::Problem, title.into())
    }

    /// The same with what it means.
    #[must_use]
    pub fn meaning(self, meaning: impl Into<String>) -> Self {
        Self { meaning: meaning.into(), ..self }
    }

    /// The same with what mends it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// The same with another section to read than [`Section::Verify`].
    #[must_use]
    pub fn section(self, section: Section) -> Self {
        Self { section, ..self }
    }

    fn new(check: &'static str, severity: Severity, title: String) -> Self {
        Self { check, severity, title, meaning: String::new(), fix: None, section: Section::Verify }
    }
}

impl Section {
    /// Every section that a finding may name.
    pub const ALL: [Self; 10] = [
        Self::DockerEngine,
        Self::DockerVm,
        Self::Wsl,
        Self::Libvirt,
        Self::Lima,
        Self::CiRunners,
        Self::Kubernetes,
        Self::Transparent,
        Self::Verify,
        Self::CannotSee,
    ];

    /// Its anchor in README.md, without the `#`.
    pub fn anchor(self) -> &'static str {
        match self {
            Self::DockerEngine => "docker-engine-on-linux",
            Self::DockerVm => "docker-vm-on-a-gateway",
            Self::Wsl => "wsl2",
            Self::Libvirt => "libvirt",
            Self::Lima => "lima-colima-rancher-desktop",
            Self::CiRunners => "ci-runners",
            Self::Kubernetes => "kubernetes-nodes",
            Self::Transparent => "transparent",
            Self::Verify => "verify-the-restrictions",
            Self::CannotSee => "what-it-cannot-see",
        }
    }
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.anchor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_clean_up_to_a_note() {
        let mut report = Report::default();
        report.add(Finding::ok("a", "fine"));
        report.add(Finding::note("b", "known"));
        assert!(report.is_clean());
        report.add(Finding::warning("c", "open"));
        assert!(!report.is_clean());
    }

    #[test]
    fn a_finding_is_plain_json() {
        let finding = Finding::problem("nameservers", "a second one").meaning("it answers").fix("remove it");
        let json = serde_json::to_value(finding.section(Section::Wsl)).unwrap();
        let expected = serde_json::json!({
            "check": "nameservers", "severity": "problem", "title": "a second one", "meaning": "it answers",
            "fix": "remove it", "section": "wsl2",
        });
        assert_eq!(json, expected);
    }
}
