//! No value is larger than what sled keeps in the file that is synced, whatever is recorded.

use super::*;
use crate::{
    domain::{
        command::{Direction, Initiator, LineItem, Reason},
        money::{Amount, Currency},
        outcome::{Enrollment, EnrollmentsDetail},
    },
    journal::{
        directory::{JournalDir, Purpose},
        format::key::Span,
        store::table::Table,
    },
    limits,
};

/// The largest value in a directory's store, and whether sled put anything into files of its own.
fn measure(dir: &Path) -> (usize, bool) {
    let home = JournalDir::open(dir, 16 << 20, Purpose::Look).unwrap();
    let sizes = home
        .store
        .scan(Span::all())
        .map(|entry| entry.unwrap().1.len());
    let largest = sizes.max().unwrap();
    let has_blobs = std::fs::read_dir(home.marker.store.within(dir).join("blobs"))
        .unwrap()
        .next()
        .is_some();
    (largest, has_blobs)
}

#[track_caller]
fn check(admission: Admission, settled: &Arc<Settled>, settled_items: u32) {
    let mut bench = Bench::on_disk();
    let again = admission.clone();
    let batch = bench.admit(admission).batch;
    let ids = (0..settled_items).map(|index| id(batch, index));
    bench.settle_all(ids.map(|id| (id, settled)));
    bench.restart();
    let replayed = bench.admit(again);
    for item in replayed
        .items
        .iter()
        .take(usize::try_from(settled_items).unwrap())
    {
        match item {
            AdmittedItem::Settled {
                settled: replayed, ..
            } => assert_eq!(replayed, settled),
            other => panic!("{other:?}"),
        }
    }
    bench.journal = None;
    let Place::Disk(dir) = &bench.home else {
        panic!("it is on disk");
    };
    let (largest, has_blobs) = measure(dir.path());
    assert!(largest <= limits::STORE_VALUE_BYTES_MAX, "{largest}");
    assert!(
        largest > limits::STORE_VALUE_BYTES_MAX / 2,
        "{largest} tests nothing"
    );
    assert!(!has_blobs);
}

#[test]
fn the_largest_comments_and_line_items_fit() {
    // So that 10,000 of them make the largest request that the service reads.
    let longest = "\u{fc}".repeat(limits::TEXT_CHARS_MAX);
    // Six bytes each, in JSON.
    let escaped = "\u{1}".repeat(limits::TEXT_CHARS_MAX);
    let line_item = LineItem {
        direction: Direction::Credit,
        description: Some(escaped),
        unit_price: Amount::try_from("999999999999.999999".to_owned()).unwrap(),
        currency: Currency::try_from("EUR".to_owned()).unwrap(),
        quantity: limits::QUANTITY_MAX,
        period_start: Some(at(0)),
        period_end: Some(at(1)),
    };
    let slots = (0..10_000).map(|n| {
        let mut command = subscription(&format!("{n:0>255}"));
        command.reason = Some(Reason::BillingFailure);
        command.initiated_by = Some(Initiator::Customer);
        command.comment = Some(longest.clone());
        if n % 1_000 == 0 {
            command.line_items = vec![line_item.clone(); limits::LINE_ITEMS_MAX];
        }
        Slot::Item {
            key: Some(key(&format!("{n:k>255}"))),
            command: Arc::new(Command::Subscription(command)),
        }
    });
    let longest_key = "r".repeat(255);
    check(
        admission(&longest_key, slots),
        &settled(Outcome::Canceled),
        10_000,
    );
}

#[test]
fn targets_of_five_hundred_subscribers_fit() {
    let slots = (0..20).map(|n| {
        let subscribers = (0..limits::TARGET_VALUES_MAX).map(|s| format!("{n}-{s:ü>200}"));
        let subscribers = subscribers.map(|id| TargetId::try_from(id).unwrap());
        Slot::Item {
            key: None,
            command: Arc::new(Command::Enrollments(EnrollmentsCommand {
                account: AccountName::try_from("sequenzy").unwrap(),
                sequence_id: TargetId::try_from("seq").unwrap(),
                target: EnrollmentsTarget::Subscribers(subscribers.collect()),
                reason: None,
                matches_max: None,
            })),
        }
    });
    let enrollments = (0..limits::ENROLLMENTS_LISTED_MAX).map(|n| Enrollment {
        enrollment_id: format!("{n:e>100}"),
        subscriber_id: format!("{n:s>100}"),
        ..Enrollment::default()
    });
    let detail = EnrollmentsDetail {
        enrollments: enrollments.collect(),
        ..EnrollmentsDetail::default()
    };
    let mut large = Settled::clone(&settled(Outcome::Canceled));
    large.conclusion.detail = Detail::Enrollments(detail);
    check(admission("r", slots), &Arc::new(large), 20);
}

#[test]
fn the_largest_answers_fit_and_come_back_as_they_are() {
    // Random, so that compressing it gains little.
    let mut rng = fastrand::Rng::with_seed(7);
    let mut random = |length| -> String { (0..length).map(|_| rng.alphanumeric()).collect() };
    let filler = random(limits::ANSWER_BYTES_MAX - 40);
    let text: String = random(limits::ANSWER_BYTES_MAX / 2).replace('a', "\u{1}");
    for answer in [
        format!("{{ \"text\" :\n \"{filler}\\\"\" }}"),
        format!("{text}{text}"),
    ] {
        assert!(answer.len() > limits::ANSWER_BYTES_MAX * 9 / 10);
        let mut large = Settled::clone(&settled(Outcome::Rejected));
        large.conclusion.answer = Some(ProviderResponse::from_text(&answer));
        check(many("r", 40), &Arc::new(large), 40);
    }
}
