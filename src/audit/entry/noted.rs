//! What is told of beside the journal's trail and refusals: looks at what is others', dry runs that
//! show people, and changes of what the service goes by.

use jiff::Timestamp;

use crate::domain::{access::provenance::Provenance, ids::CallerId};

/// Something that happened, without a trail in the journal. What does not apply is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// When.
    pub at: Timestamp,
    /// What the line says that happened: one of [`crate::audit::EVENTS`].
    pub event: &'static str,
    /// Who asked.
    pub caller: Option<CallerId>,
    /// How it came.
    pub from: Provenance,
    /// The RPC.
    pub method: Option<&'static str>,
    /// Whose records were read: a caller's name, or `*` for all callers'.
    pub whose: Option<String>,
    /// What was asked for, such as `account=rebilly-eu`.
    pub filters: Vec<String>,
    /// Records that were answered with.
    pub records: Option<usize>,
    /// Whether providers' answers were asked for.
    pub with_answers: bool,
    /// Items of the request.
    pub items: Option<usize>,
    /// Whose files were reloaded, in the words of the configuration.
    pub what: Option<String>,
    /// The first 16 hexadecimal digits of what they hold now.
    pub digest: Option<String>,
    /// Settings that are other ones now, by their keys.
    pub settings: Vec<String>,
    /// Why something could not be done.
    pub why: Option<String>,
    /// People that the items name, or can match at most.
    pub people: Option<u64>,
}
