//! From admission to result: fair turns, stops, restarts, keys, streams.

pub(super) mod conflicts;
pub(super) mod dry_runs;
pub(super) mod keys;
pub(super) mod outages;
pub(super) mod overload;
pub(super) mod restarts;
pub(super) mod results;
pub(super) mod stops;
pub(super) mod streams;
pub(super) mod turns;
pub(super) mod unavailable;
