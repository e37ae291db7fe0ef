//! Log lines on their way out: a thread writes them, so that a pipe nobody reads never holds up a query.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Takes log lines without waiting; a full queue drops them, counted.
#[derive(Clone, Debug)]
pub struct LineWriter {
    queue: SyncSender<Vec<u8>>,
    /// Lines in the queue or being written.
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

/// One line being formatted; it is handed over when dropped.
#[derive(Debug)]
pub struct Line<'w> {
    writer: &'w LineWriter,
    bytes: Vec<u8>,
}

impl LineWriter {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Self { queue, waiting: Arc::clone(&waiting), dropped: Arc::default() };
        let dropped = Arc::clone(&writer.dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, (&waiting, &dropped), out))?;
        Ok(writer)
    }

    /// Takes a whole line.
    pub fn write_line(&self, line: Vec<u8>) {
        self.hand_over(line);
    }

    /// How many lines were dropped since the start, or could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the lines so far are written, but not for ever if nobody takes them. For the end of the program: it
    /// blocks the thread.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_PATIENCE;
        while self.waiting.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(FLUSH_STEP);
        }
    }

    fn hand_over(&self, line: Vec<u8>) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(line).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, (waiting, dropped): (&AtomicUsize, &AtomicU64), mut out: impl Write) {
    for line in lines {
        // A log that cannot be written (disk full, pipe closed) is no reason to stop answering.
        if out.write_all(&line).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.writer.hand_over(std::mem::take(&mut self.bytes));
    }
}

impl<'w> MakeWriter<'w> for LineWriter {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line { writer: self, bytes: Vec::new() }
    }
}

/// How many lines may wait.
const QUEUE: usize = 1_000;
/// How long the program's end waits for its last lines.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);
const FLUSH_STEP: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until its channel is closed.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flushed_line_is_written() {
        let out = Shared::default();
        let writer = LineWriter::start(out.clone()).unwrap();
        writer.make_writer().write_all(b"a line\n").unwrap();
        writer.flush();
        assert_eq!(*out.0.lock().unwrap(), b"a line\n");
    }

    #[test]
    fn a_reader_that_takes_nothing_holds_nobody_up_and_the_lost_lines_are_counted() {
        let (release, stuck) = mpsc::channel();
        let writer = LineWriter::start(Stuck(stuck)).unwrap();
        for _ in 0..QUEUE + 10 {
            writer.make_writer().write_all(b"a line\n").unwrap();
        }
        // One line at most is in the writing thread's hands, the rest of the ten had no room.
        assert!((9..=10).contains(&writer.dropped()), "{}", writer.dropped());
        drop(release);
    }
}
