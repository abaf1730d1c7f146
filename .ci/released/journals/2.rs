//! Makes the small journal that a later version has to open: `cargo run --example released DIR`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "it is run by hand, once")]

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use cancelot::{
    audit::{Follower, Options as AuditOptions, Sink},
    domain::{
        answer::Answer,
        command::{Command, SubscriptionCommand, When},
        doubt::Moment,
        ids::{AccountName, BatchId, CallerId, ItemId, Key, Kind, Scope, TargetId},
        outcome::{
            Conclusion, Detail, Failure, FailureReason, Outcome, Reached, Settled,
            SubscriptionDetail,
        },
    },
    journal::{
        Admission, Journal, Settlement, Slot,
        durable::{Options, SledJournal},
    },
    observe::Overseer,
};
use jiff::{SignedDuration, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn caller() -> CallerId {
    CallerId::try_from("billing").unwrap()
}

fn admission(key: &str, seconds: i64, slots: &[(Option<&str>, &str)]) -> Admission {
    let slots = slots.iter().map(|(own, target)| Slot::Item {
        key: own.map(|own| Key::try_from(own).unwrap()),
        command: Arc::new(Command::Subscription(SubscriptionCommand {
            account: AccountName::try_from("rebilly-eu").unwrap(),
            subscription_id: TargetId::try_from(*target).unwrap(),
            when: When::Now,
            reason: None,
            comment: None,
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        })),
    });
    let (caller, kind) = (caller(), Kind::Subscription);
    Admission {
        scope: Scope { caller, kind },
        key: Key::try_from(key).unwrap(),
        slots: slots.collect(),
        from: None,
        at: at(seconds),
        boot: None,
        // All of them may be sent from their admission on.
        clear: BTreeMap::from([(AccountName::try_from("rebilly-eu").unwrap(), 100)]),
        retry_until: at(seconds + 600),
        with_answers: true,
        quota: None,
        may_open: None,
    }
}

fn settled(outcome: Outcome, seconds: i64, failure: Option<(FailureReason, Reached)>) -> Settled {
    let detail = Detail::Subscription(SubscriptionDetail {
        effective_at: Some(at(seconds)),
        ..SubscriptionDetail::default()
    });
    let mut conclusion = match failure {
        None => Conclusion::success(outcome, detail),
        Some((reason, reached)) => Conclusion::failure(
            outcome,
            detail,
            Failure {
                reason,
                message: "the provider answered 503".to_owned(),
                reached,
                retry_at: None,
                provider: None,
            },
        ),
    };
    conclusion.answer = Some(Answer::from_text(r#"{"id": 12345678901234567890, "amount": 1.10}"#));
    Settled {
        conclusion,
        attempts: 2,
        settled_at: at(seconds),
        doubt: None,
    }
}

async fn settle(journal: &SledJournal, batch: BatchId, index: u32, settled: Settled) {
    let id = ItemId { batch, index };
    let settled = Arc::new(settled);
    journal.settle(vec![Settlement { id, settled }].into()).await.unwrap();
}

async fn fill(journal: &SledJournal) {
    let admit = |admission| async { journal.admit(admission).await.unwrap().batch };
    // Canceled, unavailable though it may have been reached, in doubt, not found, and open.
    let mixed = admit(admission(
        "mixed",
        0,
        &[(None, "sub-0"), (Some("own-1"), "sub-1"), (None, "sub-2"), (None, "sub-3"), (None, "sub-4")],
    ))
    .await;
    settle(journal, mixed, 0, settled(Outcome::Canceled, 10, None)).await;
    let lost = (FailureReason::ProviderError, Reached::Unknown);
    settle(journal, mixed, 1, settled(Outcome::Unavailable, 11, Some(lost))).await;
    settle(journal, mixed, 2, settled(Outcome::InDoubt, 12, Some(lost))).await;
    let no = (FailureReason::TargetNotFound, Reached::Yes);
    settle(journal, mixed, 3, settled(Outcome::NotFound, 13, Some(no))).await;
    // A batch that was stopped, one of its items stopped before it was sent.
    let stopped = admit(admission("stopped", 20, &[(None, "sub-5"), (None, "sub-6")])).await;
    journal.stop(stopped, caller(), at(25)).await.unwrap();
    let unsent = (FailureReason::Stopped, Reached::No);
    settle(journal, stopped, 0, settled(Outcome::Stopped, 26, Some(unsent))).await;
    // Two that had ended without a success and were taken up again: the first may have been sent.
    let again: &[_] = &[(None, "sub-7"), (None, "sub-8")];
    let batch = admit(admission("again", 30, again)).await;
    settle(journal, batch, 0, settled(Outcome::InDoubt, 31, Some(lost))).await;
    let unsent = (FailureReason::ProviderUnreachable, Reached::No);
    settle(journal, batch, 1, settled(Outcome::Unavailable, 32, Some(unsent))).await;
    admit(admission("again", 40, again)).await;
    // All settled.
    let done = admit(admission("done", 50, &[(None, "sub-9")])).await;
    settle(journal, done, 0, settled(Outcome::Scheduled, 55, None)).await;
}

fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let dir = Path::new(&dir);
    let options = Options {
        audit_lag_max: Some(u64::MAX),
        cache_bytes: 1 << 20,
        ..Options::new(dir)
    };
    let journal = SledJournal::open(&options).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = AuditOptions {
            dir: dir.join("audit"),
            retention: Duration::from_secs(1_000_000_000),
            now: Arc::new(|| at(60)),
            for_deletions: Arc::new(|| None),
            sink: Sink::default(),
            config: None,
        };
        let overseer = Overseer::default();
        let audit = Follower::start(journal.trail(), options, &overseer).await.unwrap();
        journal.begin(Moment::wall(at(-10))).await.unwrap();
        fill(&journal).await;
        audit.stop(Duration::from_secs(60)).await.unwrap();
    });
}
