//! A bounded whole that callers share: memory, places. What is taken of it is given back when what
//! it is for is gone.
//!
//! A part of it is kept for each caller, so that no other can take it. The rest goes to whoever
//! asks, but while a caller finds no room who has less than a fair share, those who have more get
//! nothing: what they give back goes to that one. The fair shares are max-min: nobody's share can
//! grow but at the cost of one that is no larger.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::ids::CallerId;

/// The callers that share a whole, each with the most that it may take; `None` is no bound of its
/// own.
#[derive(Debug, Clone, Default)]
pub struct Members(BTreeMap<CallerId, Option<usize>>);

impl Members {
    /// The same callers without bounds of their own.
    #[must_use]
    pub fn unbounded(&self) -> Self {
        Self(self.0.keys().map(|name| (name.clone(), None)).collect())
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = CallerId> {
        self.0.keys().cloned()
    }

    /// What of a whole of this size is kept for each: half of the whole in equal parts. One who
    /// shares with nobody needs nothing kept.
    fn reserve(&self, max: usize) -> usize {
        match self.0.len() {
            0 | 1 => 0,
            members => max / 2 / members,
        }
    }
}

impl FromIterator<(CallerId, Option<usize>)> for Members {
    fn from_iter<T: IntoIterator<Item = (CallerId, Option<usize>)>>(members: T) -> Self {
        Self(members.into_iter().collect())
    }
}

/// How long a caller who found no room is waited for. Clients come back sooner.
const HUNGER: Duration = Duration::from_secs(60);

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareRefused {
    /// The caller has so much and may not have more than this by its own bound.
    Own {
        /// What it has.
        held: usize,
        /// What it may have.
        max: usize,
    },
    /// The caller has so much, and the rest is others' or kept for them.
    Whole {
        /// What it has.
        held: usize,
    },
}

/// A bounded whole, in whatever unit its owner counts. Clones are of the same whole.
#[derive(Debug, Clone)]
pub struct SharedBudget {
    whole: Arc<Mutex<BudgetTotal>>,
    max: usize,
}

#[derive(Debug)]
struct BudgetTotal {
    max: usize,
    taken: usize,
    parts: Vec<MemberPart>,
    /// Where each caller's is.
    places: BTreeMap<CallerId, usize>,
}

/// One caller's.
#[derive(Debug, Default)]
struct MemberPart {
    held: usize,
    max: Option<usize>,
    /// What is kept for it.
    reserve: usize,
    /// It found no room, and is waited for until then.
    hungry_until: Option<Instant>,
}

impl MemberPart {
    fn is_hungry(&self, now: Instant) -> bool {
        self.hungry_until.is_some_and(|until| now < until)
    }

    fn kept(&self) -> usize {
        self.reserve.saturating_sub(self.held)
    }
}

impl BudgetTotal {
    /// The place of a caller's part. One who is no member has nothing kept.
    fn place(&mut self, caller: &CallerId) -> usize {
        if let Some(place) = self.places.get(caller) {
            return *place;
        }
        self.parts.push(MemberPart::default());
        let place = self.parts.len() - 1;
        self.places.insert(caller.clone(), place);
        place
    }

    /// Whether a part may grow.
    fn check(&self, place: usize, by: usize, now: Instant) -> Result<(), ShareRefused> {
        let Some(part) = self.parts.get(place) else {
            return Ok(());
        };
        let held = part.held;
        let grown = held.saturating_add(by);
        if let Some(max) = part.max.filter(|max| grown > *max) {
            return Err(ShareRefused::Own { held, max });
        }
        let others = || {
            let parts = self.parts.iter().enumerate();
            parts.filter_map(|(of, part)| (of != place).then_some(part))
        };
        let kept = others().fold(0_usize, |kept, part| kept.saturating_add(part.kept()));
        let sum = self.taken.saturating_add(by).saturating_add(kept);
        if sum > self.max {
            return Err(ShareRefused::Whole { held });
        }
        if grown > part.reserve && others().any(|part| part.is_hungry(now)) {
            let level = self.level(place, now);
            let is_behind = |part: &MemberPart| part.is_hungry(now) && part.held < level;
            // One request may go beyond it: two that are each larger than a fair share would keep
            // each other out for ever.
            if held >= level && others().any(is_behind) {
                return Err(ShareRefused::Whole { held });
            }
        }
        Ok(())
    }

    /// The fair share of those who want more than they have: this caller, and all who found no
    /// room. Those who want less leave the rest to them.
    fn level(&self, place: usize, now: Instant) -> usize {
        let wants_more = |of: usize, part: &MemberPart| of == place || part.is_hungry(now);
        let mut content: Vec<usize> = Vec::new();
        let mut sharers = 0;
        for (of, part) in self.parts.iter().enumerate() {
            if wants_more(of, part) {
                sharers += 1;
            } else {
                content.push(part.held.max(part.reserve));
            }
        }
        content.sort_unstable();
        let mut left = self.max;
        let mut waiting = content.len() + sharers;
        for held in content {
            // Who is content with less than an equal part has all that it wants.
            if held.saturating_mul(waiting) > left {
                break;
            }
            left -= held;
            waiting -= 1;
        }
        left / waiting.max(1)
    }
}

impl SharedBudget {
    /// A whole of this size that nobody has to leave anything of.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::shared(max, &Members::default())
    }

    /// A whole of this size that these callers share.
    #[must_use]
    pub fn shared(max: usize, members: &Members) -> Self {
        let reserve = members.reserve(max);
        let parts = members.0.values().map(|own| MemberPart {
            max: *own,
            reserve: own.map_or(reserve, |own| own.min(reserve)),
            ..MemberPart::default()
        });
        let whole = BudgetTotal {
            max,
            taken: 0,
            parts: parts.collect(),
            places: members.0.keys().cloned().zip(0..).collect(),
        };
        Self {
            whole: Arc::new(Mutex::new(whole)),
            max,
        }
    }

    /// Has these callers share it from now on, in place of those before. What is taken stays taken;
    /// for who is not among them nothing is kept any more.
    pub fn share_anew(&self, members: &Members) {
        let reserve = members.reserve(self.max);
        let mut whole = self.whole();
        for part in &mut whole.parts {
            (part.max, part.reserve) = (None, 0);
        }
        for (caller, own) in &members.0 {
            let place = whole.place(caller);
            if let Some(part) = whole.parts.get_mut(place) {
                part.max = *own;
                part.reserve = own.map_or(reserve, |own| own.min(reserve));
            }
        }
    }

    fn whole(&self) -> MutexGuard<'_, BudgetTotal> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How large the whole is.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// How much of it is taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.whole().taken
    }

    /// What each caller has of it who has or had any.
    #[must_use]
    pub fn held(&self) -> Vec<(CallerId, usize)> {
        let whole = self.whole();
        let parts = whole.places.iter().filter_map(|(caller, place)| {
            let part = whole.parts.get(*place)?;
            Some((caller.clone(), part.held))
        });
        parts.collect()
    }

    /// The most that a caller can have of it, when nobody else has anything.
    #[must_use]
    pub fn most(&self, caller: &CallerId) -> usize {
        let mut whole = self.whole();
        let place = whole.place(caller);
        let others = whole.parts.iter().enumerate();
        let others = others.filter_map(|(of, part)| (of != place).then_some(part.reserve));
        let most = self.max.saturating_sub(others.sum());
        let own = whole.parts.get(place).and_then(|part| part.max);
        own.map_or(most, |own| own.min(most))
    }

    /// A share of it for a caller.
    ///
    /// # Errors
    /// If so much is not left for that caller.
    pub fn take(&self, caller: &CallerId, amount: usize) -> Result<Reservation, ShareRefused> {
        let mut share = self.force(caller, 0);
        share.grow(amount)?;
        Ok(share)
    }

    /// A share of it, even if so much is not left: for what cannot be refused any more.
    #[must_use]
    pub fn force(&self, caller: &CallerId, amount: usize) -> Reservation {
        let place = self.whole().place(caller);
        let mut share = Reservation {
            budget: self.clone(),
            place,
            amount: 0,
        };
        share.resize(0, amount);
        share
    }
}

/// A share of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: SharedBudget,
    /// Of its caller's part.
    place: usize,
    amount: usize,
}

impl Reservation {
    /// Takes more.
    ///
    /// # Errors
    /// If so much is not left for its caller. Nothing changes then.
    pub fn grow(&mut self, by: usize) -> Result<(), ShareRefused> {
        let now = Instant::now();
        let mut whole = self.budget.whole();
        let checked = whole.check(self.place, by, now);
        let taken = whole.taken.saturating_add(by);
        if let Some(part) = whole.parts.get_mut(self.place) {
            match checked {
                Ok(()) => {
                    part.held = part.held.saturating_add(by);
                    part.hungry_until = None;
                }
                // Room that others give back does not help against its own bound.
                Err(ShareRefused::Own { .. }) => return checked,
                Err(ShareRefused::Whole { .. }) => {
                    part.hungry_until = Some(now + HUNGER);
                    return checked;
                }
            }
        }
        whole.taken = taken;
        drop(whole);
        self.amount = self.amount.saturating_add(by);
        Ok(())
    }

    /// Has a part of it that was so large be of another size from now on, even if so much is not
    /// left: for what cannot be refused any more.
    pub fn resize(&mut self, was: usize, is: usize) {
        let (grows, shrinks) = (is.saturating_sub(was), was.saturating_sub(is));
        let shrinks = shrinks.min(self.amount);
        let change = |amount: usize| amount.saturating_add(grows).saturating_sub(shrinks);
        let mut whole = self.budget.whole();
        whole.taken = change(whole.taken);
        if let Some(part) = whole.parts.get_mut(self.place) {
            part.held = change(part.held);
        }
        drop(whole);
        self.amount = change(self.amount);
    }

    /// Makes another share of the same caller and budget a part of it.
    pub fn join(&mut self, mut other: Self) {
        self.amount = self
            .amount
            .saturating_add(std::mem::take(&mut other.amount));
    }

    /// A part of it as a share of its own, at most what it has.
    #[must_use]
    pub fn split(&mut self, amount: usize) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self {
            budget: self.budget.clone(),
            place: self.place,
            amount,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.resize(self.amount, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> CallerId {
        name.try_into().unwrap()
    }

    fn members(names: &[&str]) -> Members {
        names.iter().map(|name| (caller(name), None)).collect()
    }

    #[test]
    fn a_share_is_taken_once_and_given_back_once() {
        let budget = SharedBudget::new(10);
        let ann = caller("ann");
        let mut most = budget.take(&ann, 8).unwrap();
        assert_eq!(
            budget.take(&ann, 3).unwrap_err(),
            ShareRefused::Whole { held: 8 }
        );
        assert!(most.grow(3).is_err());
        assert_eq!(budget.taken(), 8);
        let part = most.split(5);
        drop(most);
        assert_eq!(budget.taken(), 5);
        let over = budget.force(&ann, 20);
        assert_eq!((budget.taken(), budget.take(&ann, 1).is_err()), (25, true));
        drop((part, over));
        assert_eq!(budget.taken(), 0);
        assert!(budget.take(&ann, usize::MAX).is_err());
        assert!(budget.take(&ann, 10).is_ok());
    }

    #[test]
    fn what_is_kept_for_a_caller_is_there_whatever_the_others_take() {
        let budget = SharedBudget::shared(120, &members(&["ann", "ben", "cid"]));
        let (ann, ben, cid) = (caller("ann"), caller("ben"), caller("cid"));
        assert_eq!(budget.most(&ann), 80);
        let mut hog = budget.take(&ann, 80).unwrap();
        assert_eq!(hog.grow(1), Err(ShareRefused::Whole { held: 80 }));
        let of_ben = budget.take(&ben, 20).unwrap();
        let of_cid = budget.take(&cid, 20).unwrap();
        assert_eq!(budget.taken(), 120);
        drop((of_ben, of_cid));
        assert!(
            budget.take(&caller("nobody"), 1).is_err(),
            "it is kept for them"
        );
    }

    #[test]
    fn a_bound_of_its_own_holds_a_caller_in_an_empty_whole_and_makes_nobody_wait() {
        let budget = SharedBudget::shared(
            100,
            &[(caller("ann"), Some(10)), (caller("ben"), None)]
                .into_iter()
                .collect(),
        );
        let mut of_ann = budget.take(&caller("ann"), 10).unwrap();
        assert_eq!(of_ann.grow(1), Err(ShareRefused::Own { held: 10, max: 10 }));
        assert!(budget.take(&caller("ben"), 90).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_goes_to_who_waits_with_less_than_a_fair_share() {
        let budget = SharedBudget::shared(120, &members(&["ann", "ben", "cid"]));
        let (ann, ben) = (caller("ann"), caller("ben"));
        let mut hog = budget.take(&ann, 80).unwrap();
        let mut of_ben = budget.take(&ben, 20).unwrap();
        // 20 are kept for cid, so two who want more get 50 each.
        assert!(of_ben.grow(20).is_err());
        for _ in 0..6 {
            drop(hog.split(5));
            assert!(hog.grow(1).is_err(), "it has more than its fair share");
        }
        of_ben.grow(20).unwrap();
        // Nobody waits any more.
        hog.grow(10).unwrap();
        assert!(of_ben.grow(20).is_err(), "more than a fair share too");
        drop(hog.split(20));
        hog.grow(10).unwrap();
        assert!(hog.grow(1).is_err());

        tokio::time::advance(HUNGER).await;
        hog.grow(1).unwrap();
    }

    #[test]
    fn members_that_change_leave_what_is_taken_and_have_their_own_kept_from_then_on() {
        let budget = SharedBudget::shared(120, &members(&["ann", "ben"]));
        let (ann, ben, cid) = (caller("ann"), caller("ben"), caller("cid"));
        let of_ann = budget.take(&ann, 90).unwrap();
        let of_ben = budget.take(&ben, 10).unwrap();
        let now = [(ben.clone(), Some(15)), (cid.clone(), None)];
        budget.share_anew(&now.into_iter().collect());
        // What ann has is more than is left by what is kept for the two.
        assert_eq!(budget.taken(), 100);
        assert!(budget.take(&ann, 1).is_err(), "nothing is kept for ann");
        assert!(budget.take(&cid, 15).is_ok());
        assert_eq!(
            budget.take(&ben, 6).unwrap_err(),
            ShareRefused::Own { held: 10, max: 15 }
        );
        drop(of_ann);
        assert!(budget.take(&cid, 100).is_ok());
        drop(of_ben);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn fair_shares_leave_to_others_what_one_does_not_want() {
        let budget = SharedBudget::shared(100, &members(&["ann", "ben", "cid", "dan"]));
        let _small = budget.take(&caller("ben"), 4).unwrap();
        let _middle = budget.take(&caller("cid"), 26).unwrap();
        let whole = budget.whole();
        let now = Instant::now();
        // ben and dan are content with the 12 that are kept for each, cid with 26.
        assert_eq!(whole.level(0, now), 50);
    }
}
