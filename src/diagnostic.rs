//! What is wrong in a file, where, and what would do: `path:line:column: message`, the line quoted, a caret, a hint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

/// A position in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Fault,
    /// The file is taken; somebody should look.
    Warning,
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Fault or warning.
    pub severity: Severity,
    /// The file it is about.
    pub path: Arc<Path>,
    /// Where in the file; `None` when it is about the file or folder as a whole.
    pub excerpt: Option<Excerpt>,
    /// What was seen. Lower case, no full stop.
    pub message: String,
    /// What would have done.
    pub hint: Option<String>,
}

/// The part of a file that a diagnostic points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, from 1.
    pub line: u32,
    /// The column of the first character pointed at, from 1.
    pub column: u32,
    /// How many characters to underline, at least 1; never past the line's end.
    pub width: u32,
    /// The line itself, without its end. Of a long one (a whole JSON document, say) 300 characters: the first, or when
    /// the column lies beyond them, those from the column on.
    pub text: String,
}

/// A file's text, to turn byte ranges into places.
#[derive(Clone, Debug)]
pub struct Source {
    path: Arc<Path>,
    text: Arc<str>,
    /// Byte offset at which each line begins.
    lines: Arc<[usize]>,
}

impl Source {
    /// Takes the text of the file at `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { path: path.into().into(), lines: starts.collect(), text }
    }

    /// The file's path.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte offset; an offset past the end counts as the end.
    pub fn place(&self, offset: usize) -> Place {
        let (line, column) = self.position(offset);
        Place { path: Arc::clone(&self.path), line, column }
    }

    /// A fault about the bytes of `span`.
    pub fn fault(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Fault, span, message.into())
    }

    /// A warning about the bytes of `span`.
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, span, message.into())
    }

    fn diagnostic(&self, severity: Severity, span: Range<usize>, message: String) -> Diagnostic {
        let (line, column) = self.position(span.start);
        let width = self.text.get(span.clone()).map_or(1, |part| quote(part).chars().count());
        let width = u32::try_from(width).unwrap_or(u32::MAX).max(1);
        let text = self.quoted(span.start, line, column).to_owned();
        let excerpt = Excerpt { line, column, width, text };
        Diagnostic { severity, path: Arc::clone(&self.path), excerpt: Some(excerpt), message, hint: None }
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|&start| start <= offset) - 1;
        let column = self.text[self.lines[line]..offset].chars().count() + 1;
        (u32::try_from(line + 1).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    /// The line with the place, as [`Excerpt::text`] has it.
    fn quoted(&self, offset: usize, line: u32, column: u32) -> &str {
        let start = if is_far(column) { offset } else { self.lines[line as usize - 1] };
        self.text.get(start..).map_or("", quote)
    }
}

/// What is shown of text: its first line, and of that the beginning.
fn quote(text: &str) -> &str {
    let end = text.char_indices().take_while(|&(_, c)| c != '\n').take(MAX_QUOTED).last();
    text[..end.map_or(0, |(at, c)| at + c.len_utf8())].trim_end_matches('\r')
}

/// Whether a column is beyond what is quoted of a line from its beginning.
fn is_far(column: u32) -> bool {
    column as usize > MAX_QUOTED + 1
}

impl Diagnostic {
    /// A fault about a file or folder as a whole.
    pub fn about(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        let path: PathBuf = path.into();
        Self { severity: Severity::Fault, path: path.into(), excerpt: None, message: message.into(), hint: None }
    }

    /// The same, with what would have done.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, as a fault (for `[policy] strict`).
    #[must_use]
    pub fn into_fault(self) -> Self {
        Self { severity: Severity::Fault, ..self }
    }

    /// Whether it refuses the file.
    pub fn is_fault(&self) -> bool {
        self.severity == Severity::Fault
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", harmless(&self.path.to_string_lossy()))?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, ":{}:{}", excerpt.line, excerpt.column)?;
        }
        let kind = if self.is_fault() { "" } else { "warning: " };
        write!(f, ": {kind}{}", harmless(&self.message))?;
        if let Some(excerpt) = &self.excerpt {
            excerpt.fmt(f)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", harmless(hint))?;
        }
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    /// The quoted line and the caret, each on a line of its own, with a leading line break. Control characters (a tab
    /// among them) are shown as blanks so that the caret stays under its character.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let line: String = self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = if is_far(self.column) { 0 } else { self.column.saturating_sub(1) as usize };
        let indent = " ".repeat(before);
        let room = line.chars().count().saturating_sub(before).max(1);
        let carets = "^".repeat((self.width as usize).min(room));
        write!(f, "\n  {number} | {line}\n  {} | {indent}{carets}", " ".repeat(number.len()))
    }
}

/// Text with its control characters escaped: what a file says, or is called, must not steer the terminal that shows it.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// How many characters of a line are quoted.
const MAX_QUOTED: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_quotes_its_line_and_points_at_the_span() {
        let source = Source::new("policy.d/a.toml", "version = 1\nhosts = [\"https://ghcr.io\"]\n");
        let fault = source.fault(21..38, "a URL").hint("a host name, not a URL: write `ghcr.io`");
        assert_eq!(
            fault.to_string(),
            "policy.d/a.toml:2:10: a URL\n  2 | hosts = [\"https://ghcr.io\"]\n    |          ^^^^^^^^^^^^^^^^^\n  hint: a host name, not a URL: write `ghcr.io`"
        );
    }

    #[test]
    fn columns_count_characters_and_offsets_past_the_end_count_as_the_end() {
        let source = Source::new("a", "ä = 1\nö");
        assert_eq!((source.place(3).line, source.place(3).column), (1, 3));
        assert_eq!((source.place(99).line, source.place(99).column), (2, 2));
    }

    #[test]
    fn of_a_long_line_only_what_is_near_the_place_is_quoted() {
        let source = Source::new("a", format!("{}<here>{}", "x".repeat(1000), "y".repeat(1_000_000)));
        let shown = source.fault(1000..1006, "m").to_string();
        assert!(shown.starts_with("a:1:1001: m\n  1 | <here>yyy"), "{shown:.80}");
        assert!(shown.ends_with("\n    | ^^^^^^") && shown.len() < 400);
        let shown = source.fault(2..3, "m").to_string();
        assert!(shown.starts_with("a:1:3: m\n  1 | xxx") && shown.ends_with("\n    |   ^") && shown.len() < 400);
    }

    #[test]
    fn what_a_file_or_its_name_holds_cannot_steer_a_terminal() {
        let fault = Source::new("a\u{1b}[2J", "x\u{1b} = 1").fault(0..2, "unknown key `x\u{1b}`").hint("or\u{9b}31m");
        let shown = fault.to_string();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.contains("unknown key `x\\u{1b}`"), "{shown}");
    }

    #[test]
    fn a_tab_does_not_move_the_caret() {
        let source = Source::new("a", "\tx = 1");
        assert!(source.fault(1..2, "m").to_string().ends_with("  1 |  x = 1\n    |  ^"));
    }
}
