//! Commands: a parsed item of a request. Two commands are equal if they mean the same, whatever
//! bytes they came in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ids::{AccountName, Kind, TargetId},
    money::{Amount, Currency},
    personal::{digests::DigestKey, same_items, same_text},
};

/// One item of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Cancel a subscription.
    Subscription(SubscriptionCommand),
    /// Cancel enrollments of a sequence.
    Enrollments(EnrollmentsCommand),
}

/// Cancel one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionCommand {
    /// The account.
    pub account: AccountName,
    /// The subscription.
    pub subscription_id: TargetId,
    /// When it ends.
    pub when: When,
    /// Why, from the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiated_by: Option<Initiator>,
    /// Whether the rest of the period is credited; unset means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prorate: Option<bool>,
    /// Items of the closing invoice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line_items: Vec<LineItem>,
    /// Options that only one provider has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<ProviderOptions>,
}

/// When a subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// At the end of the paid period.
    PeriodEnd,
    /// At this time.
    At(Timestamp),
    /// As the provider decides.
    ProviderDefault,
}

/// Why a subscription is cancelled: the closed list of Rebilly's page, which is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it; the proto describes each")]
pub enum Reason {
    DidNotUse,
    DidNotWant,
    MissingFeatures,
    BugsOrProblems,
    DoNotRemember,
    RiskWarning,
    ContractExpired,
    TooExpensive,
    Other,
    BillingFailure,
}

impl Reason {
    /// The published word, which Rebilly uses too.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::DidNotUse => "did-not-use",
            Self::DidNotWant => "did-not-want",
            Self::MissingFeatures => "missing-features",
            Self::BugsOrProblems => "bugs-or-problems",
            Self::DoNotRemember => "do-not-remember",
            Self::RiskWarning => "risk-warning",
            Self::ContractExpired => "contract-expired",
            Self::TooExpensive => "too-expensive",
            Self::Other => "other",
            Self::BillingFailure => "billing-failure",
        }
    }
}

/// Who asked for a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The merchant.
    Merchant,
    /// The customer.
    Customer,
    /// The billing provider.
    Provider,
}

/// One item of the closing invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// Who pays.
    pub direction: Direction,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Price of a unit in major units.
    pub unit_price: Amount,
    /// The price's currency.
    pub currency: Currency,
    /// The quantity, 1 to [`crate::limits::QUANTITY_MAX`].
    pub quantity: i32,
    /// Start of the period that it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_start: Option<Timestamp>,
    /// End of the period that it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_end: Option<Timestamp>,
}

/// Who pays for a line item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The customer pays.
    Debit,
    /// The customer is credited.
    Credit,
}

/// Options that only one provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderOptions {
    /// Solidgate.
    Solidgate {
        /// The channel, for API keys with several channels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel_id: Option<TargetId>,
    },
}

/// Cancel enrollments of one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollmentsCommand {
    /// The account.
    pub account: AccountName,
    /// The sequence.
    pub sequence_id: TargetId,
    /// The subscribers.
    pub target: EnrollmentsTarget,
    /// Why, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// If more match, nothing is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches_max: Option<u32>,
}

/// The subscribers of an enrollments command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentsTarget {
    /// One subscriber's.
    Subscriber(TargetId),
    /// These subscribers', sorted and without repeats.
    Subscribers(Vec<TargetId>),
    /// Subscribers whose entry event has one of the values.
    Field {
        /// Dot path into the event's properties; `None` for the sequence's own field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<TargetId>,
        /// The values, sorted and without repeats.
        values: Vec<TargetId>,
    },
    /// All subscribers.
    All,
}

impl SubscriptionCommand {
    /// Whether the rest of the period is credited.
    fn prorates(&self) -> bool {
        self.prorate.unwrap_or(false)
    }

    /// Solidgate's channel, if one is named.
    pub(super) fn channel_id(&self) -> Option<&TargetId> {
        match self.options.as_ref()? {
            ProviderOptions::Solidgate { channel_id } => channel_id.as_ref(),
        }
    }
}

impl EnrollmentsTarget {
    /// Whether it can match many, which makes it a dry run unless the caller says otherwise.
    #[must_use]
    pub fn matches_many(&self) -> bool {
        !matches!(self, Self::Subscriber(_))
    }
}

impl Command {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &AccountName {
        match self {
            Self::Subscription(command) => &command.account,
            Self::Enrollments(command) => &command.account,
        }
    }

    /// The RPC of the command.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Subscription(_) => Kind::Subscription,
            Self::Enrollments(_) => Kind::Enrollments,
        }
    }

    /// The subscription or the sequence.
    #[must_use]
    pub fn resource(&self) -> &TargetId {
        match self {
            Self::Subscription(command) => &command.subscription_id,
            Self::Enrollments(command) => &command.sequence_id,
        }
    }

    /// The target that no two commands may work on at once: a subscription, which the second
    /// command would find half changed. Cancelling enrollments converges, so it needs no lock.
    #[must_use]
    pub fn exclusive_target(&self) -> Option<&TargetId> {
        match self {
            Self::Subscription(command) => Some(&command.subscription_id),
            Self::Enrollments(_) => None,
        }
    }

    /// The maximum of people that it can concern: those that it names, or the most that may match.
    #[must_use]
    pub fn people(&self) -> u64 {
        let Self::Enrollments(command) = self else {
            return 1;
        };
        let matches_max = command.matches_max.map_or(u64::MAX, u64::from);
        match &command.target {
            EnrollmentsTarget::Subscriber(_) => 1,
            EnrollmentsTarget::Subscribers(ids) => u64::try_from(ids.len())
                .unwrap_or(u64::MAX)
                .min(matches_max),
            EnrollmentsTarget::Field { .. } | EnrollmentsTarget::All => matches_max,
        }
        .max(1)
    }

    /// Whether it causes a charge or refund that a second command would repeat.
    #[must_use]
    pub fn moves_money(&self) -> bool {
        match self {
            Self::Subscription(command) => {
                command.prorate == Some(true) || !command.line_items.is_empty()
            }
            Self::Enrollments(_) => false,
        }
    }

    /// Every id that support staff may search for: the resource and the subscribers.
    pub fn target_ids(&self) -> impl Iterator<Item = &TargetId> {
        let subscribers: &[TargetId] = match self {
            Self::Subscription(_) => &[],
            Self::Enrollments(command) => match &command.target {
                EnrollmentsTarget::Subscriber(id) => std::slice::from_ref(id),
                EnrollmentsTarget::Subscribers(ids) => ids,
                EnrollmentsTarget::Field { .. } | EnrollmentsTarget::All => &[],
            },
        };
        std::iter::once(self.resource()).chain(subscribers)
    }

    /// Approximate bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let ids = |ids: &[TargetId]| -> usize {
            let bytes = ids
                .iter()
                .map(|id| size_of::<TargetId>() + id.as_str().len());
            bytes.sum()
        };
        let more = match self {
            Self::Subscription(command) => {
                let line_items = command.line_items.iter();
                text(&command.comment)
                    + line_items
                        .map(|item| size_of::<LineItem>() + text(&item.description))
                        .sum::<usize>()
            }
            Self::Enrollments(command) => {
                text(&command.reason)
                    + match &command.target {
                        EnrollmentsTarget::Subscriber(id) => id.as_str().len(),
                        EnrollmentsTarget::Subscribers(list) => ids(list),
                        EnrollmentsTarget::Field { values, .. } => ids(values),
                        EnrollmentsTarget::All => 0,
                    }
            }
        };
        size_of::<Self>() + self.account().as_str().len() + self.resource().as_str().len() + more
    }

    /// The published names of the fields in which two commands differ; empty if they mean the
    /// same. What digests by this key stand for in one of them is compared by these.
    #[must_use]
    pub fn differing_fields(&self, other: &Self, key: &DigestKey) -> Vec<&'static str> {
        let mut fields = Vec::new();
        let mut compare = |same: bool, field: &'static str| {
            if !same {
                fields.push(field);
            }
        };
        match (self, other) {
            (Self::Subscription(a), Self::Subscription(b)) => {
                compare(a.account == b.account, "account");
                compare(a.subscription_id == b.subscription_id, "subscription_id");
                compare(a.when == b.when, "when");
                compare(a.reason == b.reason, "reason");
                let same_comment = same_text(a.comment.as_deref(), b.comment.as_deref(), key);
                compare(same_comment, "comment");
                compare(a.initiated_by == b.initiated_by, "initiated_by");
                // Unset means no, and empty options are the same as none.
                compare(a.prorates() == b.prorates(), "prorate");
                compare(same_items(&a.line_items, &b.line_items, key), "line_items");
                compare(a.channel_id() == b.channel_id(), "provider_options");
            }
            (Self::Enrollments(a), Self::Enrollments(b)) => {
                compare(a.account == b.account, "account");
                compare(a.sequence_id == b.sequence_id, "sequence_id");
                let same_target = a.target == b.target
                    || a.target_without_emails(key) == b.target_without_emails(key);
                compare(same_target, "target");
                compare(
                    same_text(a.reason.as_deref(), b.reason.as_deref(), key),
                    "reason",
                );
                compare(a.matches_max == b.matches_max, "max_matches");
            }
            // Keys are scoped by RPC, so two kinds never meet. If they did, everything would
            // differ.
            (Self::Subscription(_), Self::Enrollments(_))
            | (Self::Enrollments(_), Self::Subscription(_)) => fields.push("kind"),
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_no_difference() {
        let plain = SubscriptionCommand {
            account: AccountName::try_from("solidgate").unwrap(),
            subscription_id: TargetId::try_from("s").unwrap(),
            when: When::Now,
            reason: None,
            comment: None,
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        };
        let spelled_out = SubscriptionCommand {
            prorate: Some(false),
            options: Some(ProviderOptions::Solidgate { channel_id: None }),
            ..plain.clone()
        };
        let other = SubscriptionCommand {
            prorate: Some(true),
            options: Some(ProviderOptions::Solidgate {
                channel_id: Some(TargetId::try_from("web").unwrap()),
            }),
            ..plain.clone()
        };
        let [plain, spelled_out, other] = [plain, spelled_out, other].map(Command::Subscription);
        assert!(
            plain
                .differing_fields(&spelled_out, &DigestKey::default())
                .is_empty()
        );
        assert_eq!(
            plain.differing_fields(&other, &DigestKey::default()),
            ["prorate", "provider_options"]
        );
    }
}
