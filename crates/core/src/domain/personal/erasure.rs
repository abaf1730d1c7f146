//! What is one person's: where an item is theirs, as a whole or in part, and what is left of it.
//! How it ended, its counts and its times stay, and digests in place of the rest, so that the same
//! command is still known to be the same.

#[cfg(test)]
mod tests;

use serde_json::Value;

use super::{digests::DigestKey, has_email, written::folded};
use crate::domain::{
    command::{Command, EnrollmentsTarget},
    ids::{Key, Scope, TargetId},
    outcome::{Charges, Conclusion, Detail, SubscriptionState},
    provider_response::ProviderResponse,
};

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of a subscription, a subscriber, a customer or a value that is this.
    Target(TargetId),
    /// Of whom this is said anywhere, however it is written. It is [`folded`].
    Text(String),
    /// Of whoever has an e-mail address for an id or a key, of which nothing else goes.
    Addresses,
}

/// How far an item is theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Not at all.
    #[default]
    None,
    /// It says something of them among others.
    Part,
    /// It is about them alone.
    Whole,
}

/// Begins what stands in place of an id or a key.
pub const ERASED: &str = "erased:";
/// Characters of an id that is looked for inside of texts.
const ID_CHARS_MIN: usize = 5;
/// Stands where a message was that had something of theirs.
const MESSAGE: &str = "what was said of this was erased";

impl Whose {
    /// A text to look for.
    ///
    /// # Errors
    /// It is so short that it would be found with everybody.
    pub fn text(text: &str) -> Result<Self, String> {
        let text = folded(text.trim());
        if text.chars().count() < 4 {
            return Err(
                "give at least 4 characters: fewer would be found with everybody".to_owned(),
            );
        }
        Ok(Self::Text(text))
    }

    /// Whether an id is theirs.
    #[must_use]
    pub fn is(&self, id: &str) -> bool {
        match self {
            Self::Target(target) => target.as_str() == id,
            Self::Text(text) => folded(id).contains(text.as_str()),
            Self::Addresses => has_email(id),
        }
    }

    /// Whether a text says something of them. An id has to be a word of its own there, and long
    /// enough to be nobody else's.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let (wanted, is_word) = match self {
            Self::Target(target) if target.as_str().chars().count() < ID_CHARS_MIN => {
                return target.as_str() == text;
            }
            Self::Target(target) => (folded(target.as_str()), true),
            Self::Text(wanted) => (wanted.clone(), false),
            Self::Addresses => return has_email(text),
        };
        let text = folded(text);
        text.match_indices(&wanted).any(|(at, found)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at + found.len()..);
            let after = after.and_then(|after| after.chars().next());
            let around = [before, after].into_iter().flatten();
            !is_word || !around.into_iter().any(char::is_alphanumeric)
        })
    }

    /// How far an item is theirs that names nobody else.
    fn most(&self) -> Extent {
        match self {
            Self::Target(_) | Self::Text(_) => Extent::Whole,
            Self::Addresses => Extent::Part,
        }
    }

    /// As the digest of it that is kept of an erasure.
    #[must_use]
    pub fn digest(&self, key: &DigestKey) -> String {
        match self {
            Self::Target(target) => key.digest("erased target", &[target.as_str()]),
            Self::Text(text) => key.digest("erased text", &[text]),
            Self::Addresses => key.digest("erased addresses", &[]),
        }
    }
}

/// What stands in place of a caller's key.
#[must_use]
pub fn erased_key(scope: &Scope, key: &Key, secret: &DigestKey) -> Key {
    if is_erased(key.as_str()) {
        return key.clone();
    }
    let kind = format!("{:?}", scope.kind);
    let digest = secret.digest("key", &[scope.caller.as_str(), &kind, key.as_str()]);
    Key::try_from(format!("{ERASED}{digest}")).unwrap_or_else(|_| key.clone())
}

/// Whether an id or a key stands in place of another one, or is derived from one that does. A
/// caller may begin its own keys with the same word.
#[must_use]
pub fn is_erased(text: &str) -> bool {
    let is_index = |index: &str| index.bytes().all(|byte| byte.is_ascii_digit());
    let of = text.rsplit_once('/').filter(|(_, index)| is_index(index));
    super::digests::is_digest(of.map_or(text, |(of, _)| of), ERASED)
}

fn erased_id(id: &TargetId, secret: &DigestKey) -> TargetId {
    if is_erased(id.as_str()) {
        return id.clone();
    }
    let digest = secret.digest("id", &[id.as_str()]);
    TargetId::try_from(format!("{ERASED}{digest}")).unwrap_or_else(|_| id.clone())
}

impl Command {
    /// How far it is theirs.
    #[must_use]
    pub fn extent(&self, whose: &Whose) -> Extent {
        match self {
            Self::Subscription(command) => {
                if whose.is(command.subscription_id.as_str()) {
                    return whose.most();
                }
                let mut items = command.line_items.iter();
                let is_said = command
                    .comment
                    .as_deref()
                    .is_some_and(|text| whose.is_in(text))
                    || items.any(|item| {
                        let text = item.description.as_deref();
                        text.is_some_and(|text| whose.is_in(text))
                    });
                match whose {
                    _ if !is_said => Extent::None,
                    // A comment may name another subscription.
                    Whose::Target(_) | Whose::Addresses => Extent::Part,
                    Whose::Text(_) => Extent::Whole,
                }
            }
            Self::Enrollments(command) => {
                let ids: &[TargetId] = match &command.target {
                    EnrollmentsTarget::Subscriber(id) => std::slice::from_ref(id),
                    EnrollmentsTarget::Subscribers(ids)
                    | EnrollmentsTarget::Field { values: ids, .. } => ids,
                    EnrollmentsTarget::All => &[],
                };
                let theirs = ids.iter().filter(|id| whose.is(id.as_str())).count();
                let is_said = command
                    .reason
                    .as_deref()
                    .is_some_and(|text| whose.is_in(text));
                match (theirs, is_said) {
                    (0, false) => Extent::None,
                    (theirs, _) if theirs > 0 && theirs == ids.len() => whose.most(),
                    _ => Extent::Part,
                }
            }
        }
    }

    /// A digest of all of it that stays when it is erased: of two commands that mean the same it is
    /// the same, whatever was taken out of one of them before.
    #[must_use]
    pub fn digest(&self, secret: &DigestKey) -> Option<String> {
        let clean = self.without_emails(secret).unwrap_or_else(|| self.clone());
        let mut clean = clean.without_comments(secret).unwrap_or(clean);
        if let Self::Subscription(command) = &mut clean {
            command.prorate = Some(command.prorate.unwrap_or(false));
            if command.channel_id().is_none() {
                command.options = None;
            }
        }
        let json = serde_json::to_string(&clean).ok()?;
        Some(secret.digest("command", &[&json]))
    }

    /// What is left of it. It cannot be carried out.
    #[must_use]
    pub fn erased(&self, whose: &Whose, extent: Extent, secret: &DigestKey) -> Self {
        let is_whole = extent == Extent::Whole;
        let mut left = self.clone();
        match &mut left {
            Self::Subscription(command) => {
                if is_whole || whose.is(command.subscription_id.as_str()) {
                    command.subscription_id = erased_id(&command.subscription_id, secret);
                }
                if is_whole {
                    command.line_items.clear();
                }
            }
            Self::Enrollments(command) => match &mut command.target {
                EnrollmentsTarget::Subscriber(id) if is_whole || whose.is(id.as_str()) => {
                    *id = erased_id(id, secret);
                }
                EnrollmentsTarget::Subscribers(ids)
                | EnrollmentsTarget::Field { values: ids, .. } => {
                    for id in ids.iter_mut().filter(|id| whose.is(id.as_str())) {
                        *id = erased_id(id, secret);
                    }
                    ids.sort();
                }
                EnrollmentsTarget::Subscriber(_) | EnrollmentsTarget::All => {}
            },
        }
        left.without_comments_if(secret, |text| is_whole || whose.is_in(text))
            .unwrap_or(left)
    }
}

impl Conclusion {
    /// How far it is theirs.
    #[must_use]
    pub fn extent(&self, whose: &Whose) -> Extent {
        let (said, state) = match &self.detail {
            Detail::Subscription(detail) => {
                let state = detail.state.as_ref();
                let customer = state.and_then(|state| state.customer_id.as_deref());
                if customer.is_some_and(|id| whose.is(id)) {
                    return Extent::Whole;
                }
                let words = state.and_then(|state| state.provider_reason.as_deref());
                (words.is_some_and(|text| whose.is_in(text)), true)
            }
            Detail::Enrollments(detail) => {
                let mut unknown = detail.unknown_subscriber_ids.iter();
                let is_listed = unknown.any(|id| whose.is(id))
                    || detail.enrollments.iter().any(|row| is_theirs(row, whose));
                (is_listed, false)
            }
        };
        let is_said = said
            || self
                .answer
                .as_ref()
                .is_some_and(|answer| says(answer, whose))
            || self.answer_headers.values().any(|value| whose.is_in(value))
            || self
                .preview
                .as_deref()
                .is_some_and(|text| whose.is_in(text))
            || self.is_in_failure(whose);
        match whose {
            _ if !is_said => Extent::None,
            // What is said of one subscription is about its customer.
            Whose::Text(_) if state => Extent::Whole,
            Whose::Text(_) | Whose::Target(_) | Whose::Addresses => Extent::Part,
        }
    }

    fn is_in_failure(&self, whose: &Whose) -> bool {
        let Some(failure) = &self.failure else {
            return false;
        };
        let said = failure.provider.as_ref();
        let fields = said.iter().flat_map(|said| &said.fields);
        let mut texts = fields.flat_map(|(field, problem)| [field, problem]);
        let texts_of = said.iter().flat_map(|said| [&said.code, &said.message]);
        whose.is_in(&failure.message)
            || texts.any(|text| whose.is_in(text))
            || texts_of.flatten().any(|text| whose.is_in(text))
    }

    /// Takes out what is theirs. `is_command` says that something of the command goes too: then it
    /// cannot be taken up again, and this is how it ended for good.
    pub fn erase(&mut self, whose: &Whose, extent: Extent, is_command: bool) {
        let is_whole = extent == Extent::Whole;
        self.erased |= is_command;
        match whose {
            Whose::Target(_) | Whose::Text(_) => self.personal_removed = true,
            Whose::Addresses => self.emails_removed = true,
        }
        let answer = self.answer.as_ref();
        if is_whole || answer.is_some_and(|answer| says(answer, whose)) {
            self.remove_answer();
        }
        self.answer_headers.retain(|_, value| !whose.is_in(value));
        self.preview.take_if(|text| is_whole || whose.is_in(text));
        let goes = is_whole || self.is_in_failure(whose);
        if let Some(failure) = self.failure.as_mut().filter(|_| goes) {
            MESSAGE.clone_into(&mut failure.message);
            if let Some(said) = &mut failure.provider {
                (said.code, said.message) = (None, None);
                said.fields.clear();
            }
        }
        match &mut self.detail {
            Detail::Subscription(detail) => {
                if is_whole {
                    detail.charges = detail.charges.take().map(|charges| Charges {
                        subtotal: charges.subtotal,
                        ..Charges::default()
                    });
                }
                if let Some(state) = &mut detail.state {
                    if is_whole {
                        *state = SubscriptionState {
                            customer_id: None,
                            cancellation_id: None,
                            provider_reason: None,
                            ..state.clone()
                        };
                    }
                    state.provider_reason.take_if(|text| whose.is_in(text));
                }
            }
            Detail::Enrollments(detail) => {
                detail
                    .enrollments
                    .retain(|row| !is_whole && !is_theirs(row, whose));
                let unknown = &mut detail.unknown_subscriber_ids;
                unknown.retain(|id| !is_whole && !whose.is(id));
            }
        }
    }
}

/// Whether an answer says something of them. In JSON an id is a value of its own, however short.
fn says(answer: &ProviderResponse, whose: &Whose) -> bool {
    match answer {
        ProviderResponse::Text(text) => whose.is_in(text),
        ProviderResponse::Json(json) => {
            let value = serde_json::from_str(json.get());
            whose.is_in(json.get()) || value.is_ok_and(|value| is_value(&value, whose))
        }
    }
}

fn is_value(value: &Value, whose: &Whose) -> bool {
    match value {
        Value::String(text) => whose.is(text),
        Value::Number(number) => whose.is(&number.to_string()),
        Value::Array(values) => values.iter().any(|value| is_value(value, whose)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| whose.is(key) || is_value(value, whose)),
        Value::Null | Value::Bool(_) => false,
    }
}

fn is_theirs(row: &crate::domain::outcome::Enrollment, whose: &Whose) -> bool {
    let texts = [
        &row.subscriber_id,
        &row.subscriber_email,
        &row.enrollment_id,
        &row.enrollment_key,
    ];
    texts.into_iter().any(|text| whose.is(text))
}
