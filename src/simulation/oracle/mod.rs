//! What has to hold: of what is sent, what is written, what clients see, and what is true.

pub(super) mod audited;
pub(super) mod bounds;
pub(super) mod doubts;
pub(super) mod enrollments;
pub(super) mod sent;
pub(super) mod told;
pub(super) mod truth;
pub(super) mod watch;
pub(super) mod written;
