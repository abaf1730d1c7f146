//! What the tests stand on: one account, its provider, its journal, its processes.

pub(super) mod bench;
pub(super) mod hooked;
pub(super) mod scene;
pub(super) mod script;
pub(super) mod stage;
