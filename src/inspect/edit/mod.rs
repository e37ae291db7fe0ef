//! Changes to the text of configuration files: one key is set, all else stays as it was written, comments included.

pub mod ini;
pub mod json;
pub mod toml;
pub mod yaml;

/// Why a text could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct EditFault {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1; characters.
    pub column: usize,
    /// What was seen. Lower case, no full stop.
    pub message: String,
}

impl EditFault {
    /// A fault at a byte of a text.
    pub(crate) fn at(text: &str, byte: usize, message: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1, message: message.into() }
    }
}
