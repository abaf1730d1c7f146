//! The table of what lost answers cost.

use std::fmt::Write as _;

use crate::{Failure, latency::Times, throughput::median};

use super::seen::{Ended, Side};

/// The table, in Markdown.
pub(super) fn text(
    whole: &Side,
    lossy: &Side,
    batch_items: usize,
    provider_ms: u32,
    lost_every: u32,
) -> Result<String, Failure> {
    let mut text = String::new();
    writeln!(
        text,
        "\na provider that takes {provider_ms} ms, batches of {batch_items} that overlap, {} \
         rounds\n\n| | no answer lost | 1 in {lost_every} lost | ratio |\n|---|---|---|---|",
        whole.rates.len(),
    )?;
    let rates = [whole, lossy].map(|side| median(side.rates.iter().copied()));
    numbers(&mut text, "items a second, median of the rounds", rates, 0)?;
    let batches = [whole, lossy].map(|side| ms(&side.batches, 50) / 1_000.0);
    numbers(&mut text, "a batch until its last item, s, p50", batches, 2)?;
    for percent in [50, 99] {
        let name = format!("a single beside it, own answer not lost, ms, p{percent}");
        let singles = [whole, lossy].map(|side| ms(&side.answered, percent));
        numbers(&mut text, &name, singles, 1)?;
    }
    let sides = [whole, lossy];
    words(
        &mut text,
        "the same, own answer lost, ms, p50 and p99",
        sides.map(|side| lost(&side.lost)),
    )?;
    words(
        &mut text,
        "singles, own answer not lost and lost",
        sides.map(|side| format!("{}, {}", side.answered.count(), side.lost.count())),
    )?;
    let ended = sides.map(|side| &side.ended);
    words(
        &mut text,
        "ended CANCELED or SCHEDULED",
        ended.map(|ended| share(ended.done, ended)),
    )?;
    words(
        &mut text,
        "ended IN_DOUBT, anything else",
        ended.map(|ended| {
            let other = ended.items - ended.done - ended.in_doubt;
            format!("{}, {other}", ended.in_doubt)
        }),
    )?;
    words(
        &mut text,
        "took more than one request",
        ended.map(|ended| share(ended.lost, ended)),
    )?;
    Ok(text)
}

/// A row of two numbers and their ratio.
fn numbers(
    text: &mut String,
    name: &str,
    [whole, lossy]: [f64; 2],
    places: usize,
) -> Result<(), Failure> {
    let ratio = lossy / whole;
    Ok(writeln!(
        text,
        "| {name} | {whole:.places$} | {lossy:.places$} | {ratio:.2} |"
    )?)
}

/// A row that has no ratio.
fn words(text: &mut String, name: &str, [whole, lossy]: [String; 2]) -> Result<(), Failure> {
    Ok(writeln!(text, "| {name} | {whole} | {lossy} | |")?)
}

fn lost(times: &Times) -> String {
    if times.count() == 0 {
        return "none".to_owned();
    }
    format!("{:.0}, {:.0}", ms(times, 50), ms(times, 99))
}

/// So many of all items, and their share.
fn share(count: usize, of: &Ended) -> String {
    let float = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let percent = float(count) / float(of.items) * 100.0;
    format!("{count} of {} ({percent:.3} %)", of.items)
}

fn ms(times: &Times, percent: usize) -> f64 {
    times.percentile(percent).as_secs_f64() * 1_000.0
}
