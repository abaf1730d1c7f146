//! Where logs and traces go.

pub mod logging;
pub mod trace_export;
