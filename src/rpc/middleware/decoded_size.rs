//! Estimates the decoded size of a message from its bytes. An empty item takes two bytes on the
//! wire and several hundred in memory, so 32 MiB could decode to five gigabytes before the items
//! are counted.

use crate::rpc::proto::{
    CancelEnrollmentsRequest, CancelSubscriptionRequest, EnrollmentCancellation, LineItem,
    SubscriptionCancellation,
};

/// The parts of a message type that are, or contain, lists.
#[derive(Debug)]
pub(in crate::rpc) struct MessageShape {
    /// Size of the decoded message itself.
    bytes: usize,
    /// Fields that are counted one by one, by number.
    nested: &'static [(u64, &'static Self)],
}

const STRING: MessageShape = MessageShape {
    bytes: size_of::<String>(),
    nested: &[],
};
const LINE_ITEM: MessageShape = MessageShape {
    bytes: size_of::<LineItem>(),
    nested: &[],
};
const SUBSCRIPTION: MessageShape = MessageShape {
    bytes: size_of::<SubscriptionCancellation>(),
    nested: &[(9, &LINE_ITEM)],
};
const SUBSCRIBER_IDS: MessageShape = MessageShape {
    bytes: 0,
    nested: &[(1, &STRING)],
};
const FIELD_MATCH: MessageShape = MessageShape {
    bytes: 0,
    nested: &[(2, &STRING)],
};
const ENROLLMENT: MessageShape = MessageShape {
    bytes: size_of::<EnrollmentCancellation>(),
    nested: &[(5, &SUBSCRIBER_IDS), (6, &FIELD_MATCH)],
};
/// CancelSubscriptionRequest.
pub(in crate::rpc) const SUBSCRIPTIONS: MessageShape = MessageShape {
    bytes: size_of::<CancelSubscriptionRequest>(),
    nested: &[(2, &SUBSCRIPTION)],
};
/// CancelEnrollmentsRequest.
pub(in crate::rpc) const ENROLLMENTS: MessageShape = MessageShape {
    bytes: size_of::<CancelEnrollmentsRequest>(),
    nested: &[(2, &ENROLLMENT)],
};
/// A message without lists.
pub(in crate::rpc) const PLAIN: MessageShape = MessageShape {
    bytes: 0,
    nested: &[],
};

/// Approximate bytes of the decoded message. Counts up to the first malformed field, where decoding
/// ends too.
pub(in crate::rpc) fn weigh(shape: &MessageShape, message: &[u8]) -> usize {
    let mut bytes = shape.bytes.saturating_add(message.len());
    let mut rest = message;
    while let Some((field, after)) = next_field(rest) {
        let mut nested = shape.nested.iter();
        if let Some(content) = field.content
            && let Some((_, nested)) = nested.find(|(number, _)| *number == field.number)
        {
            // Its encoded bytes are counted already, in the outer message's.
            let more = weigh(nested, content).saturating_sub(content.len());
            bytes = bytes.saturating_add(more);
        }
        rest = after;
    }
    bytes
}

/// A field of a message.
struct Field<'a> {
    number: u64,
    /// The bytes of a length-delimited field.
    content: Option<&'a [u8]>,
}

/// The next field, and the bytes after it.
fn next_field(bytes: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let field = |content| Field {
        number: key >> 3,
        content,
    };
    match key & 7 {
        0 => varint(rest).map(|(_, rest)| (field(None), rest)),
        1 => rest.get(8..).map(|rest| (field(None), rest)),
        2 => {
            let (length, rest) = varint(rest)?;
            let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((field(Some(content)), rest))
        }
        // Start and end of a group: its fields are read as if they were the message's own.
        3 | 4 => Some((field(None), rest)),
        5 => rest.get(4..).map(|rest| (field(None), rest)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let shift = u32::try_from(at).ok()?.checked_mul(7)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..).map(|rest| (value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::rpc::proto::{FieldMatch, SubscriberIds, enrollment_cancellation::Target};

    /// Asserts the estimate for `count` elements of two encoded bytes and `each` decoded bytes.
    #[track_caller]
    fn check(shape: &MessageShape, message: &[u8], count: usize, each: usize) {
        let weight = weigh(shape, message);
        let expected = shape.bytes + message.len() + count * each;
        assert!(
            (expected..expected + 1_000).contains(&weight),
            "{weight} for {expected}"
        );
    }

    #[test]
    fn lists_of_nothing_weigh_what_they_take() {
        let many = CancelSubscriptionRequest {
            cancellations: vec![SubscriptionCancellation::default(); 5_000],
            ..Default::default()
        };
        let each = size_of::<SubscriptionCancellation>();
        check(&SUBSCRIPTIONS, &many.encode_to_vec(), 5_000, each);

        let deep = CancelSubscriptionRequest {
            cancellations: vec![SubscriptionCancellation {
                line_items: vec![LineItem::default(); 5_000],
                ..Default::default()
            }],
            ..Default::default()
        };
        let each = size_of::<LineItem>();
        check(&SUBSCRIPTIONS, &deep.encode_to_vec(), 5_000, each);

        let ids = || vec![String::new(); 5_000];
        for target in [
            Target::SubscriberIds(SubscriberIds { ids: ids() }),
            Target::Field(FieldMatch {
                path: "p".to_owned(),
                values: ids(),
            }),
        ] {
            let ids = CancelEnrollmentsRequest {
                cancellations: vec![EnrollmentCancellation {
                    target: Some(target),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let each = size_of::<String>();
            check(&ENROLLMENTS, &ids.encode_to_vec(), 5_000, each);
        }
    }

    #[test]
    fn texts_weigh_their_bytes() {
        let one = CancelSubscriptionRequest {
            idempotency_key: "k".repeat(2_000),
            ..Default::default()
        };
        check(&SUBSCRIPTIONS, &one.encode_to_vec(), 0, 0);
    }

    #[test]
    fn what_is_no_message_is_weighed_as_far_as_it_is_one() {
        let each = size_of::<SubscriptionCancellation>();
        for end in [
            &[0xff; 11][..],
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
            &[0x0f],
            &[0x12, 5],
            &[0x0d, 1],
            &[0x09, 1],
        ] {
            let bytes = [&[0x12, 0, 0x12, 0][..], end].concat();
            check(&SUBSCRIPTIONS, &bytes, 2, each);
        }
    }
}
