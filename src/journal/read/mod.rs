//! The read path: typed reads of records.

pub(super) mod batch_log;
pub(super) mod possible_sends;
pub(super) mod query;
pub(super) mod question;
pub(super) mod reader;
pub(super) mod replay;
