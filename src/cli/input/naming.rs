//! Maps the names in an input to columns: in the usual spellings, and as flags say for the others.

use crate::config::did_you_mean::did_you_mean;

/// How to treat names that are no columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Ignored names, as in the input.
    ignored: Vec<String>,
    /// Columns with their names in the input.
    renamed: Vec<(&'static str, String)>,
}

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Known(&'static str),
    Ignored,
}

impl Naming {
    /// Ignores some names, and maps others by `COLUMN=NAME`. Either side may be the column, if the
    /// other one is none.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(
        ignored: &[String],
        renamed: &[String],
        known: &'static [&'static str],
    ) -> Result<Self, String> {
        let mut naming = Self {
            ignored: ignored.iter().map(|name| name.trim().to_owned()).collect(),
            renamed: Vec::new(),
        };
        for pair in renamed {
            let (column, name) = parse(pair, known)?;
            if naming.renamed.iter().any(|(other, _)| *other == column) {
                return Err(format!(
                    "--columns {pair}: says twice what {column} is called"
                ));
            }
            if naming.renamed.iter().any(|(_, other)| same(other, &name)) {
                return Err(format!("--columns {pair}: says twice what {name:?} is"));
            }
            naming.renamed.push((column, name));
        }
        Ok(naming)
    }

    /// The column of a name.
    pub(super) fn column(
        &self,
        name: &str,
        known: &'static [&'static str],
    ) -> Result<Named, String> {
        if let Some((column, _)) = self.renamed.iter().find(|(_, theirs)| same(theirs, name)) {
            return Ok(Named::Known(column));
        }
        if self.ignored.iter().any(|ignored| same(ignored, name)) {
            return Ok(Named::Ignored);
        }
        column(name, known).map(Named::Known)
    }

    /// The given names that are not among these.
    pub(super) fn not_among<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a str> {
        let renamed = self.renamed.iter().map(|(_, theirs)| theirs);
        let given = self.ignored.iter().chain(renamed).map(String::as_str);
        given.filter(|given| !names.iter().any(|name| same(name, given)))
    }
}

/// The column that a name spells.
pub(super) fn column(name: &str, known: &'static [&'static str]) -> Result<&'static str, String> {
    let columns = known.iter().copied();
    columns
        .clone()
        .find(|column| same(column, name))
        .ok_or_else(|| format!("is no column; {}", did_you_mean(name, columns)))
}

fn parse(pair: &str, known: &'static [&'static str]) -> Result<(&'static str, String), String> {
    let Some((left, right)) = pair.split_once('=') else {
        return Err(format!(
            "--columns {pair}: write COLUMN=NAME, such as subscription_id=Ref"
        ));
    };
    let (left, right) = (left.trim(), right.trim());
    match (column(left, known), column(right, known)) {
        _ if left.is_empty() || right.is_empty() => Err(format!(
            "--columns {pair}: write COLUMN=NAME, such as subscription_id=Ref"
        )),
        (Ok(column), _) => Ok((column, right.to_owned())),
        (Err(_), Ok(column)) => Ok((column, left.to_owned())),
        (Err(problem), Err(_)) => Err(format!("--columns {pair}: {left} {problem}")),
    }
}

/// Whether two names are the same: only letters and digits count, and not their case, as in
/// `Subscription ID`, `subscriptionId` and `subscription_id`.
fn same(a: &str, b: &str) -> bool {
    let (of_a, of_b) = (letters(a), letters(b));
    of_a == of_b && (!of_a.is_empty() || a.trim() == b.trim())
}

fn letters(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}
