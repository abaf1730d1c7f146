//! The rules of doubt, row by row.

pub(super) mod beliefs;
pub(super) mod blind;
pub(super) mod bound;
pub(super) mod busy;
pub(super) mod clearances;
pub(super) mod drafts;
pub(super) mod ends;
pub(super) mod looks;
pub(super) mod processes;
pub(super) mod proofs;
pub(super) mod recovered;
pub(super) mod strangers;
