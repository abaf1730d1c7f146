//! Reads cancellations from CSV or JSON Lines, row by row, so that a file of any length can be
//! checked before the first of it is sent. Knows nothing of gRPC: it turns text into the words
//! of the domain, and says line and column of whatever is not one.

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

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header with the columns' names, then a line for each row. Separated by commas,
    /// semicolons, tabs or bars, whichever the header has most of, or as `sep=;` above it says.
    Csv,
    /// A JSON object on each line.
    JsonLines,
}

impl Format {
    /// The format that a file's name tells, if it tells any.
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
    /// The columns it can have.
    const COLUMNS: &'static [&'static str];
    /// Those it must have.
    const REQUIRED: &'static [&'static str];

    /// Reads a row. Whatever is wrong goes to the fields' problems, and `None` comes back.
    #[doc(hidden)]
    fn read(fields: &mut Fields) -> Option<Self>;

    /// Where it stood, from 1.
    fn line(&self) -> u64;

    /// The key that it has of its own.
    fn own_key(&self) -> Option<&Key>;

    /// Its cells by column, with another key in place of its own, as JSON Lines have them.
    fn cells(&self, key: Option<String>) -> Map<String, Value>;

    /// What no two rows may share, each with the column to name.
    fn identities(&self) -> Vec<(&'static str, String)>;
}

/// Text for columns that a row leaves empty, as flags give it.
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

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line, from 1; 0 for what is wrong with the input as a whole.
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

/// All that is wrong with a row or an input, in order, and at least one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The first of them.
    pub shown: Vec<Mistake>,
    /// How many more there are.
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
    /// The same of a row that flags alone make, which stands on no line of anything.
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
    /// A mistake about the input as a whole, or about a whole line.
    fn one(line: u64, problem: impl Into<String>) -> Self {
        Self::from(vec![Mistake {
            line,
            column: String::new(),
            problem: problem.into(),
        }])
    }
}

/// The rows of an input. A wrong row does not end it; an input that cannot be read does.
pub struct Rows<R> {
    text: TextRows,
    defaults: BTreeMap<&'static str, Cell>,
    /// The first line of each identity.
    seen: HashMap<(&'static str, String), u64>,
    row: PhantomData<R>,
}

impl<R: Row> Rows<R> {
    /// Begins to read: finds out the format if it is not given, and checks the header.
    ///
    /// # Errors
    /// What is wrong with the header or the defaults, or that nothing can be read.
    pub fn open(
        input: impl Read + Send + 'static,
        format: Option<Format>,
        defaults: &Defaults,
    ) -> Result<Self, Mistakes> {
        Self::open_named(input, format, defaults, &Naming::default())
    }

    /// The same, of an input with columns that are called otherwise or are left out.
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

    /// All rows, or the first `mistakes_max` mistakes and the number of the others.
    ///
    /// # Errors
    /// The mistakes.
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

    /// The service refuses two items of a request with one key or one target. Across a file it
    /// would take them, so they are found here.
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
