//! Reading records: one by its key, many by what they have in common.

use std::collections::BTreeSet;

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::authorization::AccessScope;
use crate::{
    domain::{
        access::pattern::AccountPattern,
        ids::{AccountName, BatchId, BatchName, CallerId, ItemId, Key, Kind, Scope, TargetId},
        opaque::Names,
        outcome::Outcome,
    },
    journal::{Filter, Page, Record},
    limits,
    rpc::{
        parse::time_of,
        proto::{self, CancellationKind},
        status::Violations,
    },
};

/// Parses a GetCancellationRequest.
pub(in crate::rpc) fn get(
    request: &proto::GetCancellationRequest,
    caller: CallerId,
) -> Result<(Scope, Key), Violations> {
    let mut v = Violations::default();
    let kind = kind_of(&mut v, request.kind);
    if v.is_empty() && kind.is_none() {
        v.add(
            "kind",
            "is not set; say CANCELLATION_KIND_SUBSCRIPTION or _ENROLLMENTS",
        );
    }
    let key = Key::try_from(request.idempotency_key.as_str());
    let key = v.check(|| "idempotency_key".to_owned(), key);
    match (kind, key) {
        (Some(kind), Some(key)) => Ok((Scope { caller, kind }, key)),
        _ => Err(v),
    }
}

fn kind_of(v: &mut Violations, kind: i32) -> Option<Kind> {
    match CancellationKind::try_from(kind) {
        Ok(CancellationKind::Unspecified) => None,
        Ok(CancellationKind::Subscription) => Some(Kind::Subscription),
        Ok(CancellationKind::Enrollments) => Some(Kind::Enrollments),
        Err(_) => {
            v.add("kind", format!("{kind} is no value of CancellationKind"));
            None
        }
    }
}

/// What to list.
#[derive(Debug)]
pub(in crate::rpc) struct ListQuery {
    pub(in crate::rpc) filter: Filter,
    pub(in crate::rpc) after: Option<ItemId>,
    pub(in crate::rpc) records_max: usize,
    print: u32,
}

impl ListQuery {
    /// The token of the page after this item.
    pub(in crate::rpc) fn token(&self, next: ItemId, names: &Names) -> String {
        names.seal(next, self.print)
    }
}

/// What a ListCancellationsRequest asks for, as it is told. What is in it was found to be legal.
pub(in crate::rpc) fn filters(request: &proto::ListCancellationsRequest) -> Vec<String> {
    let mut told = Vec::new();
    for (name, value) in [
        ("account", &request.account),
        ("target_id", &request.target_id),
        ("batch_id", &request.batch_id),
        ("page_token", &request.page_token),
    ] {
        if !value.is_empty() {
            told.push(format!("{name}={value}"));
        }
    }
    if request.kind() != CancellationKind::Unspecified {
        told.push(format!("kind={}", request.kind().as_str_name()));
    }
    // There are few of them, however often each is named.
    let outcomes: BTreeSet<_> = request.outcomes().map(|o| o.as_str_name()).collect();
    told.extend(outcomes.iter().map(|outcome| format!("outcome={outcome}")));
    for (name, time) in [
        ("admitted_after", request.admitted_after),
        ("admitted_before", request.admitted_before),
    ] {
        if let Some(Ok(time)) = time.map(time_of) {
            told.push(format!("{name}={time}"));
        }
    }
    told
}

/// Parses a ListCancellationsRequest.
pub(in crate::rpc) fn list(
    request: &proto::ListCancellationsRequest,
    whose: AccessScope,
    accounts: Option<Vec<AccountPattern>>,
    names: &Names,
) -> Result<ListQuery, Violations> {
    let mut v = Violations::default();
    let optional = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let account = optional(&request.account)
        .map(AccountName::try_from)
        .transpose();
    let target = optional(&request.target_id)
        .map(TargetId::try_from)
        .transpose();
    let batch = optional(&request.batch_id)
        .map(BatchName::try_from)
        .transpose();
    let batch = v.check(|| "batch_id".to_owned(), batch).flatten();
    let filter = Filter {
        caller: match whose {
            AccessScope::Of(caller) => Some(caller),
            AccessScope::All => None,
        },
        kind: kind_of(&mut v, request.kind),
        account: v.check(|| "account".to_owned(), account).flatten(),
        accounts,
        target: v.check(|| "target_id".to_owned(), target).flatten(),
        // A name that no batch has lists nothing.
        batch: batch.map(|name| names.batch(&name).unwrap_or(BatchId::NONE)),
        outcomes: outcomes(&mut v, &request.outcomes),
        admitted_from: {
            let from = request.admitted_after.map(time_of).transpose();
            v.check(|| "admitted_after".to_owned(), from).flatten()
        },
        admitted_before: {
            let before = request.admitted_before.map(time_of).transpose();
            v.check(|| "admitted_before".to_owned(), before).flatten()
        },
    };
    let records_max = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
        0 => limits::PAGE_RECORDS_DEFAULT,
        size if size <= limits::PAGE_RECORDS_MAX => size,
        size => {
            v.add("page_size", format!("is {size}; at most 1,000"));
            0
        }
    };
    let digest = Sha256::digest(format!("{filter:?}").as_bytes());
    let after = optional(&request.page_token).and_then(|token| {
        let after = after(&token, &digest, names);
        if after.is_none() {
            v.add(
                "page_token",
                "does not come from a call with the same filters",
            );
        }
        after
    });
    if v.is_empty() {
        Ok(ListQuery {
            filter,
            after,
            records_max,
            print: print(&digest),
        })
    } else {
        Err(v)
    }
}

/// As much of a page as fits into one message, and where the next page begins: a client that takes
/// messages of the usual size could not read it otherwise, and would never get further.
pub(in crate::rpc) fn fitting(
    page: Page,
    render: impl Fn(&Record) -> proto::Cancellation,
) -> (Vec<proto::Cancellation>, Option<ItemId>) {
    let mut fitting = Vec::with_capacity(page.records.len());
    let (mut bytes, mut last) = (0_usize, None);
    for record in &page.records {
        let rendered = render(record);
        bytes = bytes.saturating_add(rendered.encoded_len());
        if last.is_some() && bytes > limits::RESPONSE_BYTES_MAX {
            return (fitting, last);
        }
        fitting.push(rendered);
        last = Some(record.id);
    }
    (fitting, page.next)
}

fn outcomes(v: &mut Violations, outcomes: &[i32]) -> Vec<Option<Outcome>> {
    use proto::Outcome as P;
    let mut parsed = Vec::with_capacity(outcomes.len());
    for (i, outcome) in outcomes.iter().enumerate() {
        parsed.push(match P::try_from(*outcome) {
            Ok(P::Unspecified) => None,
            Ok(P::Canceled) => Some(Outcome::Canceled),
            Ok(P::Scheduled) => Some(Outcome::Scheduled),
            Ok(P::AlreadyCanceled) => Some(Outcome::AlreadyCanceled),
            Ok(P::AlreadyScheduled) => Some(Outcome::AlreadyScheduled),
            Ok(P::Previewed) => Some(Outcome::Previewed),
            Ok(P::NotFound) => Some(Outcome::NotFound),
            Ok(P::Rejected) => Some(Outcome::Rejected),
            Ok(P::Unavailable) => Some(Outcome::Unavailable),
            Ok(P::InDoubt) => Some(Outcome::InDoubt),
            Ok(P::Stopped) => Some(Outcome::Stopped),
            Err(_) => {
                v.add(
                    format!("outcomes[{i}]"),
                    format!("{outcome} is no value of Outcome"),
                );
                continue;
            }
        });
    }
    parsed
}

/// Ties a page token to its filters.
fn print(digest: &[u8]) -> u32 {
    let first = digest.first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(first)
}

fn after(token: &str, digest: &[u8], names: &Names) -> Option<ItemId> {
    if let Some((place, of)) = names.unseal(token) {
        return Some(place).filter(|_| of == print(digest));
    }
    // As earlier versions gave them, for what was there then.
    let mut parts = token.split('.');
    let (batch, index, of) = (parts.next()?, parts.next()?, parts.next()?);
    let of_these: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    if parts.next().is_some() || of != of_these {
        return None;
    }
    let batch = BatchId(batch.parse().ok()?);
    let index = index.parse().ok()?;
    Some(ItemId { batch, index }).filter(|place| names.is_plain(place.batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(batch: u64) -> ItemId {
        ItemId {
            batch: BatchId(batch),
            index: 3,
        }
    }

    #[test]
    fn a_token_leads_on_with_its_filters_alone_and_one_of_before_to_what_was_there_then() {
        let names = Names::new([7; 32], BatchId(100));
        let (digest, other) = ([1; 32], [2; 32]);
        let token = names.seal(place(100), print(&digest));
        assert_eq!(after(&token, &digest, &names), Some(place(100)));
        assert_eq!(after(&token, &other, &names), None);

        let before = |batch: u64| format!("{batch}.3.010101010101");
        assert_eq!(after(&before(99), &digest, &names), Some(place(99)));
        assert_eq!(after(&before(99), &other, &names), None);
        // With such a one somebody could find out which number a batch of its own has.
        assert_eq!(after(&before(100), &digest, &names), None);
    }
}
