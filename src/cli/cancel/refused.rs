//! Shows the service's violations by the lines of the file instead of indexes in a request.

use tonic::Status;
use tonic_types::StatusExt as _;

use super::request::Sendable;

/// The prefix of an index in a request.
const PLACE: &str = "cancellations[";

/// A line per violation; `None` if the status lists none.
pub(super) fn refused<R: Sendable>(
    status: &Status,
    rows: &[R],
    of_file: bool,
    key: &str,
) -> Option<String> {
    let details = status.get_error_details();
    let mut told: Vec<(Option<usize>, String)> = Vec::new();
    for violation in details
        .bad_request()
        .into_iter()
        .flat_map(|bad| &bad.field_violations)
    {
        let (place, field) = parts(&violation.field);
        let field = match field {
            "" => String::new(),
            field => format!("{field}: "),
        };
        told.push((place, format!("{field}{}", violation.description)));
    }
    let failures = details.precondition_failure();
    for violation in failures.into_iter().flat_map(|failed| &failed.violations) {
        let place = place_of_key(&violation.subject, key, rows);
        told.push((place, violation.description.clone()));
    }
    if told.is_empty() {
        return None;
    }
    told.sort_by_key(|(place, _)| *place);
    let line_of = |place: usize| rows.get(place).map(|row| row.line()).filter(|_| of_file);
    let mut text = format!("{:?}: nothing was admitted:", status.code());
    for (place, problem) in &told {
        let line = place.and_then(line_of);
        let line = line
            .map(|line| format!("line {line}: "))
            .unwrap_or_default();
        let problem = with_lines(problem, &|place| match line_of(place) {
            Some(line) => format!("line {line}"),
            None if of_file => format!("{PLACE}{place}]"),
            None => String::new(),
        });
        text.push_str(&format!("\n{line}{problem}"));
    }
    let more = counted(status.message()).saturating_sub(told.len());
    if more > 0 {
        text.push_str(&format!("\nand {more} more"));
    }
    Some(text)
}

/// The item's index, and the field in it.
fn parts(field: &str) -> (Option<usize>, &str) {
    let place = field.strip_prefix(PLACE).and_then(|rest| {
        let (number, rest) = rest.split_once(']')?;
        Some((number.parse().ok()?, rest.trim_start_matches('.')))
    });
    match place {
        Some((place, rest)) => (Some(place), rest),
        None => (None, field),
    }
}

/// The item with this key, its own or the derived one.
fn place_of_key<R: Sendable>(named: &str, key: &str, rows: &[R]) -> Option<usize> {
    let own = rows
        .iter()
        .position(|row| row.own_key().is_some_and(|own| own.as_str() == named));
    let derived = || named.strip_prefix(key)?.strip_prefix('/')?.parse().ok();
    own.or_else(derived)
}

/// The text with indexes replaced by lines.
fn with_lines(text: &str, line: &dyn Fn(usize) -> String) -> String {
    let mut told = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(PLACE) {
        let (before, found) = rest.split_at(at);
        told.push_str(before);
        match parts(found) {
            (Some(place), _) => {
                let end = found.find(']').map_or(found.len(), |end| end + 1);
                let named = line(place);
                let behind = found.get(end..).unwrap_or_default();
                // `cancellations[3].when` becomes `when` of line 5.
                rest = match behind.strip_prefix('.') {
                    Some(field) if named.is_empty() => field,
                    Some(field) if field.starts_with(char::is_alphabetic) => {
                        told.push_str(&named);
                        told.push(' ');
                        field
                    }
                    _ => {
                        told.push_str(&named);
                        behind
                    }
                };
            }
            (None, _) => {
                told.push_str(PLACE);
                rest = found.get(PLACE.len()..).unwrap_or_default();
            }
        }
    }
    told.push_str(rest);
    told
}

/// The number of violations, of which the details list as many as fit.
fn counted(message: &str) -> usize {
    let number = message
        .strip_prefix("nothing was admitted: ")
        .and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_lines_wherever_they_stand() {
        let line = |place: usize| format!("line {}", place + 2);
        for (text, expected) in [
            (
                "names the same key as cancellations[3]",
                "names the same key as line 5",
            ),
            (
                "differ: cancellations[0].when, cancellations[0].reason",
                "differ: line 2 when, line 2 reason",
            ),
            ("that of cancellations[0].", "that of line 2."),
            (
                "cancellations[x] and cancellations[",
                "cancellations[x] and cancellations[",
            ),
        ] {
            assert_eq!(with_lines(text, &line), expected);
        }
        assert_eq!(
            with_lines("cancellations[0].when", &|_| String::new()),
            "when"
        );
        assert_eq!(
            counted("nothing was admitted: 235 violations (the details ..."),
            235
        );
        assert_eq!(counted("anything else"), 0);
    }
}
