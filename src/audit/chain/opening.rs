//! What of a line is personal: ids, keys and others' words. The chain covers a salted digest of
//! each such value (`sealed`), and the value stands beside it with its salt (`salts`). So the value
//! can be taken out, with its salt, and the chain holds; and while it is there, a changed one
//! shows.
//!
//! A digest is the SHA-256 of the salt, as it is written, and the value, in base64url without
//! padding.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::audit::Error;

/// Something for each field of a line that may be personal: of each value, and of each of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Fields<T, L> {
    /// The item's or the request's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) key: Option<T>,
    /// The subscription or the sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) target: Option<T>,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) reason: Option<T>,
    /// The provider's own error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) provider_code: Option<T>,
    /// The provider's own id of the effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::audit) provider_reference: Option<T>,
    /// Whose enrollments.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::audit) subscribers: Vec<L>,
    /// What was asked for.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::audit) filters: Vec<L>,
}

/// What a line says that is personal; what was taken out of a list leaves its place.
pub(in crate::audit) type Values<'a> = Fields<Cow<'a, str>, Option<Cow<'a, str>>>;
/// The salt of each of them.
pub(in crate::audit) type Salts = Fields<String, Option<String>>;
/// The digest of each value that it ever had.
pub(in crate::audit) type Sealed = Fields<String, String>;

const NOT_SEALED: &str = "what stands beside its hash is not what was sealed in it";
/// Bytes of a salt.
const SALT_BYTES: usize = 12;

impl<T, L> Fields<T, L> {
    /// The values, in a fixed order.
    fn ones(&self) -> [Option<&T>; 5] {
        let Self {
            key,
            target,
            reason,
            provider_code,
            provider_reference,
            subscribers: _,
            filters: _,
        } = self;
        [key, target, reason, provider_code, provider_reference].map(Option::as_ref)
    }

    /// The lists, in a fixed order.
    fn lists(&self) -> [&Vec<L>; 2] {
        [&self.subscribers, &self.filters]
    }

    pub(in crate::audit) fn is_empty(&self) -> bool {
        self.ones().iter().all(Option::is_none) && self.lists().iter().all(|list| list.is_empty())
    }
}

/// What stands behind the hash of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Openings<'a> {
    pub(in crate::audit) salts: Salts,
    #[serde(borrow, flatten)]
    pub(in crate::audit) values: Values<'a>,
}

/// Seals what a line says: the digests, and what opens them.
pub(in crate::audit) fn seal(values: Values<'_>) -> Result<(Sealed, Openings<'_>), Error> {
    let mut count = values.ones().iter().flatten().count();
    count += values.lists().iter().map(|list| list.len()).sum::<usize>();
    let mut bytes = vec![0; count * SALT_BYTES];
    let drawn = aws_lc_rs::rand::fill(&mut bytes);
    drawn.map_err(|_| Error::Line("the system gives no random bytes".to_owned()))?;
    let mut drawn = bytes.chunks(SALT_BYTES);
    let mut salted = |value: &str| {
        let salt = URL_SAFE_NO_PAD.encode(drawn.next().unwrap_or_default());
        (digest(&salt, value), salt)
    };
    let mut one = |value: &Option<Cow<'_, str>>| value.as_deref().map(&mut salted).unzip();
    let (key, key_salt) = one(&values.key);
    let (target, target_salt) = one(&values.target);
    let (reason, reason_salt) = one(&values.reason);
    let (provider_code, code_salt) = one(&values.provider_code);
    let (provider_reference, reference_salt) = one(&values.provider_reference);
    let mut list = |values: &[Option<Cow<'_, str>>]| -> (Vec<String>, Vec<Option<String>>) {
        let salted = values.iter().flatten().map(|value| salted(value));
        salted.map(|(digest, salt)| (digest, Some(salt))).unzip()
    };
    let (subscribers, subscriber_salts) = list(&values.subscribers);
    let (filters, filter_salts) = list(&values.filters);
    let sealed = Fields {
        key,
        target,
        reason,
        provider_code,
        provider_reference,
        subscribers,
        filters,
    };
    let salts = Fields {
        key: key_salt,
        target: target_salt,
        reason: reason_salt,
        provider_code: code_salt,
        provider_reference: reference_salt,
        subscribers: subscriber_salts,
        filters: filter_salts,
    };
    Ok((sealed, Openings { salts, values }))
}

fn digest(salt: &str, value: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(value);
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

impl Openings<'_> {
    /// The same, which borrows nothing.
    pub(in crate::audit) fn into_owned(self) -> Openings<'static> {
        let one = |value: Option<Cow<'_, str>>| value.map(|value| Cow::Owned(value.into_owned()));
        let list = |values: Vec<Option<Cow<'_, str>>>| values.into_iter().map(one).collect();
        let values = self.values;
        Openings {
            salts: self.salts,
            values: Fields {
                key: one(values.key),
                target: one(values.target),
                reason: one(values.reason),
                provider_code: one(values.provider_code),
                provider_reference: one(values.provider_reference),
                subscribers: list(values.subscribers),
                filters: list(values.filters),
            },
        }
    }

    /// Whether they open what was sealed; if so, whether one of them is not there any more.
    pub(in crate::audit) fn check(&self, sealed: &Sealed) -> Result<bool, &'static str> {
        let mut lacks = false;
        let mut check = |sealed: Option<&String>, salt: Option<&String>, value: Option<&str>| match (
            sealed, salt, value,
        ) {
            (Some(sealed), Some(salt), Some(value)) if digest(salt, value) == *sealed => Ok(()),
            (Some(_), None, None) => {
                lacks = true;
                Ok(())
            }
            (None, None, None) => Ok(()),
            _ => Err(NOT_SEALED),
        };
        let ones = sealed.ones().into_iter().zip(self.salts.ones());
        for ((sealed, salt), value) in ones.zip(self.values.ones()) {
            check(sealed, salt, value.map(|value| &**value))?;
        }
        let lists = sealed.lists().into_iter().zip(self.salts.lists());
        for ((sealed, salts), values) in lists.zip(self.values.lists()) {
            let is_whole = salts.is_empty() || salts.len() == sealed.len();
            if salts.len() != values.len() || !is_whole {
                return Err(NOT_SEALED);
            }
            for (at, sealed) in sealed.iter().enumerate() {
                let salt = salts.get(at).and_then(Option::as_ref);
                let value = values.get(at).and_then(Option::as_deref);
                check(Some(sealed), salt, value)?;
            }
        }
        Ok(lacks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values<'static> {
        Fields {
            key: Some("k/0".into()),
            target: Some("seq".into()),
            subscribers: vec![Some("ann".into()), Some("bob".into())],
            ..Fields::default()
        }
    }

    #[test]
    fn what_is_sealed_opens_and_nothing_else_does() {
        let (sealed, openings) = seal(values()).unwrap();
        assert_eq!(openings.check(&sealed), Ok(false));
        let (again, _) = seal(values()).unwrap();
        assert_ne!(sealed, again, "the same value has another digest each time");
        let changes: [fn(&mut Openings<'_>); 7] = [
            |o| o.values.key = Some("k/1".into()),
            |o| o.values.key = None,
            |o| o.salts.key = None,
            |o| o.values.reason = Some("why".into()),
            |o| o.values.subscribers.swap(0, 1),
            |o| o.values.subscribers.truncate(1),
            |o| o.values.filters = vec![Some("x".into())],
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut changed = openings.clone();
            change(&mut changed);
            assert!(changed.check(&sealed).is_err(), "change {at}");
        }
    }

    #[test]
    fn what_is_taken_out_with_its_salt_is_lacking_and_the_rest_still_opens() {
        let (sealed, mut openings) = seal(values()).unwrap();
        (
            openings.values.subscribers[0],
            openings.salts.subscribers[0],
        ) = (None, None);
        assert_eq!(openings.check(&sealed), Ok(true));
        assert_eq!(openings.values.subscribers[1].as_deref(), Some("bob"));
        assert_eq!(Openings::default().check(&sealed), Ok(true));
        assert_eq!(Openings::default().check(&Sealed::default()), Ok(false));
    }
}
