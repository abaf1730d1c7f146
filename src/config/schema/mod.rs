//! What settings there are: names, types, defaults, bounds.

pub(super) mod list;
pub(super) mod names;
pub(super) mod setting;
pub(super) mod settings;
pub(super) mod text_format;
pub(super) mod value_type;
