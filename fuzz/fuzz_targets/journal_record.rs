//! Any bytes in place of a value of the store.
#![no_main]

use cancelot::journal::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::records(bytes));
