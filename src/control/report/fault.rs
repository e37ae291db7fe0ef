//! A fault or warning of the policy files, as every report has it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Excerpt, Severity};

/// A fault or warning, with the line it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// The file or folder.
    pub path: PathBuf,
    /// The line, from 1; `None` when it is about the file or folder as a whole.
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
    /// How many characters it is about.
    pub width: Option<u32>,
    /// The line itself.
    pub text: Option<String>,
    /// What was seen.
    pub message: String,
    /// What would do.
    pub hint: Option<String>,
}

impl From<&Diagnostic> for FaultReport {
    fn from(diagnostic: &Diagnostic) -> Self {
        let excerpt = diagnostic.excerpt.as_ref();
        Self {
            path: diagnostic.path.to_path_buf(),
            line: excerpt.map(|excerpt| excerpt.line),
            column: excerpt.map(|excerpt| excerpt.column),
            width: excerpt.map(|excerpt| excerpt.width),
            text: excerpt.map(|excerpt| excerpt.text.clone()),
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
        }
    }
}

impl FaultReport {
    /// Reports of all `diagnostics`.
    pub fn all<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Vec<Self> {
        diagnostics.into_iter().map(Self::from).collect()
    }

    /// The diagnostic that was reported, to be shown as one; its severity is the caller's to know.
    pub fn into_diagnostic(self, severity: Severity) -> Diagnostic {
        let excerpt = match (self.line, self.column, self.width, self.text) {
            (Some(line), Some(column), Some(width), Some(text)) if line > 0 && column > 0 => {
                Some(Excerpt { line, column, width, text })
            }
            _ => None,
        };
        let path: Arc<Path> = self.path.into();
        Diagnostic { severity, path, excerpt, message: self.message, hint: self.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn a_fault_that_crossed_the_socket_is_shown_as_it_was_found() {
        let source = Source::new("policy.d/a.toml", "version = 1\nhosts = [\"https://ghcr.io\"]\n");
        let fault = source.fault(21..38, "a URL").hint("write `ghcr.io`");
        let json = serde_json::to_string(&FaultReport::from(&fault)).unwrap();
        let received: FaultReport = serde_json::from_str(&json).unwrap();
        assert_eq!(received.into_diagnostic(Severity::Fault), fault);
    }
}
