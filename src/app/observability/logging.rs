//! Logs: text for people, JSON for collectors, always on standard error, and by a thread of its
//! own. Whoever reads them may be slow or stuck, and there is a line for each item: nobody who
//! works waits for a line to be read. What does not fit into a bounded queue is dropped and
//! counted.

use std::io::{BufWriter, IsTerminal as _};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::{config::Format, limits};

/// The log. When it is dropped, what is left is written.
#[derive(Debug)]
#[must_use = "nothing is written after it is dropped"]
pub struct Log {
    lost: LostLines,
    _writes: WorkerGuard,
}

impl Log {
    /// How many lines nobody read in time.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.lost.clone()
    }
}

/// Counts lines that were dropped; none if there is no log.
#[derive(Debug, Clone, Default)]
pub struct LostLines(Option<ErrorCounter>);

impl LostLines {
    /// How many so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        let lines = self.0.as_ref().map_or(0, ErrorCounter::dropped_lines);
        u64::try_from(lines).unwrap_or(u64::MAX)
    }
}

/// Bytes of lines that are written with one call.
const BUFFER_BYTES: usize = 16 * 1024;

/// Begins logging, until what it gives is dropped. A second call changes nothing.
///
/// # Errors
/// If the filter is not one such as `info,cancelot=debug`.
pub fn init(format: Format, filter: &str) -> Result<Log, ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let (writer, writes) = NonBlockingBuilder::default()
        .buffered_lines_limit(limits::LOG_LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        // Flushed whenever no line waits. Standard error alone would take a call for each line.
        .finish(BufWriter::with_capacity(BUFFER_BYTES, std::io::stderr()));
    let lost = LostLines(Some(writer.error_counter()));
    let logs = fmt().with_env_filter(filter).with_writer(writer);
    let installed = match format {
        Format::Text => logs
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        Format::Json => logs
            .json()
            .flatten_event(true)
            // The call's span says all; the list of spans would say it twice.
            .with_span_list(false)
            .try_init(),
    };
    // Only a second call finds a subscriber installed.
    drop(installed);
    Ok(Log {
        lost,
        _writes: writes,
    })
}
