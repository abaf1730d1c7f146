//! Providers as pure functions: what to send next, given what has happened so far.
//!
//! Nothing here is async or does IO, reads a clock, or sees a credential. Retrying, waiting,
//! rate limits and durability happen elsewhere; a provider only reads histories. Recovery needs
//! no code here either: an item found open at start has the history "something may have been
//! sent" ([`Exchange::recovered`]).
//!
//! Adding a provider: its file, its folder of fixtures, a line here in `mod` and in [`of`], and
//! its variants in `domain::account`.

#[cfg(test)]
mod conformance;
mod funnelfox;
mod once;
#[cfg(test)]
mod properties;
mod reading;
mod rebilly;
mod retry_after;
mod revolv3;
mod sequenzy;
mod solidgate;
mod standing;
mod status;

use sha2::{Digest as _, Sha256};

use crate::domain::{
    account::{Account, Auth, Capabilities, ProviderId, Timing},
    command::{Command, EnrollmentsCommand, ProviderOptions, SubscriptionCommand},
    exchange::{Exchange, Request, Response, Throttle},
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
            Command::Enrollments(_) => Err(status::account_changed(self.command)),
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
            Command::Subscription(_) => Err(status::account_changed(self.command)),
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

/// A field that cannot be as it is, by its published name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, relative to the item, such as `when` or `line_items[2].quantity`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

impl Violation {
    /// A violation of this field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
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
    /// one exchange, with the last reply; if a try of a [`Repeatable`](crate::domain::exchange::Safety::Repeatable) request may have
    /// had an effect unseen, an exchange that is
    /// [`InDoubt`](crate::domain::exchange::Reply::InDoubt) goes before it.
    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step;

    /// How far an unfinished item is, for items that take several calls.
    fn progress(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Progress> {
        let _ = (task, history);
        None
    }

    /// When to come back, if the response says that the provider is throttling.
    /// The default is HTTP's own signal: 429 with or without `Retry-After`.
    fn throttle(&self, response: &Response) -> Option<Throttle> {
        status::throttle(response)
    }
}

/// When a response asks its caller back: a 429 always does, and a 5xx does with a `Retry-After`
/// that can be read (RFC 9110, section 10.2.3, names 503 first). It says nothing about what the
/// provider did with the request: a 5xx stays in doubt.
#[must_use]
pub fn pause_asked(response: &Response) -> Option<Throttle> {
    match response.status {
        429 => status::throttle(response),
        500..=599 => status::retry_after(response),
        _ => None,
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

/// Everything that keeps a command from being sent to an account, all at once: what the account
/// cannot do, and what its provider does not take.
#[must_use]
pub fn check(account: &Account, command: &Command) -> Vec<Violation> {
    let provider = of(account.provider());
    let can = provider.capabilities(account);
    if can.kind != command.kind() {
        let takes = match can.kind {
            crate::domain::ids::Kind::Subscription => "subscriptions: use CancelSubscription",
            crate::domain::ids::Kind::Enrollments => "enrollments: use CancelEnrollments",
        };
        let described = format!("{} is an account for {takes}", account.name);
        return vec![Violation::new("account", described)];
    }
    let mut violations = Vec::new();
    if let Command::Subscription(command) = command {
        check_capabilities(account, &can, command, &mut violations);
    }
    violations.extend(provider.check(account, command));
    violations
}

fn check_capabilities(
    account: &Account,
    can: &Capabilities,
    command: &SubscriptionCommand,
    violations: &mut Vec<Violation>,
) {
    let provider = account.provider().name();
    let timing = Timing::from(command.when);
    if !can.timings.contains(&timing) {
        let takes: Vec<_> = can.timings.iter().map(|timing| timing.name()).collect();
        violations.push(Violation::new(
            "when",
            format!(
                "{} cannot be chosen at {} ({provider}); it takes: {}",
                timing.name(),
                account.name,
                takes.join(", ")
            ),
        ));
    }
    if command.prorate == Some(true) && !can.prorate {
        violations.push(Violation::new(
            "prorate",
            format!("{provider} cannot prorate"),
        ));
    }
    let solidgate = matches!(command.options, Some(ProviderOptions::Solidgate { .. }));
    if solidgate && account.provider() != ProviderId::Solidgate {
        violations.push(Violation::new(
            "solidgate",
            format!("{} is an account at {provider}", account.name),
        ));
    }
    if !command.line_items.is_empty() && !can.line_items {
        violations.push(Violation::new(
            "line_items",
            format!("{provider} takes no line items"),
        ));
    }
}
