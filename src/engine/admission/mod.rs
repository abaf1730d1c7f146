//! From a parsed request to items in their lanes: capacity, durable admission, start.

pub(super) mod late;
pub(super) mod room;
pub(super) mod start_items;
pub(super) mod submission;
pub(super) mod submit;
