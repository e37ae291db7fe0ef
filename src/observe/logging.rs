//! Where the program's own log goes: standard error, as text or JSON, and without what journald adds itself.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::observe::writer::LineWriter;

/// Starts the log of this process. `RUST_LOG` chooses what is logged; without it, all of ours from `info` up.
///
/// # Errors
/// The writing thread cannot be started, or the process has a log already.
pub fn start(format: LogFormat) -> io::Result<LineWriter> {
    let writer = LineWriter::start(io::stderr())?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(writer.clone())
        .with_ansi(false)
        .with_target(false);
    let started = match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).finish().with(filter()).try_init()
        }
        LogFormat::Text if under_journald() => {
            builder.event_format(Journald::default()).finish().with(filter()).try_init()
        }
        LogFormat::Text => builder.finish().with(filter()).try_init(),
    };
    started.map_err(io::Error::other)?;
    Ok(writer)
}

/// What is logged, by module and level.
fn filter() -> Targets {
    let wanted = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok());
    wanted.unwrap_or_else(|| DEFAULT_FILTER.parse().expect("the default filter is one"))
}

/// Whether standard error is the stream that systemd connected with journald: its device and inode are in
/// `$JOURNAL_STREAM` (systemd.exec(5)), which commands started from a service inherit whatever their own stream is.
fn under_journald() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Lines for journald: it knows the time, and takes the level as a number in front (sd-daemon(3)).
#[derive(Debug)]
struct Journald(Format<Full, ()>);

impl Default for Journald {
    fn default() -> Self {
        Self(Format::default().without_time().with_ansi(false).with_target(false).with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The syslog priority (RFC 5424 §6.2.1).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// What is logged without `RUST_LOG`. Libraries keep to errors, so that nothing a client does fills the disk
/// with lines that are not ours.
const DEFAULT_FILTER: &str = "error,pullgate=info";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn journald_gets_the_level_as_a_number_and_no_time() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .event_format(Journald::default())
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::warn!(client = "10.0.0.1", "query denied"));
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<4>query denied client=\"10.0.0.1\"\n");
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
