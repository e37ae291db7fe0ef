//! Where the lines about questions go, and in which form: with the rest of the log, or into a file of their own.
//!
//! docs/log.md describes both forms; the JSON is that of `pullgate log --json`, with the message in front.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tracing::warn;

use crate::config::{Log, LogFormat};
use crate::observe::recent::LogEntry;
use crate::observe::writer::LineWriter;

/// Takes a line for each entry.
#[derive(Clone, Debug, Default)]
pub struct QueryLog {
    out: Option<(LineWriter, LogFormat)>,
    is_file: bool,
    reopen: Reopen,
}

/// Has a log file opened anew before its next line.
#[derive(Clone, Debug, Default)]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// The file is opened anew: what was renamed meanwhile is written to no more.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl QueryLog {
    /// The log that the settings want; `program` is where the program's own lines go.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(settings: &Log, program: Option<&LineWriter>) -> io::Result<Self> {
        let reopen = Reopen::default();
        let Some(path) = &settings.file else {
            // As text, a line goes through the program's log, which knows what journald adds itself.
            let out = program.filter(|_| settings.format == LogFormat::Json);
            return Ok(Self { out: out.map(|out| (out.clone(), LogFormat::Json)), is_file: false, reopen });
        };
        let writer = LineWriter::start(LogFile::open(path, reopen.clone())?)?;
        Ok(Self { out: Some((writer, settings.format)), is_file: true, reopen })
    }

    /// Has the file opened anew.
    pub fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }

    /// Whether the lines go to a file of their own, which gets all of them: who reads it counts for himself.
    pub fn is_file(&self) -> bool {
        self.is_file
    }

    /// Lines that could not be written to a file of their own.
    pub fn dropped(&self) -> u64 {
        self.out.as_ref().filter(|_| self.is_file).map_or(0, |(out, _)| out.dropped())
    }

    /// Writes a line about `entry`; `false`: that is for the program's log to do.
    pub(super) fn write(&self, entry: &LogEntry) -> bool {
        let Some((out, format)) = &self.out else { return false };
        out.write_line(match format {
            LogFormat::Text => format!("{entry}\n").into_bytes(),
            LogFormat::Json => json_line(entry),
        });
        true
    }

    /// Waits until a file of their own has the lines so far, but not for ever.
    pub fn flush(&self) {
        if let Some((out, _)) = self.out.as_ref().filter(|_| self.is_file) {
            out.flush();
        }
    }
}

fn json_line(entry: &LogEntry) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'e> {
        level: &'static str,
        message: &'static str,
        #[serde(flatten)]
        entry: &'e LogEntry,
    }
    let line = Line { level: "INFO", message: entry.message(), entry };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// A file that is appended to.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Reopen,
}

impl LogFile {
    fn open(path: &Path, reopen: Reopen) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: append_to(path)?, reopen })
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for LogFile {
    /// Writes lines, after the file was opened anew if that was asked for; if it cannot be, the old one goes on.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Ordering::Relaxed) {
            match append_to(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => warn!(%error, path = %self.path.display(), "the log file cannot be opened anew"),
            }
        }
        self.file.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueryLog as Wanted;
    use crate::observe::recent::tests::denied;

    fn log(path: &Path, format: LogFormat) -> QueryLog {
        QueryLog::open(&Log { queries: Wanted::All, format, file: Some(path.to_owned()) }, None).unwrap()
    }

    #[test]
    fn a_file_that_was_renamed_is_written_to_no_more_once_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("queries.log"), folder.path().join("queries.log.1"));
        let log = log(&path, LogFormat::Text);
        assert!(log.write(&denied("a.example")));
        log.flush();
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen().ask();
        log.write(&denied("b.example"));
        log.flush();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(rotated), "2026-11-20T16:00:00Z  deny   127.0.0.1  a.example A  unlisted\n");
        assert_eq!(read(path), "2026-11-20T16:00:00Z  deny   127.0.0.1  b.example A  unlisted\n");
    }

    #[test]
    fn a_line_of_json_is_the_entry_with_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queries.log");
        let log = log(&path, LogFormat::Json);
        log.write(&denied(r"a\010b.example"));
        log.flush();
        let line = std::fs::read_to_string(path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["message"]), (&"INFO".into(), &"query denied".into()));
        assert_eq!(serde_json::from_value::<LogEntry>(value).unwrap(), denied(r"a\010b.example"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let file = Some("/nonexistent/queries.log".into());
        let settings = Log { queries: Wanted::All, format: LogFormat::Text, file };
        assert!(QueryLog::open(&settings, None).is_err());
    }
}
