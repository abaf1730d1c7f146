//! Weeks of traffic with a retention, and one peak: the disk stays within bounds, and gives back
//! what the peak took. The clock is a number, so a month takes minutes:
//!
//! `DAYS=60 RETENTION=30 ITEMS=2500 MIB=16 cargo test --lib journal::tests::month -- --nocapture`
//!
//! `ITEMS` is how many come each day; on the sixth, 50 times as many. `MIB` is the size of the file
//! below which it is left alone.

#![expect(
    clippy::print_stdout,
    reason = "figures and seeds are what it is run for"
)]

use futures_util::{StreamExt, stream};

use super::{
    compaction::{disk_bytes, noise, settle_down},
    *,
};

const DAY: i64 = 24 * 60 * 60;
const PEAK_DAY: i64 = 5;
const PEAK: u32 = 50;
/// Requests at a time.
const CALLERS: usize = 64;

#[test]
fn a_month_takes_no_more_disk_than_it_needs_and_a_peak_is_given_back() {
    let (days, retention) = (number("DAYS", 24), number("RETENTION", 8));
    let (items, mib) = (number("ITEMS", 400), number("MIB", 1));
    let days = i64::try_from(days).unwrap();
    let retention = i64::try_from(retention).unwrap();
    let items = u32::try_from(items).unwrap();
    let dir = TempDir::new().unwrap();
    let options = SledJournalOptions {
        compact_bytes_min: mib << 20,
        ..SledJournalOptions::new(dir.path())
    };
    let journal = SledJournal::open(&options).unwrap();
    println!("day       items   live bytes   disk bytes  most of day");
    let mut seen = Vec::new();
    for today in 0..days {
        let items = if today == PEAK_DAY {
            items * PEAK
        } else {
            items
        };
        let mut most = traffic(&journal, dir.path(), today, items);
        while wait(journal.purge(at((today - retention) * DAY), 100)).unwrap() > 0 {
            most = most.max(disk_bytes(dir.path()));
        }
        settle_down(&journal, dir.path());
        let (live, disk) = (journal.live_bytes(), disk_bytes(dir.path()));
        println!("{today:>3} {items:>11} {live:>12} {disk:>12} {most:>12}");
        seen.push((today, live, disk, most.max(disk)));
    }
    let slack = (mib << 20) + (4 << 20);
    for (today, live, disk, _) in &seen {
        assert!(*disk <= 4 * live + slack, "day {today}: {seen:?}");
    }
    let peak = seen.iter().map(|(.., most)| *most).max().unwrap();
    let after = seen
        .iter()
        .filter(|(today, ..)| *today > PEAK_DAY + retention + 1);
    let after = after.map(|(_, _, disk, _)| *disk).max().unwrap();
    assert!(2 * after < peak, "the peak is given back: {seen:?}");
}

/// A day's requests: a tenth of the items come alone, the others in batches of 500. Gives the most
/// disk that was seen.
fn traffic(journal: &SledJournal, dir: &Path, today: i64, items: u32) -> u64 {
    let alone = items / 10;
    let batches = (items - alone).div_ceil(500);
    let sizes = (0..alone).map(|_| 1).chain((0..batches).map(|_| 500));
    let work = stream::iter(sizes.enumerate()).map(|(n, size)| async move {
        let mut random = fastrand::Rng::with_seed(u64::try_from(n).unwrap());
        let slots = (0..size).map(|_| item(&noise(&mut random)));
        let name = format!("d{today}-{n}");
        let batch = journal.admit(admission(&name, slots)).await.unwrap().batch;
        let settlements = (0..size).map(|index| Settlement {
            id: id(batch, index),
            settled: settled_at(Outcome::Canceled, today * DAY),
        });
        journal
            .settle(settlements.collect::<Vec<_>>().into())
            .await
            .unwrap();
    });
    wait(
        work.buffer_unordered(CALLERS)
            .fold(0, |most, ()| async move { disk_bytes(dir).max(most) }),
    )
}
