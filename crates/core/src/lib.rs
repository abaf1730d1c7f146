//! What Cancelot knows without doing anything: commands, outcomes and doubt as types, the limits of
//! everything, and the providers as pure functions. No task, no socket, no file, no clock.

pub mod domain;
pub mod limits;
pub mod providers;
