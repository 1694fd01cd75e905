//! Standard output and standard error, for a program that goes on whatever becomes of them.
//!
//! A terminal closes, a pipe's reader dies or stops reading, the disk of a log file is full: none of that is a reason to
//! end, or to wait. So log lines and complaints ([`complain`], [`Lines`]) go through a bounded queue to a thread of their
//! own that alone writes to standard error; what finds the queue full is dropped and counted, what cannot be written is
//! dropped. Results ([`print()`]) are written where they are made, as those of any tool, and wait for whoever reads them.
//! Nothing here panics, and nothing else in this crate writes to either.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const LINES: usize = 8 << 10;
/// Bytes that may wait to be written.
const BYTES: usize = 4 << 20;

/// Standard error's queue.
struct Queue {
    lines: SyncSender<Entry>,
    /// Bytes in it.
    bytes: Arc<AtomicUsize>,
    /// Lines that found no room since the last one that did.
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Told when all before it is written.
    Flush(SyncSender<()>),
}

/// The queue; nothing where no thread can be started: then there is nobody who could write.
fn queue() -> Option<&'static Queue> {
    static QUEUE: OnceLock<Option<Queue>> = OnceLock::new();
    QUEUE
        .get_or_init(|| {
            let (lines, waiting) = sync_channel(LINES);
            let (bytes, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
            let (taken, lost) = (bytes.clone(), dropped.clone());
            let writer = std::thread::Builder::new().name("stderr".to_owned());
            writer.spawn(move || write_all(&waiting, &taken, &lost)).ok()?;
            Some(Queue { lines, bytes, dropped })
        })
        .as_ref()
}

fn write_all(waiting: &Receiver<Entry>, bytes: &AtomicUsize, dropped: &AtomicU64) {
    // Not the locked handle: a panic elsewhere in the process may want it.
    let mut stderr = io::stderr();
    while let Ok(entry) = waiting.recv() {
        match entry {
            Entry::Line(line) => {
                drop(stderr.write_all(&line));
                bytes.fetch_sub(line.len(), Ordering::Relaxed);
            }
            // Whoever waited may have given up.
            Entry::Flush(done) => drop(done.try_send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            metrics::counter!("jettra_log_lines_dropped_total").increment(lost);
            drop(writeln!(stderr, "jettra-server: {lost} log lines were dropped: nobody took them in time"));
        }
    }
}

/// Queues whole lines for standard error; never waits.
fn enqueue(line: &[u8]) {
    let Some(queue) = queue() else { return };
    let fits = queue.bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len() <= BYTES;
    if !fits || queue.lines.try_send(Entry::Line(line.to_vec())).is_err() {
        queue.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        queue.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells a person, on standard error, `what` went wrong or is worth knowing.
pub fn complain(what: impl std::fmt::Display) {
    enqueue(format!("{what}\n").as_bytes());
}

/// Writes a result and a line's end to standard output. Blocks until it is taken.
///
/// # Errors
/// I/O errors, for who has nothing else to give; a reader that has enough is none.
pub fn print(result: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{result}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Waits until what was queued for standard error is written, at most for `limit`. To be called before the process ends.
pub fn flush(limit: Duration) {
    let Some(queue) = queue() else { return };
    let (done, written) = sync_channel(1);
    if queue.lines.try_send(Entry::Flush(done)).is_ok() {
        // Out of time: whoever does not read does without the end.
        written.recv_timeout(limit).ok();
    }
}

/// Tells of panics in one line through the queue. What the standard library does instead writes to standard error itself,
/// where a pipe that nobody reads would stop the thread.
pub fn tell_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
        complain(format_args!("jettra-server: the thread {thread} panicked{place}: {text}"));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            complain(trace);
        }
    }));
}

/// Where `tracing` writes its lines: each event in one piece.
#[derive(Debug, Clone, Copy)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        enqueue(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines
    }
}

/// `print` with a format and without its error: for what says how something went that is done already.
macro_rules! say {
    ($($text:tt)*) => { drop($crate::output::print(format_args!($($text)*))) };
}
pub(crate) use say;
