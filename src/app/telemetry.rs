//! Logs: text for people, JSON for collectors, always on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::config::Format;

/// Begins logging. A second call changes nothing.
///
/// # Errors
/// If the filter is not one such as `info,cancelot=debug`.
pub fn init(format: Format, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr);
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
    Ok(())
}
