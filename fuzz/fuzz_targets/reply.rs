//! `cancelot_fuzz::reply`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cancelot_fuzz::reply::run(bytes));
