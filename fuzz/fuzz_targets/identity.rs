//! `cancelot_fuzz::identity`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cancelot_fuzz::identity::run(bytes));
