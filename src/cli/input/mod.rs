//! Reads cancellations from CSV or JSON Lines, row by row, so that a file of any length is checked
//! before anything is sent. Knows nothing of gRPC: it parses text into domain types, and reports
//! line and column of every mistake.

mod cell;
mod csv_header;
mod csv_lines;
mod csv_record;
mod csv_rows;
mod json_rows;
mod line_items;
mod naming;
mod rows;
mod spoiled;
mod text;
mod written;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::Read,
    marker::PhantomData,
    path::Path,
};

use serde_json::{Map, Value};

use self::{
    cell::{Cell, Fields},
    text::TextRows,
};
pub use self::{
    naming::Naming,
    rows::{EnrollmentsRow, SubscriptionRow},
};
use crate::domain::ids::Key;

/// The format of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header with the column names, then a row per line. Separated by commas, semicolons, tabs
    /// or bars, whichever the header has most of, or as a line `sep=;` above it says.
    Csv,
    /// A JSON object per line.
    JsonLines,
}

impl Format {
    /// The format that a file name suggests.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" | "tsv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// A kind of row.
pub trait Row: Sized {
    /// Its possible columns.
    const COLUMNS: &'static [&'static str];
    /// Its required columns.
    const REQUIRED: &'static [&'static str];

    /// Reads a row. Mistakes are added to the fields, and the result is `None`.
    #[doc(hidden)]
    fn read(fields: &mut Fields) -> Option<Self>;

    /// Its line, from 1.
    fn line(&self) -> u64;

    /// Its own key.
    fn own_key(&self) -> Option<&Key>;

    /// Its cells by column, with another key, as in JSON Lines.
    fn cells(&self, key: Option<String>) -> Map<String, Value>;

    /// Values that no two rows may share, each with its column.
    fn identities(&self) -> Vec<(&'static str, String)>;
}

/// Default texts for empty columns, from flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults(BTreeMap<String, String>);

impl<C: Into<String>, T: Into<String>> FromIterator<(C, T)> for Defaults {
    fn from_iter<I: IntoIterator<Item = (C, T)>>(defaults: I) -> Self {
        let defaults = defaults.into_iter();
        Self(
            defaults
                .map(|(column, text)| (column.into(), text.into()))
                .collect(),
        )
    }
}

/// A mistake in a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line, from 1; 0 for the input as a whole.
    pub line: u64,
    /// The column, such as `when` or `line_items[2].quantity`; empty for a whole line.
    pub column: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.column.is_empty() {
            write!(f, "{}: ", self.column)?;
        }
        f.write_str(&self.problem)
    }
}

/// The mistakes of a row or an input, in order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The first mistakes.
    pub shown: Vec<Mistake>,
    /// The number of further mistakes.
    pub more: usize,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.shown.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl Mistakes {
    /// The mistakes of a row from flags, which has no line.
    pub(super) fn of_flags(mut self) -> String {
        for mistake in &mut self.shown {
            mistake.line = 0;
            if !mistake.column.is_empty() {
                mistake.column = format!("--{}", mistake.column.replace('_', "-"));
            }
        }
        self.to_string()
    }
}

impl std::error::Error for Mistakes {}

impl From<Vec<Mistake>> for Mistakes {
    fn from(shown: Vec<Mistake>) -> Self {
        Self { shown, more: 0 }
    }
}

impl Mistakes {
    /// A mistake of the whole input or a whole line.
    fn one(line: u64, problem: impl Into<String>) -> Self {
        Self::from(vec![Mistake {
            line,
            column: String::new(),
            problem: problem.into(),
        }])
    }
}

/// The rows of an input. A wrong row does not end it; a read error does.
pub struct Rows<R> {
    text: TextRows,
    defaults: BTreeMap<&'static str, Cell>,
    /// The first line of each identity.
    seen: HashMap<(&'static str, String), u64>,
    row: PhantomData<R>,
}

impl<R: Row> Rows<R> {
    /// Starts to read: detects the format if it is not given, and checks the header.
    ///
    /// # Errors
    /// The mistakes in the header or the defaults, or a read error.
    pub fn open(
        input: impl Read + Send + 'static,
        format: Option<Format>,
        defaults: &Defaults,
    ) -> Result<Self, Mistakes> {
        Self::open_named(input, format, defaults, &Naming::default())
    }

    /// Like [`Rows::open`], for an input with renamed or ignored columns.
    ///
    /// # Errors
    /// As for [`Rows::open`].
    pub fn open_named(
        input: impl Read + Send + 'static,
        format: Option<Format>,
        defaults: &Defaults,
        naming: &Naming,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut known = BTreeMap::new();
        for (column, text) in &defaults.0 {
            match naming::column(column, R::COLUMNS) {
                Ok(column) => drop(known.insert(column, Cell::Text(text.clone()))),
                Err(problem) => mistakes.push(Mistake {
                    line: 0,
                    column: column.clone(),
                    problem,
                }),
            }
        }
        if !mistakes.is_empty() {
            return Err(Mistakes::from(mistakes));
        }
        let has_default = |column: &str| known.contains_key(column);
        let text = TextRows::open(
            Box::new(input),
            format,
            R::COLUMNS,
            R::REQUIRED,
            &has_default,
            naming,
        )?;
        Ok(Self {
            text,
            defaults: known,
            seen: HashMap::new(),
            row: PhantomData,
        })
    }

    /// All rows.
    ///
    /// # Errors
    /// The first `mistakes_max` mistakes, and the number of the others.
    pub fn read_all(self, mistakes_max: usize) -> Result<Vec<R>, Mistakes> {
        let mut rows = Vec::new();
        let mut mistakes = Mistakes::from(Vec::new());
        for row in self {
            match row {
                Ok(row) if mistakes.shown.is_empty() => rows.push(row),
                Ok(_) => {}
                Err(of_row) => {
                    let room = mistakes_max.saturating_sub(mistakes.shown.len());
                    mistakes.more += of_row.shown.len().saturating_sub(room) + of_row.more;
                    mistakes.shown.extend(of_row.shown.into_iter().take(room));
                    rows = Vec::new();
                }
            }
        }
        if mistakes.shown.is_empty() && mistakes.more == 0 {
            Ok(rows)
        } else {
            Err(mistakes)
        }
    }

    /// The service rejects a request with a repeated key or target. Across the requests of a file
    /// it would accept them, so they are rejected here.
    fn refuse_repeats(&mut self, row: R) -> Result<R, Mistakes> {
        let line = row.line();
        let mut mistakes = Vec::new();
        for (column, identity) in row.identities() {
            let first = *self.seen.entry((column, identity)).or_insert(line);
            if first != line {
                mistakes.push(Mistake {
                    line,
                    column: column.to_owned(),
                    problem: format!("is the same as on line {first}; leave one of them away"),
                });
            }
        }
        if mistakes.is_empty() {
            Ok(row)
        } else {
            Err(Mistakes::from(mistakes))
        }
    }
}

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R, Mistakes>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, cells) = match self.text.next()? {
            Ok(row) => row,
            Err(mistakes) => return Some(Err(mistakes)),
        };
        let mut fields = Fields::new(line, cells, self.defaults.clone());
        let row = R::read(&mut fields);
        Some(match (row, fields.into_mistakes()) {
            (Some(row), mistakes) if mistakes.is_empty() => self.refuse_repeats(row),
            (_, mistakes) => Err(Mistakes::from(mistakes)),
        })
    }
}

impl<R> fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
