//! `cancelot_fuzz::config`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cancelot_fuzz::config::run(bytes));
