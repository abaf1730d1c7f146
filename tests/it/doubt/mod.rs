//! Lost replies, whose a reply is, and when a rejection is final.

pub(super) mod belief;
pub(super) mod lost_answers;
pub(super) mod proofs;
pub(super) mod settling;
pub(super) mod truth;
