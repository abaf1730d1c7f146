//! One item's conversation with its provider: ask the provider what to send, send it, enter what
//! came of it, until there is an outcome. Recovery is the same loop with another history.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{
    Lane,
    belief::Belief,
    work_item::{self, Clearance, Origin, WorkItem},
};
use crate::{
    domain::{
        doubt::Moment,
        http_exchange::{
            Class, Exchange, Fault, FaultKind, Pace, Reply, Request, Safety, Seen, Throttle,
        },
        outcome::{Conclusion, FailureReason, Settled},
    },
    egress::{
        Outgoing,
        retry_policy::{self, RetryDecision},
    },
    engine::results::{
        feed::Update,
        settlement_log::SettlementLog,
        settler::{Handover, ToSettle},
    },
    journal::Settlement,
    limits,
    providers::{self, Facts, Mode, Step, Task},
};

/// An item's request on its way out.
fn outgoing(run: &WorkItem, request: Request) -> Outgoing {
    let from = run.from.clone();
    Outgoing { request, from }
}

/// A request without what it carries: what an answer is judged by.
fn head(request: &Request) -> Request {
    Request {
        path: request.path.clone(),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        ..*request
    }
}

/// What comes of asking whether an item's next request may go now.
enum NextRequest {
    /// It goes.
    Now,
    /// Not before this time.
    At(Instant),
    /// Something else ended it.
    Over,
}

impl Lane {
    /// Takes an item as far as it goes now: to its outcome, or to the next wait.
    pub(in crate::engine) async fn converse(self: Arc<Self>, mut run: WorkItem) {
        let provider = providers::of(self.options.account.provider());
        if self.is_elsewhere(&run) {
            let conclusion = work_item::place_changed(&run.command);
            return self.finish(run, conclusion).await;
        }
        loop {
            if run.target_known.is_none() {
                let known = self.is_target_known(&run).await;
                run.target_known = Some(known);
            }
            let task = self.task(&run);
            let request = match provider.next(&task, &run.history) {
                Step::Done(conclusion) => {
                    self.clean_up(&run, &task);
                    return self.finish(run, conclusion).await;
                }
                Step::Send(request) => request,
            };
            // Admitted before such ids were refused: it cannot be sent, nor looked for.
            if !request.path.stays() {
                self.clean_up(&run, &task);
                let conclusion = work_item::strays(&run);
                return self.finish(run, conclusion).await;
            }
            if let Some(at) = self.looks_again_at(&mut run, &request) {
                return self.set_aside(run, at).await;
            }
            if request.safety == Safety::Once && self.ends_before(&run, &request) {
                // The look before this end was believed.
                self.acts_no_more(&mut run, &request);
            }
            if self.is_stopped(&run, &request) {
                let so_far = provider.progress(&self.task(&run), &run.history);
                let conclusion = work_item::stopped(&run, so_far);
                return self.finish(run, conclusion).await;
            }
            if self.is_too_late(&run, &request) {
                let obstacle = self.obstacle(Instant::now());
                let reply = Reply::NotSent(Fault::window_ended(&obstacle));
                let exchange = Exchange {
                    operation: Some(request.operation),
                    reply,
                    class: Class::Unsent,
                    seen: Seen::default(),
                };
                self.enter(&mut run, exchange, request.safety);
                continue;
            }
            if let Some(at) = self.waits_for_others(&run, &request) {
                // What others do meanwhile has to be looked for.
                run.forget_last_look(&request);
                return self.set_aside(run, at).await;
            }
            if let Some(at) = self.wait_for(&mut run, &request) {
                return self.set_aside(run, at).await;
            }
            if run.pass.is_silent() {
                // A doubt is left to settle, and a look waits for its turn like any request.
                return self.line_up_again(run);
            }
            if request.pace != Pace::AtOnce && self.shared.stopping.is_cancelled() {
                // A stop waits for what is under way, and not for what settles.
                return self.set_aside(run, Instant::now()).await;
            }
            match self.let_through(&mut run, &request).await {
                // It may have been stopped while it waited for its clearance or its token.
                NextRequest::Now if self.is_stopped(&run, &request) => continue,
                NextRequest::Now => {}
                NextRequest::At(until) => return self.set_aside(run, until).await,
                NextRequest::Over => return self.release(&mut run),
            }
            if let Some(until) = self.exchange(&mut run, request).await {
                return self.set_aside(run, until).await;
            }
        }
    }

    /// An item as its provider sees it.
    fn task<'a>(&'a self, run: &'a WorkItem) -> Task<'a> {
        Task {
            account: &self.options.account,
            command: &run.command,
            effect_id: &run.effect_id,
            mode: run.mode(),
            doubt: run.inherited.as_deref(),
            facts: Facts {
                target_known: run.target_known.unwrap_or_default(),
                ..self.facts()
            },
        }
    }

    /// Whether what may still act was sent to another place, which had proved to be the
    /// provider's. A place that never did has done nothing that could be looked for there.
    fn is_elsewhere(&self, run: &WorkItem) -> bool {
        run.doubt.as_deref().is_some_and(|doubt| {
            let is_other = doubt.place.is_some_and(|place| place != self.options.place);
            (doubt.may_act || doubt.accepted) && doubt.place_answered && is_other
        })
    }

    /// When the next request goes, if it is to wait for longer than its turn.
    fn wait_for(&self, run: &mut WorkItem, request: &Request) -> Option<Instant> {
        let now = Instant::now();
        run.looks_early = false;
        match request.pace {
            Pace::Settle => {
                self.may_show(run);
                let settling = run.belief.as_mut()?;
                let (at, is_believed) = settling.next_look(now);
                // Early looks cost no more than retries do; the one that decides has its turn.
                run.retries = !is_believed;
                run.looks_early = !is_believed;
                (at > now).then_some(at)
            }
            Pace::After(wait) => {
                let wait = (!std::mem::replace(&mut run.waited, true)).then_some(wait)?;
                run.rested = true;
                // A request that may still act may be what is in the way: it comes first.
                let settled = run.belief.as_ref().map(Belief::believed_at);
                let at = now + wait;
                Some(settled.map_or(at, |settled| at.max(settled)))
            }
            Pace::AtOnce if run.sends_again(request) => {
                run.retries = true;
                let rested = std::mem::replace(&mut run.rested, true);
                // Settling was rest enough.
                let has_settled = run.belief.as_ref().is_some_and(|s| s.is_believed(now));
                (!rested && !has_settled).then(|| now + self.backoff(run.sends))
            }
            // A provider in trouble deserves a pause before it is asked what it has done.
            Pace::AtOnce if run.has_just_lost() && !std::mem::replace(&mut run.rested, true) => {
                Some(now + self.backoff(run.sends))
            }
            Pace::AtOnce => None,
        }
    }

    /// Passes an item's next request through its clearance and the account's gate.
    async fn let_through(&self, run: &mut WorkItem, request: &Request) -> NextRequest {
        let has_effect = request.safety != Safety::Look;
        self.acts_no_more(run, request);
        // What is not cleared is not looked for either.
        let is_asked = has_effect || run.waits_for_clearance();
        if is_asked && run.mode() == Mode::Cancel {
            let is_cleared = run.clearance == Clearance::Given;
            if !self.clear(run).await {
                return NextRequest::Over;
            }
            // A token is for now: those that wait for one commit would all go at once.
            run.paid &= is_cleared;
        }
        if !std::mem::take(&mut run.paid) {
            match self.follow(run, Instant::now()) {
                Ok(at) => sleep_until(at).await,
                Err(until) => return NextRequest::At(until),
            }
        }
        NextRequest::Now
    }

    /// A provider that goes on to a request with an effect has been shown by a look that nothing
    /// was done of the one before. Once that is believed, it cannot act any more.
    fn acts_no_more(&self, run: &mut WorkItem, request: &Request) {
        let now = Instant::now();
        if request.safety != Safety::Look
            && run.mode() == Mode::Cancel
            && run.belief.as_ref().is_some_and(|s| s.is_believed(now))
        {
            run.cannot_act();
            self.settling(run, false);
        }
    }

    /// Sends a request and enters what came of it. Says until when the item waits, if it has to.
    async fn exchange(&self, run: &mut WorkItem, request: Request) -> Option<Instant> {
        let provider = providers::of(self.options.account.provider());
        let (safety, operation) = (request.safety, request.operation);
        let asked = head(&request);
        let (begun, proof) = (Instant::now(), self.proof());
        let is_believed = run.belief.as_ref().is_none_or(|s| s.is_believed(begun));
        let reply = self.options.egress.call(outgoing(run, request)).await;
        run.attempts += u32::from(!matches!(reply, Reply::NotSent(_)));
        let task = self.task(run);
        let class = provider.classify(&task, &asked, &reply);
        let verdict = retry_policy::judge(class, safety, &reply);
        let now = self.shared.clock.moment();
        let mut exchange = Exchange {
            operation: Some(operation),
            reply,
            class,
            seen: Seen {
                believed: is_believed,
                at: Some(now.at),
                since_earliest: run.since_earliest(&now),
            },
        };
        self.hear_of(run, &exchange, proof, begun.elapsed());
        run.retries = verdict != RetryDecision::Finished;
        let asked_pause = match &exchange.reply {
            Reply::Answered(response) => provider.throttle(response),
            Reply::NotSent(_) | Reply::InDoubt(_) => None,
        };
        let pause = asked_pause.map(|throttle| self.pause_as_asked(run, throttle));
        self.count(&exchange, safety);
        if run.mode() == Mode::Cancel {
            self.see_through(run, &mut exchange, safety, begun, now);
        }
        let is_believed = exchange.seen.believed;
        if asked.pace == Pace::Settle
            && let Some(settling) = &mut run.belief
        {
            let told = !matches!(verdict, RetryDecision::Again { .. });
            if told || !is_believed {
                settling.looked(begun);
            }
            if !told && !is_believed {
                // It told nothing, and the next one comes anyway.
                return None;
            }
            if is_believed
                && matches!(class, Class::Accepted | Class::Refused)
                && let Some(doubt) = &mut run.doubt
            {
                doubt.looks = doubt.looks.saturating_add(1);
            }
        }
        run.has_acted |= safety != Safety::Look && class == Class::Accepted;
        if safety == Safety::Once && !matches!(verdict, RetryDecision::Again { .. }) {
            run.sends = run.sends.saturating_add(1);
            run.rested = false;
            match class {
                _ if run.mode() == Mode::DryRun => {}
                Class::Accepted => run.accepted = Some((begun, now, self.facts().answered)),
                Class::Lost => self.may_act(run, begun, now),
                // An earlier one that was believed to be lost may be why: what it did shows when
                // looks have had their time again.
                Class::Refused | Class::Undocumented | Class::Busy
                    if run.doubt.is_some() && provider.form().is_sent_once() =>
                {
                    self.may_act(run, begun, now);
                }
                _ => {}
            }
        }
        match verdict {
            RetryDecision::Finished | RetryDecision::FinishedInDoubt => {
                self.enter(run, exchange, safety);
                self.report_progress(run);
                None
            }
            RetryDecision::Again { unseen } => {
                if let Some(unseen) = unseen {
                    run.unseen = Some(unseen);
                    if run.mode() == Mode::Cancel {
                        self.may_act(run, begun, now);
                    }
                }
                let at = self.try_again(run, safety, pause);
                if at.is_none() {
                    self.enter(run, exchange, safety);
                }
                at
            }
        }
    }

    /// Learns what an answer shows of the account, and has its gate hear of it.
    fn hear_of(&self, run: &mut WorkItem, exchange: &Exchange, proof: u64, took: Duration) {
        let provider = providers::of(self.options.account.provider());
        let mut evidence = provider.evidence(&self.task(run), exchange);
        // The credential may have been replaced while the answer was on its way.
        evidence.proven &= proof == self.proof();
        self.learn(evidence);
        // Not before: this answer may be the first one of the provider's own.
        let heard = retry_policy::heard(exchange.class, self.facts().answered, took);
        self.heard(run, heard, &exchange.reply);
    }

    /// What something in between answered was a lost answer if the place is the provider's, which
    /// may show later.
    fn see_through(
        &self,
        run: &mut WorkItem,
        exchange: &mut Exchange,
        safety: Safety,
        sent: Instant,
        now: Moment,
    ) {
        if exchange.class == Class::Foreign && safety != Safety::Look {
            if let Reply::Answered(response) = &exchange.reply
                && !providers::is_not_passed_on(response)
            {
                let message = format!("something in between answered {}", response.status);
                let kind = FaultKind::Broken;
                run.blocked = Some((sent, Fault { kind, message }));
            }
        } else if self.facts().answered
            && let Some((sent, fault)) = run.blocked.take()
        {
            self.may_act(run, sent, now);
            exchange.seen.believed = false;
            // What is repeated has no look that tells: its counts are lower bounds.
            if safety == Safety::Repeatable {
                run.unseen.get_or_insert(fault);
            }
        }
    }

    /// The answer to a request is lost: it may still act.
    fn may_act(&self, run: &mut WorkItem, sent: Instant, now: Moment) {
        let answered = self.facts().answered;
        run.may_act(sent, false, (&self.options, answered), now);
        self.settling(run, true);
    }

    /// What a request was accepted for does not show: it may still come.
    fn may_show(&self, run: &mut WorkItem) {
        if let Some((sent, at, answered)) = run.accepted.take() {
            run.may_act(sent, true, (&self.options, answered), at);
            self.settling(run, true);
        }
    }

    /// Enters a finished exchange into an item's history, and keeps that small.
    fn enter(&self, run: &mut WorkItem, exchange: Exchange, safety: Safety) {
        run.finished(exchange, safety);
        let mut history = std::mem::take(&mut run.history);
        let provider = providers::of(self.options.account.provider());
        provider.compact(&self.task(run), &mut history);
        run.history = history;
        run.weigh_history();
    }

    /// Counts answers that were lost, and those of something in between.
    fn count(&self, exchange: &Exchange, safety: Safety) {
        let meters = self.options.egress.meters();
        let (class, reply) = (exchange.class, &exchange.reply);
        if class == Class::Lost && safety != Safety::Look {
            meters.lost_answers.inc();
        }
        let is_whole = match reply {
            Reply::Answered(response) => !matches!(response.status, 408 | 425 | 500..),
            Reply::NotSent(_) | Reply::InDoubt(_) => false,
        };
        if is_whole && matches!(class, Class::Foreign | Class::Lost | Class::Unreadable) {
            meters.foreign_answers.inc();
        }
    }

    /// Goes on with an item later, unless it was stopped before anything was sent.
    async fn set_aside(&self, run: WorkItem, until: Instant) {
        if let Some(run) = self.park(run, until) {
            let conclusion = work_item::stopped(&run, None);
            self.finish(run, conclusion).await;
        }
    }

    /// When to try again; `None` if the window ends before. The window bounds what has an effect: a
    /// look goes on until it can be believed.
    fn try_again(
        &self,
        run: &mut WorkItem,
        safety: Safety,
        pause: Option<Instant>,
    ) -> Option<Instant> {
        run.tries = run.tries.saturating_add(1);
        let at = pause.unwrap_or_else(|| Instant::now() + self.backoff(run.tries));
        let wait = at.saturating_duration_since(Instant::now());
        let then = self.shared.clock.now().checked_add(wait);
        let is_in_time = then.is_ok_and(|then| then <= run.retry_until);
        let belief = run.belief.as_ref();
        let is_early = belief.is_some_and(|belief| !belief.is_believed(Instant::now()));
        (is_in_time || (is_early && safety == Safety::Look)).then_some(at)
    }

    /// Pauses the account as its provider asked; says until when.
    fn pause_as_asked(&self, run: &mut WorkItem, throttle: Throttle) -> Instant {
        let now = self.shared.clock.now();
        let wait = self.throttled(throttle, run.tries.saturating_add(1), now);
        let at = Instant::now() + wait;
        self.options.egress.meters().throttles.inc();
        run.retry_at = now.checked_add(wait).ok();
        self.pause(at);
        at
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
    fn is_stopped(&self, run: &WorkItem, request: &Request) -> bool {
        run.mode() == Mode::Cancel
            && request.safety != Safety::Look
            && run.unseen.is_none()
            && run.stop.load(Ordering::Acquire)
    }

    /// Whether an item ends before this request, if that has an effect: it was stopped, or its
    /// window is over.
    fn ends_before(&self, run: &WorkItem, request: &Request) -> bool {
        self.is_stopped(run, request) || run.retry_until < self.shared.clock.now()
    }

    /// An item that would end before its next effect has to know what became of the one before:
    /// what a look found while that may still act proves nothing. Says when to look again.
    fn looks_again_at(&self, run: &mut WorkItem, request: &Request) -> Option<Instant> {
        let believed_at = run.belief.as_ref().map(Belief::believed_at)?;
        if request.safety != Safety::Once || !self.ends_before(run, request) {
            return None;
        }
        let now = Instant::now();
        // A look may have been sent before belief and answered after it.
        let is_to_look = run
            .last_look(request)
            .is_some_and(|look| !look.seen.believed);
        if believed_at <= now && !is_to_look {
            return None;
        }
        run.forget_last_look(request);
        Some(believed_at.max(now))
    }

    /// After the window nothing is sent but what settles a doubt. A look that can be believed has
    /// its turn then, unless the provider is away or asked for a pause.
    fn is_too_late(&self, run: &WorkItem, request: &Request) -> bool {
        let now = self.shared.clock.now();
        if run.retry_until >= now {
            return false;
        }
        if request.safety != Safety::Look || run.history.is_empty() {
            return true;
        }
        match &run.belief {
            Some(settling) => self.is_given_up(settling.believed_at(), run.retry_until),
            None => !self.is_there(),
        }
    }

    /// Whether a look that can be believed has waited so long for its provider that it gets no
    /// turn any more: a timeout longer than to the window's end and to belief.
    pub(in crate::engine) fn is_given_up(
        &self,
        believed_at: Instant,
        retry_until: Timestamp,
    ) -> bool {
        let patience = self.options.timeout;
        let window = retry_until.checked_add(patience).unwrap_or(Timestamp::MAX);
        Instant::now() > believed_at + patience
            && self.shared.clock.now() > window
            && self.is_held()
    }

    /// Has what a dry run may have left behind removed, once nothing of it can act any more. Its
    /// answer does not wait.
    fn clean_up(self: &Arc<Self>, run: &WorkItem, task: &Task<'_>) {
        let provider = providers::of(self.options.account.provider());
        if run.mode() != Mode::DryRun {
            return;
        }
        let Some(request) = provider.clean_up(task, &run.history) else {
            return;
        };
        let wait = self.options.timeout.max(self.options.settling);
        let lane = Arc::clone(self);
        let asked = head(&request);
        let (command, effect_id) = (Arc::clone(&run.command), run.effect_id.clone());
        let outgoing = outgoing(run, request);
        let work = async move {
            // A process that stops does it at once, if it can: later nobody would.
            let stopping = lane.shared.stopping.cancelled();
            let _ = tokio::time::timeout(wait, stopping).await;
            let Some(mut pass) = lane.enter_alone().await else {
                return;
            };
            let begun = Instant::now();
            let reply = lane.options.egress.call(outgoing).await;
            let task = Task {
                account: &lane.options.account,
                command: &command,
                effect_id: &effect_id,
                mode: Mode::DryRun,
                doubt: None,
                facts: lane.facts(),
            };
            let class = provider.classify(&task, &asked, &reply);
            let heard = retry_policy::heard(class, task.facts.answered, begun.elapsed());
            lane.heard_of(&mut pass, heard, &reply);
            if let Reply::Answered(response) = &reply
                && let Some(throttle) = provider.throttle(response)
            {
                let wait = lane.throttled(throttle, 1, lane.shared.clock.now());
                lane.pause(Instant::now() + wait);
            }
            lane.leave(pass);
        };
        let cut = self.shared.cut.clone();
        let work = cut.run_until_cancelled_owned(work);
        self.shared
            .tasks
            .spawn(self.shared.overseer.watched("end of a draft", work));
    }

    fn report_progress(&self, run: &WorkItem) {
        let task = self.task(run);
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
    fn told_of_plan(&self, run: &WorkItem, index: u32, settled: &Settled) {
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
    pub(in crate::engine) async fn finish(&self, mut run: WorkItem, conclusion: Conclusion) {
        if !conclusion.is_final() {
            self.may_show(&mut run);
            // What holds the account would hold the same key too.
            run.retry_at = run.retry_at.max(self.held_until());
        }
        self.settles_no_more(&run);
        let reason = conclusion.failure.as_ref().map(|failure| failure.reason);
        if reason == Some(FailureReason::AccountUnproven) {
            self.options.egress.meters().unproven.set(true);
        }
        let settled = Arc::new(run.settle(conclusion, self.shared.clock.now()));
        if let Some(reserved) = &run.reserved {
            reserved.settle(&run.command, &settled.conclusion);
        }
        match &run.origin {
            Origin::Recorded(id) => {
                let settlement = Settlement { id: *id, settled };
                let telling = SettlementLog {
                    account: Arc::clone(&self.options.account),
                    meters: Arc::clone(self.options.egress.meters()),
                    from: run.from.clone(),
                    names: Arc::clone(&self.shared.names),
                    since: run.since,
                };
                let handover = Handover::Settle(Box::new(ToSettle {
                    target: self.doubtful_target(&run),
                    account: self.take_learned(),
                    settlement,
                    telling: Some(telling),
                    place: run.place.split(1),
                }));
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
            }
        }
        self.release(&mut run);
    }
}
