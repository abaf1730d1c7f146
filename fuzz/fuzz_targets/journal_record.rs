//! `cancelot_fuzz::journal_record`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cancelot_fuzz::journal_record::run(bytes));
