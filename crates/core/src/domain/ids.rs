//! Identifiers: keys, callers, accounts, targets, batches and items.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A text is malformed; the message says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    /// An error with this explanation.
    pub fn new(explanation: impl Into<String>) -> Self {
        Self(explanation.into())
    }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Malformed;

            fn try_from(text: &str) -> Result<Self, Malformed> {
                Self::try_from(text.to_owned())
            }
        }
    };
}

text_newtype! {
    /// An idempotency key: a caller's own, or one derived as `<request key>/<index>`.
    /// Printable ASCII without spaces, 1 to [`limits::DERIVED_KEY_CHARS_MAX`] characters.
    Key
}

impl TryFrom<String> for Key {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::new(
                "is empty; give 1-255 printable ASCII characters",
            ));
        }
        if text.len() > limits::DERIVED_KEY_CHARS_MAX {
            return Err(Malformed::new(format!(
                "has {} characters; at most 255",
                text.len()
            )));
        }
        match text.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => Err(Malformed::new(format!(
                "contains {c:?}; only printable ASCII characters without spaces"
            ))),
            None => Ok(Self(text.into())),
        }
    }
}

impl Key {
    /// Parses a key that a caller chose: shorter than a derived key may be.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn chosen(text: String) -> Result<Self, Malformed> {
        if text.len() > limits::KEY_CHARS_MAX {
            return Err(Malformed::new(format!(
                "has {} characters; at most 255",
                text.len()
            )));
        }
        Self::try_from(text)
    }

    /// The derived key of the item at `index`.
    #[must_use]
    pub fn derive(&self, index: u32) -> Self {
        Self(format!("{}/{index}", self.0).into())
    }

    /// The request key and index that this key could have been derived from.
    #[must_use]
    pub fn derived_from(&self) -> Option<(Self, u32)> {
        let (head, tail) = self.0.rsplit_once('/')?;
        // Only the canonical decimal is derived: "007" and "+7" are no indexes.
        let index: u32 = tail.parse().ok().filter(|i: &u32| i.to_string() == tail)?;
        (!head.is_empty()).then(|| (Self(head.into()), index))
    }
}

text_newtype! {
    /// An authenticated client, 1-255 printable characters.
    CallerId
}

impl TryFrom<String> for CallerId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        opaque(text, 255).map(Self)
    }
}

impl CallerId {
    /// The caller of all calls while no caller is configured.
    #[must_use]
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }
}

text_newtype! {
    /// A configured account: lower-case letters, digits and dashes, beginning with a letter,
    /// 1-63 characters.
    AccountName
}

impl TryFrom<String> for AccountName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let all_well = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if begins_well && all_well && text.len() <= limits::ACCOUNT_NAME_CHARS_MAX {
            Ok(Self(text.into()))
        } else {
            Err(Malformed::new(format!(
                "{text:?} is no account name; 1-63 lower-case letters, digits and dashes, \
                 beginning with a letter"
            )))
        }
    }
}

text_newtype! {
    /// An id that a provider chose: opaque, 1-255 characters without control characters. Not
    /// "." or "..", which no URL can carry as a segment however it is encoded (WHATWG URL).
    TargetId
}

impl TryFrom<String> for TargetId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text == "." || text == ".." {
            return Err(Malformed::new(format!(
                "{text:?} cannot be an id: URLs give it a meaning"
            )));
        }
        opaque(text, limits::TARGET_ID_CHARS_MAX).map(Self)
    }
}

fn opaque(text: String, chars_max: usize) -> Result<Box<str>, Malformed> {
    let chars = text.chars().count();
    if chars == 0 {
        return Err(Malformed::new(format!(
            "is empty; give 1-{chars_max} characters"
        )));
    }
    if chars > chars_max {
        return Err(Malformed::new(format!(
            "has {chars} characters; at most {chars_max}"
        )));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Malformed::new(format!(
            "contains the control character {c:?}"
        ))),
        None => Ok(text.into()),
    }
}

/// The RPC that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// CancelSubscription.
    Subscription,
    /// CancelEnrollments.
    Enrollments,
}

/// The scope in which a key is unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The caller.
    pub caller: CallerId,
    /// The RPC.
    pub kind: Kind,
}

/// One admitted request, by its number. Numbers grow with time and are not for callers: they are
/// shown a [`BatchName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The number of no batch: they are counted from one.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{:012}", self.0)
    }
}

text_newtype! {
    /// A batch as it is shown: opaque, such as `bx9f86d081884c7d65`, or of an earlier version its
    /// number, such as `b000000000042`. [`super::opaque::Names`] relates the two.
    BatchName
}

/// What an opaque name begins with; 16 hexadecimal digits follow. No number looks like it.
const OPAQUE: &str = "bx";

impl BatchName {
    /// The number itself, as earlier versions showed it.
    #[must_use]
    pub fn plain(batch: BatchId) -> Self {
        Self(batch.to_string().into())
    }

    pub(super) fn opaque(permuted: u64) -> Self {
        Self(format!("{OPAQUE}{permuted:016x}").into())
    }

    /// The number that it is, or in `Err` what an opaque one stands for.
    pub(super) fn number(&self) -> Result<u64, u64> {
        match self.0.strip_prefix(OPAQUE) {
            Some(digits) => Err(u64::from_str_radix(digits, 16).unwrap_or_default()),
            None => {
                let digits = self.0.strip_prefix('b').unwrap_or_default();
                Ok(digits.parse().unwrap_or_default())
            }
        }
    }
}

impl TryFrom<String> for BatchName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let is_opaque = |digits: &str| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            digits.len() == 16 && digits.bytes().all(is_hex)
        };
        let is_plain = |digits: &str| {
            let is_number = digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| is_number);
            number.is_some_and(|number| BatchId(number).to_string() == text)
        };
        if text.strip_prefix(OPAQUE).is_some_and(is_opaque)
            || text.strip_prefix('b').is_some_and(is_plain)
        {
            Ok(Self(text.into()))
        } else {
            Err(Malformed::new(format!(
                "{text:?} is no batch id such as bx9f86d081884c7d65 or b000000000042"
            )))
        }
    }
}

impl std::str::FromStr for BatchName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::try_from(text)
    }
}

/// The id of an item: its batch and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId {
    /// The batch that admitted it.
    pub batch: BatchId,
    /// Its index in the batch.
    pub index: u32,
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.batch, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printable_ascii_of_bounded_length() {
        for good in ["k", "order-1/refund", &"k".repeat(255)] {
            assert!(Key::chosen(good.to_owned()).is_ok(), "{good:?}");
        }
        for bad in ["", "a b", "a\tb", "schlüssel", &"k".repeat(256)] {
            assert!(Key::chosen(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_derived_key_leads_back_to_its_request() {
        let key = Key::chosen("k".repeat(255)).unwrap();
        assert_eq!(key.derive(9_999).derived_from(), Some((key, 9_999)));
        for underived in ["k", "k/", "k/007", "k/+7", "k/x", "/3"] {
            assert_eq!(
                Key::try_from(underived).unwrap().derived_from(),
                None,
                "{underived}"
            );
        }
    }

    #[test]
    fn ids_that_urls_give_a_meaning_are_refused_and_others_are_opaque() {
        assert!(TargetId::try_from("..").is_err());
        assert!(TargetId::try_from(".").is_err());
        assert!(TargetId::try_from("a\nb").is_err());
        for good in ["../x", "a?b", "ü/%2e", "..."] {
            assert_eq!(TargetId::try_from(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_batch_has_a_name_of_two_forms_that_cannot_be_taken_for_each_other() {
        for number in [0, 42, u64::MAX] {
            for name in [BatchName::plain(BatchId(number)), BatchName::opaque(number)] {
                assert_eq!(name.to_string().parse(), Ok(name));
            }
            assert_eq!(BatchName::plain(BatchId(number)).number(), Ok(number));
            assert_eq!(BatchName::opaque(number).number(), Err(number));
        }
        for bad in [
            "b42",
            "c000000000042",
            "b0000000000042",
            "bx42",
            "bx9F86d081884c7d65",
            "bx9f86d081884c7d6",
            "bx9f86d081884c7d655",
        ] {
            assert!(bad.parse::<BatchName>().is_err(), "{bad}");
        }
    }
}
