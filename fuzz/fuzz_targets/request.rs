//! `cancelot_fuzz::request`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cancelot_fuzz::request::run(bytes));
