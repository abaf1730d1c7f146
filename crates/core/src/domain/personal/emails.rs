//! Where a text has an e-mail address, in whatever form it is written: plain, with a quoted part
//! before the sign, by percent signs or JSON's escapes, in full-width characters, or with the dots
//! of internationalized domain names.

use std::{borrow::Cow, ops::Range};

use super::written::{decoded, plain};

/// Stands where an address was.
pub(super) const REMOVED: &str = "(e-mail removed)";
/// The most characters that a quoted part is looked for in; an address has 64 before its sign.
const QUOTED_CHARS_MAX: usize = 66;

/// A text without the e-mail addresses in it.
#[must_use]
pub fn without_emails(text: &str) -> Cow<'_, str> {
    let found = emails(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    for Range { start, end } in found {
        clean.push_str(text.get(at..start).unwrap_or_default());
        clean.push_str(REMOVED);
        at = end;
    }
    clean.push_str(text.get(at..).unwrap_or_default());
    Cow::Owned(clean)
}

/// Whether there is an address in a text.
pub(in crate::domain) fn has_email(text: &str) -> bool {
    !emails(text).is_empty()
}

/// A character of a text, in its plain form, and where it is.
#[derive(Debug, Clone, Copy)]
struct Sign {
    char: char,
    begin: usize,
    end: usize,
}

/// Where the addresses are, in order.
fn emails(text: &str) -> Vec<Range<usize>> {
    // Nearly no text has one, and most have no sign that one could have.
    let may_have = text.contains(['@', '\u{ff20}', '\u{fe6b}'])
        || (text.contains('%') && text.contains("40"))
        || text.contains("\\u");
    if !may_have {
        return Vec::new();
    }
    let mut signs = Vec::with_capacity(text.len());
    let mut begin = 0;
    while let Some((char, end)) = decoded(text, begin) {
        let char = plain(char);
        signs.push(Sign { char, begin, end });
        begin = end;
    }
    let mut found = Vec::<Range<usize>>::new();
    for (at, sign) in signs.iter().enumerate() {
        let done = found.last().map_or(0, |last| last.end);
        if sign.char != '@' || sign.begin < done {
            continue;
        }
        let (before, rest) = signs.split_at(at);
        let before = before
            .split_at(before.partition_point(|sign| sign.begin < done))
            .1;
        let begin = local(before);
        let end = rest.get(1..).and_then(domain);
        if let (Some(begin), Some(end)) = (begin, end) {
            found.push(begin..end);
        }
    }
    found
}

/// Letters, digits and the marks that belong to letters.
fn is_letter(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '\u{300}'..='\u{1dff}' | '\u{200c}' | '\u{200d}')
}

fn is_local(char: char) -> bool {
    is_letter(char) || ".!#$%&'*+/=?^_`{|}~-".contains(char)
}

/// Where the part before the sign begins, which these signs end with.
fn local(signs: &[Sign]) -> Option<usize> {
    let mut rest = signs;
    loop {
        let plain = rest
            .iter()
            .rev()
            .take_while(|sign| is_local(sign.char))
            .count();
        let (before, word) = rest.split_at(rest.len() - plain);
        // Quoted parts are words of their own, between dots.
        let may_be_quoted = word.first().is_none_or(|sign| sign.char == '.');
        rest = before;
        match quoted(before).filter(|_| may_be_quoted) {
            Some(begin) => rest = before.get(..begin)?,
            None => break,
        }
        if rest.last().is_none_or(|sign| sign.char != '.') {
            break;
        }
    }
    let begin = signs.get(rest.len())?;
    Some(begin.begin)
}

/// Where the quoted part begins that these signs end with.
fn quoted(signs: &[Sign]) -> Option<usize> {
    let (close, inner) = signs.split_last()?;
    if close.char != '"' {
        return None;
    }
    let begins = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| inner.get(before));
        let has_content = at + 1 < inner.len();
        has_content && before.is_none_or(|before| before.char == '.' || !is_local(before.char))
    };
    let near = inner.iter().enumerate().rev().take(QUOTED_CHARS_MAX);
    let mut near = near.take_while(|(_, sign)| sign.char != '\n');
    near.find(|(at, sign)| sign.char == '"' && begins(*at))
        .map(|(at, _)| at)
}

/// Where the domain ends that these signs begin with.
fn domain(signs: &[Sign]) -> Option<usize> {
    if signs.first()?.char == '[' {
        let end = signs.iter().take(64).position(|sign| sign.char == ']')?;
        let inner = signs.get(1..end)?;
        let is_number = |sign: &Sign| sign.char.is_ascii_hexdigit() || ".:IPv".contains(sign.char);
        let is_address = inner.iter().any(|sign| ".:".contains(sign.char));
        return (is_address && inner.iter().all(is_number)).then_some(signs.get(end)?.end);
    }
    let of_name = |sign: &&Sign| is_letter(sign.char) || sign.char == '.' || sign.char == '-';
    let length = signs.iter().take_while(of_name).count();
    let name = signs.get(..length)?;
    let is_end = |sign: &Sign| sign.char == '.' || sign.char == '-';
    let last = name.iter().rposition(|sign| !is_end(sign))?;
    let name = name.get(..=last)?;
    let first = name.iter().position(|sign| sign.char != '.')?;
    let has_dot = name.get(first..)?.iter().any(|sign| sign.char == '.');
    Some(name.last()?.end).filter(|_| has_dot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_and_all_else_stays() {
        for (text, clean) in [
            ("ann@example.com", "(e-mail removed)"),
            ("to <ann.b+c@mail.example.co.uk>.", "to <(e-mail removed)>."),
            ("a@b.c, d@e.f!", "(e-mail removed), (e-mail removed)!"),
            ("jürgen@exämple.de", "(e-mail removed)"),
            (
                "at @ nobody@localhost, 1 @ 2.5",
                "at @ nobody@localhost, 1 @ 2.5",
            ),
            ("", ""),
            ("@example.com and @ all", "@example.com and @ all"),
            ("costs 100%40 more, 5%40.5", "costs 100%40 more, 5%40.5"),
        ] {
            assert_eq!(without_emails(text), clean, "{text}");
        }
    }

    #[test]
    fn addresses_are_found_however_they_are_written() {
        for address in [
            r#""john doe"@example.com"#,
            r#""a\"b"@example.com"#,
            r#"\"john doe\"@example.com"#,
            r#""john".doe."x y"@example.com"#,
            "ann%40example.com",
            "ann%40example%2Ecom",
            "ann%2540example.com",
            "%22john%20doe%22%40example.com",
            "j%C3%BCrgen%40ex%C3%A4mple.de",
            r"ann\u0040example.com",
            "ann＠example.com",
            "ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ",
            "ann@example。com",
            "ann@例え｡テスト",
            "ann@xn--r8jz45g.xn--zckzah",
            "राम@उदाहरण.भारत",
            "ann@[192.168.0.1]",
            "ann@[IPv6:2001:db8::1]",
            "ann+b@example.com",
        ] {
            assert_eq!(without_emails(address), REMOVED, "{address}");
            let text = format!("to: {address}, and so on");
            let clean = format!("to: {REMOVED}, and so on");
            assert_eq!(without_emails(&text), clean, "{address}");
            assert_eq!(without_emails(&clean), clean);
        }
        let two = r#"{"from":"ann%40example.com","to":"\"b c\"@example.com"}"#;
        let clean = without_emails(two);
        assert!(
            !clean.contains("example") && clean.contains("from"),
            "{clean}"
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_clean_stays_as_it_is(text in r#"[a-z@.%40"\\ \u{ff20}]{0,40}"#) {
            let once = without_emails(&text).into_owned();
            assert_eq!(without_emails(&once), once);
        }
    }
}
