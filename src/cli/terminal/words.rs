//! Plurals.

/// `1 account`, `2 accounts`.
pub(in crate::cli) fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// `1 second` needs `is`, and `2 seconds` need `are`.
pub(in crate::cli) fn is(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
