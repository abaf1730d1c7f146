//! Fixtures of the tests: one account with its provider, its journal and its processes.

pub(super) mod bench;
pub(super) mod hooked;
pub(super) mod scene;
pub(super) mod script;
pub(super) mod stage;
