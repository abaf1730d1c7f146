//! Reading of one reply: its format, its status, its fields, and whose effect it shows.

pub(super) mod answer_subject;
pub(super) mod classify;
pub(super) mod envelope;
pub(super) mod http_status;
pub(super) mod json;
pub(super) mod reasons;
pub(super) mod retry_after;
