//! The chain: each line names the hash of the line before it, and ends with a hash over all of
//! itself. So nothing can be changed, removed, inserted or moved without all that follows being
//! written anew, which shows in the hash of the last line.
//!
//! A line is `{…,"prev":"<64 hex>","hash":"<64 hex>"}`, and its hash is the SHA-256 of its bytes
//! before `,"hash":`. Other programs can check it with that.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where a chain stands: its last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The line's number; 0 before the first.
    pub seq: u64,
    /// Its hash, in hex; zeros before the first.
    pub hash: String,
}

impl Head {
    /// Of a chain without lines.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(HEX_CHARS),
        }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let head = text.split_once(':').and_then(|(seq, hash)| {
            let is_hash = hash.len() == HEX_CHARS && hash.bytes().all(|b| b.is_ascii_hexdigit());
            let hash = is_hash.then(|| hash.to_ascii_lowercase())?;
            let seq = seq.parse().ok()?;
            Some(Self { seq, hash })
        });
        head.ok_or_else(|| "give SEQ:HASH as `cancelot audit verify` prints it".to_owned())
    }
}

const HEX_CHARS: usize = 64;
/// What stands before a line's number.
const BEFORE_SEQ: &[u8] = b"{\"seq\":";
/// What stands between a line's content and the hash of the line before it.
const BEFORE_PREV: &[u8] = b",\"prev\":\"";
/// What stands between that and its own hash.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
/// What ends a line.
const AFTER_HASH: &[u8] = b"\"}\n";

/// Appends a line to `out`, and moves on to it. `content` has to be an object with a field.
pub(super) fn add(
    head: &mut Head,
    content: &impl Serialize,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let begin = out.len();
    let seq = head.seq.saturating_add(1);
    out.extend(BEFORE_SEQ);
    out.extend(seq.to_string().as_bytes());
    let content_begin = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, content) {
        out.truncate(begin);
        return Err(error);
    }
    // It opened with a brace where the place already did, and closes after the hash.
    if let Some(brace) = out.get_mut(content_begin) {
        *brace = b',';
    }
    out.pop();
    out.extend(BEFORE_PREV);
    out.extend(head.hash.as_bytes());
    out.push(b'"');
    let hash = hash_of(out.get(begin..).unwrap_or_default());
    out.extend(BEFORE_HASH);
    out.extend(hash.as_bytes());
    out.extend(AFTER_HASH);
    *head = Head { seq, hash };
    Ok(())
}

/// SHA-256 in hex.
fn hash_of(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(HEX_CHARS);
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    hex
}

/// What a line says, once its hash is right.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sealed {
    pub(super) seq: u64,
    pub(super) time: jiff::Timestamp,
    pub(super) prev: String,
    /// The last entry of the journal's trail that it or a line before it is of.
    #[serde(default)]
    pub(super) trail: u64,
    /// Which of that entry's lines.
    #[serde(default)]
    pub(super) part: u32,
    pub(super) event: String,
    /// The last line that retention has removed.
    #[serde(default)]
    pub(super) upto_seq: Option<u64>,
    #[serde(default)]
    pub(super) upto_hash: Option<String>,
    #[serde(skip)]
    pub(super) hash: String,
}

impl Sealed {
    pub(super) fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash.clone(),
        }
    }
}

/// Reads a line, with its end, and checks its hash.
pub(super) fn read(line: &[u8]) -> Result<Sealed, String> {
    let body = line
        .strip_suffix(AFTER_HASH)
        .ok_or("it does not end like a line")?;
    let (body, hash) = body
        .split_last_chunk::<HEX_CHARS>()
        .ok_or("it is too short")?;
    let content = body
        .strip_suffix(BEFORE_HASH)
        .ok_or("its hash is not where it should be")?;
    if hash_of(content).as_bytes() != hash {
        return Err("its hash is not that of its content".to_owned());
    }
    let json = line.trim_ascii_end();
    let mut sealed: Sealed =
        serde_json::from_slice(json).map_err(|error| format!("it does not decode ({error})"))?;
    sealed.hash = String::from_utf8_lossy(hash).into_owned();
    Ok(sealed)
}

/// Whether bytes may be the beginning of a line whose end is not written yet.
pub(super) fn is_unfinished(line: &[u8]) -> bool {
    let hash = line
        .windows(BEFORE_HASH.len())
        .rposition(|part| part == BEFORE_HASH);
    let after = hash.map_or(0, |at| line.len() - at - BEFORE_HASH.len());
    !line.ends_with(b"\n") && after < HEX_CHARS + AFTER_HASH.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u32) -> Vec<Vec<u8>> {
        let (mut head, mut lines) = (Head::empty(), Vec::new());
        for number in 0..count {
            let mut line = Vec::new();
            let content = serde_json::json!({
                "time": "2027-01-15T08:00:00Z",
                "event": "admitted",
                "key": format!("k/{number}"),
            });
            add(&mut head, &content, &mut line).unwrap();
            lines.push(line);
        }
        lines
    }

    #[test]
    fn a_line_reads_back_and_names_the_one_before_it() {
        let mut before = Head::empty();
        for (seq, line) in (1..).zip(lines(5)) {
            let sealed = read(&line).unwrap();
            assert_eq!((sealed.seq, &sealed.prev), (seq, &before.hash));
            before = sealed.head();
        }
    }

    #[test]
    fn any_changed_bit_shows() {
        let line = &lines(2)[1];
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    /// What was written once has to be readable for good, by others too.
    #[test]
    fn the_form_of_a_line_stays_as_it_is() {
        let line = lines(1).remove(0);
        let zeros = "0".repeat(64);
        let content = format!(
            r#"{{"seq":1,"event":"admitted","key":"k/0","time":"2027-01-15T08:00:00Z","prev":"{zeros}""#
        );
        let hash = hash_of(content.as_bytes());
        assert_eq!(
            String::from_utf8(line).unwrap(),
            format!("{content},\"hash\":\"{hash}\"}}\n")
        );
    }

    #[test]
    fn a_head_reads_back_as_it_is_shown() {
        let head = Head {
            seq: 7,
            hash: "0a".repeat(32),
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "7", "7:xyz", "x:00"] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}
