//! The lines of a CSV file, with their numbers.

use std::io::{self, BufRead, BufReader, Read};

use super::text::LINE_BYTES_MAX;

/// A line with its end: LF, CRLF or CR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
}

impl Line {
    /// The line without its end.
    pub(super) fn content(&self) -> &[u8] {
        let bytes = self.bytes.as_slice();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes.strip_suffix(b"\r").unwrap_or(bytes)
    }

    /// Whether the line is blank.
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }
}

/// Reads the lines of an input one by one.
pub(super) struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Lines {
    pub(super) fn of(input: Box<dyn Read + Send>) -> Self {
        Self {
            input: BufReader::new(input),
            number: 0,
        }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let bytes = read_line(&mut self.input, LINE_BYTES_MAX)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Line {
            number: self.number,
            bytes,
        }))
    }
}

/// Reads up to any kind of line end; empty at the end of the input.
pub(super) fn read_line(input: &mut impl BufRead, bytes_max: u64) -> io::Result<Vec<u8>> {
    let room = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut line = Vec::new();
    loop {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(line);
        }
        if line.last() == Some(&b'\r') {
            // A line feed after CR is part of the same line end.
            if ahead.first() == Some(&b'\n') {
                line.push(b'\n');
                input.consume(1);
            }
            return Ok(line);
        }
        let end = ahead.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let taken = end.map_or(ahead.len(), |end| end + 1);
        line.extend(ahead.iter().take(taken));
        input.consume(taken);
        match line.last() {
            Some(b'\n') => return Ok(line),
            Some(b'\r') => {}
            _ if line.len() > room => {
                return Err(io::Error::other(format!(
                    "a line is longer than {room} bytes"
                )));
            }
            _ => {}
        }
    }
}
