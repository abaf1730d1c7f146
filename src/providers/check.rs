//! What keeps a command from being sent to an account.

use crate::domain::{
    account::{Account, Capabilities, ProviderId, Timing},
    command::{Command, ProviderOptions, SubscriptionCommand},
};

use super::of;

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
