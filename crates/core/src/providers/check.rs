//! Checks a command against the capabilities and the id format of its account.

use crate::domain::{
    account::{Account, Capabilities, ProviderId, Timing},
    command::{Command, ProviderOptions, SubscriptionCommand},
};

use super::of;

/// An invalid field, by its published name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, relative to the item, such as `when` or `line_items[2].quantity`.
    pub field: String,
    /// What is wrong, and what would be right.
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

/// All violations of a command: what the account cannot do, and what its provider does not accept.
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

/// Allowed characters of ids, besides letters and digits, if the provider's page shows only
/// letters, digits, `_` and `-` and gives no rule: those that have no meaning in a segment for any
/// URL, header or server.
pub(super) const OPAQUE_ID_MARKS: &str = "-_.~:@+=";

/// The first character of an id that ids of this provider do not have, in words; `None` if there is
/// none. Such an id could be read as another path by a server, so it is rejected.
#[must_use]
pub fn strange_in(provider: ProviderId, id: &str) -> Option<String> {
    let marks = of(provider).id_marks()?;
    let strange = id
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !marks.contains(*c))?;
    let code = u32::from(strange);
    // Other characters may be invisible or misleading in a message.
    let shown = match strange {
        c if c.is_ascii_graphic() => format!(" ({c})"),
        c if c.is_alphanumeric() => format!(" ({c})"),
        _ => String::new(),
    };
    let marks: Vec<_> = marks.chars().map(String::from).collect();
    Some(format!(
        "contains U+{code:04X}{shown}; ids at {} have ASCII letters, digits and {}",
        provider.name(),
        marks.join(" ")
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_that_no_id_has_is_named() {
        use ProviderId as P;
        let told = |provider, id: &str| strange_in(provider, id).unwrap_or_default();
        for provider in [P::Rebilly, P::Solidgate, P::FunnelFox, P::Sequenzy] {
            assert_eq!(strange_in(provider, "sub_01HRF27-a.b~c@d"), None);
            for strange in
                "/\\%?#&;\"'<>{}|^`!$,*()[] \t\n\0\u{7f}\u{a0}\u{200b}\u{202e}ü\u{fe0f}".chars()
            {
                let id = format!("a{strange}b");
                let code = format!("contains U+{:04X}", u32::from(strange));
                assert!(
                    told(provider, &id).starts_with(&code),
                    "{provider:?} {id:?}"
                );
            }
            let marks = of(provider).id_marks().unwrap_or_default();
            assert!(!marks.contains(['/', '\\', '%', '?', '#']) && marks.is_ascii());
        }
        assert_eq!(
            told(P::Rebilly, "../x:y"),
            "contains U+002F (/); ids at rebilly have ASCII letters, digits and - _ . ~ @"
        );
        assert!(told(P::FunnelFox, "ü").starts_with("contains U+00FC (ü);"));
        assert!(told(P::FunnelFox, "\u{202e}").starts_with("contains U+202E;"));
        assert_eq!(strange_in(P::FunnelFox, "GPA.1-2..0:a+b="), None);
        assert_eq!(
            strange_in(P::Revolv3, "a/b"),
            None,
            "its own check refuses it"
        );
    }
}
