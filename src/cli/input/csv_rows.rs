//! CSV as cells by column, and the line of each record.

use std::{collections::VecDeque, io::Read};

use super::{
    Mistake, Mistakes,
    cell::{self, Cell},
    text::Cells,
};

/// The rows of a CSV file.
pub(super) struct CsvRows {
    reader: csv::Reader<Lines>,
    header: Vec<&'static str>,
    ended: bool,
}

impl CsvRows {
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        delimiter: u8,
        columns: &'static [&'static str],
        required: &[&'static str],
        has_default: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Mistakes> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(Lines::of(input));
        let names = reader.headers().cloned();
        let line = reader.get_mut().line_from(0).unwrap_or(1);
        let names = names.map_err(|error| Mistakes::one(line, problem(&error)))?;
        let header = header(line, &names, columns, required, has_default)?;
        Ok(Self {
            reader,
            header,
            ended: false,
        })
    }

    pub(super) fn next(&mut self) -> Option<Result<(u64, Cells), Mistakes>> {
        if self.ended {
            return None;
        }
        let mut record = csv::StringRecord::new();
        let offset = self.reader.position().byte();
        let read = self.reader.read_record(&mut record);
        let line = self.reader.get_mut().line_from(offset).unwrap_or(1);
        match read {
            Ok(false) => {
                self.ended = true;
                None
            }
            Ok(true) => {
                let cells = self.header.iter().zip(&record);
                let cells = cells.filter(|(_, text)| !text.is_empty());
                let cells = cells.map(|(column, text)| (*column, Cell::Text(text.to_owned())));
                Some(Ok((line, cells.collect())))
            }
            Err(error) => {
                self.ended = error.is_io_error();
                Some(Err(Mistakes::one(line, problem(&error))))
            }
        }
    }
}

/// The columns that a header names, all of them known and none of them twice.
fn header(
    line: u64,
    names: &csv::StringRecord,
    columns: &'static [&'static str],
    required: &[&'static str],
    has_default: &dyn Fn(&str) -> bool,
) -> Result<Vec<&'static str>, Mistakes> {
    let mut mistakes = Vec::new();
    let mut refuse = |column: &str, problem: String| {
        mistakes.push(Mistake {
            line,
            column: column.to_owned(),
            problem,
        });
    };
    let mut header: Vec<&'static str> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        match cell::column(name, columns) {
            Ok(column) if header.contains(&column) => {
                refuse(column, "stands twice in the header".to_owned());
            }
            Ok(column) => header.push(column),
            Err(_) if name.is_empty() => {
                refuse("", format!("column {} has no name in the header", i + 1));
            }
            Err(problem) => refuse(name, problem),
        }
    }
    // What a misspelled column was meant to be is not missing too.
    if mistakes.is_empty() {
        let given = |column: &str| header.contains(&column) || has_default(column);
        for column in required.iter().filter(|column| !given(column)) {
            mistakes.push(Mistake {
                line,
                column: (*column).to_owned(),
                problem: "is missing; add the column, or give it as a flag for all rows".to_owned(),
            });
        }
    }
    if mistakes.is_empty() {
        Ok(header)
    } else {
        Err(Mistakes::from(mistakes))
    }
}

fn problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "has {len} cells and the header {expected_len}; quote cells that contain the \
             separator, and close every quote"
        ),
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; save the file as UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// An input that remembers where the lines begin that were read ahead. The CSV reader's own line
/// numbers are those of blank lines before a record.
struct Lines {
    input: Box<dyn Read + Send>,
    /// Offset and number of lines that are not blank.
    begun: VecDeque<(u64, u64)>,
    offset: u64,
    /// Of the line that is being read.
    line_offset: u64,
    number: u64,
    is_blank: bool,
}

impl Lines {
    fn of(input: Box<dyn Read + Send>) -> Self {
        Self {
            input,
            begun: VecDeque::new(),
            offset: 0,
            line_offset: 0,
            number: 1,
            is_blank: true,
        }
    }

    /// The number of the first line that is not blank from an offset on, which must not be less
    /// than the one before.
    fn line_from(&mut self, offset: u64) -> Option<u64> {
        while self.begun.front().is_some_and(|(begin, _)| *begin < offset) {
            self.begun.pop_front();
        }
        self.begun.front().map(|(_, number)| *number)
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        for byte in buffer.iter().take(read) {
            self.offset += 1;
            match byte {
                b'\n' => {
                    self.number += 1;
                    self.line_offset = self.offset;
                    self.is_blank = true;
                }
                b'\r' => {}
                _ if self.is_blank => {
                    self.is_blank = false;
                    self.begun.push_back((self.line_offset, self.number));
                }
                _ => {}
            }
        }
        Ok(read)
    }
}
