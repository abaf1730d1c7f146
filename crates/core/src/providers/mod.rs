//! Provider adapters as pure functions: given an item's history, what to send next.
//!
//! An adapter is not async, does no IO, reads no clock and sees no credential; it only reads
//! histories. Retries, waits, rate limits and durability happen elsewhere. Recovery needs no code
//! here either: an item that was open at start-up has the history "something may have been sent"
//! ([`Exchange::recovered`]).
//!
//! To add a provider: its file, its folder of fixtures, a line here in `mod` and in [`of`], and its
//! variants in `domain::account`.

mod cancel_then_lookup;
mod check;
#[cfg(test)]
mod conformance;
mod endings;
mod funnelfox;
mod item_state;
#[cfg(test)]
mod properties;
mod rebilly;
mod reply;
mod revolv3;
mod sequenzy;
mod solidgate;

pub use self::reply::classify::is_not_passed_on;
pub use self::reply::envelope::{Envelope, Sight};
pub use check::{Violation, check, strange_in};

use sha2::{Digest as _, Sha256};

use crate::domain::{
    account::{Account, Auth, Capabilities, ProviderId},
    command::{Command, EnrollmentsCommand, SubscriptionCommand},
    doubt::Doubt,
    http_exchange::{Class, Exchange, Reply, Request, Response, Throttle},
    ids::{Key, Scope},
    outcome::{Conclusion, Detail},
};

/// The next step of an item.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, beside an HTTP request"
)]
pub enum Step {
    /// Send this request, and call again with its exchange in the history.
    Send(Request),
    /// The item has an outcome.
    Done(Conclusion),
}

/// Whether the provider is to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Cancel.
    Cancel,
    /// Find out what cancelling would do, and change nothing.
    DryRun,
}

/// Progress of an item that takes several requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The counts and facts so far.
    pub detail: Detail,
    /// A reply was lost on the way, so counts are lower bounds.
    pub lost: bool,
}

/// An item as its adapter sees it.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The account.
    pub account: &'a Account,
    /// The command.
    pub command: &'a Command,
    /// Names the effect at the provider; the same in every run of the same key.
    pub effect_id: &'a EffectId,
    /// Whether to change anything.
    pub mode: Mode,
    /// What earlier runs of the same key left in doubt.
    pub doubt: Option<&'a Doubt>,
    /// Facts about the account and the target from outside the item's history.
    pub facts: Facts,
}

/// Facts from outside an item's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The account's place has answered in the provider's own format.
    pub answered: bool,
    /// It has described a requested subscription to the account's credential.
    pub proven: bool,
    /// Another key was recorded for the target, or may still act on it. For a dry run: another key
    /// is at work on it, or may still act on it.
    pub target_known: bool,
}

/// What a reply proves about the account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The reply is in the provider's own format.
    pub answered: bool,
    /// The reply describes the target, with its id and a known status.
    pub proven: bool,
}

impl<'a> Task<'a> {
    /// The command, for providers of subscriptions.
    ///
    /// # Errors
    /// The step that ends an item whose account was changed to another kind of provider while it
    /// was open.
    #[expect(clippy::result_large_err, reason = "the error is the step itself")]
    pub fn subscription(&self) -> Result<&'a SubscriptionCommand, Step> {
        match self.command {
            Command::Subscription(command) => Ok(command),
            Command::Enrollments(_) => Err(reply::http_status::account_changed(self.command)),
        }
    }

    /// The command, for providers of enrollments.
    ///
    /// # Errors
    /// As for [`Task::subscription`].
    #[expect(clippy::result_large_err, reason = "the error is the step itself")]
    pub fn enrollments(&self) -> Result<&'a EnrollmentsCommand, Step> {
        match self.command {
            Command::Enrollments(command) => Ok(command),
            Command::Subscription(_) => Err(reply::http_status::account_changed(self.command)),
        }
    }
}

/// Names an effect at a provider. Derived from the account, the target and the scoped key, so that
/// it is the same after a restart, on another replica and with an empty journal, and differs for
/// any other target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectId([u8; 16]);

impl EffectId {
    /// The id of a command's effect under this key.
    #[must_use]
    pub fn derive(scope: &Scope, key: &Key, command: &Command) -> Self {
        let mut hash = Sha256::new();
        let kind: &[u8] = match scope.kind {
            crate::domain::ids::Kind::Subscription => b"subscription",
            crate::domain::ids::Kind::Enrollments => b"enrollments",
        };
        for part in [
            kind,
            scope.caller.as_str().as_bytes(),
            key.as_str().as_bytes(),
            command.account().as_str().as_bytes(),
            command.resource().as_str().as_bytes(),
        ] {
            // The length separates ("a", "bc") from ("ab", "c").
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(id)
    }

    /// As 32 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As a UUID (version 8: custom, RFC 9562).
    #[must_use]
    pub fn uuid(&self) -> String {
        let mut bytes = self.0;
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x80;
        *variant = (*variant & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
        [
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        ]
        .join("-")
    }
}

/// The adapter of one provider's API.
pub trait Provider: Sync {
    /// What the account can do.
    fn capabilities(&self, account: &Account) -> Capabilities;

    /// How the credential is added to a request.
    fn auth(&self, account: &Account) -> Auth;

    /// Checks what capabilities do not cover, such as the format of ids. Returns all violations.
    fn check(&self, account: &Account, command: &Command) -> Vec<Violation> {
        let _ = (account, command);
        Vec::new()
    }

    /// The next step. Total: every history gives a step, and every history of
    /// [`crate::limits::EXCHANGES_MAX`] exchanges gives [`Step::Done`].
    ///
    /// The history has finished exchanges only. Tries without an effect are one exchange, with the
    /// last reply. If a try of a [`Repeatable`](crate::domain::http_exchange::Safety::Repeatable)
    /// request may have had an unseen effect, an
    /// [`InDoubt`](crate::domain::http_exchange::Reply::InDoubt) exchange goes before it.
    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step;

    /// The characters that ids may have besides ASCII letters and digits, from the provider's
    /// pages; `None` if [`check`](Self::check) knows the format better. Never one that can end a
    /// segment of a URL or has a meaning in it.
    fn id_marks(&self) -> Option<&'static str>;

    /// The format of its replies.
    fn form(&self) -> &dyn Envelope;

    /// Classifies the reply to a request. Done once, when it arrives, and kept in the history.
    fn classify(&self, task: &Task<'_>, request: &Request, reply: &Reply) -> Class {
        reply::classify::class(self.form(), task, request, reply)
    }

    /// What a reply proves about the account.
    fn evidence(&self, task: &Task<'_>, exchange: &Exchange) -> Evidence {
        reply::classify::evidence(self.form(), task, exchange)
    }

    /// A request that removes what a dry run may have left, if one of its replies was lost. Sent
    /// when no request of the dry run can act any more.
    fn clean_up(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Request> {
        let _ = (task, history);
        None
    }

    /// Removes exchanges that no later step needs, so that an item of many requests does not hold
    /// all replies. Steps and progress must stay the same.
    fn compact(&self, task: &Task<'_>, history: &mut Vec<Exchange>) {
        let _ = (task, history);
    }

    /// Progress of an unfinished item; `None` unless it takes several requests.
    fn progress(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Progress> {
        let _ = (task, history);
        None
    }

    /// When to come back, if a response throttles or announces downtime: a 429, or a 5xx with
    /// `Retry-After` (RFC 9110, section 10.2.3). It says nothing about the fate of the request.
    fn throttle(&self, response: &Response) -> Option<Throttle> {
        match response.status {
            429 => {
                let asked = self
                    .signal(response)
                    .or_else(|| reply::http_status::retry_after(response));
                Some(asked.unwrap_or(Throttle::Unsaid))
            }
            500..=599 => reply::http_status::retry_after(response),
            _ => None,
        }
    }

    /// When to come back, from the provider's own signal in a 429. It takes precedence over
    /// `Retry-After`.
    fn signal(&self, response: &Response) -> Option<Throttle> {
        let _ = response;
        None
    }
}

/// The adapter of a provider; the only list of them.
#[must_use]
pub fn of(id: ProviderId) -> &'static dyn Provider {
    match id {
        ProviderId::Rebilly => &rebilly::Rebilly,
        ProviderId::Solidgate => &solidgate::Solidgate,
        ProviderId::FunnelFox => &funnelfox::FunnelFox,
        ProviderId::Revolv3 => &revolv3::Revolv3,
        ProviderId::Sequenzy => &sequenzy::Sequenzy,
    }
}
