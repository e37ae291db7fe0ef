//! What `images ca` says of a folder: as text, and as the JSON of `--json`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::gateway::authority::{Constraint, State, Stored, read_folder, states};
use crate::policy::pattern::Pattern;

/// A folder and what its certificates are for.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The folder.
    folder: PathBuf,
    /// The name of the pair that was made just now.
    made: Option<String>,
    /// Its certificates, in name order.
    certificates: Vec<CertificateReport>,
    /// The inspected names of the policy.
    names: Vec<NameReport>,
}

/// A certificate of the folder.
#[derive(Debug, Serialize)]
struct CertificateReport {
    /// The name of its files, without `.crt` and `.key`.
    name: String,
    /// What it is for at this moment.
    state: State,
    /// Such as `CN=pullgate image gateway 2026-11-28 1f2e`.
    subject: String,
    /// SHA-256 over the certificate.
    fingerprint: String,
    /// From when on it counts.
    not_before: String,
    /// Until when.
    not_after: String,
    /// The names that it may sign for, with all below; `null`: every name.
    permitted: Option<Vec<String>>,
}

/// An inspected name.
#[derive(Debug, Serialize)]
struct NameReport {
    /// As the policy has it.
    pattern: String,
    /// Whether the pair in use may sign for it.
    covered: bool,
}

impl Report {
    /// Looks at a folder; `inspected` are the names that it is to be for.
    pub(super) fn of(
        folder: &Path,
        inspected: &[Pattern],
        made: Option<&Stored>,
        now: SystemTime,
    ) -> Result<Self, Failure> {
        let files = read_folder(folder)?;
        let states = states(&files, now);
        let current = files.iter().zip(&states).find(|(_, state)| **state == State::InUse).map(|(stored, _)| stored);
        let names = inspected.iter().map(|pattern| NameReport {
            pattern: pattern.to_string(),
            covered: current.is_some_and(|stored| covers(stored, pattern)),
        });
        let names = names.collect();
        let certificates = files.iter().zip(states).map(|(stored, state)| CertificateReport::new(stored, state));
        let made = made.map(Stored::name);
        Ok(Self { folder: folder.to_owned(), made, certificates: certificates.collect(), names })
    }

    /// Whether a pair is in use and may sign for every inspected name.
    pub(super) fn is_complete(&self) -> bool {
        self.certificates.iter().any(|it| it.state == State::InUse) && self.names.iter().all(|name| name.covered)
    }

    /// Writes it for people.
    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        if self.certificates.is_empty() {
            writeln!(output, "{}: no authority; `pullgate images ca init` makes one", self.folder.display())?;
        }
        for certificate in &self.certificates {
            certificate.print(&self.folder, self.made.as_ref() == Some(&certificate.name), output)?;
        }
        let uncovered: Vec<&str> = self.names.iter().filter(|it| !it.covered).map(|it| it.pattern.as_str()).collect();
        if !self.names.is_empty() && uncovered.is_empty() {
            writeln!(output, "Every inspected name of the policy is covered.")?;
        }
        if !uncovered.is_empty() && !self.certificates.is_empty() {
            writeln!(output, "NOT covered, though the policy has them inspected: {}", uncovered.join(", "))?;
            writeln!(output, "`pullgate images ca rotate --overlap 0s` makes an authority that is for them as well.")?;
        }
        Ok(())
    }
}

impl CertificateReport {
    fn new(stored: &Stored, state: State) -> Self {
        let certificate = &stored.certificate;
        let texts = |subtrees: &[_]| subtrees.iter().map(ToString::to_string).collect();
        Self {
            name: stored.name(),
            state,
            subject: certificate.subject().to_owned(),
            fingerprint: certificate.fingerprint(),
            not_before: shown(certificate.not_before()),
            not_after: shown(certificate.not_after()),
            permitted: certificate.permitted().map(texts),
        }
    }

    fn print(&self, folder: &Path, is_made: bool, output: &mut Output) -> Result<(), Failure> {
        let permitted = self.permitted.as_ref().map_or("EVERY name".to_owned(), |names| names.join(", "));
        let made = if is_made { "made just now, " } else { "" };
        writeln!(output, "{}: {made}{}", folder.join(format!("{}.crt", self.name)).display(), self.use_of())?;
        let rows = [
            ["  subject", &self.subject],
            ["  SHA-256", &self.fingerprint],
            ["  valid", &format!("{} to {}", self.not_before, self.not_after)],
            ["  signs for", &permitted],
        ];
        output.table(&rows.map(|row| row.map(str::to_owned)))?;
        writeln!(output)?;
        Ok(())
    }

    fn use_of(&self) -> String {
        match self.state {
            State::InUse => "in use".to_owned(),
            State::Next => format!("next, used from {}", self.not_before),
            State::Previous => "previous, still trusted".to_owned(),
            State::WithoutKey => "without a key, only trusted".to_owned(),
            State::Expired => "expired: its two files may go".to_owned(),
        }
    }
}

/// Whether clients take what a certificate signs for all that a pattern matches.
fn covers(stored: &Stored, pattern: &Pattern) -> bool {
    let certificate = &stored.certificate;
    Constraint::of(pattern).is_some_and(|needed| certificate.permits(needed.name()))
}

fn shown(moment: SystemTime) -> String {
    jiff::Timestamp::try_from(moment).map(|moment| format!("{moment:.0}")).unwrap_or_default()
}
