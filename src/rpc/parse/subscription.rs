//! One subscription to cancel.

use super::field::{stand_in, text_of, time_of};
use crate::{
    domain::{
        command::{
            Direction, Initiator, LineItem, ProviderOptions, Reason, SubscriptionCommand, When,
        },
        ids::{AccountName, Malformed, TargetId},
        money::{Amount, Currency},
    },
    limits,
    rpc::{
        proto::{self, when},
        status::Violations,
    },
};

/// Without an account nothing more can be checked. Any other part that is malformed is named, and
/// something else stands in for it, so that it hides no violation of the other parts.
pub(super) fn subscription(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    c: proto::SubscriptionCancellation,
) -> Option<SubscriptionCommand> {
    let account = v.check(|| at("account"), AccountName::try_from(c.account));
    let subscription_id = v.check(
        || at("subscription_id"),
        TargetId::try_from(c.subscription_id),
    );
    let when = v.check(|| at("when"), when_of(c.when));
    let reason = v.check(|| at("reason"), reason_of(c.reason));
    let comment = v.check(|| at("comment"), text_of(c.comment));
    let initiated_by = v.check(|| at("initiated_by"), initiator_of(c.initiated_by));
    let mut line_items = Vec::with_capacity(c.line_items.len());
    if c.line_items.len() > limits::LINE_ITEMS_MAX {
        v.add(
            at("line_items"),
            format!("has {} items; at most 50", c.line_items.len()),
        );
    }
    for (i, item) in c
        .line_items
        .into_iter()
        .enumerate()
        .take(limits::LINE_ITEMS_MAX)
    {
        line_items.extend(line_item(
            v,
            &|field| at(&format!("line_items[{i}].{field}")),
            item,
        ));
    }
    let options = c.provider_options.map(|options| match options {
        proto::subscription_cancellation::ProviderOptions::Solidgate(options) => {
            let channel = Some(options.channel_id).filter(|id| !id.is_empty());
            let channel = channel.map(TargetId::try_from).transpose();
            let channel = v.check(|| at("solidgate.channel_id"), channel);
            ProviderOptions::Solidgate {
                channel_id: channel.flatten(),
            }
        }
    });
    Some(SubscriptionCommand {
        account: account?,
        subscription_id: subscription_id.or_else(stand_in)?,
        when: when.unwrap_or(When::Now),
        reason: reason.flatten(),
        comment: comment.flatten(),
        initiated_by: initiated_by.flatten(),
        prorate: c.prorate,
        line_items,
        options,
    })
}

fn when_of(when: Option<proto::When>) -> Result<When, Malformed> {
    match when.and_then(|when| when.when) {
        None => Err(Malformed::new(
            "is not set; say now, period_end, at or provider_default: there is no default",
        )),
        Some(when::When::Now(_)) => Ok(When::Now),
        Some(when::When::PeriodEnd(_)) => Ok(When::PeriodEnd),
        Some(when::When::ProviderDefault(_)) => Ok(When::ProviderDefault),
        Some(when::When::At(time)) => time_of(time).map(When::At),
    }
}

fn reason_of(reason: i32) -> Result<Option<Reason>, Malformed> {
    use proto::Reason as P;
    Ok(Some(match P::try_from(reason) {
        Ok(P::Unspecified) => return Ok(None),
        Ok(P::DidNotUse) => Reason::DidNotUse,
        Ok(P::DidNotWant) => Reason::DidNotWant,
        Ok(P::MissingFeatures) => Reason::MissingFeatures,
        Ok(P::BugsOrProblems) => Reason::BugsOrProblems,
        Ok(P::DoNotRemember) => Reason::DoNotRemember,
        Ok(P::RiskWarning) => Reason::RiskWarning,
        Ok(P::ContractExpired) => Reason::ContractExpired,
        Ok(P::TooExpensive) => Reason::TooExpensive,
        Ok(P::Other) => Reason::Other,
        Ok(P::BillingFailure) => Reason::BillingFailure,
        Err(_) => return Err(Malformed::new(format!("{reason} is no value of Reason"))),
    }))
}

fn initiator_of(initiator: i32) -> Result<Option<Initiator>, Malformed> {
    use proto::Initiator as P;
    Ok(Some(match P::try_from(initiator) {
        Ok(P::Unspecified) => return Ok(None),
        Ok(P::Merchant) => Initiator::Merchant,
        Ok(P::Customer) => Initiator::Customer,
        Ok(P::Provider) => Initiator::Provider,
        Err(_) => {
            return Err(Malformed::new(format!(
                "{initiator} is no value of Initiator"
            )));
        }
    }))
}

fn direction_of(direction: i32) -> Result<Direction, Malformed> {
    use proto::LineItemType as P;
    match P::try_from(direction) {
        Ok(P::Debit) => Ok(Direction::Debit),
        Ok(P::Credit) => Ok(Direction::Credit),
        Ok(P::Unspecified) => Err(Malformed::new("is not set; say debit or credit")),
        Err(_) => Err(Malformed::new(format!(
            "{direction} is no value of LineItemType"
        ))),
    }
}

fn line_item(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    item: proto::LineItem,
) -> Option<LineItem> {
    let direction = v.check(|| at("type"), direction_of(item.r#type));
    let description = v.check(|| at("description"), text_of(item.description));
    let unit_price = v.check(
        || at("unit_price_amount"),
        Amount::try_from(item.unit_price_amount),
    );
    let currency = v.check(
        || at("unit_price_currency"),
        Currency::try_from(item.unit_price_currency),
    );
    let quantity = Some(item.quantity).filter(|q| (1..=limits::QUANTITY_MAX).contains(q));
    let quantity =
        quantity.ok_or_else(|| Malformed::new(format!("is {}; it is 1-1,000,000", item.quantity)));
    let quantity = v.check(|| at("quantity"), quantity);
    let start = v.check(
        || at("period_start_time"),
        item.period_start_time.map(time_of).transpose(),
    );
    let end = v.check(
        || at("period_end_time"),
        item.period_end_time.map(time_of).transpose(),
    );
    if let (Some(Some(start)), Some(Some(end))) = (start, end)
        && end < start
    {
        v.add(at("period_end_time"), "is before period_start_time");
        return None;
    }
    Some(LineItem {
        direction: direction?,
        description: description?,
        unit_price: unit_price?,
        currency: currency?,
        quantity: quantity?,
        period_start: start?,
        period_end: end?,
    })
}
