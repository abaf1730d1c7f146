//! Executes one item against its provider: ask the adapter for the next request, send it, append
//! the reply to the history, and repeat until there is an outcome. Recovery is the same loop,
//! started with another history.

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

fn outgoing(run: &WorkItem, request: Request) -> Outgoing {
    let from = run.from.clone();
    Outgoing { request, from }
}

/// The request without query, headers and body: all that classifying its reply needs.
fn head(request: &Request) -> Request {
    Request {
        path: request.path.clone(),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        ..*request
    }
}

/// Whether an item's next request may go now.
enum NextRequest {
    /// It may be sent.
    Now,
    /// Not before this time.
    At(Instant),
    /// Never: the journal has failed, so the item cannot be cleared.
    Over,
}

impl Lane {
    /// Executes an item until it has an outcome or has to wait.
    pub(in crate::engine) async fn converse(self: Arc<Self>, mut run: WorkItem) {
        let provider = providers::of(self.options.account.provider());
        // A lookup at another place proves nothing about a request that was sent to the old one.
        if self.is_elsewhere(&run) {
            let conclusion = work_item::place_changed(&run.command);
            return self.finish(run, conclusion).await;
        }
        loop {
            // The adapter needs this fact. It may cost a search of the journal, so it is asked
            // once.
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
            // A path with such an id could name another resource. Newer requests are rejected for
            // it, but this item was admitted before: neither the request nor a lookup can be sent.
            if !request.path.stays() {
                self.clean_up(&run, &task);
                let conclusion = work_item::strays(&run);
                return self.finish(run, conclusion).await;
            }
            // The last lookup came too early to decide an item that ends here, so it is repeated
            // later.
            if let Some(at) = self.looks_again_at(&mut run, &request) {
                return self.set_aside(run, at).await;
            }
            if request.safety == Safety::Once && self.ends_before(&run, &request) {
                // The item ends here, and the lookup before this request was believed: the earlier
                // request cannot act any more.
                self.acts_no_more(&mut run, &request);
            }
            if self.is_stopped(&run, &request) {
                let so_far = provider.progress(&self.task(&run), &run.history);
                let conclusion = work_item::stopped(&run, so_far);
                return self.finish(run, conclusion).await;
            }
            // The window is over. The adapter gets that as a request that was not sent, and
            // concludes.
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
                // Others may change the target in the meantime, so the lookup is repeated after the
                // wait.
                run.forget_last_look(&request);
                return self.set_aside(run, at).await;
            }
            if let Some(at) = self.wait_for(&mut run, &request) {
                return self.set_aside(run, at).await;
            }
            if run.pass.is_silent() {
                // Only a doubt is left to resolve, and its lookup takes its turn through flow
                // control like any request.
                return self.line_up_again(run);
            }
            if request.pace != Pace::AtOnce && self.shared.stopping.is_cancelled() {
                // A drain waits for requests under way, but not for settling times and other
                // pauses.
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

    /// What the provider adapter is given of an item.
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

    /// Whether a request that may still act was sent to another address, one that had proved to be
    /// the provider's. An address that never did has done nothing that a lookup could find.
    fn is_elsewhere(&self, run: &WorkItem) -> bool {
        run.doubt.as_deref().is_some_and(|doubt| {
            let is_other = doubt.place.is_some_and(|place| place != self.options.place);
            (doubt.may_act || doubt.accepted) && doubt.place_answered && is_other
        })
    }

    /// When the next request goes, if it waits for more than its turn; `None` if it may go now.
    fn wait_for(&self, run: &mut WorkItem, request: &Request) -> Option<Instant> {
        let now = Instant::now();
        run.looks_early = false;
        match request.pace {
            Pace::Settle => {
                self.may_show(run);
                let settling = run.belief.as_mut()?;
                let (at, is_believed) = settling.next_look(now);
                // Early lookups spend retry budget; the believed one goes as a first request.
                run.retries = !is_believed;
                run.looks_early = !is_believed;
                (at > now).then_some(at)
            }
            Pace::After(wait) => {
                let wait = (!std::mem::replace(&mut run.waited, true)).then_some(wait)?;
                run.rested = true;
                // An earlier request that may still act may be the very obstacle, so it is resolved
                // first.
                let settled = run.belief.as_ref().map(Belief::believed_at);
                let at = now + wait;
                Some(settled.map_or(at, |settled| at.max(settled)))
            }
            Pace::AtOnce if run.sends_again(request) => {
                run.retries = true;
                let rested = std::mem::replace(&mut run.rested, true);
                // The settling time was pause enough.
                let has_settled = run.belief.as_ref().is_some_and(|s| s.is_believed(now));
                (!rested && !has_settled).then(|| now + self.backoff(run.sends))
            }
            // A provider in trouble gets a pause before it is asked what became of a request.
            Pace::AtOnce if run.has_just_lost() && !std::mem::replace(&mut run.rested, true) => {
                Some(now + self.backoff(run.sends))
            }
            Pace::AtOnce => None,
        }
    }

    /// Waits until the journal has cleared the item and flow control allows its request.
    async fn let_through(&self, run: &mut WorkItem, request: &Request) -> NextRequest {
        let has_effect = request.safety != Safety::Look;
        self.acts_no_more(run, request);
        // An uncleared item sends no lookup either: the lookup is the start of its work.
        let is_asked = has_effect || run.waits_for_clearance();
        if is_asked && run.mode() == Mode::Cancel {
            let is_cleared = run.clearance == Clearance::Given;
            if !self.clear(run).await {
                return NextRequest::Over;
            }
            // A token allows a request now. Items that waited for one commit would otherwise hold
            // tokens from before and leave in one burst, so such an item takes a new one.
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

    /// Resolves the doubt when it is disproved. An adapter asks for a request with an effect only
    /// after a lookup found the earlier one without effect; if that lookup is believed, the earlier
    /// request cannot act any more.
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

    /// Sends a request and records its reply. Returns until when the item waits, if it has to.
    async fn exchange(&self, run: &mut WorkItem, request: Request) -> Option<Instant> {
        let provider = providers::of(self.options.account.provider());
        let (safety, operation) = (request.safety, request.operation);
        let asked = head(&request);
        // Taken before the request: both the belief and the credential count as of sending.
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
            // A believed lookup counts only if it was answered; an early one counts in any case.
            let told = !matches!(verdict, RetryDecision::Again { .. });
            if told || !is_believed {
                settling.looked(begun);
            }
            if !told && !is_believed {
                // An early lookup without an answer is not retried: the next planned one follows
                // anyway.
                return None;
            }
            // A few believed lookups that leave the doubt open end it, so only those count that the
            // provider answered itself.
            if is_believed
                && matches!(class, Class::Accepted | Class::Refused)
                && let Some(doubt) = &mut run.doubt
            {
                doubt.looks = doubt.looks.saturating_add(1);
            }
        }
        run.has_acted |= safety != Safety::Look && class == Class::Accepted;
        // The provider may have taken the request on, so it must not be repeated blindly.
        if safety == Safety::Once && !matches!(verdict, RetryDecision::Again { .. }) {
            run.sends = run.sends.saturating_add(1);
            run.rested = false;
            match class {
                _ if run.mode() == Mode::DryRun => {}
                Class::Accepted => run.accepted = Some((begun, now, self.facts().answered)),
                Class::Lost => self.may_act(run, begun, now),
                // A request that was believed lost may have caused this reply. Its effect shows
                // only after another settling time, so the doubt begins anew.
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
                // A lost try of a repeatable request. It goes into the history when the request
                // finishes, before the final reply.
                if let Some(unseen) = unseen {
                    run.unseen = Some(unseen);
                    if run.mode() == Mode::Cancel {
                        self.may_act(run, begun, now);
                    }
                }
                let at = self.try_again(run, safety, pause);
                // No retry fits into the window: the adapter concludes from this reply.
                if at.is_none() {
                    self.enter(run, exchange, safety);
                }
                at
            }
        }
    }

    /// Learns what a reply shows of the account, and reports it to flow control.
    fn hear_of(&self, run: &mut WorkItem, exchange: &Exchange, proof: u64, took: Duration) {
        let provider = providers::of(self.options.account.provider());
        let mut evidence = provider.evidence(&self.task(run), exchange);
        // The credential may have been replaced while the request was under way.
        evidence.proven &= proof == self.proof();
        self.learn(evidence);
        // After `learn`: this reply may be the first that proves the address to be the provider's.
        let heard = retry_policy::heard(exchange.class, self.facts().answered, took);
        self.heard(run, heard, &exchange.reply);
    }

    /// Handles a reply of an intermediary, such as a proxy. It counts as a lost reply once the
    /// address proves to be the provider's, because the provider may have got the request. That
    /// proof may come with a later reply.
    fn see_through(
        &self,
        run: &mut WorkItem,
        exchange: &mut Exchange,
        safety: Safety,
        sent: Instant,
        now: Moment,
    ) {
        // A lookup has no effect that could be lost.
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
            // The address has proved to be the provider's, so the blocked request may have reached
            // it. This reply came too early to show its effect.
            self.may_act(run, sent, now);
            exchange.seen.believed = false;
            // A repeatable request has no lookup to find its effect: its counts become lower
            // bounds.
            if safety == Safety::Repeatable {
                run.unseen.get_or_insert(fault);
            }
        }
    }

    /// Records that the reply to a request was lost: it may still act.
    fn may_act(&self, run: &mut WorkItem, sent: Instant, now: Moment) {
        let answered = self.facts().answered;
        run.may_act(sent, false, (&self.options, answered), now);
        self.settling(run, true);
    }

    /// Records that an accepted request does not show its effect yet: it may still act.
    fn may_show(&self, run: &mut WorkItem) {
        if let Some((sent, at, answered)) = run.accepted.take() {
            run.may_act(sent, true, (&self.options, answered), at);
            self.settling(run, true);
        }
    }

    /// Appends a finished exchange to an item's history, and compacts that.
    fn enter(&self, run: &mut WorkItem, exchange: Exchange, safety: Safety) {
        run.finished(exchange, safety);
        let mut history = std::mem::take(&mut run.history);
        let provider = providers::of(self.options.account.provider());
        provider.compact(&self.task(run), &mut history);
        run.history = history;
        run.weigh_history();
    }

    /// Counts lost replies, and replies of intermediaries.
    fn count(&self, exchange: &Exchange, safety: Safety) {
        let meters = self.options.egress.meters();
        let (class, reply) = (exchange.class, &exchange.reply);
        if class == Class::Lost && safety != Safety::Look {
            meters.lost_answers.inc();
        }
        // A server error or timeout is expected of any server; anything else that is not in the
        // provider's own form deserves the operator's attention.
        let is_whole = match reply {
            Reply::Answered(response) => !matches!(response.status, 408 | 425 | 500..),
            Reply::NotSent(_) | Reply::InDoubt(_) => false,
        };
        if is_whole && matches!(class, Class::Foreign | Class::Lost | Class::Unreadable) {
            meters.foreign_answers.inc();
        }
    }

    /// Delays an item, or ends it if it was stopped before anything was sent.
    async fn set_aside(&self, run: WorkItem, until: Instant) {
        if let Some(run) = self.park(run, until) {
            let conclusion = work_item::stopped(&run, None);
            self.finish(run, conclusion).await;
        }
    }

    /// When to retry; `None` if the retry window ends before. The window bounds requests with an
    /// effect: early lookups go on until one can be believed.
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

    /// Pauses the account as its provider asked. Returns the end of the pause.
    fn pause_as_asked(&self, run: &mut WorkItem, throttle: Throttle) -> Instant {
        let now = self.shared.clock.now();
        let wait = self.throttled(throttle, run.tries.saturating_add(1), now);
        let at = Instant::now() + wait;
        self.options.egress.meters().throttles.inc();
        run.retry_at = now.checked_add(wait).ok();
        self.pause(at);
        at
    }

    /// How long a throttling signal pauses the account. It takes precedence over the backoff, up to
    /// `THROTTLE_MS_MAX`; jitter of up to 100 ms spreads the return.
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

    /// Whether a stopped item ends at this request. It ends at its next effect: the fate of an
    /// earlier request is resolved first, because an adapter asks to send again only after a
    /// lookup.
    fn is_stopped(&self, run: &WorkItem, request: &Request) -> bool {
        run.mode() == Mode::Cancel
            && request.safety != Safety::Look
            && run.unseen.is_none()
            && run.stop.load(Ordering::Acquire)
    }

    /// Whether the item would end at this request, if that had an effect: it was stopped, or its
    /// window is over.
    fn ends_before(&self, run: &WorkItem, request: &Request) -> bool {
        self.is_stopped(run, request) || run.retry_until < self.shared.clock.now()
    }

    /// When to repeat the last lookup of an item that ends before its next effect; `None` if it
    /// need not. Such an item has to know the fate of its earlier request, and a lookup made while
    /// that may still act proves nothing.
    fn looks_again_at(&self, run: &mut WorkItem, request: &Request) -> Option<Instant> {
        let believed_at = run.belief.as_ref().map(Belief::believed_at)?;
        if request.safety != Safety::Once || !self.ends_before(run, request) {
            return None;
        }
        let now = Instant::now();
        // A lookup may have been sent before it could be believed and answered after that.
        let is_to_look = run
            .last_look(request)
            .is_some_and(|look| !look.seen.believed);
        if believed_at <= now && !is_to_look {
            return None;
        }
        run.forget_last_look(request);
        Some(believed_at.max(now))
    }

    /// Whether the window is over for this request. After it only lookups that resolve a doubt are
    /// sent: a believed lookup gets its turn, unless the account stays held.
    fn is_too_late(&self, run: &WorkItem, request: &Request) -> bool {
        let now = self.shared.clock.now();
        if run.retry_until >= now {
            return false;
        }
        // Nothing was sent before, so a lookup would resolve nothing.
        if request.safety != Safety::Look || run.history.is_empty() {
            return true;
        }
        match &run.belief {
            Some(settling) => self.is_given_up(settling.believed_at(), run.retry_until),
            // With the doubt resolved, an ordinary lookup still goes while the provider is there.
            None => !self.is_there(),
        }
    }

    /// Whether a believed lookup has waited too long for a held account and is given up: more
    /// than one timeout past both the end of the window and `believed_at`.
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

    /// Removes what a dry run may have left at the provider, such as a draft, once its requests
    /// cannot act any more. The result of the dry run does not wait for it.
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
            // A drain does it at once, if possible: after a restart the draft is unknown.
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

    /// Counts and logs a finished dry run, which the journal does not record.
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

    /// Hands the outcome over to be recorded, and frees the item's slot.
    pub(in crate::engine) async fn finish(&self, mut run: WorkItem, conclusion: Conclusion) {
        if !conclusion.is_final() {
            self.may_show(&mut run);
            // Sending the key again would only wait for the same pause or open breaker.
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
                // The channel closes only when the journal has failed, and then nothing is
                // published.
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
