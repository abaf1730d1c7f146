//! Detects the format of an input, and reads its rows as cells by column.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Cursor, Read},
};

use super::{
    Format, Mistakes, Naming, cell::Cell, csv_lines::read_line, csv_rows::CsvRows,
    json_rows::JsonRows,
};

/// Maximum bytes of a line of JSON, and of the start from which the format is detected.
pub(super) const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A row's cells by column.
pub(super) type Cells = BTreeMap<&'static str, Cell>;

/// The rows of an input as cells, each with its line, from 1.
pub(super) enum TextRows {
    Csv(Box<CsvRows>),
    Json(JsonRows),
}

impl TextRows {
    pub(super) fn open(
        input: Box<dyn Read + Send>,
        format: Option<Format>,
        columns: &'static [&'static str],
        required: &[&'static str],
        has_default: &dyn Fn(&str) -> bool,
        naming: &Naming,
    ) -> Result<Self, Mistakes> {
        let mut input = BufReader::new(input);
        let start = read_start(&mut input)?;
        let first_byte = start
            .iter()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace());
        let whole = Cursor::new(start).chain(input);
        match (format, first_byte) {
            (_, None) => Err(Mistakes::one(0, "is empty; write at least one row")),
            (None | Some(Format::JsonLines), Some(b'[')) => Err(Mistakes::one(
                1,
                "begins an array; write one JSON object on each line (jq -c '.[]' does that)",
            )),
            (Some(Format::JsonLines), Some(_)) | (None, Some(b'{')) => {
                let naming = naming.clone();
                Ok(Self::Json(JsonRows::new(Box::new(whole), columns, naming)))
            }
            (Some(Format::Csv) | None, Some(_)) => {
                let rows = CsvRows::open(Box::new(whole), columns, required, has_default, naming)?;
                Ok(Self::Csv(Box::new(rows)))
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<(u64, Cells), Mistakes>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Json(rows) => rows.next(),
        }
    }
}

/// The input up to its first non-blank line, without a byte order mark.
fn read_start(input: &mut impl BufRead) -> Result<Vec<u8>, Mistakes> {
    let mut start = Vec::new();
    loop {
        let before = start.len();
        let room = LINE_BYTES_MAX.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX));
        let line = read_line(input, room)
            .map_err(|error| Mistakes::one(0, format!("cannot be read: {error}")))?;
        start.extend(line);
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(Mistakes::one(1, "is UTF-16; save it as UTF-8"));
        }
        let line = start.get(before..).unwrap_or_default();
        if line.is_empty() || line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            break;
        }
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        start.drain(..3);
    }
    Ok(start)
}
