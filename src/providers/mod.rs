//! Providers as pure functions: what to send next, given what has happened so far.
//!
//! Nothing here is async or does IO, reads a clock, or sees a credential. Retrying, waiting,
//! rate limits and durability happen elsewhere; a provider only reads histories. Recovery needs
//! no code here either: an item found open at start has the history "something may have been
//! sent" ([`Exchange::recovered`]).
//!
//! Adding a provider: its file, its folder of fixtures, a line here in `mod` and in [`of`], and
//! its variants in `domain::account`.

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

pub(crate) use self::reply::classify::is_not_passed_on;
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

/// What a provider wants done next.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, beside an HTTP request"
)]
pub enum Step {
    /// Send this, and come back with what came of it.
    Send(Request),
    /// Nothing more to do.
    Done(Conclusion),
}

/// Whether anything is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Cancel.
    Cancel,
    /// Find out what cancelling would do.
    DryRun,
}

/// How far an unfinished item is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is known of the target.
    pub detail: Detail,
    /// An answer was lost on the way, so counts are lower bounds.
    pub lost: bool,
}

/// One item as a provider sees it.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Where.
    pub account: &'a Account,
    /// What.
    pub command: &'a Command,
    /// A name for its effect, the same for every run under the same key.
    pub effect_id: &'a EffectId,
    /// Whether to change anything.
    pub mode: Mode,
    /// What earlier runs under the same key left unknown.
    pub doubt: Option<&'a Doubt>,
    /// What is known of the account and the target beside it.
    pub facts: Facts,
}

/// What is known beside an item's own history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The account's place has answered in the provider's own form.
    pub answered: bool,
    /// It has described a subscription that was asked for, to the account's credential.
    pub proven: bool,
    /// Another key has aimed at the target, or may still act on it. Of a dry run: one is at work
    /// on it, or may still act.
    pub target_known: bool,
}

/// What an answer shows of the account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// It is in the provider's own form.
    pub answered: bool,
    /// It describes what was asked for, by its id and with a known status.
    pub proven: bool,
}

impl<'a> Task<'a> {
    /// The command, at a provider of subscriptions.
    ///
    /// # Errors
    /// The step that ends an item whose account was given to another kind of provider while it
    /// was open.
    #[expect(clippy::result_large_err, reason = "the error is the step itself")]
    pub fn subscription(&self) -> Result<&'a SubscriptionCommand, Step> {
        match self.command {
            Command::Subscription(command) => Ok(command),
            Command::Enrollments(_) => Err(reply::http_status::account_changed(self.command)),
        }
    }

    /// The command, at a provider of enrollments.
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

/// Names an effect at a provider: derived from the account, the target, and the scoped key, so
/// that it is the same after a restart, on another replica, and with an empty journal, and never
/// the same for another target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectId([u8; 16]);

impl EffectId {
    /// The id of a command's effect under its key.
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
            // The length keeps ("a", "bc") apart from ("ab", "c").
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

    /// In the form of a UUID (version 8: made by our own rule, RFC 9562).
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

/// One company's API.
pub trait Provider: Sync {
    /// What can be asked of an account there.
    fn capabilities(&self, account: &Account) -> Capabilities;

    /// How the account's secret joins a request.
    fn auth(&self, account: &Account) -> Auth;

    /// Checks what capabilities do not tell, such as the form of ids. All violations at once.
    fn check(&self, account: &Account, command: &Command) -> Vec<Violation> {
        let _ = (account, command);
        Vec::new()
    }

    /// What to do next. Total: any history, however odd, gives a step, and every history of
    /// [`crate::limits::EXCHANGES_MAX`] exchanges gives [`Step::Done`].
    ///
    /// The history holds finished exchanges only. Tries of a request that changed nothing are
    /// one exchange, with the last reply; if a try of a [`Repeatable`](crate::domain::http_exchange::Safety::Repeatable) request may have
    /// had an effect unseen, an exchange that is
    /// [`InDoubt`](crate::domain::http_exchange::Reply::InDoubt) goes before it.
    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step;

    /// The characters that ids there may have beside ASCII letters and digits, as its pages have
    /// them; `None` if [`check`](Self::check) knows its ids better. What can end a segment of a URL,
    /// or be taken for something else, is never among them.
    fn id_marks(&self) -> Option<&'static str>;

    /// The form of its answers.
    fn form(&self) -> &dyn Envelope;

    /// What a reply to this request is. Decided once, when it comes, and kept in the history.
    fn classify(&self, task: &Task<'_>, request: &Request, reply: &Reply) -> Class {
        reply::classify::class(self.form(), task, request, reply)
    }

    /// What an answer shows of the account.
    fn evidence(&self, task: &Task<'_>, exchange: &Exchange) -> Evidence {
        reply::classify::evidence(self.form(), task, exchange)
    }

    /// A request that makes sure that nothing of a dry run stays behind, if an answer of it was
    /// lost: it is sent once more when nothing of the run can act any more.
    fn clean_up(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Request> {
        let _ = (task, history);
        None
    }

    /// Takes out of a history what no later step needs, so that an item of many calls does not
    /// hold all their answers. Every step, and the progress, stays the same.
    fn compact(&self, task: &Task<'_>, history: &mut Vec<Exchange>) {
        let _ = (task, history);
    }

    /// How far an unfinished item is, for items that take several calls.
    fn progress(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Progress> {
        let _ = (task, history);
        None
    }

    /// When to come back, if the response says that the provider is throttling, or away for some
    /// time: a 429, or a 5xx with `Retry-After` (RFC 9110, section 10.2.3). It says nothing of
    /// what became of the request.
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

    /// When to come back by a 429's signal of the provider's own. It goes before HTTP's.
    fn signal(&self, response: &Response) -> Option<Throttle> {
        let _ = response;
        None
    }
}

/// The one list of providers.
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
