//! Reads CSV as cells by column, with the line of each record.

use std::io::{self, Read};

use super::{
    Mistake, Mistakes, Naming,
    cell::Cell,
    csv_header::{self, Column, delimiter, separator_line},
    csv_lines::{Line, Lines},
    csv_record::{Looks, Record, Splitter},
    text::Cells,
};
use crate::cli::terminal::words::plural;

/// The rows of a CSV file.
pub(super) struct CsvRows {
    lines: Lines,
    header: Vec<Column>,
    /// How a row within a quoted cell is recognised.
    looks: Looks,
    ended: bool,
}

impl CsvRows {
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        known: &'static [&'static str],
        required: &[&'static str],
        has_default: &dyn Fn(&str) -> bool,
        naming: &Naming,
    ) -> Result<Self, Mistakes> {
        let mut lines = Lines::of(input);
        let empty = || Mistakes::one(0, "has no header; write one");
        let mut first = next_filled(&mut lines)?.ok_or_else(empty)?;
        let delimiter = match separator_line(&first) {
            Some(said) => {
                let said = said?;
                first = next_filled(&mut lines)?.ok_or_else(empty)?;
                said
            }
            None => delimiter(&first),
        };
        let is_spaced = is_spaced(&first, delimiter);
        let record = record(&mut lines, first, delimiter).map_err(|(mistakes, _)| mistakes)?;
        let names = texts(&record)?;
        let header =
            csv_header::columns(record.line, &names, known, required, has_default, naming)?;
        let is_filled = |column: &Column| matches!(column, Column::Known(name) if required.contains(name) && !has_default(name));
        let columns = header.iter().enumerate();
        let filled = columns.filter(|(_, column)| is_filled(column));
        Ok(Self {
            looks: Looks {
                delimiter,
                columns: header.len(),
                filled: filled.map(|(at, _)| at).collect(),
                is_spaced,
            },
            lines,
            header,
            ended: false,
        })
    }

    pub(super) fn next(&mut self) -> Option<Result<(u64, Cells), Mistakes>> {
        while !self.ended {
            let row = match next_filled(&mut self.lines) {
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Ok(Some(first)) => {
                    // If the header has blanks after separators, so have the rows.
                    self.looks.is_spaced |= is_spaced(&first, self.looks.delimiter);
                    record(&mut self.lines, first, self.looks.delimiter)
                }
                Err(mistakes) => Err((mistakes, false)),
            };
            let record = match row {
                Ok(record) => record,
                Err((mistakes, goes_on)) => {
                    self.ended = !goes_on;
                    return Some(Err(mistakes));
                }
            };
            match self.cells(&record) {
                // Spreadsheets write rows of separators only after the last row.
                Ok(None) => {}
                Ok(Some(cells)) => return Some(Ok((record.line, cells))),
                Err(mistakes) => return Some(Err(mistakes)),
            }
        }
        None
    }

    /// A record's cells by column; `None` if all are empty.
    fn cells(&self, record: &Record) -> Result<Option<Cells>, Mistakes> {
        let line = record.line;
        let columns = self.header.len();
        if let Some(row) = record.swallows(&self.looks) {
            let problem = format!(
                "opens a quote that takes line {row} into its cell, which looks like a row; close \
                 the quote (a cell with such lines can be sent as JSON Lines)"
            );
            return Err(Mistakes::one(line, problem));
        }
        let texts = texts(record)?;
        if texts.iter().all(String::is_empty) {
            return Ok(None);
        }
        let beyond = texts.iter().skip(columns).any(|text| !text.is_empty());
        if beyond || texts.len() < columns {
            let problem = format!(
                "has {} and the header {columns}; quote cells that contain the separator, \
                 and close every quote",
                plural(texts.len(), "cell")
            );
            return Err(Mistakes::one(line, problem));
        }
        let mut cells = Cells::new();
        let mut mistakes = Vec::new();
        for (at, (column, text)) in self.header.iter().zip(texts).enumerate() {
            match column {
                _ if text.is_empty() => {}
                Column::Ignored => {}
                Column::Known(name) => drop(cells.insert(name, Cell::Text(text))),
                Column::Unnamed => mistakes.push(Mistake {
                    line,
                    column: format!("column {}", at + 1),
                    problem: "has something in it and no name in the header; name it, or leave \
                              such columns out with --ignore-columns ''"
                        .to_owned(),
                }),
            }
        }
        if mistakes.is_empty() {
            Ok(Some(cells))
        } else {
            Err(Mistakes::from(mistakes))
        }
    }
}

/// Whether the first cell after a separator starts with a blank.
fn is_spaced(line: &Line, delimiter: u8) -> bool {
    let mut cells = line.content().split(|byte| *byte == delimiter).skip(1);
    cells
        .next()
        .and_then(<[u8]>::first)
        .is_some_and(u8::is_ascii_whitespace)
}

fn next_filled(lines: &mut Lines) -> Result<Option<Line>, Mistakes> {
    loop {
        match lines.next() {
            Ok(Some(line)) if line.is_blank() => {}
            Ok(line) => return Ok(line),
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

/// The record that starts on a line. On a mistake, also whether the next line starts a record.
fn record(lines: &mut Lines, first: Line, delimiter: u8) -> Result<Record, (Mistakes, bool)> {
    let mut splitter = Splitter::new(delimiter, first.number);
    let mut next = Some(first);
    loop {
        let taken = match &next {
            Some(line) => splitter.take(line),
            None => Err(splitter.never_closed()),
        };
        match taken {
            Ok(true) => return Ok(splitter.into_record()),
            Ok(false) => {}
            Err(broken) => {
                let mistakes = Mistakes::one(broken.line, broken.problem);
                return Err((mistakes, broken.goes_on));
            }
        }
        next = lines.next().map_err(|error| (unreadable(&error), false))?;
    }
}

fn unreadable(error: &io::Error) -> Mistakes {
    Mistakes::one(0, format!("cannot be read: {error}"))
}

/// The trimmed cells as text.
fn texts(record: &Record) -> Result<Vec<String>, Mistakes> {
    let text = |cell: &Vec<u8>| {
        let text = std::str::from_utf8(cell).ok()?;
        Some(text.trim().to_owned())
    };
    let texts: Option<Vec<String>> = record.cells.iter().map(text).collect();
    texts.ok_or_else(|| Mistakes::one(record.line, "is not UTF-8; save the file as UTF-8"))
}
