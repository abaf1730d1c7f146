//! Where values come from: a file, the environment, files with secrets.

pub(super) mod env;
pub(super) mod file;
pub(super) mod layers;
pub(super) mod reader;
