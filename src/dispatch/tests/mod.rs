//! The engine over a journal and providers that do what a test says.

mod bench;
mod full;
mod hooked;
mod joins;
mod room;
mod shares;
mod stops;
mod tasks;
mod windows;
