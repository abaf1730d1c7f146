//! What is personal, found and taken out: e-mail addresses of a provider's answer and words, of the
//! list of enrollments and of a command's values, and whole texts that callers wrote. In a command
//! a keyed digest stays in their place, so that the same command is still known to be the same.

pub mod digests;
mod emails;
pub mod erasure;
pub mod written;

pub use self::emails::without_emails;

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::digests::{DigestKey, hex, is_digest};
use self::emails::REMOVED;
pub(super) use self::emails::has_email;
use super::{
    command::{Command, EnrollmentsCommand, EnrollmentsTarget, LineItem},
    ids::TargetId,
    outcome::{Conclusion, Detail},
    provider_response::ProviderResponse,
};

/// Begins the digest of an address.
const EMAIL: &str = "e-mail:hmac:";
/// Began it in the journal's formats before 3, without a key.
const EMAIL_UNKEYED: &str = "e-mail:sha256:";
/// Begins the digest of a text.
const TEXT: &str = "text:hmac:";

fn clean_text(text: &mut String) {
    if let Cow::Owned(clean) = without_emails(text) {
        *text = clean;
    }
}

fn clean_option(text: &mut Option<String>) {
    if let Some(text) = text {
        clean_text(text);
    }
}

fn clean_json(value: &mut Value) {
    match value {
        Value::String(text) => clean_text(text),
        Value::Array(values) => values.iter_mut().for_each(clean_json),
        Value::Object(fields) => {
            let dirty = fields.keys().any(|key| has_email(key));
            if dirty {
                let old = std::mem::take(fields);
                fields.extend(old.into_iter().map(|(mut key, value)| {
                    clean_text(&mut key);
                    (key, value)
                }));
            }
            fields.values_mut().for_each(clean_json);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl ProviderResponse {
    /// The same without e-mail addresses.
    #[must_use]
    pub fn without_emails(&self) -> Self {
        match self {
            Self::Text(text) => Self::Text(without_emails(text).into_owned()),
            Self::Json(json) => {
                // Strings have to be read before they can be looked into: any sign may be
                // written as an escape.
                let Ok(mut value) = serde_json::from_str::<Value>(json.get()) else {
                    return Self::Text(without_emails(json.get()).into_owned());
                };
                let before = value.clone();
                clean_json(&mut value);
                if value == before {
                    return self.clone();
                }
                Self::from_text(&value.to_string())
            }
        }
    }
}

impl Conclusion {
    /// Takes e-mail addresses out; whether there were any.
    pub fn remove_emails(&mut self) -> bool {
        let before = self.clone();
        if let Some(answer) = &mut self.answer {
            *answer = answer.without_emails();
        }
        self.answer_headers.values_mut().for_each(clean_text);
        if let Some(failure) = &mut self.failure {
            clean_text(&mut failure.message);
            if let Some(said) = &mut failure.provider {
                clean_option(&mut said.code);
                clean_option(&mut said.message);
                for (field, problem) in &mut said.fields {
                    clean_text(field);
                    clean_text(problem);
                }
            }
        }
        clean_option(&mut self.preview);
        match &mut self.detail {
            Detail::Subscription(detail) => {
                if let Some(state) = &mut detail.state {
                    clean_option(&mut state.customer_id);
                    clean_option(&mut state.provider_reason);
                }
            }
            Detail::Enrollments(detail) => {
                for enrollment in &mut detail.enrollments {
                    // Whatever its form: the field has nothing else.
                    enrollment.subscriber_email.clear();
                    // Ids and keys may be made of an address.
                    clean_text(&mut enrollment.enrollment_id);
                    clean_text(&mut enrollment.subscriber_id);
                    clean_text(&mut enrollment.enrollment_key);
                }
                detail
                    .unknown_subscriber_ids
                    .iter_mut()
                    .for_each(clean_text);
            }
        }
        let is_changed = *self != before;
        self.emails_removed |= is_changed;
        is_changed
    }

    /// Takes out what the provider keeps of a reason in words, which a caller may have written;
    /// whether there was any.
    pub fn remove_comments(&mut self) -> bool {
        let Detail::Subscription(detail) = &mut self.detail else {
            return false;
        };
        let state = detail.state.as_mut();
        let is_changed = state.is_some_and(|state| state.provider_reason.take().is_some());
        self.comments_removed |= is_changed;
        is_changed
    }

    /// Takes the provider's answer out; whether there was one.
    pub fn remove_answer(&mut self) -> bool {
        let headers = std::mem::take(&mut self.answer_headers);
        let is_changed = self.answer.take().is_some() || !headers.is_empty();
        self.answer_removed |= is_changed;
        is_changed
    }
}

impl EnrollmentsCommand {
    /// The target with digests in place of the e-mail addresses among its values. It is the same
    /// for a target that has them already.
    #[must_use]
    pub fn target_without_emails(&self, key: &DigestKey) -> Cow<'_, EnrollmentsTarget> {
        let EnrollmentsTarget::Field { path, values } = &self.target else {
            return Cow::Borrowed(&self.target);
        };
        let digested = values.iter().map(|value| self.digested(value, key));
        let mut digested: Vec<_> = digested.collect();
        if digested == *values {
            return Cow::Borrowed(&self.target);
        }
        digested.sort();
        Cow::Owned(EnrollmentsTarget::Field {
            path: path.clone(),
            values: digested,
        })
    }

    /// Of an address, a digest that means something at this sequence alone.
    fn digested(&self, value: &TargetId, key: &DigestKey) -> TargetId {
        let text = value.as_str();
        // Earlier formats have kept this one, so it is what the key is applied to.
        let unkeyed = if let Some(unkeyed) = text.strip_prefix(EMAIL_UNKEYED)
            && is_digest(text, EMAIL_UNKEYED)
        {
            unkeyed.to_owned()
        } else if has_email(text) {
            let mut hash = Sha256::new();
            for part in [self.account.as_str(), self.sequence_id.as_str(), text] {
                hash.update(part.len().to_be_bytes());
                hash.update(part.as_bytes());
            }
            hex(&hash.finalize())
        } else {
            return value.clone();
        };
        let digest = key.digest("e-mail", &[&unkeyed]);
        // It is short and plain, so it is an id.
        TargetId::try_from(format!("{EMAIL}{digest}")).unwrap_or_else(|_| value.clone())
    }
}

impl Command {
    /// The command without e-mail addresses, if it has any. It can be compared with what is sent
    /// again, and not be carried out.
    #[must_use]
    pub fn without_emails(&self, key: &DigestKey) -> Option<Self> {
        let mut clean = self.clone();
        clean.each_text(clean_text);
        if let Self::Enrollments(command) = &mut clean {
            command.target = command.target_without_emails(key).into_owned();
        }
        (clean != *self).then_some(clean)
    }

    /// The command with digests in place of what its caller wrote, if that wrote anything: the
    /// comment, the reason in words, and what line items are called. It can be compared with what
    /// is sent again.
    #[must_use]
    pub fn without_comments(&self, key: &DigestKey) -> Option<Self> {
        self.without_comments_if(key, |_| true)
    }

    /// The same of some of these texts.
    pub(super) fn without_comments_if(
        &self,
        key: &DigestKey,
        goes: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let mut clean = self.clone();
        clean.each_text(|text| {
            if goes(text) {
                *text = digest_of_text(text, key);
            }
        });
        (clean != *self).then_some(clean)
    }

    /// Whether a text of its was taken out as a whole.
    #[must_use]
    pub fn lacks_comments(&self) -> bool {
        let is_gone = |text: &Option<String>| text.as_ref().is_some_and(|t| is_digest(t, TEXT));
        match self {
            Self::Subscription(command) => {
                let mut items = command.line_items.iter();
                is_gone(&command.comment) || items.any(|item| is_gone(&item.description))
            }
            Self::Enrollments(command) => is_gone(&command.reason),
        }
    }

    /// What a caller wrote in its own words.
    fn each_text(&mut self, mut each: impl FnMut(&mut String)) {
        match self {
            Self::Subscription(command) => {
                let described = command.line_items.iter_mut();
                let described = described.filter_map(|item| item.description.as_mut());
                command.comment.iter_mut().chain(described).for_each(each);
            }
            Self::Enrollments(command) => {
                if let Some(reason) = &mut command.reason {
                    each(reason);
                }
            }
        }
    }
}

/// The digest of a text. What the text has of e-mail addresses is left out of it, since they may
/// have been taken out before.
fn digest_of_text(text: &str, key: &DigestKey) -> String {
    if is_digest(text, TEXT) {
        return text.to_owned();
    }
    let digest = key.digest("text", &[&without_emails(text)]);
    format!("{TEXT}{digest}")
}

/// What is shown of a text of a command: nothing of one that was taken out.
#[must_use]
pub fn shown_text(text: Option<&str>) -> &str {
    text.filter(|text| !is_digest(text, TEXT))
        .unwrap_or_default()
}

/// Whether two texts are the same, where one may have lost its e-mail addresses since, or all of
/// it.
pub(super) fn same_text(a: Option<&str>, b: Option<&str>, key: &DigestKey) -> bool {
    let is_changed = |text: &str| text.contains(REMOVED) || is_digest(text, TEXT);
    match (a, b) {
        (Some(a), Some(b)) if is_changed(a) || is_changed(b) => {
            a == b || digest_of_text(a, key) == digest_of_text(b, key)
        }
        _ => a == b,
    }
}

/// The same of line items.
pub(super) fn same_items(a: &[LineItem], b: &[LineItem], key: &DigestKey) -> bool {
    let same = |(a, b): (&LineItem, &LineItem)| {
        let mut b_with_a_text = b.clone();
        b_with_a_text.description.clone_from(&a.description);
        *a == b_with_a_text && same_text(a.description.as_deref(), b.description.as_deref(), key)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_looked_into_whatever_it_is_written_like() {
        let answer = ProviderResponse::from_text(
            r#"{"n":1.10,"to":["\nann\u0040example.com"],"by":{"bob@example.com":true}}"#,
        );
        let clean = serde_json::to_string(&answer.without_emails()).unwrap();
        assert!(!clean.contains("example"), "{clean}");
        assert!(clean.contains("1.10"), "{clean}");
        let plain = ProviderResponse::from_text(r#"{ "b" : 1, "a" : "x @ y" }"#);
        assert_eq!(plain.without_emails(), plain);
    }

    fn field(values: &[&str]) -> EnrollmentsCommand {
        let values = values.iter().map(|v| TargetId::try_from(*v).unwrap());
        EnrollmentsCommand {
            account: "sequenzy".try_into().unwrap(),
            sequence_id: "seq".try_into().unwrap(),
            target: EnrollmentsTarget::Field {
                path: None,
                values: values.collect(),
            },
            reason: None,
            matches_max: None,
        }
    }

    #[test]
    fn a_command_without_addresses_is_known_to_be_the_same_and_another_is_not() {
        let sent = Command::Enrollments(field(&["ann@example.com", "gold"]));
        let key = DigestKey::new([7; 32]);
        let kept = sent.without_emails(&key).unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains('@') && text.contains("gold"), "{text}");
        assert_eq!(kept.without_emails(&key), None, "it has none any more");
        assert!(kept.differing_fields(&sent, &key).is_empty());
        assert!(sent.differing_fields(&kept, &key).is_empty());
        let other = Command::Enrollments(field(&["bob@example.com", "gold"]));
        assert_eq!(kept.differing_fields(&other, &key), ["target"]);
        let guessed = sent.without_emails(&DigestKey::new([8; 32])).unwrap();
        assert_ne!(
            guessed, kept,
            "who has not the key cannot try addresses out"
        );
    }

    #[test]
    fn a_digest_of_an_earlier_format_is_keyed_without_the_address() {
        let key = DigestKey::new([7; 32]);
        // Of ann@example.com at this account and sequence, as format 2 had it.
        let mut hash = Sha256::new();
        for part in ["sequenzy", "seq", "ann@example.com"] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let unkeyed = format!("e-mail:sha256:{}", hex(&hash.finalize()));
        let kept = Command::Enrollments(field(&[&unkeyed, "gold"]));
        let sent = Command::Enrollments(field(&["ann@example.com", "gold"]));
        assert!(kept.differing_fields(&sent, &key).is_empty());
        let keyed = kept.without_emails(&key).unwrap();
        assert_eq!(Some(&keyed), sent.without_emails(&key).as_ref());
        assert!(!serde_json::to_string(&keyed).unwrap().contains("sha256"));
    }

    #[test]
    fn texts_go_as_a_whole_and_are_compared_all_the_same() {
        let key = DigestKey::new([7; 32]);
        let with = |reason: &str| {
            let mut command = field(&["gold"]);
            command.reason = Some(reason.to_owned());
            Command::Enrollments(command)
        };
        let sent = with("ann@example.com moved to Graz");
        let kept = sent.without_comments(&key).unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("Graz") && kept.lacks_comments(), "{text}");
        assert_eq!(kept.without_comments(&key), None);
        assert!(kept.differing_fields(&sent, &key).is_empty());
        // Whichever went first.
        let without_emails = sent.without_emails(&key).unwrap();
        assert!(!without_emails.lacks_comments());
        assert_eq!(without_emails.without_comments(&key), Some(kept.clone()));
        let other = with("ann@example.com moved to Linz");
        for kept in [&kept, &without_emails] {
            assert_eq!(kept.differing_fields(&other, &key), ["reason"]);
        }
        assert_eq!(
            sent.differing_fields(&with("bob@example.com moved to Graz"), &key),
            ["reason"]
        );
    }
}
