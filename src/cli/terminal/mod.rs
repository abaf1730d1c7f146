//! Terminal output: data goes to standard output, everything else to standard error. Text from
//! elsewhere is escaped, so that it cannot control a terminal.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use self::unseen::{escaped, escaped_lines, is_unseen};

/// Writes a line of data. If the reader has gone away, the line is lost, which is no error.
pub(super) fn out(line: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", escaped_lines(line.as_ref()));
}

/// Writes a line to standard error.
pub(super) fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", escaped_lines(line.as_ref()));
}

/// A table as wide as the terminal at most; without a terminal, one line per row.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size_of(io::stdout()) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    table
}

/// The text of a table cell, on one line.
pub(super) fn cell(text: &str) -> String {
    escaped(text).into_owned()
}

/// JSON with invisible characters escaped; its meaning is the same.
pub(super) fn json(value: &Value) -> String {
    json_escaped(&value.to_string())
}

/// The same for JSON text, which has no raw control characters.
fn json_escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Standard output for JSON lines of others: unchanged, or escaped on a terminal.
pub(super) fn json_lines() -> Box<dyn Write> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        Box::new(Escaping::new(stdout.lock()))
    } else {
        Box::new(stdout.lock())
    }
}

/// Escapes output line by line.
struct Escaping<W: Write> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> Escaping<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            line: Vec::new(),
        }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let shown = json_escaped(&String::from_utf8_lossy(&line));
        self.inner.write_all(shown.as_bytes())
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                self.pass_on()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // The rest of a line may end within a character, and is written with the line's end.
        self.inner.flush()
    }
}

impl<W: Write> Drop for Escaping<W> {
    fn drop(&mut self) {
        // An unfinished line is written as it is.
        let _ = self.pass_on();
    }
}

/// Asks a yes-no question at a terminal; `None` without one.
pub(super) fn ask(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut error = io::stderr().lock();
    let _ = write!(error, "{} [y/N] ", escaped(question));
    let _ = error.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// A progress bar on a terminal; hidden elsewhere.
pub(super) fn progress(total: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} settled, {per_sec} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

pub(super) mod interrupt;
pub(super) mod output;
pub(super) mod summary;
pub(super) mod times;
pub(super) mod unseen;
pub(super) mod words;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_whatever_is_escaped_in_it() {
        let value = serde_json::json!({"a": "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{200b}\u{e0041}é"});
        let shown = json(&value);
        assert!(!shown.chars().any(is_unseen), "{shown}");
        assert!(shown.contains('é'));
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn lines_of_json_are_escaped_wherever_they_are_cut() {
        let line = "{\"a\":\"x\u{202e}y\"}\n";
        let mut written = Vec::new();
        let mut escaping = Escaping::new(&mut written);
        for byte in line.as_bytes() {
            escaping.write_all(&[*byte]).unwrap();
        }
        drop(escaping);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "{\"a\":\"x\\u202ey\"}\n"
        );
    }
}
