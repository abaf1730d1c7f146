//! The cells of a row by column: text from CSV and flags, values from JSON. Reading a cell takes it
//! out, and notes its mistakes with line and column.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Mistake, spoiled};
use crate::{
    config::did_you_mean::did_you_mean,
    domain::ids::{Key, Malformed, TargetId},
    limits,
};

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// From CSV or a flag.
    Text(String),
    /// From JSON; not null.
    Json(Value),
}

/// The cells of a row.
#[derive(Debug)]
pub struct Fields {
    line: u64,
    cells: BTreeMap<&'static str, Cell>,
    defaults: BTreeMap<&'static str, Cell>,
    mistakes: Vec<Mistake>,
}

impl Fields {
    pub(super) fn new(
        line: u64,
        cells: BTreeMap<&'static str, Cell>,
        defaults: BTreeMap<&'static str, Cell>,
    ) -> Self {
        Self {
            line,
            cells,
            defaults,
            mistakes: Vec::new(),
        }
    }

    /// The row's line, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The number of mistakes so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.len()
    }

    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// Notes a mistake in a column.
    pub(super) fn refuse(&mut self, column: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            line: self.line,
            column: column.into(),
            problem: problem.into(),
        });
    }

    /// Whether the row itself has a value in one of the columns.
    pub(super) fn has_any(&self, columns: &[&str]) -> bool {
        columns.iter().any(|column| self.cells.contains_key(column))
    }

    /// Drops the defaults of these columns, for rows with another choice.
    pub(super) fn drop_defaults(&mut self, columns: &[&str]) {
        self.defaults.retain(|column, _| !columns.contains(column));
    }

    fn take(&mut self, column: &str) -> Option<Cell> {
        let default = self.defaults.remove(column);
        self.cells.remove(column).or(default)
    }

    /// Reads a cell with a function that returns its mistake.
    pub(super) fn optional<T>(
        &mut self,
        column: &'static str,
        read: impl FnOnce(Cell) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.take(column)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.refuse(column, problem);
                None
            }
        }
    }

    /// Reads a required cell.
    pub(super) fn required<T>(
        &mut self,
        column: &'static str,
        read: impl FnOnce(Cell) -> Result<T, String>,
    ) -> Option<T> {
        if self.cells.contains_key(column) || self.defaults.contains_key(column) {
            return self.optional(column, read);
        }
        self.refuse(column, "is missing");
        None
    }
}

/// The text of a cell. JSON may have numeric ids as numbers.
pub(super) fn text(cell: Cell) -> Result<String, String> {
    match cell {
        Cell::Text(text) | Cell::Json(Value::String(text)) => Ok(text),
        Cell::Json(Value::Number(number)) if !number.to_string().contains(['.', 'e', 'E']) => {
            Ok(number.to_string())
        }
        Cell::Json(value) => Err(format!("is {}; write text", kind(&value))),
    }
}

/// A provider's id, checked for typical damage.
pub(super) fn id(cell: Cell) -> Result<TargetId, String> {
    sound_id(text(cell)?)
}

fn sound_id(text: String) -> Result<TargetId, String> {
    match spoiled::id(&text) {
        Some(problem) => Err(problem),
        None => TargetId::try_from(text).map_err(|malformed| malformed.to_string()),
    }
}

/// A list of ids, as the service accepts it.
pub(super) fn ids(cell: Cell) -> Result<Vec<TargetId>, String> {
    let texts = list(cell)?;
    if texts.is_empty() || texts.len() > limits::TARGET_VALUES_MAX {
        return Err(format!(
            "has {} values; write 1 to {}",
            texts.len(),
            limits::TARGET_VALUES_MAX
        ));
    }
    let mut ids: Vec<TargetId> = Vec::with_capacity(texts.len());
    for text in texts {
        let id = sound_id(text)?;
        if ids.contains(&id) {
            return Err(format!("has {id:?} twice"));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// A caller's key, checked for typical damage.
pub(super) fn key(cell: Cell) -> Result<Key, String> {
    let text = text(cell)?;
    match spoiled::id(&text) {
        Some(problem) => Err(problem),
        None => Key::chosen(text).map_err(|malformed| malformed.to_string()),
    }
}

/// Text that a domain type parses.
pub(super) fn parsed<T: TryFrom<String, Error = Malformed>>(cell: Cell) -> Result<T, String> {
    T::try_from(text(cell)?).map_err(|malformed| malformed.to_string())
}

/// Text of at most `chars_max` characters.
pub(super) fn text_up_to(chars_max: usize) -> impl Fn(Cell) -> Result<String, String> {
    move |cell| {
        let text = text(cell)?;
        if let Some(problem) = spoiled::error(&text) {
            return Err(problem);
        }
        match text.chars().count() {
            chars if chars > chars_max => {
                Err(format!("has {chars} characters; at most {chars_max}"))
            }
            _ => Ok(text),
        }
    }
}

pub(super) fn truth(cell: Cell) -> Result<bool, String> {
    let text = match cell {
        Cell::Json(Value::Bool(truth)) => return Ok(truth),
        cell => text(cell)?,
    };
    // Spreadsheets write TRUE.
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn count(cell: Cell) -> Result<u32, String> {
    let text = text(cell)?;
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!(
            "{text:?} is no count; write a whole number from 1 to {}",
            u32::MAX
        )),
    }
}

/// A list of texts: an array in JSON, otherwise separated by `;`.
fn list(cell: Cell) -> Result<Vec<String>, String> {
    match cell {
        Cell::Text(text) => Ok(text
            .split(';')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()),
        Cell::Json(Value::Array(values)) => values
            .into_iter()
            .map(|value| text(Cell::Json(value)))
            .collect(),
        Cell::Json(value) => Err(format!("is {}; write an array of texts", kind(&value))),
    }
}

/// One of some named values. Case, dashes and underscores do not matter.
pub(super) fn choice<T: Copy>(cell: Cell, choices: &[(&'static str, T)]) -> Result<T, String> {
    let text = text(cell)?;
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let names = choices.iter().map(|(name, _)| *name);
    choices
        .iter()
        .find(|(name, _)| plain(name) == plain(&text))
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("{text:?} is not known; {}", did_you_mean(&text, names)))
}

/// The JSON type of a value, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
