//! Checks what clients see against the disk and against what they sent.

use std::time::Duration;

use crate::{
    domain::outcome::{Outcome, Settled},
    engine::{SubmitError, Ticket},
    journal::Conflict,
    providers::Mode,
    simulation::world::World,
};

impl World {
    /// A client sends a request.
    pub(in crate::simulation) fn submitted(&self, request: usize) -> Duration {
        let mut state = self.state();
        let asked = &self.plan.requests[request];
        if !state.model.submitted.insert(request) {
            state.met("sent again");
        }
        for (key, _) in asked.recorded() {
            *state
                .model
                .sent
                .entry((asked.scope.clone(), key))
                .or_default() += 1;
        }
        state.trace(format_args!("client sends request {request} {}", asked.key));
        state.now()
    }

    /// The service acknowledges a request.
    pub(in crate::simulation) fn taken_on(&self, request: usize, ticket: &Ticket) {
        let mut state = self.state();
        let asked = &self.plan.requests[request];
        if let Some(batch) = ticket.batch {
            state.model.batches.insert(request, batch);
        }
        for (key, item) in asked.recorded() {
            let by = (asked.scope.clone(), key);
            let id = state.model.by_key.get(&by).copied();
            let found = id.and_then(|id| state.model.items.get_mut(&id));
            match found {
                Some(found) if found.command == item.command => found.known = true,
                Some(_) => state.broken("one key, one meaning", &by.1),
                None => state.broken("admitted means on the disk", &by.1),
            }
        }
    }

    /// The service rejects a request.
    pub(in crate::simulation) fn refused(&self, request: usize, why: &SubmitError) {
        let mut state = self.state();
        state.trace(format_args!("client is refused {request}: {why}"));
        match why {
            SubmitError::Conflict(conflicts) => {
                state.met("a conflict");
                let asked = &self.plan.requests[request];
                let mut others = state.model.submitted.iter();
                if !others.any(|other| self.plan.requests[*other].contradicts(asked)) {
                    let keys: Vec<&Conflict> = conflicts.iter().collect();
                    state.broken("a conflict has two sides", format_args!("{keys:?}"));
                }
            }
            SubmitError::Full(_) => {
                state.met("full");
                if self.plan.open_items_max >= 1_000 {
                    state.broken("a service with room takes requests", why);
                }
            }
            SubmitError::NoRoom(_)
            | SubmitError::OverQuota(_)
            | SubmitError::Behind(_)
            | SubmitError::Overfull(_)
            | SubmitError::Oversized(_) => {
                state.broken("a service with room takes requests", why);
            }
            SubmitError::Draining => state.met("draining"),
            SubmitError::Unavailable(_) => state.met("unavailable"),
            SubmitError::Damaged(_) => state.broken("every record can be read", why),
        }
    }

    /// A client gets an outcome.
    pub(in crate::simulation) fn told(
        &self,
        request: usize,
        place: usize,
        settled: &Settled,
        replayed: bool,
        submitted_at: Duration,
    ) {
        let mut state = self.state();
        let asked = &self.plan.requests[request];
        let item = &asked.items[place];
        let key = asked.key_at(place);
        let outcome = settled.conclusion.outcome;
        state.trace(format_args!(
            "told {request}/{place} {outcome:?} replayed {replayed}"
        ));
        if item.mode == Mode::DryRun {
            let never = [
                Outcome::Canceled,
                Outcome::Scheduled,
                Outcome::InDoubt,
                Outcome::Stopped,
            ];
            state.met("a dry run");
            if replayed || never.contains(&outcome) {
                state.broken("a dry run changes nothing", format_args!("{outcome:?}"));
            }
            return;
        }
        let recorded = state.model.of_key(&asked.scope, &key);
        let mut on_disk = recorded.into_iter().flat_map(|item| &item.settled);
        let on_disk = on_disk.find(|(on_disk, _)| {
            (
                on_disk.conclusion.outcome,
                on_disk.settled_at,
                on_disk.attempts,
            ) == (outcome, settled.settled_at, settled.attempts)
        });
        let Some((_, since)) = on_disk else {
            state.broken(
                "nothing is told that is not on the disk",
                format_args!("{key} {outcome:?}"),
            );
            return;
        };
        let was_there = *since < submitted_at;
        let is_final = settled.conclusion.is_final();
        let sent = state.model.sent.get(&(asked.scope.clone(), key.clone()));
        let sent = sent.copied().unwrap_or_default();
        if replayed {
            state.met("replayed");
        }
        if replayed && sent < 2 {
            state.broken("only what was sent before is replayed", &key);
        }
        if was_there && is_final && !replayed {
            state.broken("a replay is marked", &key);
        }
        if was_there && !is_final {
            state.broken(
                "what is not final is taken up again",
                format_args!("{key} {outcome:?}"),
            );
        }
    }
}
