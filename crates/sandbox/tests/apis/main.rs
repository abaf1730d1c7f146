//! The simulator against the providers' pages, over real HTTP.

#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "a test may fail; clippy's own switch knows only functions marked as tests"
)]

#[cfg(test)]
mod client;
#[cfg(test)]
mod control;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod funnelfox;
#[cfg(test)]
mod late;
#[cfg(test)]
mod rebilly;
#[cfg(test)]
mod revolv3;
#[cfg(test)]
mod sequenzy;
#[cfg(test)]
mod solidgate;
