//! The header of a CSV file: its separator and its columns.

use super::{Mistake, Mistakes, Naming, csv_lines::Line, naming::Named};
use crate::config::did_you_mean::nearest;

/// The meaning of a header cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Known(&'static str),
    /// Ignored by a flag.
    Ignored,
    /// Unnamed: spreadsheets write such columns, and leave them empty.
    Unnamed,
}

/// Possible separators, in order of preference.
const DELIMITERS: [u8; 4] = [b'\t', b',', b';', b'|'];

/// The separator of a spreadsheet's line `sep=;`. `None` for any other line.
pub(super) fn separator_line(line: &Line) -> Option<Result<u8, Mistakes>> {
    let text = std::str::from_utf8(line.content()).ok()?;
    let text = text.trim_matches([' ', '"']);
    let (word, separator) = text.split_at_checked(4)?;
    if !word.eq_ignore_ascii_case("sep=") {
        return None;
    }
    let said = separator.bytes().next().filter(|_| separator.len() == 1);
    Some(
        said.filter(|byte| DELIMITERS.contains(byte))
            .ok_or_else(|| {
                let problem = "separates cells by something else than a comma, a semicolon, a tab \
                               or a bar; save the file with one of these";
                Mistakes::one(line.number, problem)
            }),
    )
}

/// The separator of a header: the one that occurs most often outside of quotes.
pub(super) fn delimiter(header: &Line) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in header.content() {
        quoted ^= *byte == b'"';
        for (count, delimiter) in counts.iter_mut().zip(DELIMITERS) {
            *count += usize::from(!quoted && *byte == delimiter);
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let mut found = counts.iter().zip(DELIMITERS);
    found
        .find(|(count, _)| most > 0 && **count == most)
        .map_or(b',', |(_, delimiter)| delimiter)
}

/// The columns of a header. Each has to be known or ignored, and may occur once.
pub(super) fn columns(
    line: u64,
    names: &[String],
    known: &'static [&'static str],
    required: &[&'static str],
    has_default: &dyn Fn(&str) -> bool,
    naming: &Naming,
) -> Result<Vec<Column>, Mistakes> {
    let mut mistakes = Vec::new();
    let mut refuse = |column: &str, problem: String| {
        mistakes.push(Mistake {
            line,
            column: column.to_owned(),
            problem,
        });
    };
    let mut header: Vec<Column> = Vec::new();
    let mut is_strange = false;
    for name in names {
        let column = match naming.column(name, known) {
            Ok(Named::Ignored) => Column::Ignored,
            Err(_) if name.is_empty() => Column::Unnamed,
            Ok(Named::Known(column)) if header.contains(&Column::Known(column)) => {
                let as_written = if name == column {
                    String::new()
                } else {
                    format!(" (as {name:?})")
                };
                refuse(column, format!("stands twice in the header{as_written}"));
                continue;
            }
            Ok(Named::Known(column)) => Column::Known(column),
            Err(_) => {
                is_strange = true;
                let meant = nearest(name, known.iter().copied());
                let meant = meant.map(|meant| format!("; did you mean {meant}?"));
                refuse(name, format!("is no column{}", meant.unwrap_or_default()));
                continue;
            }
        };
        header.push(column);
    }
    for theirs in naming.not_among(names) {
        refuse(theirs, "is not in the header".to_owned());
    }
    if is_strange {
        let problem = format!(
            "known are {}; leave others out with --ignore-columns NAME, or say what they are with \
             --columns COLUMN=NAME",
            known.join(", ")
        );
        refuse("", problem);
    }
    // If a column is misspelled, the column that was meant is not reported as missing too.
    if mistakes.is_empty() {
        let given =
            |column: &'static str| header.contains(&Column::Known(column)) || has_default(column);
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
