//! The oracle: properties of requests, writes, results and outcomes that have to hold.

pub(super) mod audited;
pub(super) mod bounds;
pub(super) mod doubts;
pub(super) mod enrollments;
pub(super) mod sent;
pub(super) mod told;
pub(super) mod truth;
pub(super) mod watch;
pub(super) mod written;
