//! What a line says: who, what, when, why, how it ended, and the provider's own reference. It
//! holds no secret, no comment, and no provider's words but its error code. Of a target that is a
//! list of values it has their number, and e-mail addresses are taken out of what is free text.
//! Ids and keys are as they are, for without them a line is of nothing, and can be erased
//! ([`AuditEntry::personal`]).

pub(super) mod noted;
pub(super) mod ranges;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use self::noted::Noted;
use super::{
    chain::{self, ChainHead, opening::Values},
    rejections::{Rejection, Suppressed},
};
use crate::{
    domain::{
        access::provenance::Provenance,
        command::{Command, EnrollmentsTarget, Initiator, When},
        ids::{BatchName, Kind, Scope},
        opaque::Names,
        outcome::{FailureReason, Outcome, Reached},
        personal::{shown_text, without_emails},
    },
    journal::{AuditedDetail, AuditedOutcome, EventContent, ItemEvent, ItemRef, Ranges},
    limits,
};

/// One line, without its place in the chain. What does not apply is absent.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct AuditEntry<'a> {
    time: Timestamp,
    event: &'static str,
    /// The entry of the journal's trail that this line is of, or the last one before it, and
    /// how many of that entry's lines are written with it.
    pub(super) trail: u64,
    pub(super) part: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<&'a str>,
    /// Where from: an address and port, or of several calls their address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    /// What was shown of who calls.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    proofs: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// Of a line for several items: which of their batch, as first and last of each range.
    #[serde(skip_serializing_if = "Option::is_none")]
    indexes: Option<Ranges>,
    #[serde(skip)]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    /// The subscription or the sequence.
    #[serde(skip)]
    target: Option<&'a str>,
    #[serde(skip)]
    subscribers: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values_count: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    everyone: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_matches: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<WhenText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prorate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_items: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiated_by: Option<Initiator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    /// The reason in a caller's own words.
    #[serde(skip)]
    words: Option<Cow<'a, str>>,
    /// Why nobody knows who called.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<Reached>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_status: Option<u16>,
    #[serde(skip)]
    provider_code: Option<Cow<'a, str>>,
    /// The provider's own id of the effect.
    #[serde(skip)]
    provider_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    canceled: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    confirmed_by_lookup: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    /// The version of the lines from here on.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<u32>,
    /// The SHA-256 of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whose: Option<&'a str>,
    #[serde(skip)]
    filters: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    /// Of a configuration, what of it is new.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    settings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upto_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upto_hash: Option<&'a str>,
    /// Whether addresses are left out of ids and keys.
    #[serde(skip)]
    hides_emails: bool,
    /// Numbers of lines, such as `7,12-15`.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

/// What lines show that others are not to read for as long as the lines are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Reasons in callers' own words.
    pub words: bool,
    /// E-mail addresses that are ids or keys.
    pub emails: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            words: true,
            emails: true,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// When something is to end: a word or a time.
#[derive(Debug, Clone, Copy)]
struct WhenText(When);

impl Serialize for WhenText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            When::Now => serializer.serialize_str("now"),
            When::PeriodEnd => serializer.serialize_str("period_end"),
            When::At(time) => serializer.collect_str(&time),
            When::ProviderDefault => serializer.serialize_str("provider_default"),
        }
    }
}

/// The RPC that a scope's keys belong to.
pub(super) fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Subscription => "CancelSubscription",
        Kind::Enrollments => "CancelEnrollments",
    }
}

impl<'a> AuditEntry<'a> {
    fn new(time: Timestamp, event: &'static str) -> Self {
        Self {
            time,
            event,
            ..Self::default()
        }
    }

    /// What of it is personal, which stands beside the chain.
    pub(super) fn personal(&self) -> Values<'a> {
        let clean = |text: &'a str| {
            if self.hides_emails {
                without_emails(text)
            } else {
                Cow::Borrowed(text)
            }
        };
        // The name of what is filtered by could be taken for the beginning of an address.
        let filter_of = |filter: &'a str| match filter.split_once('=') {
            Some((name, value)) if self.hides_emails => format!("{name}={}", clean(value)).into(),
            _ => clean(filter),
        };
        let text = |text: Option<&'a str>| text.map(clean);
        let subscribers = self.subscribers.iter();
        let filters = self.filters.iter();
        Values {
            key: text(self.key),
            target: text(self.target),
            reason: self.words.clone(),
            provider_code: self.provider_code.clone(),
            provider_reference: text(self.provider_reference),
            subscribers: subscribers.map(|id| Some(clean(id))).collect(),
            filters: filters.map(|filter| Some(filter_of(filter))).collect(),
        }
    }

    /// The service started to write; what is in the journal named so is told from here on.
    pub(super) fn started(now: Timestamp, journal: &'a str, config: Option<&'a str>) -> Self {
        Self {
            config,
            journal: Some(journal),
            version: Some(env!("CARGO_PKG_VERSION")),
            form: Some(chain::FORM),
            ..Self::new(now, "started")
        }
    }

    /// Something is missing, for this reason.
    pub(super) fn gap(now: Timestamp, why: &'a str) -> Self {
        Self {
            reason: Some(clip(why.into())),
            ..Self::new(now, "gap")
        }
    }

    /// Lines up to this one were removed because their time was over.
    pub(super) fn dropped(now: Timestamp, upto_seq: u64, upto_hash: &'a str) -> Self {
        Self {
            upto_seq: Some(upto_seq),
            upto_hash: Some(upto_hash),
            ..Self::new(now, "dropped")
        }
    }

    /// The line before it is signed, and with it all before that.
    pub(super) fn signed(
        now: Timestamp,
        head: &'a ChainHead,
        (kid, signature): (&'a str, &'a str),
    ) -> Self {
        Self {
            upto_seq: Some(head.seq),
            upto_hash: Some(&head.hash),
            kid: Some(kid),
            signature: Some(signature),
            ..Self::new(now, "signed")
        }
    }

    /// The same without a caller's own words, or without e-mail addresses in ids and keys.
    pub(super) fn with(self, shown: Shown) -> Self {
        Self {
            words: self.words.filter(|_| shown.words),
            hides_emails: !shown.emails,
            ..self
        }
    }

    /// What was one person's was erased, from so many records and from these lines. `digest` stands
    /// for whose it was.
    pub(super) fn erased(
        now: Timestamp,
        (what, digest): (&'a str, &'a str),
        why: Option<&'a str>,
        records: usize,
        lines: Option<&'a str>,
    ) -> Self {
        Self {
            what: Some(what),
            digest: Some(digest),
            reason: why.map(|why| clip(why.into())),
            records: Some(records),
            lines,
            ..Self::new(now, "erased")
        }
    }

    /// A request that was not taken on.
    pub(super) fn refused(refused: &'a Rejection) -> Self {
        Self {
            caller: refused.caller.as_ref().map(|caller| caller.as_str()),
            method: refused.method,
            batch: refused.batch.as_ref().map(|batch| batch.as_str()),
            key: refused.key.as_ref().map(|key| key.as_str()),
            account: refused.account.as_ref().map(|account| account.as_str()),
            items: refused.items,
            code: refused.code,
            reason: Some(refused.why.word().into()),
            cause: refused.cause,
            detail: refused.detail.as_deref().map(clean),
            ..Self::new(refused.at, "refused").coming(&refused.from)
        }
    }

    /// Something without a trail in the journal.
    pub(super) fn noted(noted: &'a Noted) -> Self {
        Self {
            caller: noted.caller.as_ref().map(|caller| caller.as_str()),
            method: noted.method,
            whose: noted.whose.as_deref(),
            filters: &noted.filters,
            records: noted.records,
            answers: noted.with_answers,
            items: noted.items,
            what: noted.what.as_deref(),
            digest: noted.digest.as_deref(),
            settings: &noted.settings,
            reason: noted.why.as_deref().map(clean),
            people: noted.people,
            ..Self::new(noted.at, noted.event).coming(&noted.from)
        }
    }

    /// Refusals that have no lines of their own.
    pub(super) fn suppressed(now: Timestamp, suppressed: &'a Suppressed) -> Self {
        let (why, code) = suppressed.reason;
        let source = suppressed.source.as_ref();
        Self {
            caller: source.and_then(|source| source.caller.as_ref().map(|caller| caller.as_str())),
            peer: source.and_then(|source| source.network.map(|network| network.to_string())),
            code,
            reason: Some(why.word().into()),
            suppressed: Some(suppressed.count),
            ..Self::new(now, "refused")
        }
    }

    /// How what it tells of came.
    fn coming(self, from: &'a Provenance) -> Self {
        Self {
            peer: from.peer.map(|peer| peer.to_string()),
            proofs: &from.proofs,
            request_id: from.request_id.as_deref(),
            ..self
        }
    }

    fn of_item(scope: &'a Scope, batch: &'a BatchName, subject: &'a ItemRef) -> Self {
        let mut line = Self {
            caller: Some(scope.caller.as_str()),
            method: Some(method(scope.kind)),
            batch: Some(batch.as_str()),
            index: Some(subject.index),
            key: Some(subject.key.as_str()),
            account: Some(subject.command.account().as_str()),
            target: Some(subject.command.resource().as_str()),
            ..Self::default()
        };
        match &*subject.command {
            Command::Subscription(command) => {
                line.when = Some(WhenText(command.when));
                line.prorate = command.prorate;
                line.line_items = Some(command.line_items.len()).filter(|count| *count > 0);
                line.initiated_by = command.initiated_by;
                line.reason = command.reason.map(|reason| reason.slug().into());
            }
            Command::Enrollments(command) => {
                line.max_matches = command.matches_max;
                let reason = shown_text(command.reason.as_deref());
                line.words = Some(reason).filter(|words| !words.is_empty()).map(clean);
                match &command.target {
                    EnrollmentsTarget::Subscriber(id) => line.subscribers = vec![id.as_str()],
                    EnrollmentsTarget::Subscribers(ids) => {
                        line.subscribers = ids.iter().map(|id| id.as_str()).collect();
                        line.subscribers_count = Some(ids.len());
                    }
                    EnrollmentsTarget::Field { path, values } => {
                        line.field_path = path.as_ref().map(|path| path.as_str());
                        line.values_count = Some(values.len());
                    }
                    EnrollmentsTarget::All => line.everyone = true,
                }
            }
        }
        line
    }

    /// Several items of a batch to which the same happened.
    fn of_items(scope: &'a Scope, batch: &'a BatchName, alike: &Alike<'a>) -> Self {
        let line = Self {
            caller: Some(scope.caller.as_str()),
            method: Some(method(scope.kind)),
            batch: Some(batch.as_str()),
            account: alike.account,
            ..Self::default()
        };
        let line = match alike.what {
            EventContent::Settled(ended) => line.with_end(ended),
            EventContent::Opened(_) | EventContent::Admitted(_) => Self {
                event: "opened",
                ..line
            },
        };
        Self {
            time: alike.latest,
            ..line.with_indexes(alike.indexes.iter().copied().collect())
        }
    }

    fn with_indexes(self, indexes: Ranges) -> Self {
        Self {
            items: Some(indexes.count()),
            indexes: Some(indexes),
            ..self
        }
    }

    fn with_end(self, ended: &'a AuditedOutcome) -> Self {
        let conclusion = &ended.conclusion;
        let failure = conclusion.failure.as_ref();
        let said = failure.and_then(|failure| failure.provider.as_ref());
        let mut line = Self {
            time: ended.settled_at,
            event: "settled",
            // The admission has the list.
            subscribers: if self.subscribers_count.is_some() {
                Vec::new()
            } else {
                self.subscribers
            },
            outcome: Some(conclusion.outcome),
            failure: failure.map(|failure| failure.reason),
            reached: failure.map(|failure| failure.reached),
            provider_status: said.map(|said| said.http_status),
            provider_code: said.and_then(|said| said.code.as_deref()).map(clean),
            confirmed_by_lookup: conclusion.confirmed_by_lookup,
            attempts: Some(ended.attempts),
            ..self
        };
        match &conclusion.detail {
            AuditedDetail::Subscription {
                effective_at,
                state,
            } => {
                line.effective_at = *effective_at;
                let state = state.as_ref();
                line.provider_reference = state.and_then(|s| s.cancellation_id.as_deref());
            }
            AuditedDetail::Enrollments {
                matched,
                canceled,
                remaining,
            } => {
                line.matched = Some(*matched);
                line.canceled = Some(*canceled);
                line.remaining = Some(*remaining);
            }
        }
        line
    }
}

/// The beginning of a text that others wrote, without e-mail addresses: cut, one could not be
/// known any more.
fn clean(text: &str) -> Cow<'_, str> {
    clip(without_emails(text))
}

/// The beginning of a text that may be long.
fn clip(mut text: Cow<'_, str>) -> Cow<'_, str> {
    let end = text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX);
    match &mut text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(owned) => {
            owned.truncate(end);
            text
        }
    }
}

/// Items of a batch to which the same happened, and which are told of in one line. Their admissions
/// have all else, by batch and index.
#[derive(Debug)]
struct Alike<'a> {
    /// The place of the first of them among all.
    first: usize,
    what: &'a EventContent,
    /// The account, if it is the same for all.
    account: Option<&'a str>,
    latest: Timestamp,
    indexes: Vec<u32>,
}

/// Whether items to which this happened can be told of together. A caller can open and stop ten
/// thousand items by two short calls, as often as it likes: a line for each would fill the disk.
fn is_shared(what: &EventContent) -> bool {
    match what {
        EventContent::Opened(_) => true,
        EventContent::Settled(ended) => ended.is_shared(),
        EventContent::Admitted(_) => false,
    }
}

fn alike(items: &[(ItemRef, EventContent)]) -> Vec<Alike<'_>> {
    let mut all: Vec<Alike<'_>> = Vec::new();
    for (at, (subject, what)) in items.iter().enumerate() {
        if !is_shared(what) {
            continue;
        }
        let account = subject.command.account().as_str();
        let time = match what {
            EventContent::Admitted(time) | EventContent::Opened(time) => *time,
            EventContent::Settled(ended) => ended.settled_at,
        };
        let same = all.iter_mut().find(|alike| match (alike.what, what) {
            (EventContent::Opened(_), EventContent::Opened(_)) => true,
            (EventContent::Settled(ended), EventContent::Settled(other)) => ended.is_like(other),
            _ => false,
        });
        if let Some(alike) = same {
            alike.account = alike.account.filter(|of| *of == account);
            alike.latest = alike.latest.max(time);
            alike.indexes.push(subject.index);
        } else {
            all.push(Alike {
                first: at,
                what,
                account: Some(account),
                latest: time,
                indexes: vec![subject.index],
            });
        }
    }
    all
}

/// Gives the lines of what happened, in order.
pub(super) fn each<E>(
    now: Timestamp,
    names: &Names,
    happened: &ItemEvent,
    mut give: impl FnMut(AuditEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match happened {
        ItemEvent::ToItems {
            scope,
            batch,
            from,
            items,
        } => {
            let batch = names.of(*batch);
            let alike = alike(items);
            for (at, (subject, what)) in items.iter().enumerate() {
                if is_shared(what) {
                    match alike.iter().find(|alike| alike.first == at) {
                        // One alone has all that can be said of it.
                        Some(alike) if alike.indexes.len() == 1 => {}
                        Some(alike) => {
                            let line = AuditEntry::of_items(scope, &batch, alike);
                            give(match (alike.what, from) {
                                (EventContent::Opened(_), Some(from)) => line.coming(from),
                                _ => line,
                            })?;
                            continue;
                        }
                        None => continue,
                    }
                }
                let line = AuditEntry::of_item(scope, &batch, subject);
                give(match what {
                    EventContent::Admitted(at) => AuditEntry {
                        time: *at,
                        event: "admitted",
                        ..match from {
                            Some(from) => line.coming(from),
                            None => line,
                        }
                    },
                    EventContent::Opened(at) => AuditEntry {
                        time: *at,
                        event: "opened",
                        ..match from {
                            Some(from) => line.coming(from),
                            None => line,
                        }
                    },
                    EventContent::Settled(ended) => line.with_end(ended),
                })?;
            }
            Ok(())
        }
        ItemEvent::Stopped {
            scope,
            batch,
            at,
            by,
            from,
            indexes,
        } => {
            let batch = names.of(*batch);
            let line = AuditEntry::new(*at, "stopped");
            let line = match from {
                Some(from) => line.coming(from),
                None => line,
            };
            let line = AuditEntry {
                caller: Some(by.as_ref().unwrap_or(&scope.caller).as_str()),
                method: Some("StopBatch"),
                batch: Some(batch.as_str()),
                ..line
            };
            give(match indexes {
                Some(indexes) => line.with_indexes(indexes.clone()),
                None => line,
            })
        }
        ItemEvent::Unreadable { batch, why } => give(AuditEntry {
            batch: Some(names.of(*batch).as_str()),
            ..AuditEntry::gap(now, why)
        }),
        ItemEvent::Off { commits } => give(AuditEntry {
            commits: Some(*commits),
            ..AuditEntry::gap(
                now,
                "the audit was switched off (audit.enabled) for a while",
            )
        }),
    }
}
