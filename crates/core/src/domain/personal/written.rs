//! How a character may be written in a text that was made for something else: by percent signs,
//! once or several times over, by JSON's escapes and by HTML's character references. Who looks for a
//! text that must not be kept has to find it in each of these forms. Texts come from others, so that
//! each place is read within a bound.

/// Times that a percent sign is read as written by percent signs.
const PERCENTS_MAX: usize = 8;
/// Backslashes before a character: JSON in JSON doubles them each time.
const BACKSLASHES_MAX: usize = 32;
/// Bytes of a reference of HTML: `&#x10FFFF;`, and some zeros.
const REFERENCE_BYTES_MAX: usize = 16;

/// The character that is written at a place of a text, and where the next one begins. What is no
/// escape stands for itself.
#[must_use]
pub fn decoded(text: &str, at: usize) -> Option<(char, usize)> {
    let rest = text.get(at..)?;
    let first = rest.chars().next()?;
    let escaped = match first {
        '%' => percents(rest.as_bytes()),
        '\\' => backslashes(rest),
        '&' => reference(rest),
        _ => None,
    };
    let (char, bytes) = escaped.unwrap_or_else(|| (first, first.len_utf8()));
    Some((char, at.saturating_add(bytes)))
}

/// A text as it reads, however it is written, without regard to case: what is looked for in it has
/// to be folded likewise.
#[must_use]
pub fn folded(text: &str) -> String {
    let (mut at, mut folded) = (0, String::with_capacity(text.len()));
    while let Some((char, next)) = decoded(text, at) {
        folded.extend(plain(char).to_lowercase());
        at = next;
    }
    folded
}

/// A character in the form that addresses are compared in: full-width forms and the dots of
/// internationalized domain names are ASCII's.
#[must_use]
pub fn plain(char: char) -> char {
    match char {
        '\u{3002}' | '\u{ff61}' => '.',
        '\u{fe6b}' => '@',
        '\u{ff01}'..='\u{ff5e}' => u32::from(char)
            .checked_sub(0xfee0)
            .and_then(char::from_u32)
            .unwrap_or(char),
        char => char,
    }
}

/// A character by a reference of HTML, and how many bytes it takes.
fn reference(text: &str) -> Option<(char, usize)> {
    let mut bytes = text.bytes().take(REFERENCE_BYTES_MAX);
    let end = bytes.position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let char = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "sol" => '/',
        "plus" => '+',
        "equals" => '=',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((char, end + 1))
}

/// A character by percent signs, and how many bytes it takes.
fn percents(bytes: &[u8]) -> Option<(char, usize)> {
    let (first, mut end) = percent(bytes, 0)?;
    let mut utf8 = vec![first];
    let more = match first {
        0..=0x7f => 0,
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf7 => 3,
        _ => return None,
    };
    for _ in 0..more {
        let (byte, next) = percent(bytes, end)?;
        utf8.push(byte);
        end = next;
    }
    let char = std::str::from_utf8(&utf8).ok()?.chars().next()?;
    Some((char, end))
}

/// A byte by a percent sign, which may itself be written by one.
fn percent(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    if *bytes.get(at)? != b'%' {
        return None;
    }
    let mut at = at + 1;
    for _ in 0..PERCENTS_MAX {
        let byte = hex_byte(bytes, at)?;
        if byte != b'%' || hex_byte(bytes, at + 2).is_none() {
            return Some((byte, at + 2));
        }
        at += 2;
    }
    None
}

fn hex_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(at)? << 4 | digit(at + 1)?).ok()
}

/// A character by an escape of JSON's, which may itself be inside of a JSON string.
fn backslashes(text: &str) -> Option<(char, usize)> {
    let run = backslash_run(text);
    let rest = text.get(run..)?;
    match rest.chars().next()? {
        char @ ('"' | '/') => Some((char, run + 1)),
        'u' => {
            let first = unit(rest.as_bytes(), 1)?;
            if let Some(char) = char::from_u32(first) {
                return Some((char, run + 5));
            }
            // Half of a pair; the other half is written likewise.
            let after = rest.get(5..)?;
            let between = backslash_run(after);
            let low = unit(after.get(between..)?.strip_prefix('u')?.as_bytes(), 0)?;
            let pair = [u16::try_from(first).ok()?, u16::try_from(low).ok()?];
            let char = char::decode_utf16(pair).next()?.ok()?;
            Some((char, run + 5 + between + 5))
        }
        _ => None,
    }
}

/// The backslashes that a text begins with, up to 32 of them.
#[must_use]
pub fn backslash_run(text: &str) -> usize {
    let first = text.bytes().take(BACKSLASHES_MAX);
    first.take_while(|byte| *byte == b'\\').count()
}

/// Four hexadecimal digits.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let high = hex_byte(bytes, at)?;
    let low = hex_byte(bytes, at + 2)?;
    Some(u32::from(high) << 8 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        let (mut at, mut read) = (0, String::new());
        while let Some((char, next)) = decoded(text, at) {
            read.push(char);
            at = next;
        }
        assert_eq!(at, text.len());
        read
    }

    #[test]
    fn a_character_is_read_however_it_is_written() {
        for (text, read) in [
            ("plain", "plain"),
            ("ann%40example%2ecom", "ann@example.com"),
            ("ann%2540a", "ann@a"),
            ("ann%252540a", "ann@a"),
            ("ex%C3%A4mple", "exämple"),
            ("100% of 5%x", "100% of 5%x"),
            ("%25", "%"),
            ("%ff%e4", "%ff%e4"),
            (r"a\u0040b", "a@b"),
            (r#"\"a\\\"b\/"#, r#""a"b/"#),
            (r"\\u0040", "@"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d \u12 \n", r"\ud83d \u12 \n"),
            ("ann&#64;example&#x2E;com", "ann@example.com"),
            ("a&amp;b&quot;&apos;&lt;&gt;", "a&b\"'<>"),
            (
                "R&D; &; &#; &#x; &#x110000; &none;",
                "R&D; &; &#; &#x; &#x110000; &none;",
            ),
            ("%", "%"),
        ] {
            assert_eq!(all(text), read, "{text}");
        }
    }

    /// Read again from each place to its end, none of these would be done in an hour.
    #[test]
    fn a_place_is_read_within_a_bound() {
        for part in ["%25", "\\", "&", "&#x", "\\u", "\\n"] {
            let text = part.repeat((1 << 20) / part.len());
            let (mut at, mut read) = (0, 0);
            while let Some((_, next)) = decoded(&text, at) {
                (at, read) = (next, read + 1);
            }
            assert_eq!(at, text.len());
            assert!(read > 0);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in r"[\PC%\\&#;u0-9a-f]{0,40}") {
            all(&text);
        }
    }
}
