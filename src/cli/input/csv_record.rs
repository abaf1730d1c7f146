//! Splits CSV records, strictly: an unclosed quote, or one with text after it, would silently join
//! rows.

use super::{csv_lines::Line, text::LINE_BYTES_MAX};

/// A malformed record, and the line of the mistake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: u64,
    pub(super) problem: String,
    /// Whether the next line starts a record all the same.
    pub(super) goes_on: bool,
}

/// The cells of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line that it starts on.
    pub(super) line: u64,
    pub(super) cells: Vec<Vec<u8>>,
    /// Further lines that a quoted cell takes.
    pub(super) more: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Only blanks so far.
    Begun,
    Plain,
    Quoted,
    /// After a quote in a quoted cell: the cell's end, or half of a doubled quote.
    Closed,
}

/// Assembles a record from its lines.
pub(super) struct Splitter {
    delimiter: u8,
    state: State,
    cell: Vec<u8>,
    record: Record,
    /// The line of the last opening quote.
    opened: u64,
    bytes: u64,
}

impl Splitter {
    /// For a record that starts on this line.
    pub(super) fn new(delimiter: u8, line: u64) -> Self {
        Self {
            delimiter,
            state: State::Begun,
            cell: Vec::new(),
            record: Record {
                line,
                cells: Vec::new(),
                more: Vec::new(),
            },
            opened: line,
            bytes: 0,
        }
    }

    /// Adds a line. Whether the record is complete.
    pub(super) fn take(&mut self, line: &Line) -> Result<bool, Broken> {
        self.bytes += u64::try_from(line.bytes.len()).unwrap_or(u64::MAX);
        if self.bytes > LINE_BYTES_MAX {
            return Err(self.never_closed());
        }
        if line.number != self.record.line {
            self.record.more.push(line.clone());
        }
        for byte in line.content() {
            self.byte(*byte, line.number)?;
        }
        if self.state == State::Quoted {
            let end = line.bytes.get(line.content().len()..).unwrap_or_default();
            self.cell.extend(end);
            return Ok(false);
        }
        self.end_cell();
        Ok(true)
    }

    fn byte(&mut self, byte: u8, line: u64) -> Result<(), Broken> {
        let is_blank = byte == b' ' || byte == b'\t';
        match self.state {
            State::Begun | State::Plain if byte == self.delimiter => self.end_cell(),
            State::Begun if byte == b'"' => {
                self.cell.clear();
                self.opened = line;
                self.state = State::Quoted;
            }
            State::Begun if is_blank => self.cell.push(byte),
            // Tab-separated text is often written without any quoting.
            State::Plain if byte == b'"' && self.delimiter != b'\t' => {
                return Err(Broken {
                    line,
                    problem: "has a quote inside a cell that does not begin with one; quote the \
                              whole cell, and double the quotes inside"
                        .to_owned(),
                    goes_on: line == self.record.line,
                });
            }
            State::Begun | State::Plain => {
                self.cell.push(byte);
                self.state = State::Plain;
            }
            State::Quoted if byte == b'"' => self.state = State::Closed,
            State::Quoted => self.cell.push(byte),
            State::Closed if byte == b'"' => {
                self.cell.push(b'"');
                self.state = State::Quoted;
            }
            State::Closed if byte == self.delimiter => self.end_cell(),
            State::Closed if is_blank => {}
            State::Closed => return Err(self.text_behind(line)),
        }
        Ok(())
    }

    fn end_cell(&mut self) {
        self.record.cells.push(std::mem::take(&mut self.cell));
        self.state = State::Begun;
    }

    fn text_behind(&self, line: u64) -> Broken {
        let closed = if line == self.opened {
            String::new()
        } else {
            format!(", where the quote that it opens closes on line {line}")
        };
        Broken {
            line: self.opened,
            problem: format!(
                "has text behind a closing quote{closed}; close every quote, and double the \
                 quotes inside a quoted cell"
            ),
            goes_on: line == self.record.line,
        }
    }

    /// The mistake of a quote that is open at the end of the input.
    pub(super) fn never_closed(&self) -> Broken {
        Broken {
            line: self.opened,
            problem: "opens a quote that is never closed; close it, and double the quotes inside \
                      a quoted cell"
                .to_owned(),
            goes_on: false,
        }
    }

    /// The complete record.
    pub(super) fn into_record(self) -> Record {
        self.record
    }
}

impl Record {
    /// The first line within a quoted cell that looks like a row: it has as many cells, no empty
    /// cell where every row has a value, and no cell that starts with a blank, as text after a
    /// comma does, unless the file is written with blanks.
    pub(super) fn swallows(&self, rows: &Looks) -> Option<u64> {
        let row = self.more.iter().find(|line| rows.are_like(line));
        row.map(|line| line.number)
    }
}

/// What the rows of a file look like.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) delimiter: u8,
    pub(super) columns: usize,
    /// Columns with a value in every row.
    pub(super) filled: Vec<usize>,
    /// Whether separators are followed by blanks.
    pub(super) is_spaced: bool,
}

impl Looks {
    fn are_like(&self, line: &Line) -> bool {
        let cells = line.content().split(|byte| *byte == self.delimiter);
        let cells: Vec<&[u8]> = cells.collect();
        let begins_blank = |cell: &&[u8]| cell.first().is_some_and(u8::is_ascii_whitespace);
        let is_empty = |cell: &[u8]| cell.trim_ascii().is_empty();
        let mut beyond = cells.iter().skip(self.columns);
        self.columns > 1
            && cells.len() >= self.columns
            && beyond.all(|cell| is_empty(cell))
            && (self.is_spaced || !cells.iter().any(begins_blank))
            && self
                .filled
                .iter()
                .all(|at| cells.get(*at).is_some_and(|cell| !is_empty(cell)))
    }
}
