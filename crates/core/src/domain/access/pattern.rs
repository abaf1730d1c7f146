//! Patterns for account names.

use std::{fmt, str::FromStr};

use crate::{domain::ids::Malformed, limits};

/// A pattern for account names, such as `rebilly-eu` or `rebilly-*`. A star stands for any
/// characters, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPattern(Box<str>);

impl AccountPattern {
    /// The pattern that fits every account.
    #[must_use]
    pub fn all() -> Self {
        Self("*".into())
    }

    /// Whether it is [`Self::all`].
    #[must_use]
    pub fn is_all(&self) -> bool {
        &*self.0 == "*"
    }

    /// Whether an account's name matches.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // The earliest match of each part leaves most for the parts that follow.
        for part in parts {
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for AccountPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let legal =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*');
        if !text.is_empty()
            && text.len() <= limits::ACCOUNT_NAME_CHARS_MAX
            && text.bytes().all(legal)
        {
            Ok(Self(text.into()))
        } else {
            Err(Malformed::new(
                "is no account's name, nor one with stars such as rebilly-*",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, fitting: &[&str], others: &[&str]) {
        let parsed: AccountPattern = pattern.parse().unwrap();
        let fits = |name: &&str| parsed.fits(name);
        for name in fitting {
            assert!(fits(name), "{pattern} should fit {name}");
        }
        for name in others {
            assert!(!fits(name), "{pattern} should not fit {name}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_does() {
        check(
            "rebilly-*",
            &["rebilly-eu", "rebilly-"],
            &["rebilly", "my-rebilly-eu"],
        );
        check("rebilly", &["rebilly"], &["rebilly-eu", "rebill"]);
        check("*", &["a", "rebilly-eu"], &[]);
        check("*-eu", &["rebilly-eu", "x-eu-eu"], &["rebilly-eu2", "eu"]);
        check("r*-e*u", &["r-eu", "rebilly-e-x-u"], &["r-e", "re-x"]);
        // The two ends must not overlap.
        check("ab*ba", &["abba", "abxba"], &["aba"]);
    }

    #[test]
    fn what_no_account_can_be_called_is_no_pattern() {
        for bad in [
            "",
            "Rebilly",
            "rebilly_eu",
            "rebilly-?",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<AccountPattern>().is_err(), "{bad}");
        }
    }
}
