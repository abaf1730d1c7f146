//! Removes an account's credential from replies. Some providers echo it in errors, and replies are
//! stored, logged and passed on.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::personal::{
    digests::hex,
    written::{backslash_run, decoded},
};

/// Stands where the credential was.
const REMOVED: &str = "(credential removed)";
/// Shortest text, in bytes, that is scrubbed wherever it occurs. A shorter one may be a word of the
/// provider's.
const CHARS_MIN: usize = 12;
/// Of such a credential, the first characters that are enough to be taken for it: some echo the
/// beginning alone.
const FIRST_CHARS: usize = 8;
/// The same in base64, where they are this many whole characters.
const FIRST_CHARS_BASE64: usize = FIRST_CHARS * 8 / 6;
/// Characters at most, of a line break and what indents the next line.
const FOLD_CHARS_MAX: usize = 32;
/// What may begin a character that is written otherwise.
const ESCAPES: [u8; 3] = [b'%', b'\\', b'&'];

/// The forms of a credential that are looked for. Each is found also where its characters are
/// written by percent signs, JSON's escapes or HTML's references, and with line breaks between them.
#[derive(Clone)]
pub(super) struct CredentialScrubber {
    forms: Vec<Form>,
    /// Whether a byte may begin one: most of a text begins none.
    begins: [bool; 256],
}

#[derive(Clone)]
struct Form {
    text: SecretString,
    /// First characters that are enough.
    enough: usize,
}

impl fmt::Debug for CredentialScrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrub")
    }
}

impl CredentialScrubber {
    pub(super) fn new(credential: &SecretString) -> Self {
        let whole = credential.expose_secret();
        // A credential of several parts may be echoed in part.
        let parts = whole.split([':', ' ']);
        let mut plain: Vec<_> = std::iter::once(whole)
            .chain(parts)
            .filter(|part| part.len() >= CHARS_MIN)
            .collect();
        plain.dedup();
        let mut forms = Vec::new();
        let mut add = |text: String, enough| {
            let text = SecretString::from(text);
            forms.push(Form { text, enough });
        };
        for part in plain {
            add(part.to_owned(), FIRST_CHARS);
            let digits = hex(part.as_bytes());
            add(digits.to_uppercase(), 2 * FIRST_CHARS);
            add(digits, 2 * FIRST_CHARS);
            for offset in 0..3 {
                let form = in_base64(part.as_bytes(), offset);
                add(form.replace('+', "-").replace('/', "_"), FIRST_CHARS_BASE64);
                add(form, FIRST_CHARS_BASE64);
            }
        }
        let firsts: Vec<_> = forms.iter().filter_map(Form::first_byte).collect();
        let begins = |byte| ESCAPES.contains(&byte) || firsts.contains(&byte);
        let begins = std::array::from_fn(|byte| u8::try_from(byte).is_ok_and(begins));
        Self { forms, begins }
    }

    pub(super) fn clean(&self, text: String) -> String {
        let mut clean: Option<String> = None;
        let (mut at, mut kept) = (0, 0);
        let may_begin = |byte: &u8| self.begins.get(usize::from(*byte)).is_some_and(|may| *may);
        while let Some(rest) = text.as_bytes().get(at..) {
            let Some(next) = rest.iter().position(may_begin) else {
                break;
            };
            at += next;
            let byte = text.as_bytes().get(at).copied();
            // As it stands, and as what it may be an escape of.
            let escaped = decoded(&text, at).map(|(char, _)| char);
            let forms = self.forms.iter();
            let forms = forms.filter(|form| {
                form.first_byte() == byte || (escaped.is_some() && form.first_char() == escaped)
            });
            match forms.filter_map(|form| form.end(&text, at)).max() {
                Some(end) => {
                    let clean = clean.get_or_insert_default();
                    clean.push_str(text.get(kept..at).unwrap_or_default());
                    clean.push_str(REMOVED);
                    (at, kept) = (end, end);
                }
                None => at += 1,
            }
        }
        match clean {
            Some(mut clean) => {
                clean.push_str(text.get(kept..).unwrap_or_default());
                clean
            }
            None => text,
        }
    }
}

impl Form {
    fn first_byte(&self) -> Option<u8> {
        self.text.expose_secret().bytes().next()
    }

    fn first_char(&self) -> Option<char> {
        self.text.expose_secret().chars().next()
    }

    /// Where it ends, or what is enough of it, if it begins here.
    fn end(&self, text: &str, at: usize) -> Option<usize> {
        let form = self.text.expose_secret();
        // What looks like an escape may be of the credential itself.
        let ends = [escaped, plain].map(|read: fn(&str, usize, char) -> Option<usize>| {
            let (mut end, mut found) = (at, 0);
            for expected in form.chars() {
                // A long line may be folded, in base64 and in headers: not before it has begun.
                let over = || {
                    let next = (found > 0).then(|| next_line(text, end)).flatten()?;
                    read(text, next, expected)
                };
                match read(text, end, expected).or_else(over) {
                    Some(next) => (end, found) = (next, found + 1),
                    None => break,
                }
            }
            (found >= self.enough).then_some(end)
        });
        ends.into_iter().flatten().max()
    }
}

/// Where a text goes on behind the line break that stands here, as it is or by JSON's escapes.
fn next_line(text: &str, at: usize) -> Option<usize> {
    let mut end = at;
    let mut has_broken = false;
    for _ in 0..FOLD_CHARS_MAX {
        let rest = text.get(end..)?;
        let run = backslash_run(rest);
        match rest.as_bytes().get(run)? {
            b'\r' | b'\n' if run == 0 => has_broken = true,
            b'r' | b'n' if run > 0 => has_broken = true,
            b' ' | b'\t' if run == 0 && has_broken => {}
            _ => break,
        }
        end += run + 1;
    }
    has_broken.then_some(end)
}

/// Where a character ends that stands here, however it is written.
fn escaped(text: &str, at: usize, expected: char) -> Option<usize> {
    let (char, next) = decoded(text, at)?;
    if char == expected && expected != '\\' {
        return Some(next);
    }
    let rest = text.get(at..)?;
    match expected {
        '%' if rest.starts_with("%25") => Some(at + 3),
        '\\' => {
            let run = backslash_run(rest);
            (run > 0).then_some(at + run)
        }
        _ => plain(text, at, expected),
    }
}

/// The same of a text without escapes.
fn plain(text: &str, at: usize, expected: char) -> Option<usize> {
    let char = text.get(at..)?.chars().next()?;
    (char == expected).then_some(at + char.len_utf8())
}

/// What is the same of bytes in base64 whatever stands around them, if so many bytes come before,
/// counted in threes.
fn in_base64(bytes: &[u8], before: usize) -> String {
    let mut padded = vec![0; before];
    padded.extend(bytes);
    let whole = padded.len() * 8 / 6;
    let begin = (before * 8).div_ceil(6);
    let text = STANDARD_NO_PAD.encode(padded);
    text.get(begin..whole).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::http_exchange::{Fault, FaultKind},
        egress::SendError,
    };

    #[test]
    fn a_credential_goes_in_whatever_form_it_is_echoed() {
        let credential = "sk/live+0123456789:abc\"defghijkl";
        let scrub = CredentialScrubber::new(&SecretString::from(credential));
        let encoded = |text: String| STANDARD_NO_PAD.encode(text);
        for echoed in [
            "key sk/live+0123456789:abc\"defghijkl is not known".to_owned(),
            r#"{"key":"sk/live+0123456789:abc\"defghijkl"}"#.to_owned(),
            r#"{"key":"sk\/live+0123456789:abc\"defghijkl"}"#.to_owned(),
            r#"{"key":"\u0073k\u002flive+\u0030123456789"}"#.to_owned(),
            r#"{"inner":"{\"key\":\"sk\\\/live\\u002b0123456789"}"#.to_owned(),
            // Cut, so that it is no JSON.
            r#"{"key":"sk\u002Flive+0123456789:a"#.to_owned(),
            "/login?key=sk%2Flive%2B0123456789%3Aabc%22defghijkl".to_owned(),
            "/login?key=sk%2flive%2b%30123456789".to_owned(),
            "/login?to=%2Fa%3Fkey%3Dsk%252Flive%252B0123456789".to_owned(),
            "<p>sk&#x2F;live&#43;0123456789 is not known</p>".to_owned(),
            "<p>sk/live&plus;&#48;123456789 is not known</p>".to_owned(),
            "key: sk/live+\r\n 0123456789".to_owned(),
            r#"{"key":"sk/live+0\r\n123456789"}"#.to_owned(),
            format!("{:?}", hex(credential.as_bytes())),
            hex(credential.as_bytes()).to_uppercase(),
            {
                let whole = encoded(format!("me:{credential}"));
                let (first, second) = whole.split_at(20);
                format!("Basic {first}\r\n{second}")
            },
            "user sk/live+0123456789 has no such password".to_owned(),
            "your key sk/live+0123**** is not known".to_owned(),
            format!("Basic {}", encoded(credential.to_owned())),
            format!("Basic {}", encoded(format!("{credential}:"))),
            format!("Basic {}", encoded(format!("a:{credential}"))),
            format!("Basic {}", encoded(format!("me:{credential}"))),
            format!("Basic {}", encoded("sk/live+0123456789".to_owned())),
        ] {
            let clean = scrub.clean(echoed.clone());
            assert!(clean.contains(REMOVED), "{clean}");
            for part in [
                "0123",
                "123456789",
                "MDEyMz",
                "AxMj",
                "wMTIz",
                "303132",
                "6768696",
            ] {
                assert!(!clean.contains(part), "{part} of {echoed}: {clean}");
            }
        }
        let other = r#"{"sandbox":true,"kind":"sk/live","n":1.10}"#.to_owned();
        assert_eq!(scrub.clean(other.clone()), other);
        let short = CredentialScrubber::new(&SecretString::from("sandbox"));
        assert_eq!(short.clean(other.clone()), other);
        assert_eq!(format!("{scrub:?}"), "Scrub");
    }

    #[test]
    fn what_is_around_a_credential_stays_and_an_escape_of_its_own_is_found() {
        let scrub = CredentialScrubber::new(&SecretString::from("live%41\\key-0123456789"));
        let echoed = r#"{"a":"ü","key":"live%41\\key-0123456789","b":2}"#;
        let clean = r#"{"a":"ü","key":"(credential removed)","b":2}"#;
        assert_eq!(scrub.clean(echoed.to_owned()), clean);
        let beginning = "live%41\\key-01 and live%2541\\key-0123456789";
        let clean = "(credential removed) and (credential removed)";
        assert_eq!(scrub.clean(beginning.to_owned()), clean);
        assert_eq!(scrub.clean("live%41".to_owned()), "live%41");
    }

    /// A provider's answer holds a thread up for as long as it takes.
    #[test]
    fn a_text_of_nothing_but_beginnings_is_cleaned_in_time_in_proportion_to_it() {
        let scrub = CredentialScrubber::new(&SecretString::from("aaaa\\nkey-0123456789"));
        for part in [
            "\\", "%25", "&", "&#x", "\\n", "a", "aaaa", "aaaa\\n", "a\n ", "a ",
        ] {
            let text = part.repeat((1 << 18) / part.len());
            assert_eq!(scrub.clean(text.clone()), text, "{part}");
        }
    }

    #[test]
    fn the_words_of_an_error_are_cleaned_and_cut() {
        let scrub = CredentialScrubber::new(&SecretString::from("sk-live-0123456789"));
        let said = format!("closed: sk-live-0123456789 {}", "x".repeat(5_000));
        for error in [SendError::NotSent, SendError::InDoubt] {
            let error = error(Fault {
                kind: FaultKind::Broken,
                message: said.clone(),
            });
            let (SendError::NotSent(fault) | SendError::InDoubt(fault)) =
                error.map_message(|text| scrub.clean(text));
            assert!(fault.message.starts_with("closed: (credential removed) x"));
            assert_eq!(fault.message.len(), crate::limits::MESSAGE_CHARS_MAX);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_echo_of_eight_characters_is_left_in_base64(
            before in r"[ -~]{0,7}",
            credential in r"[a-zA-Z0-9_]{12,40}",
            after in r"[ -~]{0,7}",
        ) {
            let scrub = CredentialScrubber::new(&SecretString::from(credential.clone()));
            let echoed = STANDARD_NO_PAD.encode(format!("{before}{credential}{after}"));
            proptest::prop_assert!(scrub.clean(echoed).contains(REMOVED));
            let json = serde_json::to_string(&format!("{before}{credential}")).unwrap();
            proptest::prop_assert!(!scrub.clean(json).contains(&credential));
        }
    }
}
