//! The metrics of accounts, admissions and the journal.

use std::{fmt, sync::Arc};

use super::encoder::Encoder;
use crate::{
    audit::Usage,
    engine::{AccountSnapshot, Engine, EngineSnapshot},
    journal::Vitals,
};

pub(super) fn encode(page: &mut Encoder<'_>, engine: &Arc<Engine>) -> fmt::Result {
    let accounts: Vec<_> = engine.account_standings().collect();
    requests(page, &accounts)?;
    outcomes(page, &accounts)?;
    lanes(page, &accounts)?;
    admission(page, engine)?;
    audit(page, engine.audit())?;
    journal(
        page,
        &engine.journal().vitals(),
        engine.journal().failure().is_some(),
    )
}

fn whose<'a>(account: &AccountSnapshot<'a>) -> [(&'a str, &'a str); 2] {
    [
        ("account", account.account.name.as_str()),
        ("provider", account.account.provider().name()),
    ]
}

fn requests(page: &mut Encoder<'_>, accounts: &[AccountSnapshot<'_>]) -> fmt::Result {
    page.counter(
        "cancelot_provider_requests",
        "HTTP requests to a provider by what came of them: a class of statuses, not_sent, or in_doubt without an answer.",
        accounts.iter().flat_map(|account| {
            let [name, provider] = whose(account);
            let rows = account.meters.requests.iter();
            rows.map(move |(result, count)| ([name, provider, ("result", result.name())], count))
        }),
    )?;
    page.histogram(
        "cancelot_provider_request_seconds",
        "How long HTTP requests to a provider took, answered or not.",
        accounts
            .iter()
            .map(|a| (whose(a), a.meters.request_time.snapshot())),
    )?;
    page.counter(
        "cancelot_provider_throttles",
        "Answers by which a provider asked for a pause.",
        accounts
            .iter()
            .map(|a| (whose(a), a.meters.throttles.get())),
    )?;
    page.counter(
        "cancelot_lost_answers",
        "Requests with an effect whose answer was lost, so that nobody knows what became of them.",
        accounts
            .iter()
            .map(|a| (whose(a), a.meters.lost_answers.get())),
    )?;
    page.counter(
        "cancelot_foreign_answers",
        "Answers of something that is not the provider: a proxy, a firewall, a wrong address.",
        accounts
            .iter()
            .map(|a| (whose(a), a.meters.foreign_answers.get())),
    )?;
    page.gauge(
        "cancelot_account_unproven",
        "Whether an outcome has waited for the account to describe a subscription, and none has been described yet.",
        accounts
            .iter()
            .map(|a| (whose(a), u64::from(a.meters.unproven.get()))),
    )
}

fn outcomes(page: &mut Encoder<'_>, accounts: &[AccountSnapshot<'_>]) -> fmt::Result {
    page.counter(
        "cancelot_outcomes",
        "Recorded outcomes of cancellations.",
        accounts.iter().flat_map(|account| {
            let [name, provider] = whose(account);
            let rows = account.meters.outcomes.iter();
            rows.map(move |(outcome, count)| ([name, provider, ("outcome", outcome.name())], count))
        }),
    )?;
    page.counter(
        "cancelot_failures",
        "Recorded outcomes that are no success, by reason.",
        accounts.iter().flat_map(|account| {
            let [name, provider] = whose(account);
            let rows = account.meters.failures.iter();
            rows.map(move |(reason, count)| ([name, provider, ("reason", reason.name())], count))
        }),
    )?;
    page.histogram(
        "cancelot_settle_seconds",
        "From the admission of a cancellation, or its recovery, to its recorded outcome.",
        accounts
            .iter()
            .map(|a| (whose(a), a.meters.settle_time.snapshot())),
    )?;
    page.counter(
        "cancelot_dry_runs",
        "Dry runs that came to their end.",
        accounts.iter().map(|a| (whose(a), a.meters.dry_runs.get())),
    )
}

fn lanes(page: &mut Encoder<'_>, accounts: &[AccountSnapshot<'_>]) -> fmt::Result {
    page.gauge(
        "cancelot_waiting",
        "Open items that are not at work: first in line, retry in line after a failure, parked until a time, target behind another item of the same target.",
        accounts.iter().flat_map(|account| {
            let [name, provider] = whose(account);
            let waiting = account.waiting;
            [
                ("first", waiting.first),
                ("retry", waiting.retry),
                ("parked", waiting.parked),
                ("target", waiting.target),
            ]
            .map(|(line, count)| ([name, provider, ("line", line)], number(count)))
        }),
    )?;
    page.gauge(
        "cancelot_settling_items",
        "Open items of which a request with an effect may have acted or may still act: they wait for a look that can be believed.",
        accounts.iter().map(|a| (whose(a), number(a.settling))),
    )?;
    page.gauge(
        "cancelot_in_flight",
        "Conversations with a provider that are under way.",
        accounts.iter().map(|a| (whose(a), number(a.gate.inside))),
    )?;
    page.gauge(
        "cancelot_concurrency_limit",
        "How many conversations a provider is given at a time now.",
        accounts.iter().map(|a| (whose(a), number(a.gate.limit))),
    )?;
    page.gauge(
        "cancelot_breaker_open",
        "Whether a provider counts as away, so that only probes are sent.",
        accounts
            .iter()
            .map(|a| (whose(a), u64::from(a.gate.is_away))),
    )?;
    page.gauge(
        "cancelot_paused",
        "Whether a provider asked for a pause that is on.",
        accounts
            .iter()
            .map(|a| (whose(a), u64::from(a.gate.is_paused))),
    )?;
    page.counter(
        "cancelot_retry_budget_waits",
        "Times that retries had to begin to wait for the retry budget.",
        accounts.iter().map(|a| (whose(a), a.gate.retries_held)),
    )
}

fn admission(page: &mut Encoder<'_>, engine: &Engine) -> fmt::Result {
    let EngineSnapshot {
        open_items,
        open_bytes,
        results_held,
        scans,
        gets,
        open_batches,
        oldest_open,
    } = engine.standing();
    page.counter(
        "cancelot_refused_requests",
        "Requests that were not taken on, by reason.",
        engine
            .refusals()
            .iter()
            .map(|(why, count)| ([("reason", why.name())], count)),
    )?;
    for (name, help, [now, max]) in [
        ("cancelot_open_items", "Items that are open.", open_items),
        (
            "cancelot_open_bytes",
            "Memory that open items take, about.",
            open_bytes,
        ),
        (
            "cancelot_results_held",
            "Results that streams hold for their readers.",
            results_held,
        ),
        (
            "cancelot_scans",
            "Calls of ListCancellations that are answered or wait for their turn.",
            scans,
        ),
        (
            "cancelot_gets",
            "Calls of GetCancellation that are answered or wait for their turn.",
            gets,
        ),
    ] {
        page.gauge(name, help, [([], number(now))])?;
        let help = format!("The most of that before requests are refused: {help}");
        page.gauge(&format!("{name}_limit"), &help, [([], number(max))])?;
    }
    let callers = engine.open_items_of();
    page.gauge(
        "cancelot_caller_open_items",
        "Items of a caller that are open.",
        callers
            .iter()
            .map(|(caller, items)| ([("caller", caller.as_str())], number(*items))),
    )?;
    let callers = engine.scans_of();
    page.gauge(
        "cancelot_caller_scans",
        "Calls of ListCancellations of a caller that are answered or wait for their turn.",
        callers
            .iter()
            .map(|(caller, scans)| ([("caller", caller.as_str())], number(*scans))),
    )?;
    page.gauge(
        "cancelot_open_batches",
        "Batches with open items.",
        [([], number(open_batches))],
    )?;
    page.gauge(
        "cancelot_oldest_open_batch_seconds",
        "How long the oldest batch with open items has been open in this process.",
        [([], oldest_open.as_secs_f64())],
    )
}

fn journal(page: &mut Encoder<'_>, vitals: &Vitals, failed: bool) -> fmt::Result {
    page.histogram(
        "cancelot_journal_commit_seconds",
        "How long it took to make a group of changes durable.",
        [([], vitals.meters.commit_time.snapshot())],
    )?;
    page.histogram(
        "cancelot_journal_group_items",
        "Items that were admitted or settled by one durable write.",
        [([], vitals.meters.group_size.snapshot())],
    )?;
    page.gauge(
        "cancelot_journal_damaged_batches",
        "Settled batches that are put aside because their records cannot be read.",
        [([], vitals.meters.damaged.get())],
    )?;
    page.gauge(
        "cancelot_journal_disk_free_bytes",
        "Bytes that are free on the journal's disk.",
        vitals.free_bytes.map(|bytes| ([], bytes)),
    )?;
    page.gauge(
        "cancelot_journal_disk_reserve_bytes",
        "Bytes that have to be free for anything new to be admitted (journal.free_bytes_min).",
        [([], vitals.free_bytes_min)],
    )?;
    page.gauge(
        "cancelot_journal_file_bytes",
        "Bytes of the journal's database.",
        vitals.file_bytes.map(|bytes| ([], bytes)),
    )?;
    page.gauge(
        "cancelot_journal_compacting",
        "Whether the journal is giving disk space back.",
        [([], u64::from(vitals.is_compacting))],
    )?;
    page.gauge(
        "cancelot_audit_waiting_lines",
        "Lines that the audit has yet to write, beyond audit.lag_max of which requests are refused.",
        [([], vitals.audit.waiting)],
    )?;
    page.counter(
        "cancelot_audit_lines",
        "Lines of admissions, settlements and stops that the audit has written.",
        [([], vitals.audit.told)],
    )?;
    page.gauge(
        "cancelot_journal_failed",
        "Whether the journal has failed, after which the process ends.",
        [([], u64::from(failed))],
    )
}

fn audit(page: &mut Encoder<'_>, usage: &Usage) -> fmt::Result {
    page.gauge(
        "cancelot_audit_bytes",
        "Bytes of the audit's files.",
        [([], usage.bytes())],
    )?;
    page.gauge(
        "cancelot_audit_bytes_max",
        "Bytes of the audit's files beyond which callers with more than their share of them are refused (audit.bytes_max).",
        usage.bytes_max().map(|max| ([], max)),
    )?;
    let held = usage.held();
    page.gauge(
        "cancelot_caller_audit_bytes",
        "Bytes of the audit's lines of a caller.",
        held.iter()
            .map(|(caller, bytes)| ([("caller", caller.as_str())], *bytes)),
    )
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
