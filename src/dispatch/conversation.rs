//! One item's conversation with its provider: ask the provider what to send, send it, enter what
//! came of it, until there is an outcome. Recovery is the same loop with another history.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{
    feed::Update,
    lane::Lane,
    run::{self, Origin, Run},
    settler::Handover,
    telling::Telling,
};
use crate::{
    domain::{
        exchange::{Fault, Reply, Request, Safety, Throttle},
        outcome::{Conclusion, Settled},
    },
    egress::{
        Outgoing,
        policy::{self, Verdict},
    },
    journal::Settlement,
    limits,
    providers::{self, Mode, Step, Task},
};

/// An item's request on its way out.
fn outgoing(run: &Run, request: Request) -> Outgoing {
    let from = run.from.clone();
    Outgoing { request, from }
}

impl Lane {
    /// Takes an item as far as it goes now: to its outcome, or to the next wait.
    pub(super) async fn converse(self: Arc<Self>, mut run: Run) {
        let provider = providers::of(self.options.account.provider());
        loop {
            let task = Task {
                account: &self.options.account,
                command: &run.command,
                effect_id: &run.effect_id,
                mode: run.mode(),
            };
            let request = match provider.next(&task, &run.history) {
                Step::Done(conclusion) => return self.finish(run, conclusion).await,
                Step::Send(request) => request,
            };
            let operation = request.operation;
            if self.is_stopped(&run, &request) {
                let conclusion = run::stopped(&run, provider.progress(&task, &run.history));
                return self.finish(run, conclusion).await;
            }
            if self.is_too_late(&run, &request) {
                let obstacle = self.obstacle(Instant::now());
                run.finished(operation, Reply::NotSent(Fault::window_ended(&obstacle)));
                continue;
            }
            if run.pass.is_silent() {
                // A doubt is left to settle, and a look waits for its turn like any request.
                return self.line_up_again(run);
            }
            if run.sends_again(&request) {
                run.retries = true;
                if !std::mem::replace(&mut run.rested, true) {
                    let wait = self.backoff(run.sends);
                    return self.set_aside(run, Instant::now() + wait).await;
                }
            }
            if !std::mem::take(&mut run.paid) {
                match self.follow(&mut run, Instant::now()) {
                    Ok(at) => sleep_until(at).await,
                    Err(until) => return self.set_aside(run, until).await,
                }
            }
            let safety = request.safety;
            let begun = Instant::now();
            let reply = self.options.egress.call(outgoing(&run, request)).await;
            run.attempts += u32::from(!matches!(reply, Reply::NotSent(_)));
            let verdict = policy::judge(provider, safety, &reply);
            self.heard(&mut run, policy::heard(&verdict, begun.elapsed()), &reply);
            run.retries = verdict != Verdict::Finished;
            if safety == Safety::Once && !matches!(verdict, Verdict::Again { .. }) {
                run.sends = run.sends.saturating_add(1);
                run.rested = false;
            }
            match verdict {
                Verdict::Finished => {
                    run.finished(operation, reply);
                    self.report_progress(&run);
                }
                Verdict::FinishedInDoubt => {
                    run.finished(operation, reply);
                    // Before the look, so that it finds what comes of the request with some delay.
                    run.rested = true;
                    let wait = self.backoff(run.sends);
                    return self.set_aside(run, Instant::now() + wait).await;
                }
                Verdict::Again { throttle, unseen } => {
                    run.unseen = unseen.or(run.unseen);
                    match self.try_again(&mut run, throttle) {
                        Some(at) => return self.set_aside(run, at).await,
                        None => run.finished(operation, reply),
                    }
                }
            }
        }
    }

    /// Goes on with an item later, unless it was stopped before anything was sent.
    async fn set_aside(&self, run: Run, until: Instant) {
        if let Some(run) = self.park(run, until) {
            let conclusion = run::stopped(&run, None);
            self.finish(run, conclusion).await;
        }
    }

    /// When to try again; `None` if the window ends before.
    fn try_again(&self, run: &mut Run, throttle: Option<Throttle>) -> Option<Instant> {
        run.tries = run.tries.saturating_add(1);
        let now = self.shared.clock.now();
        let wait = match throttle {
            Some(throttle) => self.throttled(throttle, run.tries, now),
            None => self.backoff(run.tries),
        };
        let at = Instant::now() + wait;
        if throttle.is_some() {
            self.options.egress.meters().throttles.inc();
            run.retry_at = now.checked_add(wait).ok();
            self.pause(at);
        }
        let in_time = now
            .checked_add(wait)
            .is_ok_and(|then| then <= run.retry_until);
        in_time.then_some(at)
    }

    /// How long a provider's signal makes everyone wait. The signal wins over our own backoff,
    /// within bounds, and nobody comes back at the very same moment.
    fn throttled(&self, throttle: Throttle, tries: u32, now: Timestamp) -> Duration {
        let asked = match throttle {
            Throttle::After(seconds) => Duration::from_secs(seconds),
            Throttle::Until(then) => {
                Duration::try_from(then.duration_since(now)).unwrap_or_default()
            }
            Throttle::Unsaid => self.backoff(tries).max(self.options.backoff.base),
        };
        let jitter = Duration::from_millis(self.shared.rng().u64(0..100));
        asked.min(Duration::from_millis(limits::THROTTLE_MS_MAX)) + jitter
    }

    fn backoff(&self, tries: u32) -> Duration {
        self.options.backoff.wait(tries, &mut self.shared.rng())
    }

    /// A stopped item ends when it would have its next effect. What was sent before is settled
    /// first: a provider only asks to send again after a look.
    fn is_stopped(&self, run: &Run, request: &Request) -> bool {
        run.mode() == Mode::Cancel
            && request.safety != Safety::Look
            && run.unseen.is_none()
            && run.stop.load(Ordering::Acquire)
    }

    /// After the window nothing is sent but what settles a doubt, and that only if there is
    /// somebody to ask.
    fn is_too_late(&self, run: &Run, request: &Request) -> bool {
        let settles_doubt = request.safety == Safety::Look && !run.history.is_empty();
        run.retry_until < self.shared.clock.now() && !(settles_doubt && self.is_there())
    }

    fn report_progress(&self, run: &Run) {
        let task = Task {
            account: &self.options.account,
            command: &run.command,
            effect_id: &run.effect_id,
            mode: run.mode(),
        };
        let provider = providers::of(self.options.account.provider());
        let Some(mut progress) = provider.progress(&task, &run.history) else {
            return;
        };
        run.count_on(&mut progress.detail, &mut progress.lost);
        match &run.origin {
            Origin::Recorded(id) => self.shared.live.progress(*id, &progress, run.attempts),
            Origin::Planned(feed, place) => {
                if let Some(feed) = feed.upgrade() {
                    feed.push([(
                        *place,
                        Update::Progress {
                            detail: progress.detail,
                            attempts: run.attempts,
                            lost: progress.lost,
                        },
                    )]);
                }
            }
        }
    }

    /// A dry run is over: nothing is recorded of it.
    fn told_of_plan(&self, run: &Run, index: u32, settled: &Settled) {
        self.options.egress.meters().dry_runs.inc();
        let conclusion = &settled.conclusion;
        tracing::info!(
            account = %self.options.account.name,
            provider = self.options.account.provider().name(),
            outcome = conclusion.outcome.name(),
            reason = conclusion.failure.as_ref().map(|failure| failure.reason.name()),
            index,
            attempts = settled.attempts,
            duration_ms = u64::try_from(run.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            request_id = run.from.id().map(tracing::field::display),
            "dry run finished"
        );
    }

    /// Hands the outcome over to be recorded and frees the item's place.
    pub(super) async fn finish(&self, mut run: Run, conclusion: Conclusion) {
        let settled = Arc::new(run.settle(conclusion, self.shared.clock.now()));
        match &run.origin {
            Origin::Recorded(id) => {
                let settlement = Settlement { id: *id, settled };
                let telling = Telling {
                    account: Arc::clone(&self.options.account),
                    meters: Arc::clone(self.options.egress.meters()),
                    from: run.from.clone(),
                    since: run.since,
                };
                let handover = Handover::Settle(settlement, Some(telling));
                // Only a failed journal closes the queue, and then nothing more is told.
                let _ = self.shared.settle.send(handover).await;
            }
            Origin::Planned(feed, place) => {
                self.told_of_plan(&run, *place, &settled);
                if let Some(feed) = feed.upgrade() {
                    feed.push([(
                        *place,
                        Update::Settled {
                            settled,
                            replayed: false,
                        },
                    )]);
                }
                self.shared.planned_one();
            }
        }
        self.release(&mut run);
    }
}
