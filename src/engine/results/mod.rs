//! Publishes outcomes to subscribed streams, after they are recorded.

pub mod feed;
pub(super) mod settlement_log;
pub(super) mod settler;
pub(super) mod slow_consumers;
pub(super) mod subscriptions;
pub(super) mod watch;
