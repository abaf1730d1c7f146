//! Invisible characters: control characters, characters without a width, and those that change the
//! direction of a line. A terminal may act on them, and an id with one is not the id that it looks
//! like.

use std::{borrow::Cow, fmt::Write as _};

/// Unicode's default ignorable and bidirectional characters, and line breaks.
const UNSEEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{fffe}', '\u{ffff}'),
];

/// Whether a character is invisible or misleading.
pub(in crate::cli) fn is_unseen(c: char) -> bool {
    c.is_control()
        || UNSEEN
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// A character's code point, such as `U+202E`.
pub(in crate::cli) fn named(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// The text with invisible characters escaped, for one line of a terminal.
pub(in crate::cli) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, &[])
}

/// Like [`escaped`], for our own text of several lines: line breaks stay.
pub(in crate::cli) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, &['\n'])
}

fn escaped_but<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let is_escaped = |c: char| is_unseen(c) && !kept.contains(&c);
    if !text.chars().any(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c => drop(write!(shown, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_letters_are_not() {
        for (text, shown) in [
            ("plain, Zürich, 東京, 👍", "plain, Zürich, 東京, 👍"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\u{7}\u{8}\u{7f}", "a\\u{7}\\u{8}\\u{7f}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            (
                "a\u{202e}b\u{2066}c\u{2069}",
                "a\\u{202e}b\\u{2066}c\\u{2069}",
            ),
            (
                "a\u{200b}b\u{200d}\u{feff}\u{ad}",
                "a\\u{200b}b\\u{200d}\\u{feff}\\u{ad}",
            ),
            (
                "\u{e0041}\u{2028}\u{61c}\u{200f}",
                "\\u{e0041}\\u{2028}\\u{61c}\\u{200f}",
            ),
        ] {
            assert_eq!(escaped(text), shown);
        }
        assert_eq!(escaped_lines("a\nb\r\u{1b}"), "a\nb\\r\\u{1b}");
    }
}
