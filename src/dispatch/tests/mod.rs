//! The engine over a journal and providers that do what a test says.

mod beliefs;
mod bench;
mod blind;
mod bound;
mod busy;
mod clearances;
mod drafts;
mod ends;
mod full;
mod hooked;
mod joins;
mod looks;
mod orderly;
mod processes;
mod proofs;
mod recovered;
mod room;
mod scene;
mod script;
mod shares;
mod stage;
mod stops;
mod strangers;
mod tasks;
mod throttles;
mod windows;
