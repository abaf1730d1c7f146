//! Files that settings name. They are read once when the configuration is, and again while the
//! service runs; their paths are never shown with a mistake, since somebody may have written the
//! secret itself where a path belongs.

use std::{fs::File, io::Read as _, path::Path};

/// Reads a file of no more than so many bytes.
///
/// # Errors
/// Why it cannot be read, without its path.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(|error| error.kind().to_string())?;
    // A byte more than allowed, so that nothing is cut off in silence.
    let read = opened.take(bytes_max + 1).read_to_end(&mut bytes);
    let read = read.map_err(|error| error.kind().to_string())?;
    if u64::try_from(read).is_ok_and(|read| read <= bytes_max) {
        Ok(bytes)
    } else {
        Err(format!("it has more than {bytes_max} bytes"))
    }
}

/// The same for text.
///
/// # Errors
/// Why it cannot be read, without its path.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let bytes = read_file(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}
