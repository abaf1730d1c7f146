//! A provider's answer as it is kept: the JSON text untouched, or text that is not JSON.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits;

/// What a provider said, word for word up to [`limits::ANSWER_BYTES_MAX`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A JSON text.
    Json(Box<RawValue>),
    /// Anything else, or a JSON text cut at the bound.
    Text(String),
}

impl Answer {
    /// Keeps what can be kept of a body.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if text.len() <= limits::ANSWER_BYTES_MAX
            && let Ok(json) = serde_json::from_str::<Box<RawValue>>(text)
        {
            return Self::Json(json);
        }
        Self::Text(
            text.get(..text.floor_char_boundary(limits::ANSWER_BYTES_MAX))
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => a.get() == b.get(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Json(_), Self::Text(_)) | (Self::Text(_), Self::Json(_)) => false,
        }
    }
}
