//! Detects ids damaged by spreadsheets and exports: an error instead of a value, a number that lost
//! digits, a word for nothing, invisible characters. All are rejected, because the original id is
//! unknown.

use crate::cli::terminal::unseen::{is_unseen, named};

/// Words for an empty value.
const NOTHING: [&str; 9] = [
    "null",
    "(null)",
    "<null>",
    "\\n",
    "none",
    "nan",
    "n/a",
    "undefined",
    "nil",
];

/// Spreadsheet errors without a final `!` or `?`.
const ERRORS: [&str; 4] = ["#N/A", "#NA", "#NV", "#GETTING_DATA"];

/// Why a text cannot be the intended id or key; `None` if it can.
pub(super) fn id(text: &str) -> Option<String> {
    let because = |what: &str| Some(format!("{text:?} {what}"));
    if let Some(error) = error(text) {
        return Some(error);
    }
    if let Some(c) = text.chars().find(|c| is_unseen(*c) || is_odd_blank(*c)) {
        let c = named(c);
        return Some(format!("has the invisible character {c} in it; remove it"));
    }
    if is_scientific(text) {
        return because("is a number that lost its digits; format the column as text");
    }
    if is_fraction(text) {
        return because("is a number with a fraction; format the column as text");
    }
    if text.starts_with('=') {
        return because("is a formula; write its value");
    }
    if text.starts_with('\'') {
        return because("begins with the apostrophe that spreadsheets mark text by; remove it");
    }
    if NOTHING.contains(&text.to_ascii_lowercase().as_str()) {
        return because("stands for nothing; write the id");
    }
    None
}

/// The mistake of a cell with a spreadsheet error: `#N/A`, `#REF!`, `#NAME?`, `Err:502`.
pub(super) fn error(text: &str) -> Option<String> {
    let is_word = |word: &str| {
        let letters = |c: char| c.is_uppercase() || c.is_ascii_digit() || matches!(c, '/' | '_');
        word.starts_with(char::is_uppercase) && word.chars().all(letters)
    };
    let marked = text.strip_prefix('#').and_then(|word| {
        let word = word.strip_suffix(['!', '?'])?;
        is_word(word).then_some(())
    });
    let numbered = text.strip_prefix("Err:").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_filled = text.len() > 2 && text.bytes().all(|byte| byte == b'#');
    let is_error = marked.is_some()
        || numbered
        || is_filled
        || ERRORS.iter().any(|error| error.eq_ignore_ascii_case(text));
    is_error.then(|| format!("{text:?} is a spreadsheet's error; write the value"))
}

/// White space other than the space, which looks the same.
fn is_odd_blank(c: char) -> bool {
    c.is_whitespace() && c != ' '
}

/// Scientific notation: `9.91E+15`, `1,2e-7`, `1E+08`. `12e4567` may be an id.
fn is_scientific(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return false;
    };
    let signed = exponent.strip_prefix(['+', '-']);
    let (whole, fraction) = match mantissa.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    is_digits(whole)
        && fraction.is_none_or(is_digits)
        && is_digits(signed.unwrap_or(exponent))
        && (signed.is_some() || fraction.is_some())
}

/// A number like `2232.0`, as programs write integers of a column with gaps.
fn is_fraction(text: &str) -> bool {
    text.split_once(['.', ','])
        .is_some_and(|(whole, fraction)| {
            is_digits(whole) && is_digits(fraction) && fraction.bytes().all(|byte| byte == b'0')
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_made_of_an_id_is_known() {
        for spoiled in [
            "#N/A",
            "#n/a",
            "#REF!",
            "#VALUE!",
            "#DIV/0!",
            "#NAME?",
            "#NULL!",
            "#NUM!",
            "#SPILL!",
            "#CALC!",
            "#ERROR!",
            "#NV",
            "#BEZUG!",
            "#ÜBERLAUF!",
            "Err:502",
            "########",
            "9.91E+15",
            "9,91E+15",
            "1.23e8",
            "1E+08",
            "1e-7",
            "-1.5E+20",
            "2232.0",
            "2232.00",
            "=\"2232\"",
            "'2232",
            "NULL",
            "null",
            "None",
            "NaN",
            "N/A",
            "undefined",
            "\\N",
            "sub\u{200b}_1",
            "\u{feff}sub_1",
            "sub_1\u{202e}",
            "sub\u{a0}1",
            "sub\u{ad}1",
            "su\tb",
        ] {
            assert!(id(spoiled).is_some(), "{spoiled:?}");
        }
        for sound in [
            "sub_1",
            "2232",
            "1e10",
            "123e4567",
            "12E5",
            "a.0",
            "1.5.0",
            "#1234",
            "#abc!",
            "nullify",
            "e+1",
            "5e",
            "sub 1",
            "Zürich-東",
            "1.25",
            "none-1",
            "a=b",
            "o'brien",
            "#",
        ] {
            assert_eq!(id(sound), None, "{sound:?}");
        }
    }
}
