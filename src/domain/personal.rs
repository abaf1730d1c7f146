//! E-mail addresses, found and taken out: of a provider's answer and words, of the list of
//! enrollments, and of a command's values, where a digest stays so that the same command is still
//! known to be the same.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    answer::Answer,
    command::{Command, EnrollmentsCommand, EnrollmentsTarget},
    ids::TargetId,
    outcome::{Conclusion, Detail},
};

/// Stands where an address was.
const REMOVED: &str = "(e-mail removed)";
/// Begins the digest of an address.
const DIGEST: &str = "e-mail:sha256:";

/// A text without the e-mail addresses in it.
#[must_use]
pub fn without_emails(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut rest = text;
    while let Some((begin, end)) = first_email(rest) {
        clean.push_str(rest.get(..begin).unwrap_or_default());
        clean.push_str(REMOVED);
        rest = rest.get(end..).unwrap_or_default();
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// Where the first address is.
fn first_email(text: &str) -> Option<(usize, usize)> {
    for (at, _) in text.match_indices('@') {
        let (before, after) = (text.get(..at)?, text.get(at + 1..)?);
        let local = before
            .trim_end_matches(|c: char| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c));
        let domain_end = after
            .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-'))
            .unwrap_or(after.len());
        let domain = after.get(..domain_end)?.trim_end_matches(['.', '-']);
        let has_dot = domain.trim_start_matches('.').contains('.');
        if local.len() < before.len() && has_dot {
            return Some((local.len(), at + 1 + domain.len()));
        }
    }
    None
}

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
            let dirty = fields.keys().any(|key| first_email(key).is_some());
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

impl Answer {
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
    pub fn target_without_emails(&self) -> Cow<'_, EnrollmentsTarget> {
        let EnrollmentsTarget::Field { path, values } = &self.target else {
            return Cow::Borrowed(&self.target);
        };
        if !values
            .iter()
            .any(|value| first_email(value.as_str()).is_some())
        {
            return Cow::Borrowed(&self.target);
        }
        let mut values: Vec<_> = values.iter().map(|value| self.digested(value)).collect();
        values.sort();
        Cow::Owned(EnrollmentsTarget::Field {
            path: path.clone(),
            values,
        })
    }

    /// Of an address, a digest that means something at this sequence alone.
    fn digested(&self, value: &TargetId) -> TargetId {
        if first_email(value.as_str()).is_none() {
            return value.clone();
        }
        let mut hash = Sha256::new();
        for part in [
            self.account.as_str(),
            self.sequence_id.as_str(),
            value.as_str(),
        ] {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        // It is short and plain, so it is an id.
        TargetId::try_from(format!("{DIGEST}{hex}")).unwrap_or_else(|_| value.clone())
    }
}

impl Command {
    /// The command without e-mail addresses, if it has any. It can be compared with what is sent
    /// again, and not be carried out.
    #[must_use]
    pub fn without_emails(&self) -> Option<Self> {
        match self {
            Self::Subscription(command) => {
                let mut clean = command.clone();
                clean_option(&mut clean.comment);
                for item in &mut clean.line_items {
                    clean_option(&mut item.description);
                }
                (clean != *command).then_some(Self::Subscription(clean))
            }
            Self::Enrollments(command) => {
                let mut clean = EnrollmentsCommand {
                    target: command.target_without_emails().into_owned(),
                    ..command.clone()
                };
                clean_option(&mut clean.reason);
                (clean != *command).then_some(Self::Enrollments(clean))
            }
        }
    }
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
        ] {
            assert_eq!(without_emails(text), clean, "{text}");
        }
    }

    #[test]
    fn an_answer_is_looked_into_whatever_it_is_written_like() {
        let answer = Answer::from_text(
            r#"{"n":1.10,"to":["\nann\u0040example.com"],"by":{"bob@example.com":true}}"#,
        );
        let clean = serde_json::to_string(&answer.without_emails()).unwrap();
        assert!(!clean.contains("example"), "{clean}");
        assert!(clean.contains("1.10"), "{clean}");
        let plain = Answer::from_text(r#"{ "b" : 1, "a" : "x @ y" }"#);
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
        let kept = sent.without_emails().unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains('@') && text.contains("gold"), "{text}");
        assert_eq!(kept.without_emails(), None, "it has none any more");
        assert!(kept.differing_fields(&sent).is_empty());
        assert!(sent.differing_fields(&kept).is_empty());
        let other = Command::Enrollments(field(&["bob@example.com", "gold"]));
        assert_eq!(kept.differing_fields(&other), ["target"]);
    }
}
