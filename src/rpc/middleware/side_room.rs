//! Memory bounds for calls besides the service's own: health and reflection, and calls that are not
//! authenticated yet. All that unauthenticated connections hold is within one budget of bytes.
//!
//! If that budget is used up, the connection that holds most of it is closed: a flood ends itself,
//! and a probe on its own connection is always answered. Connections of authenticated callers are
//! not closed, since their other calls would end too; their further calls are rejected.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    engine::Hangup,
    limits,
    observe::{Counter, LogRateLimiter},
};

/// What a call needs memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rpc) enum Need {
    /// A health check.
    Check,
    /// A health watch.
    Watch,
    /// A reflection call.
    Reflection,
    /// A refresh of an issuer's keys, to authenticate the call.
    Keys,
}

impl Need {
    fn bytes(self) -> usize {
        match self {
            Self::Check | Self::Watch => limits::HEALTH_CALL_BYTES,
            Self::Reflection => limits::REFLECTION_CALL_BYTES,
            Self::Keys => limits::UNIDENTIFIED_CALL_BYTES,
        }
    }

    /// Calls of this kind that a connection may have open.
    fn calls_max(self) -> usize {
        match self {
            Self::Check => limits::HEALTH_CHECKS_MAX,
            Self::Watch => limits::HEALTH_WATCHES_MAX,
            Self::Reflection => limits::REFLECTION_CALLS_MAX,
            // Callers start with many calls at once, so only bytes are limited.
            Self::Keys => usize::MAX,
        }
    }

    /// The counter of this kind for a connection.
    fn of(self, open: &mut Open) -> &mut usize {
        match self {
            Self::Check => &mut open.checks,
            Self::Watch => &mut open.watches,
            Self::Reflection => &mut open.reflections,
            Self::Keys => &mut open.waiting,
        }
    }
}

/// The budgets by kind of connection and call.
#[derive(Debug)]
pub struct SideRooms {
    strangers: SideRoom,
    health: SideRoom,
    reflection: SideRoom,
    age_max: Duration,
    next: AtomicU64,
    /// Connections that were closed to make room.
    ended: Counter,
    told: Mutex<LogRateLimiter<&'static str>>,
}

/// One budget, and the connections that hold parts of it.
#[derive(Debug)]
struct SideRoom {
    name: &'static str,
    bytes_max: usize,
    held: Mutex<HeldRoom>,
    refused: Counter,
}

#[derive(Debug, Default)]
struct HeldRoom {
    bytes: usize,
    by: BTreeMap<u64, Open>,
}

/// What one connection holds.
#[derive(Debug)]
struct Open {
    bytes: usize,
    checks: usize,
    watches: usize,
    reflections: usize,
    waiting: usize,
    leave: Hangup,
}

/// Figures of one budget, for metrics.
#[derive(Debug, Clone, Copy)]
pub struct RoomStanding {
    /// Its name in metrics.
    pub name: &'static str,
    /// Bytes held.
    pub bytes: usize,
    /// Maximum of bytes.
    pub bytes_max: usize,
    /// Calls rejected so far.
    pub refused: u64,
}

impl SideRoom {
    fn new(name: &'static str, bytes_max: usize) -> Self {
        Self {
            name,
            bytes_max,
            held: Mutex::default(),
            refused: Counter::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldRoom> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> RoomStanding {
        RoomStanding {
            name: self.name,
            bytes: self.held().bytes,
            bytes_max: self.bytes_max,
            refused: self.refused.get(),
        }
    }
}

impl HeldRoom {
    /// Closes the connection that holds the most, if it is not `id` itself; of several, the oldest.
    /// Whether there was one.
    fn take_from_other(&mut self, id: u64) -> bool {
        let most = self
            .by
            .iter()
            .map(|(id, open)| (open.bytes, std::cmp::Reverse(*id)));
        let Some((_, std::cmp::Reverse(most))) = most.max().filter(|most| most.1.0 != id) else {
            return false;
        };
        let Some(open) = self.by.remove(&most) else {
            return false;
        };
        // Counted as free at once here; the memory follows when its task has been woken.
        self.bytes = self.bytes.saturating_sub(open.bytes);
        open.leave.cancel();
        true
    }
}

impl SideRooms {
    /// Unused budgets. Calls end when their connection is `age_max` old.
    #[must_use]
    pub fn new(age_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            strangers: SideRoom::new("strangers", limits::STRANGERS_BYTES_MAX),
            health: SideRoom::new("health", limits::HEALTH_BYTES_MAX),
            reflection: SideRoom::new("reflection", limits::REFLECTION_BYTES_MAX),
            age_max,
            next: AtomicU64::new(0),
            ended: Counter::default(),
            told: Mutex::default(),
        })
    }

    /// A new connection, unauthenticated until it has presented a caller. `leave` closes it.
    pub fn arrive(self: &Arc<Self>, leave: Hangup) -> Arc<Visitor> {
        Arc::new(Visitor {
            rooms: Arc::clone(self),
            id: self.next.fetch_add(1, Ordering::Relaxed),
            ends: Instant::now() + self.age_max,
            leave,
            is_known: AtomicBool::new(false),
            unread: Mutex::default(),
        })
    }

    /// The figures of all budgets.
    #[must_use]
    pub fn standing(&self) -> [RoomStanding; 3] {
        [&self.strangers, &self.health, &self.reflection].map(SideRoom::standing)
    }

    /// Connections that were closed to make room.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.get()
    }

    fn tell_full(&self, room: &SideRoom) {
        let now = Instant::now().into_std();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = told.passes_for(room.name, now) {
            let suppressed = Some(suppressed).filter(|count| *count > 0);
            let (room, bytes_max) = (room.name, room.bytes_max);
            tracing::warn!(room, bytes_max, suppressed, "no room for more calls");
        }
    }
}

/// A connection as these calls see it.
pub struct Visitor {
    rooms: Arc<SideRooms>,
    id: u64,
    /// When it reaches its maximum age.
    ends: Instant,
    leave: Hangup,
    is_known: AtomicBool,
    unread: Mutex<Unread>,
}

/// Bytes read while calls wait for keys and are not authenticated.
#[derive(Debug, Default)]
struct Unread {
    waiting: usize,
    bytes: usize,
    reader: Option<Waker>,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Visitor {
    /// Whether a caller has authenticated on the connection.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Marks the connection as authenticated.
    pub(in crate::rpc) fn is_now_known(&self) {
        if !self.is_known.swap(true, Ordering::AcqRel) {
            self.wake_reader();
        }
    }

    /// When calls end that do not end by themselves.
    pub(in crate::rpc) fn ends(&self) -> Instant {
        self.ends
    }

    /// Whether more may be read from the connection; if not, its reader is woken when that changes.
    pub fn poll_reads(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_known() {
            return Poll::Ready(());
        }
        let mut unread = self.unread();
        if unread.waiting > 0 && unread.bytes >= limits::UNIDENTIFIED_UNREAD_BYTES_MAX {
            unread.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Counts bytes that were read.
    pub fn has_read(&self, bytes: usize) {
        if !self.is_known() {
            let mut unread = self.unread();
            if unread.waiting > 0 {
                unread.bytes = unread.bytes.saturating_add(bytes);
            }
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_reader(&self) {
        let reader = self.unread().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn room(&self, need: Need, is_known: bool) -> &SideRoom {
        match need {
            Need::Reflection => &self.rooms.reflection,
            Need::Check | Need::Watch | Need::Keys if !is_known => &self.rooms.strangers,
            Need::Check | Need::Watch | Need::Keys => &self.rooms.health,
        }
    }

    /// Reserves room for a call until the returned value is dropped; `None` if there is none.
    pub(in crate::rpc) fn enter(self: &Arc<Self>, need: Need) -> Option<Stay> {
        // An authenticated connection is bounded elsewhere.
        let is_known = self.is_known();
        if is_known && need == Need::Keys {
            return Some(Stay {
                visitor: Arc::clone(self),
                need,
                in_room: None,
            });
        }
        let room = self.room(need, is_known);
        if !self.takes(room, need) {
            room.refused.inc();
            return None;
        }
        if need == Need::Keys {
            self.unread().waiting += 1;
        }
        Some(Stay {
            visitor: Arc::clone(self),
            need,
            in_room: Some(is_known),
        })
    }

    fn takes(&self, room: &SideRoom, need: Need) -> bool {
        let mut held = room.held();
        let open = held.by.get_mut(&self.id);
        if open.is_some_and(|open| *need.of(open) >= need.calls_max()) {
            return false;
        }
        let bytes = need.bytes();
        // Only the budget of unauthenticated connections makes room by closing one.
        let is_strangers = std::ptr::eq(room, &self.rooms.strangers);
        let mut was_full = false;
        while held.bytes.saturating_add(bytes) > room.bytes_max {
            was_full = true;
            if !(is_strangers && held.take_from_other(self.id)) {
                drop(held);
                self.rooms.tell_full(room);
                return false;
            }
            self.rooms.ended.inc();
        }
        held.bytes += bytes;
        let open = held.by.entry(self.id).or_insert_with(|| Open {
            bytes: 0,
            checks: 0,
            watches: 0,
            reflections: 0,
            waiting: 0,
            leave: self.leave.clone(),
        });
        open.bytes += bytes;
        *need.of(open) += 1;
        drop(held);
        if was_full {
            self.rooms.tell_full(room);
        }
        true
    }
}

/// A call's room, released when this is dropped.
#[derive(Debug)]
pub(in crate::rpc) struct Stay {
    visitor: Arc<Visitor>,
    need: Need,
    /// Whether the connection was authenticated when the call started; `None` if it took no room.
    in_room: Option<bool>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let Some(was_known) = self.in_room else {
            return;
        };
        let (visitor, need) = (&self.visitor, self.need);
        let mut guard = visitor.room(need, was_known).held();
        let held = &mut *guard;
        // If the connection was closed to make room, all its room was released then.
        if let Some(open) = held.by.get_mut(&visitor.id) {
            let count = need.of(open);
            *count = count.saturating_sub(1);
            open.bytes = open.bytes.saturating_sub(need.bytes());
            held.bytes = held.bytes.saturating_sub(need.bytes());
            if open.bytes == 0 {
                held.by.remove(&visitor.id);
            }
        }
        drop(guard);
        if need == Need::Keys {
            let mut unread = visitor.unread();
            unread.waiting = unread.waiting.saturating_sub(1);
            let is_last = unread.waiting == 0;
            if is_last {
                unread.bytes = 0;
            }
            drop(unread);
            if is_last {
                visitor.wake_reader();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms() -> Arc<SideRooms> {
        SideRooms::new(Duration::from_secs(60))
    }

    fn fits() -> usize {
        limits::STRANGERS_BYTES_MAX / limits::HEALTH_CALL_BYTES
    }

    #[test]
    fn a_connection_may_have_a_few_calls_of_a_kind_and_they_are_free_again() {
        let rooms = rooms();
        for is_known in [false, true] {
            let visitor = rooms.arrive(Hangup::new());
            if is_known {
                visitor.is_now_known();
            }
            for (need, most) in [
                (Need::Check, limits::HEALTH_CHECKS_MAX),
                (Need::Watch, limits::HEALTH_WATCHES_MAX),
                (Need::Reflection, limits::REFLECTION_CALLS_MAX),
            ] {
                let mut stays: Vec<_> = (0..most).map(|_| visitor.enter(need).unwrap()).collect();
                assert!(visitor.enter(need).is_none(), "{need:?}");
                stays.pop();
                assert!(visitor.enter(need).is_some(), "{need:?}");
            }
        }
        assert_eq!(rooms.standing().map(|room| room.bytes), [0; 3]);
        assert_eq!(rooms.standing().map(|room| room.refused), [2, 2, 2]);
    }

    #[test]
    fn who_holds_the_most_makes_room_for_a_stranger() {
        let rooms = rooms();
        let arrive = || {
            let leave = Hangup::new();
            (rooms.arrive(leave.clone()), leave)
        };
        let (small, small_leave) = arrive();
        let mut stays = vec![small.enter(Need::Check).unwrap()];
        let mut flood = Vec::new();
        while stays.len() < fits() {
            let (visitor, leave) = arrive();
            let most = limits::HEALTH_CHECKS_MAX.min(fits() - stays.len());
            stays.extend((0..most).map(|_| visitor.enter(Need::Check).unwrap()));
            flood.push((visitor, leave));
        }

        let (probe, probe_leave) = arrive();
        let probed = probe.enter(Need::Check);

        assert!(probed.is_some());
        assert!(
            flood[0].1.is_cancelled(),
            "the first of those that hold the most"
        );
        assert!(!flood[1].1.is_cancelled() && !small_leave.is_cancelled());
        assert!(!probe_leave.is_cancelled());
        assert_eq!(rooms.ended(), 1);
        // Its room is not released twice.
        drop((stays, probed));
        assert_eq!(rooms.standing().map(|room| room.bytes), [0; 3]);
    }

    #[test]
    fn connections_of_callers_are_refused_and_never_ended() {
        let rooms = rooms();
        let leave = Hangup::new();
        let mut stays = Vec::new();
        loop {
            let visitor = rooms.arrive(leave.clone());
            visitor.is_now_known();
            let Some(stay) = visitor.enter(Need::Watch) else {
                break;
            };
            stays.push(stay);
        }
        assert_eq!(
            stays.len(),
            limits::HEALTH_BYTES_MAX / limits::HEALTH_CALL_BYTES
        );
        assert!(!leave.is_cancelled());
        let stranger = rooms.arrive(Hangup::new());
        assert!(
            stranger.enter(Need::Check).is_some(),
            "their room is another"
        );
    }

    #[test]
    fn who_has_to_wait_for_keys_is_not_read_beyond_a_bound() {
        let rooms = rooms();
        let visitor = rooms.arrive(Hangup::new());
        let cx = Context::from_waker(Waker::noop());
        visitor.has_read(usize::MAX);
        let waits = visitor.enter(Need::Keys).unwrap();
        assert!(visitor.poll_reads(&cx).is_ready());
        visitor.has_read(limits::UNIDENTIFIED_UNREAD_BYTES_MAX);
        assert!(visitor.poll_reads(&cx).is_pending());
        drop(waits);
        assert!(visitor.poll_reads(&cx).is_ready());

        let _waits = visitor.enter(Need::Keys).unwrap();
        visitor.has_read(limits::UNIDENTIFIED_UNREAD_BYTES_MAX);
        visitor.is_now_known();
        assert!(visitor.poll_reads(&cx).is_ready(), "it is a caller's");
    }
}
