//! The published API: bounds, violations, and the module structure.

pub(super) mod bounds;
pub(super) mod published;
pub(super) mod shape;
pub(super) mod smoke;
pub(super) mod validation;
