//! Reads JSON Lines as cells by column.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{
    Mistake, Mistakes, Naming,
    cell::Cell,
    naming::Named,
    text::{Cells, LINE_BYTES_MAX},
};

/// The rows of a JSON Lines file.
pub(super) struct JsonRows {
    reader: BufReader<Box<dyn Read + Send>>,
    columns: &'static [&'static str],
    naming: Naming,
    line: u64,
    ended: bool,
}

impl JsonRows {
    pub(super) fn new(
        input: Box<dyn Read + Send>,
        columns: &'static [&'static str],
        naming: Naming,
    ) -> Self {
        Self {
            reader: BufReader::new(input),
            columns,
            naming,
            line: 0,
            ended: false,
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<(u64, Cells), Mistakes>> {
        while !self.ended {
            let mut bytes = Vec::new();
            let read = self
                .reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes);
            self.line += 1;
            let line = self.line;
            let problem = match read {
                Err(error) => format!("cannot be read: {error}"),
                Ok(0) => {
                    self.ended = true;
                    return None;
                }
                Ok(_) if is_cut(&bytes) => format!("is longer than {LINE_BYTES_MAX} bytes"),
                Ok(_) if bytes.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(_) => {
                    return Some(
                        cells(&bytes, self.columns, &self.naming, line).map(|row| (line, row)),
                    );
                }
            };
            // The start of the next row is unknown.
            self.ended = true;
            return Some(Err(Mistakes::one(line, problem)));
        }
        None
    }
}

fn is_cut(line: &[u8]) -> bool {
    let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
    length >= LINE_BYTES_MAX && !line.ends_with(b"\n")
}

fn cells(
    bytes: &[u8],
    columns: &'static [&'static str],
    naming: &Naming,
    line: u64,
) -> Result<Cells, Mistakes> {
    // Without the line end, so that a mistake at the end has the right position.
    let object = bytes.trim_ascii_end();
    let members: Members = serde_json::from_slice(object).map_err(|error| {
        Mistakes::one(
            line,
            format!(
                "is no JSON object at character {}; write one such as {{\"account\":\"…\"}}",
                error.column()
            ),
        )
    })?;
    let mut cells = Cells::new();
    let mut mistakes = Vec::new();
    for (name, value) in members.0 {
        let problem = match naming.column(&name, columns) {
            Ok(Named::Ignored) => continue,
            Ok(_) if value.is_null() => continue,
            Ok(Named::Known(column)) => match cells.insert(column, Cell::Json(value)) {
                None => continue,
                Some(_) => "stands twice in the object".to_owned(),
            },
            Err(problem) => problem,
        };
        mistakes.push(Mistake {
            line,
            column: name,
            problem,
        });
    }
    if mistakes.is_empty() {
        Ok(cells)
    } else {
        Err(Mistakes::from(mistakes))
    }
}

/// The members of a JSON object with repeats; a map would silently keep the last of them.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
