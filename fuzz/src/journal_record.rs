//! Any bytes in place of a value of the store.

use cancelot::journal::fuzzing;

/// Reads one input.
pub fn run(bytes: &[u8]) {
    fuzzing::records(bytes);
}
