//! From messages to the domain's types. A request is checked as a whole: every violation is
//! found, none is admitted around.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    proto::{self, enrollment_cancellation::Target, when},
    status::{Mark, Violations},
};
use crate::{
    dispatch::{Dispatch, Item, Submission},
    domain::{
        command::{
            Command, Direction, EnrollmentsCommand, EnrollmentsTarget, Initiator, LineItem,
            ProviderOptions, Reason, SubscriptionCommand, When,
        },
        ids::{AccountName, Key, Kind, Malformed, Scope, TargetId},
        money::{Amount, Currency},
    },
    identity::Caller,
    limits,
    observe::Origin,
    providers::{self, Mode},
};

/// A request that is fit to be submitted.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) submission: Submission,
    /// The items that ask for a time that has passed: right only if their request was admitted
    /// before it had.
    pub(super) late: Vec<u32>,
}

/// Parses a CancelSubscriptionRequest.
pub(super) fn subscriptions(
    request: proto::CancelSubscriptionRequest,
    caller: &Caller,
    dispatch: &Dispatch,
) -> Result<Parsed, Violations> {
    let mut v = Violations::default();
    let mode = if request.dry_run {
        Mode::DryRun
    } else {
        Mode::Cancel
    };
    let now = dispatch.clock().now();
    let mut late = Vec::new();
    let mut frame = Frame::new(
        &mut v,
        caller,
        &request.idempotency_key,
        request.cancellations.len(),
    );
    for (place, cancellation) in (0_u32..).zip(request.cancellations).take(frame.items_max) {
        let mark = v.mark();
        let own_key = frame.own_key(&mut v, place, &cancellation.idempotency_key);
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let Some(command) = subscription(&mut v, &at, cancellation) else {
            continue;
        };
        if matches!(command.when, When::At(time) if time <= now) {
            late.push(place);
        }
        if !v.names(mark, &at("subscription_id")) {
            let target = (command.account.clone(), command.subscription_id.clone());
            let target = Unique::Subscription(target);
            frame.target(&mut v, place, "subscription_id", target);
        }
        let command = Command::Subscription(command);
        frame.check(&mut v, mark, dispatch, place, &command);
        frame.push(own_key, command, mode);
    }
    let scope = Scope {
        caller: caller.id.clone(),
        kind: Kind::Subscription,
    };
    frame
        .finish(
            v,
            scope,
            request.retry_window,
            request.include_provider_response,
        )
        .map(|submission| Parsed { submission, late })
}

/// Parses a CancelEnrollmentsRequest.
pub(super) fn enrollments(
    request: proto::CancelEnrollmentsRequest,
    caller: &Caller,
    dispatch: &Dispatch,
) -> Result<Parsed, Violations> {
    let mut v = Violations::default();
    let mut frame = Frame::new(
        &mut v,
        caller,
        &request.idempotency_key,
        request.cancellations.len(),
    );
    for (place, cancellation) in (0_u32..).zip(request.cancellations).take(frame.items_max) {
        let mark = v.mark();
        let own_key = frame.own_key(&mut v, place, &cancellation.idempotency_key);
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let asked = cancellation.dry_run;
        let Some(command) = enrollment(&mut v, &at, cancellation) else {
            continue;
        };
        let dry = request.dry_run || asked.unwrap_or_else(|| command.target.matches_many());
        let mode = if dry { Mode::DryRun } else { Mode::Cancel };
        if v.mark() == mark {
            let target = format!("{:?}", command.target);
            let target = (command.account.clone(), command.sequence_id.clone(), target);
            frame.target(&mut v, place, "target", Unique::Enrollments(target));
        }
        let command = Command::Enrollments(command);
        frame.check(&mut v, mark, dispatch, place, &command);
        frame.push(own_key, command, mode);
    }
    let scope = Scope {
        caller: caller.id.clone(),
        kind: Kind::Enrollments,
    };
    frame
        .finish(
            v,
            scope,
            request.retry_window,
            request.include_provider_response,
        )
        .map(|submission| Parsed {
            submission,
            late: Vec::new(),
        })
}

/// What identifies a target within a request.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Unique {
    Subscription((AccountName, TargetId)),
    Enrollments((AccountName, TargetId, String)),
}

/// What both requests have in common: the key, the bounds, and that nothing occurs twice.
struct Frame<'a> {
    caller: &'a Caller,
    key: Option<Key>,
    items: Vec<Item>,
    items_max: usize,
    total: usize,
    keys: HashMap<Key, u32>,
    targets: HashMap<Unique, u32>,
}

impl<'a> Frame<'a> {
    fn new(v: &mut Violations, caller: &'a Caller, key: &str, total: usize) -> Self {
        let key = v.check(|| "idempotency_key".to_owned(), Key::chosen(key.to_owned()));
        if total == 0 {
            v.add("cancellations", "is empty; give 1-10,000 items");
        }
        let items_max = limits::BATCH_ITEMS_MAX;
        if total > items_max {
            v.add(
                "cancellations",
                format!("has {total} items; at most 10,000: split the request"),
            );
        }
        Self {
            caller,
            key,
            items: Vec::with_capacity(total.min(items_max)),
            items_max,
            total,
            keys: HashMap::with_capacity(total.min(items_max)),
            targets: HashMap::with_capacity(total.min(items_max)),
        }
    }

    /// The item's own key, if it has one; keys must differ within a request, derived ones too.
    fn own_key(&mut self, v: &mut Violations, place: u32, text: &str) -> Option<Key> {
        let field = || format!("cancellations[{place}].idempotency_key");
        let own = match text {
            "" => None,
            text => Some(v.check(field, Key::chosen(text.to_owned()))?),
        };
        let key = own
            .clone()
            .or_else(|| self.key.as_ref().map(|key| key.derive(place)))?;
        if let Some(first) = first_of(&mut self.keys, key, place) {
            v.add(
                field(),
                format!("names the same key as cancellations[{first}]"),
            );
        }
        own
    }

    fn target(&mut self, v: &mut Violations, place: u32, field: &str, target: Unique) {
        if let Some(first) = first_of(&mut self.targets, target, place) {
            v.add(
                format!("cancellations[{place}].{field}"),
                format!("is the same target as that of cancellations[{first}]"),
            );
        }
    }

    /// Checks what the account can do; fields that were named since the mark have been dealt with.
    fn check(
        &self,
        v: &mut Violations,
        mark: Mark,
        dispatch: &Dispatch,
        place: u32,
        command: &Command,
    ) {
        let at = |field: &str| format!("cancellations[{place}].{field}");
        let Some(account) = dispatch.account(command.account()) else {
            let names = dispatch.accounts().map(|account| account.name.as_str());
            // Those that are not the caller's to use are none of its business.
            let known: Vec<_> = names
                .filter(|name| self.caller.policy.allows_account(name))
                .collect();
            let known = match known.as_slice() {
                [] => "none".to_owned(),
                known => known.join(", "),
            };
            let name = command.account();
            let described = format!("{name} is not configured; the accounts are: {known}");
            return v.add(at("account"), described);
        };
        for violation in providers::check(account, command) {
            let field = at(&violation.field);
            if !v.names(mark, &field) {
                v.add(field, violation.description);
            }
        }
    }

    fn push(&mut self, key: Option<Key>, command: Command, mode: Mode) {
        self.items.push(Item {
            key,
            command: Arc::new(command),
            mode,
        });
    }

    fn finish(
        self,
        mut v: Violations,
        scope: Scope,
        retry_window: Option<prost_types::Duration>,
        with_answers: bool,
    ) -> Result<Submission, Violations> {
        let retry_window = retry_window
            .and_then(|window| v.check(|| "retry_window".to_owned(), window_of(window)));
        match self.key {
            Some(key) if v.is_empty() && self.items.len() == self.total => Ok(Submission {
                scope,
                key,
                items: self.items,
                retry_window,
                with_answers,
                quota: self.caller.quota.clone(),
                hangup: None,
                from: Origin::default(),
            }),
            _ => Err(v),
        }
    }
}

/// Where this came first, if it came before.
fn first_of<T: Eq + Hash>(seen: &mut HashMap<T, u32>, value: T, place: u32) -> Option<u32> {
    match seen.entry(value) {
        std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
        std::collections::hash_map::Entry::Vacant(vacant) => {
            vacant.insert(place);
            None
        }
    }
}

fn window_of(window: prost_types::Duration) -> Result<Duration, Malformed> {
    let bounds = Duration::from_millis(limits::RETRY_WINDOW_MS_MIN)
        ..=Duration::from_millis(limits::RETRY_WINDOW_MS_MAX);
    // Not by the conversion of prost_types, which overflows on the way.
    let secs = u64::try_from(window.seconds).ok();
    let nanos = u32::try_from(window.nanos).ok();
    secs.zip(nanos.filter(|nanos| *nanos < 1_000_000_000))
        .map(|(secs, nanos)| Duration::new(secs, nanos))
        .filter(|window| bounds.contains(window))
        .ok_or_else(|| Malformed::new("is not between 1 second and 24 hours"))
}

/// Without an account nothing more can be checked. Any other part that is malformed is named, and
/// something else stands in for it, so that it hides no violation of the other parts.
fn subscription(
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

/// An id in place of one that was malformed and named.
fn stand_in() -> Option<TargetId> {
    TargetId::try_from("1").ok()
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

/// A time of the proto's, which must lie in the years 0001 to 9999.
pub(super) fn time_of(time: prost_types::Timestamp) -> Result<Timestamp, Malformed> {
    // 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, as google.protobuf.Timestamp bounds it.
    if !(-62_135_596_800..=253_402_300_799).contains(&time.seconds)
        || !(0..=999_999_999).contains(&time.nanos)
    {
        return Err(Malformed::new(
            "is not a time between the years 0001 and 9999",
        ));
    }
    Timestamp::new(time.seconds, time.nanos)
        .map_err(|_| Malformed::new("is not a time that can be kept"))
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

fn text_of(text: String) -> Result<Option<String>, Malformed> {
    let chars = text.chars().count();
    if chars > limits::TEXT_CHARS_MAX {
        return Err(Malformed::new(format!(
            "has {chars} characters; at most 1,000"
        )));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
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

/// As for a subscription.
fn enrollment(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    c: proto::EnrollmentCancellation,
) -> Option<EnrollmentsCommand> {
    let account = v.check(|| at("account"), AccountName::try_from(c.account));
    let sequence_id = v.check(|| at("sequence_id"), TargetId::try_from(c.sequence_id));
    let target = target_of(v, at, c.target);
    let reason = v.check(|| at("reason"), text_of(c.reason));
    if c.max_matches == Some(0) {
        v.add(
            at("max_matches"),
            "is 0; it is 1 or more, or not set for no bound",
        );
    }
    Some(EnrollmentsCommand {
        account: account?,
        sequence_id: sequence_id.or_else(stand_in)?,
        target: target.unwrap_or(EnrollmentsTarget::All),
        reason: reason.flatten(),
        matches_max: c.max_matches,
    })
}

fn target_of(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    target: Option<Target>,
) -> Option<EnrollmentsTarget> {
    match target {
        None => {
            v.add(
                at("target"),
                "is not set; say subscriber_id, subscriber_ids, field or all",
            );
            None
        }
        Some(Target::SubscriberId(id)) => v
            .check(|| at("subscriber_id"), TargetId::try_from(id))
            .map(EnrollmentsTarget::Subscriber),
        Some(Target::SubscriberIds(ids)) => {
            values_of(v, &|i| at(&format!("subscriber_ids.ids{i}")), ids.ids)
                .map(EnrollmentsTarget::Subscribers)
        }
        Some(Target::Field(field)) => {
            let path = v.check(
                || at("field.path"),
                Some(field.path)
                    .filter(|path| !path.is_empty())
                    .map(TargetId::try_from)
                    .transpose(),
            );
            let values = values_of(v, &|i| at(&format!("field.values{i}")), field.values);
            Some(EnrollmentsTarget::Field {
                path: path?,
                values: values?,
            })
        }
        Some(Target::All(_)) => Some(EnrollmentsTarget::All),
    }
}

/// A set of values: its order means nothing, so equal sets become equal commands.
fn values_of(
    v: &mut Violations,
    at: &dyn Fn(&str) -> String,
    values: Vec<String>,
) -> Option<Vec<TargetId>> {
    let count = values.len();
    if count == 0 || count > limits::TARGET_VALUES_MAX {
        v.add(at(""), format!("has {count} values; give 1-500"));
        return None;
    }
    let mut parsed: Vec<TargetId> = values
        .into_iter()
        .enumerate()
        .filter_map(|(i, value)| v.check(|| at(&format!("[{i}]")), TargetId::try_from(value)))
        .collect();
    if parsed.len() < count {
        return None;
    }
    parsed.sort_unstable();
    parsed.dedup();
    if parsed.len() < count {
        v.add(at(""), "has the same value more than once");
        return None;
    }
    Some(parsed)
}
