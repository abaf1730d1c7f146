//! Rate limiter by source, so that a flood of one source hides nothing of another: each source has
//! a token bucket per reason. The number of sources is unbounded, so the sources of one caller, and
//! all unauthenticated ones, also share a bucket, part of which is kept for new sources; and only
//! so many sources are remembered. Every suppressed event is counted.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use super::log_rate_limiter::{Flow, is_due};
use crate::{domain::ids::CallerId, limits};

/// The source of an event, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The caller.
    pub caller: Option<CallerId>,
    /// The address: an IPv4 address, or the first one of an IPv6 /64 network, since a client with
    /// one of its addresses has all.
    pub network: Option<IpAddr>,
}

impl Source {
    /// A caller at an address.
    #[must_use]
    pub fn new(caller: Option<&CallerId>, peer: Option<SocketAddr>) -> Self {
        Self {
            caller: caller.cloned(),
            network: peer.map(|peer| network(peer.ip())),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    const HOST: u128 = (1 << 64) - 1;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !HOST).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How many events of a reason were suppressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<K> {
    /// The reason.
    pub reason: K,
    /// The source; `None` for several sources without a count of their own.
    pub source: Option<Source>,
    /// The number of events.
    pub count: u64,
}

/// A rate limiter by reason and source.
#[derive(Debug)]
pub struct BySource<K> {
    each: BTreeMap<(K, Source), Flow>,
    /// By caller; all unauthenticated sources are one.
    together: BTreeMap<(K, Option<CallerId>), Flow>,
    /// Counts of forgotten sources.
    rest: BTreeMap<K, u64>,
    /// When counts were last taken.
    counted: Option<Instant>,
}

impl<K> Default for BySource<K> {
    fn default() -> Self {
        Self {
            each: BTreeMap::new(),
            together: BTreeMap::new(),
            rest: BTreeMap::new(),
            counted: None,
        }
    }
}

impl<K: Copy + Ord> BySource<K> {
    /// Whether to report an event. If not, it is counted.
    pub fn passes(&mut self, reason: K, source: &Source, now: Instant) -> bool {
        let burst = limits::REFUSALS_TOGETHER_BURST;
        let together = self.together.entry((reason, source.caller.clone()));
        let together = together.or_insert_with(|| Flow::new(burst, now));
        together.refill(limits::REFUSALS_TOGETHER_PER_SECOND, burst, now);
        let room = together.left;
        let (own, is_new) = self.of(reason, source, now);
        own.refill(limits::REFUSALS_PER_SECOND, limits::REFUSALS_BURST, now);
        // A source with many addresses uses up at most half of the shared bucket by repeating
        // itself.
        let kept = if is_new { 0.0 } else { burst / 2.0 };
        let passes = own.left >= 1.0 && room >= 1.0 + kept;
        if passes {
            own.left -= 1.0;
            if let Some(together) = self.together.get_mut(&(reason, source.caller.clone())) {
                together.left -= 1.0;
            }
        } else {
            own.suppressed = own.suppressed.saturating_add(1);
        }
        passes
    }

    /// Counts events that could not be reported; without a source, those of several.
    pub fn count(&mut self, reason: K, source: Option<&Source>, times: u64, now: Instant) {
        let count = match source {
            Some(source) => &mut self.of(reason, source, now).0.suppressed,
            None => self.rest.entry(reason).or_default(),
        };
        *count = count.saturating_add(times);
    }

    /// Whether there are suppressed events.
    #[must_use]
    pub fn has_counts(&self) -> bool {
        !self.rest.is_empty() || self.each.values().any(|flow| flow.suppressed > 0)
    }

    /// Takes the counts of suppressed events. Empty if the last time is too recent, unless `all`.
    /// The sources with the highest counts are listed, and the others are summed.
    pub fn take_counts(&mut self, all: bool, now: Instant) -> Vec<Counted<K>> {
        if !all && !is_due(self.counted, now) {
            return Vec::new();
        }
        let mut counts: Vec<_> = self
            .each
            .iter_mut()
            .filter(|(_, flow)| flow.suppressed > 0)
            .map(|((reason, source), flow)| Counted {
                reason: *reason,
                source: Some(source.clone()),
                count: std::mem::take(&mut flow.suppressed),
            })
            .collect();
        counts.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        let apart = counts.len().min(limits::REFUSALS_SOURCES_COUNTED);
        let mut rest = std::mem::take(&mut self.rest);
        for Counted { reason, count, .. } in counts.drain(apart..) {
            let all = rest.entry(reason).or_default();
            *all = all.saturating_add(count);
        }
        counts.extend(rest.into_iter().map(|(reason, count)| Counted {
            reason,
            source: None,
            count,
        }));
        if !counts.is_empty() {
            self.counted = Some(now);
        }
        counts
    }

    /// A source's bucket, and whether the source is new.
    fn of(&mut self, reason: K, source: &Source, now: Instant) -> (&mut Flow, bool) {
        let key = (reason, source.clone());
        let is_new = !self.each.contains_key(&key);
        if is_new && self.each.len() >= limits::REFUSALS_SOURCES_MAX {
            self.forget_one();
        }
        let new = || Flow::new(limits::REFUSALS_BURST, now);
        (self.each.entry(key).or_insert_with(new), is_new)
    }

    /// Forgets the source that was quiet for longest, and keeps its count.
    fn forget_one(&mut self) {
        let oldest = self.each.iter().min_by_key(|(_, flow)| flow.at);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(flow) = self.each.remove(&key)
            && flow.suppressed > 0
        {
            self.count(key.0, None, flow.suppressed, flow.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(caller: &str, peer: &str) -> Source {
        let caller = CallerId::try_from(caller).ok();
        Source::new(caller.as_ref(), Some(peer.parse().unwrap()))
    }

    /// How many of `times` events at once are reported.
    fn told(by: &mut BySource<char>, source: &Source, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| by.passes('a', source, now)).count()
    }

    fn sum(counts: &[Counted<char>]) -> u64 {
        counts.iter().map(|counted| counted.count).sum()
    }

    #[test]
    fn a_flood_of_one_hides_nothing_of_another_caller_or_address() {
        let mut by = BySource::default();
        let now = Instant::now();
        let flood = source("billing", "10.0.0.1:1");
        assert_eq!(told(&mut by, &flood, 10_000, now), 50);
        // Each connection has another port.
        let again = source("billing", "10.0.0.1:2");
        assert_eq!(told(&mut by, &again, 1, now), 0);
        for other in [
            source("billing", "10.0.0.2:1"),
            source("support", "10.0.0.1:1"),
            source("", "10.0.0.1:1"),
        ] {
            assert_eq!(told(&mut by, &other, 1, now), 1, "{other:?}");
        }
        let counted = Counted {
            reason: 'a',
            source: Some(flood),
            count: 10_001 - 50,
        };
        assert_eq!(by.take_counts(false, now), [counted]);
        assert!(!by.has_counts());
    }

    #[test]
    fn a_network_is_one_source() {
        assert_eq!(
            source("", "[2001:db8::1]:1"),
            source("", "[2001:db8::ffff:1:2:3]:9")
        );
        assert_ne!(
            source("", "[2001:db8::1]:1"),
            source("", "[2001:db8:0:1::1]:1")
        );
        assert_eq!(source("", "[::ffff:10.0.0.1]:1"), source("", "10.0.0.1:2"));
    }

    #[test]
    fn addresses_without_number_take_bounded_memory_and_lines_and_every_refusal_is_counted() {
        const ADDRESSES: u32 = 20_000;
        let mut by = BySource::default();
        let now = Instant::now();
        let known = source("billing", "10.0.0.1:1");
        let mut lines = 0;
        for address in 0..ADDRESSES {
            let peer = SocketAddr::from((std::net::Ipv4Addr::from_bits(address), 1));
            lines += told(&mut by, &Source::new(None, Some(peer)), 3, now);
        }
        assert_eq!(by.each.len(), limits::REFUSALS_SOURCES_MAX);
        assert_eq!(lines, 500);
        assert_eq!(told(&mut by, &known, 1, now), 1, "strangers hide no caller");
        let counts = by.take_counts(true, now);
        assert_eq!(counts.len(), limits::REFUSALS_SOURCES_COUNTED + 1);
        assert_eq!(sum(&counts), u64::from(ADDRESSES) * 3 - 500);
    }

    #[test]
    fn many_who_repeat_themselves_leave_lines_for_one_who_does_not() {
        let mut by = BySource::default();
        let now = Instant::now();
        let mut lines = 0;
        for address in 0..100 {
            let loud = source("", &format!("10.0.1.{address}:1"));
            lines += told(&mut by, &loud, 1_000, now);
        }
        assert_eq!(lines, 250 + 95, "five say fifty each, and each says one");
        let quiet = source("", "10.0.0.1:1");
        assert_eq!(told(&mut by, &quiet, 1, now), 1);
    }

    #[test]
    fn counts_are_told_now_and_then_and_at_the_end_and_can_be_given_back() {
        let mut by = BySource::default();
        let now = Instant::now();
        let flood = source("", "10.0.0.1:1");
        told(&mut by, &flood, 60, now);
        assert_eq!(sum(&by.take_counts(false, now)), 10);
        told(&mut by, &flood, 5, now);
        assert_eq!(by.take_counts(false, now), [], "too soon");
        let counts = by.take_counts(true, now);
        assert_eq!(sum(&counts), 5);
        for Counted { source, count, .. } in counts {
            by.count('a', source.as_ref(), count, now);
        }
        by.count('a', None, 2, now);
        let now = now + Duration::from_secs(60);
        assert_eq!(sum(&by.take_counts(false, now)), 7);
        assert!(!by.has_counts());
    }

    #[test]
    fn a_flood_of_a_day_tells_little() {
        const DAY: u64 = 24 * 60 * 60;
        let mut by = BySource::default();
        let begun = Instant::now();
        let flood = source("", "10.0.0.1:1");
        let mut lines = 0;
        for seconds in (0..DAY).step_by(10) {
            let now = begun + Duration::from_secs(seconds);
            lines += told(&mut by, &flood, 20, now);
            lines += by.take_counts(false, now).len();
        }
        let minutes = usize::try_from(DAY / 60).unwrap();
        let most = 50 + 2 * minutes;
        assert!((minutes..=most).contains(&lines), "{lines}");
    }
}
