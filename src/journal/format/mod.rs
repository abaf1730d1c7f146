//! What is on the disk: keys, records, sets of item indexes. Knows no store.

pub(super) mod index_set;
pub(super) mod key;
pub(super) mod record;
