//! Keys read back, sort as they mean, and their spans hold what they are for and nothing else.

use proptest::prelude::*;

use super::*;

fn store_key() -> impl Strategy<Value = StoreKey> {
    let batch = || prop_oneof![any::<u64>(), 0_u64..4].prop_map(BatchId);
    let account =
        || "[a-c]{1,3}|[a-z][a-z0-9-]{0,20}".prop_map(|name| AccountName::try_from(name).unwrap());
    let number = || prop_oneof![any::<u32>(), 0_u32..4];
    let scoped = || {
        (
            "[a-c]{1,3}|[ -~]{1,40}|ü",
            any::<bool>(),
            "[!-~]{1,40}|a/[0-9]",
        )
            .prop_map(|(caller, first, key)| {
                let kind = if first {
                    Kind::Subscription
                } else {
                    Kind::Enrollments
                };
                let caller = CallerId::try_from(caller).unwrap();
                (Scope { caller, kind }, Key::try_from(key).unwrap())
            })
    };
    prop_oneof![
        Just(StoreKey::Meta),
        Just(StoreKey::BatchFloor),
        Just(StoreKey::Commits),
        Just(StoreKey::Audited),
        Just(StoreKey::AuditOff),
        Just(StoreKey::AnswersRemoved),
        Just(StoreKey::EmailsRemoved),
        Just(StoreKey::Secret),
        Just(StoreKey::CommentsRemoved),
        Just(StoreKey::TakenOut),
        Just(StoreKey::Erased),
        any::<u64>().prop_map(StoreKey::Life),
        any::<u64>().prop_map(StoreKey::Trail),
        account().prop_map(StoreKey::Account),
        (account(), any::<u64>()).prop_map(|(account, hash)| StoreKey::Doubtful { account, hash }),
        batch().prop_map(StoreKey::Header),
        (batch(), number(), any::<u16>()).prop_map(|(batch, group, part)| StoreKey::Items {
            batch,
            group,
            part
        }),
        (batch(), number(), any::<u16>()).prop_map(|(batch, seq, part)| StoreKey::Log {
            batch,
            seq,
            part
        }),
        (batch(), any::<u16>()).prop_map(|(batch, part)| StoreKey::Targets { batch, part }),
        batch().prop_map(StoreKey::Open),
        batch().prop_map(StoreKey::Quarantine),
        (any::<i64>(), batch())
            .prop_map(|(settled_us, batch)| StoreKey::Expiry { settled_us, batch }),
        scoped().prop_map(|(scope, key)| StoreKey::Request { scope, key }),
        scoped().prop_map(|(scope, key)| StoreKey::Item { scope, key }),
    ]
}

proptest! {
    #[test]
    fn keys_read_back_and_keep_their_order(a in store_key(), b in store_key()) {
        prop_assert_eq!(StoreKey::decode(&a.encode()), Some(a.clone()));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn arbitrary_bytes_are_no_key_or_exactly_one(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some(key) = StoreKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }
}

#[test]
fn a_span_holds_what_it_names_and_nothing_beside_it() {
    let holds = |span: &Span, key: StoreKey| {
        let key = key.encode();
        span.from <= key && key < span.to
    };
    let batch = BatchId(0x00ff_ffff_ffff_ffff);
    let next = BatchId(batch.0 + 1);
    let part = u16::MAX;
    let items = Span::items(batch);
    assert!(holds(
        &items,
        StoreKey::Items {
            batch,
            group: u32::MAX,
            part
        }
    ));
    assert!(!holds(
        &items,
        StoreKey::Items {
            batch: next,
            group: 0,
            part: 0
        }
    ));
    let group = Span::item_group(batch, 7);
    assert!(holds(
        &group,
        StoreKey::Items {
            batch,
            group: 7,
            part
        }
    ));
    assert!(!holds(
        &group,
        StoreKey::Items {
            batch,
            group: 8,
            part: 0
        }
    ));
    let expired = Span::expired(-5);
    assert!(holds(
        &expired,
        StoreKey::Expiry {
            settled_us: -6,
            batch: BatchId(u64::MAX)
        }
    ));
    assert!(!holds(
        &expired,
        StoreKey::Expiry {
            settled_us: -5,
            batch: BatchId(0)
        }
    ));
}
