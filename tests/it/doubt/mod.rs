//! What a lost answer means, whose an answer is, and when a no is final.

pub(super) mod belief;
pub(super) mod lost_answers;
pub(super) mod proofs;
pub(super) mod settling;
pub(super) mod truth;
