//! Writes the rows that did not succeed to a file that can be sent again.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    follow::chunk_key,
    report::{Report, is_success},
    request::Sendable,
};
use crate::{
    cli::terminal::{say, words},
    limits,
};

/// The file of failed rows.
pub(super) struct Failed {
    file: File,
    /// Its path, if the file was created.
    made: Option<PathBuf>,
    shown: String,
    is_csv: bool,
}

impl Failed {
    /// Opens the file before anything is sent; its old content stays until all has been sent.
    pub(super) fn open(path: &Path, input: Option<&Path>) -> Result<Self, String> {
        let shown = path.display().to_string();
        let same = |input: &Path| {
            let (input, path) = (input.canonicalize(), path.canonicalize());
            input.is_ok_and(|input| path.is_ok_and(|path| path == input))
        };
        if input.is_some_and(same) {
            return Err(format!("{shown} is what is read; give another file"));
        }
        let is_new = !path.exists();
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(|error| format!("{shown}: {error}"))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        Ok(Self {
            file,
            made: is_new.then(|| path.to_owned()),
            shown,
            is_csv: extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv")),
        })
    }

    /// Removes the file if it was created and is not needed.
    pub(super) fn discard(self) {
        if let Some(made) = self.made {
            // An empty file left behind does no harm.
            let _ = std::fs::remove_file(made);
        }
    }

    /// Writes the rows without a success, with or without an outcome.
    pub(super) fn write<R: Sendable>(
        mut self,
        key: &str,
        rows: &[R],
        report: &Report,
        dry_run: bool,
    ) -> Result<(), String> {
        let mut text = String::new();
        let mut count = 0;
        for (at, row) in rows.iter().enumerate() {
            let outcome = report.outcome(at);
            if outcome.is_some_and(is_success) {
                continue;
            }
            let own = row.own_key().map(ToString::to_string);
            let continued = match outcome {
                _ if dry_run => own,
                // The same key would replay the outcome.
                Some(_) if !report.is_unfinished(at) => None,
                _ => own.or_else(|| derived(key, rows.len(), at)),
            };
            let cells = row.cells(continued);
            if self.is_csv {
                if count == 0 {
                    text.push_str(&R::COLUMNS.join(","));
                    text.push('\n');
                }
                if let Some(column) = beyond_csv(&cells) {
                    return Err(format!(
                        "{}: line {} has a semicolon in a value of {column}, which CSV separates \
                         by; give a name that ends with .jsonl",
                        self.shown,
                        row.line()
                    ));
                }
                text.push_str(&csv_line(R::COLUMNS, &cells));
            } else {
                text.push_str(&Value::Object(cells).to_string());
            }
            text.push('\n');
            count += 1;
        }
        self.replace(&text)
            .map_err(|error| format!("{}: {error}", self.shown))?;
        if count > 0 {
            let rows = words::plural(count, "row");
            say(format!("{rows} without success: {}", self.shown));
        }
        Ok(())
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.flush()
    }
}

/// The key that the service derives for an item; `None` if it is longer than a caller's key may be.
fn derived(key: &str, rows: usize, at: usize) -> Option<String> {
    let (number, place) = (at / limits::BATCH_ITEMS_MAX, at % limits::BATCH_ITEMS_MAX);
    let derived = format!("{}/{place}", chunk_key(key, rows, number));
    (derived.len() <= limits::KEY_CHARS_MAX).then_some(derived)
}

/// The column with a list that CSV would read differently.
fn beyond_csv(cells: &Map<String, Value>) -> Option<&str> {
    let is_cut = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.contains(';') || text.trim() != text
    };
    let mut lists = cells
        .iter()
        .filter_map(|(column, value)| Some((column, value.as_array()?)));
    lists
        .find(|(_, items)| items.iter().any(is_cut))
        .map(|(column, _)| column.as_str())
}

fn csv_line(columns: &[&str], cells: &Map<String, Value>) -> String {
    let cell = |column: &&str| match cells.get(*column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => quoted(text),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            quoted(&items.join(";"))
        }
        Some(value) => quoted(&value.to_string()),
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', ';', '\t']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_where_csv_needs_it_and_lists_that_it_cannot_hold_are_known() {
        let cells = |value: Value| match value {
            Value::Object(cells) => cells,
            _ => Map::new(),
        };
        let row = cells(json!({"a": "x, \"y\"\nz", "b": ["u", "v"], "c": true, "d": [{"e": 1}]}));
        let line = csv_line(&["a", "b", "missing", "c", "d"], &row);
        assert_eq!(
            line,
            "\"x, \"\"y\"\"\nz\",\"u;v\",,true,\"[{\"\"e\"\":1}]\""
        );
        assert_eq!(beyond_csv(&row), None);
        assert_eq!(beyond_csv(&cells(json!({"b": ["u;v"]}))), Some("b"));
    }
}
