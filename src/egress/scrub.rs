//! Takes an account's credential out of what its provider says: some echo it in their errors, and
//! answers are kept, logged and passed on.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};

/// Stands where the credential was.
const REMOVED: &str = "(credential removed)";
/// Characters from which on a text is taken for the credential wherever it stands. A shorter one
/// may be a word of the provider's own.
const CHARS_MIN: usize = 12;

/// The forms of a credential that are looked for.
#[derive(Clone)]
pub(super) struct Scrub {
    forms: Vec<SecretString>,
}

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrub")
    }
}

impl Scrub {
    pub(super) fn new(credential: &SecretString) -> Self {
        let plain = credential.expose_secret();
        if plain.len() < CHARS_MIN {
            return Self { forms: Vec::new() };
        }
        let mut forms = vec![
            plain.to_owned(),
            utf8_percent_encode(plain, NON_ALPHANUMERIC).to_string(),
        ];
        // Without its quotes, and as those write it who escape slashes.
        if let Ok(json) = serde_json::to_string(plain) {
            let json = json.trim_matches('"').to_owned();
            forms.push(json.replace('/', "\\/"));
            forms.push(json);
        }
        // A credential of several parts may be echoed in part.
        let parts = plain
            .split([':', ' '])
            .filter(|part| part.len() >= CHARS_MIN);
        forms.extend(parts.map(str::to_owned));
        // Longer ones first: a part would break the whole.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self {
            forms: forms.into_iter().map(SecretString::from).collect(),
        }
    }

    /// The text without the credential.
    pub(super) fn clean(&self, text: String) -> String {
        let mut text = text;
        for form in &self.forms {
            if text.contains(form.expose_secret()) {
                text = text.replace(form.expose_secret(), REMOVED);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_in_whatever_form_it_is_echoed() {
        let scrub = Scrub::new(&SecretString::from("sk/live+0123456789:abc\"defghijkl"));
        for echoed in [
            "key sk/live+0123456789:abc\"defghijkl is not known",
            r#"{"key":"sk/live+0123456789:abc\"defghijkl"}"#,
            r#"{"key":"sk\/live+0123456789:abc\"defghijkl"}"#,
            "/login?key=sk%2Flive%2B0123456789%3Aabc%22defghijkl",
            "user sk/live+0123456789 has no such password",
        ] {
            let clean = scrub.clean(echoed.to_owned());
            assert!(clean.contains(REMOVED), "{clean}");
            assert!(!clean.contains("0123456789"), "{clean}");
        }
        let other = r#"{"sandbox":true}"#.to_owned();
        assert_eq!(scrub.clean(other.clone()), other);
        let short = Scrub::new(&SecretString::from("sandbox"));
        assert_eq!(short.clean(other.clone()), other);
        assert_eq!(format!("{scrub:?}"), "Scrub");
    }
}
