//! The engine over a journal and providers that each test scripts.

pub(super) mod doubt;
mod full;
mod joins;
mod orderly;
mod questions;
mod room;
mod shares;
mod stops;
pub(super) mod support;
mod tasks;
mod throttles;
mod windows;
