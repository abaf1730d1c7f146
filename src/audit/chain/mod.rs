//! The chain: each line names the hash of the line before it, and ends with a hash over all of
//! itself. So nothing can be changed, removed, inserted or moved without all that follows being
//! written anew, which shows in the hash of the last line.
//!
//! A line is `{…,"prev":"<64 hex>","hash":"<64 hex>"}`, and its hash is the SHA-256 of its bytes
//! before `,"hash":`. Other programs can check it with that. In version 2 what is personal stands
//! behind the hash, which covers digests of it: see `opening`. In version 1 it was in the
//! line itself; what was erased there leaves a line that says so and keeps its hash. Only such a
//! line may differ from its hash: see `LineReader`.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use sha2::{Digest as _, Sha256};

use self::opening::{Openings, Values};
use super::Error;

/// Where a chain stands: its last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHead {
    /// The line's number; 0 before the first.
    pub seq: u64,
    /// Its hash, in hex; zeros before the first.
    pub hash: String,
}

impl ChainHead {
    /// Of a chain without lines.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(HEX_CHARS),
        }
    }
}

impl std::fmt::Display for ChainHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for ChainHead {
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

/// The version of the lines that are written here, which `started` lines name as `form`.
pub(super) const FORM: u32 = 2;

const HEX_CHARS: usize = 64;
/// What stands before a line's number.
const BEFORE_SEQ: &[u8] = b"{\"seq\":";
/// What stands between a line's content and the hash of the line before it.
const BEFORE_PREV: &[u8] = b",\"prev\":\"";
/// What stands before the digests of what is personal.
const BEFORE_SEALED: &[u8] = b",\"sealed\":";
/// What stands between that and its own hash.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
/// What ends a line.
const AFTER_HASH: &[u8] = b"\"}\n";

/// Appends a line to `out`, and moves on to it. `content` has to be an object with a field, and has
/// nothing of what is personal.
pub(super) fn add(
    head: &mut ChainHead,
    content: &impl Serialize,
    personal: Values<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let begin = out.len();
    let added = add_to(head, content, personal, out);
    if added.is_err() {
        out.truncate(begin);
    }
    added
}

fn add_to(
    head: &mut ChainHead,
    content: &impl Serialize,
    personal: Values<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let begin = out.len();
    let seq = head.seq.saturating_add(1);
    out.extend(BEFORE_SEQ);
    out.extend(seq.to_string().as_bytes());
    let content_begin = out.len();
    write(out, content)?;
    // It opened with a brace where the place already did, and closes after the hash.
    if let Some(brace) = out.get_mut(content_begin) {
        *brace = b',';
    }
    out.pop();
    let sealed = (!personal.is_empty()).then(|| opening::seal(personal));
    let sealed = sealed.transpose()?;
    if let Some((sealed, _)) = &sealed {
        out.extend(BEFORE_SEALED);
        write(out, sealed)?;
    }
    out.extend(BEFORE_PREV);
    out.extend(head.hash.as_bytes());
    out.push(b'"');
    let hash = hash_of(out.get(begin..).unwrap_or_default());
    finish(out, &hash, sealed.as_ref().map(|(_, openings)| openings))?;
    *head = ChainHead { seq, hash };
    Ok(())
}

/// Ends a line: its hash, and what opens its digests.
pub(super) fn finish(
    out: &mut Vec<u8>,
    hash: &str,
    openings: Option<&Openings<'_>>,
) -> Result<(), Error> {
    out.extend(BEFORE_HASH);
    out.extend(hash.as_bytes());
    let Some(openings) = openings.filter(|openings| !openings.values.is_empty()) else {
        out.extend(AFTER_HASH);
        return Ok(());
    };
    out.push(b'"');
    let begin = out.len();
    write(out, openings)?;
    if let Some(brace) = out.get_mut(begin) {
        *brace = b',';
    }
    out.push(b'\n');
    Ok(())
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(out, value).map_err(|error| Error::Line(error.to_string()))
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
    /// The lines whose personal values were erased, such as `7,12-15`.
    #[serde(default)]
    pub(super) lines: Option<String>,
    /// The key that signed the line before, and how.
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    sealed: opening::Sealed,
    /// The version of the lines from here on; `None` in a line that does not say it.
    #[serde(default)]
    form: Option<u32>,
    /// Of version 1, and its content was erased.
    #[serde(default)]
    erased: bool,
    #[serde(skip)]
    pub(super) hash: String,
    /// Something personal was taken out of it.
    #[serde(skip)]
    pub(super) lacks: bool,
}

impl Sealed {
    pub(super) fn head(&self) -> ChainHead {
        ChainHead {
            seq: self.seq,
            hash: self.hash.clone(),
        }
    }
}

/// A line in its parts.
pub(super) struct Parts<'a> {
    /// What its hash is of.
    pub(super) content: &'a [u8],
    hash: &'a [u8],
    pub(super) openings: Openings<'a>,
}

impl Parts<'_> {
    /// Whether what is personal is sealed in it, as in version 2.
    pub(super) fn is_sealed(&self) -> bool {
        let sealed = self.content.windows(BEFORE_SEALED.len());
        // Inside of a JSON string its quotes would be escaped.
        sealed.into_iter().any(|part| part == BEFORE_SEALED)
    }

    pub(super) fn hash_text(&self) -> String {
        String::from_utf8_lossy(self.hash).into_owned()
    }
}

/// Takes a line apart.
pub(super) fn parts(line: &[u8]) -> Result<Parts<'_>, String> {
    let line = line
        .strip_suffix(b"\n")
        .ok_or("it does not end like a line")?;
    // Inside of a JSON string its quotes would be escaped.
    let place = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.find(",\"hash\":\""))
        .ok_or("its hash is not where it should be")?;
    let (content, rest) = line.split_at_checked(place).unwrap_or((line, &[]));
    let rest = rest.get(BEFORE_HASH.len()..).unwrap_or_default();
    let (hash, rest) = rest
        .split_first_chunk::<HEX_CHARS>()
        .ok_or("it is too short")?;
    let openings = match rest {
        b"\"}" => Openings::default(),
        [b'"', b',', _, ..] => {
            let mut json = rest.get(1..).unwrap_or_default().to_vec();
            if let Some(comma) = json.first_mut() {
                *comma = b'{';
            }
            let openings: Openings<'static> = serde_json::from_slice::<Openings<'_>>(&json)
                .map(Openings::into_owned)
                .map_err(|error| {
                    format!("what stands beside its hash does not decode ({error})")
                })?;
            // Nothing else may stand there, in no other form.
            let again = serde_json::to_vec(&openings).map_err(|error| error.to_string())?;
            if again != json {
                return Err("what stands beside its hash is not as it was written".to_owned());
            }
            openings
        }
        _ => return Err("it does not end like a line".to_owned()),
    };
    Ok(Parts {
        content,
        hash,
        openings,
    })
}

/// Reads lines in their order, each with its end, and checks their hashes. Of a line of version 1
/// that was erased there is nothing to check; that a later line names it is for the walk over all
/// lines to find. After a line of version 2 there is no line of version 1 any more, so there a line
/// that says it was erased has to have its hash too.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// Whether a line of version 2 was read.
    is_sealed: bool,
}

impl LineReader {
    /// Reads the next line.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Sealed, String> {
        let Parts {
            content,
            hash,
            openings,
        } = parts(line)?;
        let is_whole = hash_of(content).as_bytes() == hash;
        let changed = || "its hash is not that of its content".to_owned();
        let sealed = serde_json::from_slice(line.trim_ascii_end());
        let mut sealed: Sealed = match sealed {
            Ok(sealed) => sealed,
            Err(_) if !is_whole => return Err(changed()),
            Err(error) => return Err(format!("it does not decode ({error})")),
        };
        let is_sealed = !sealed.sealed.is_empty() || sealed.form.is_some_and(|form| form >= FORM);
        // The first line of all says that the service started, and has nothing to erase.
        let may_differ = sealed.erased && sealed.seq > 1 && !is_sealed && !self.is_sealed;
        if !is_whole && !may_differ {
            return Err(changed());
        }
        self.is_sealed |= is_sealed;
        sealed.lacks = openings.check(&sealed.sealed)? || sealed.erased;
        sealed.hash = String::from_utf8_lossy(hash).into_owned();
        Ok(sealed)
    }
}

/// Reads one line of which nothing before it is known.
pub(super) fn read(line: &[u8]) -> Result<Sealed, String> {
    LineReader::default().read(line)
}

/// Whether bytes may be the beginning of a line whose end is not written yet.
pub(super) fn is_unfinished(line: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    let is_cut = match values.next() {
        Some(Ok(_)) => values.byte_offset() == line.len(),
        Some(Err(error)) => error.is_eof(),
        None => true,
    };
    is_cut && !line.ends_with(b"\n")
}

pub(super) mod opening;
pub(super) mod signature;
pub mod verify;
#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u32) -> Vec<Vec<u8>> {
        let (mut head, mut lines) = (ChainHead::empty(), Vec::new());
        for number in 0..count {
            let mut line = Vec::new();
            let content = serde_json::json!({
                "time": "2027-01-15T08:00:00Z",
                "event": "admitted",
                "key": format!("k/{number}"),
            });
            add(&mut head, &content, Values::default(), &mut line).unwrap();
            lines.push(line);
        }
        lines
    }

    /// A line with something personal.
    fn personal() -> Vec<u8> {
        let content = serde_json::json!({
            "time": "2027-01-15T08:00:00Z",
            "event": "admitted",
        });
        let values = Values {
            key: Some("k,\"hash\":\"/0".into()),
            subscribers: vec![Some("ann".into()), Some("bob".into())],
            ..Values::default()
        };
        let mut line = Vec::new();
        add(&mut ChainHead::empty(), &content, values, &mut line).unwrap();
        line
    }

    #[test]
    fn what_is_personal_stands_beside_the_hash_and_can_go() {
        let line = personal();
        let sealed = read(&line).unwrap();
        assert!(!sealed.lacks);
        let text = String::from_utf8(line.clone()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["key"], "k,\"hash\":\"/0");
        assert_eq!(json["subscribers"], serde_json::json!(["ann", "bob"]));
        let covered = text.split_once(",\"hash\":").unwrap().0;
        assert!(
            !covered.contains("ann") && covered.contains("sealed"),
            "{covered}"
        );
        let Parts {
            content,
            hash,
            mut openings,
        } = parts(&line).unwrap();
        openings.values.subscribers[0] = None;
        openings.salts.subscribers[0] = None;
        let mut erased = content.to_vec();
        finish(
            &mut erased,
            std::str::from_utf8(hash).unwrap(),
            Some(&openings),
        )
        .unwrap();
        let again = read(&erased).unwrap();
        assert!(again.lacks && again.hash == sealed.hash);
        let json: serde_json::Value = serde_json::from_slice(&erased).unwrap();
        assert_eq!(json["subscribers"], serde_json::json!([null, "bob"]));
    }

    #[test]
    fn a_cut_line_is_unfinished_and_a_changed_end_is_not() {
        for line in [lines(1).remove(0), personal()] {
            for end in 0..line.len() {
                assert!(is_unfinished(&line[..end]), "{end}");
            }
            assert!(!is_unfinished(&line));
            let mut changed = line.clone();
            *changed.last_mut().unwrap() = b'\x0b';
            assert!(!is_unfinished(&changed));
        }
    }

    #[test]
    fn a_line_reads_back_and_names_the_one_before_it() {
        let mut before = ChainHead::empty();
        for (seq, line) in (1..).zip(lines(5)) {
            let sealed = read(&line).unwrap();
            assert_eq!((sealed.seq, &sealed.prev), (seq, &before.hash));
            before = sealed.head();
        }
    }

    #[test]
    fn any_changed_bit_shows() {
        for line in [lines(2).remove(1), personal()] {
            for at in 0..line.len() {
                for bit in 0..8 {
                    let mut changed = line.clone();
                    changed[at] ^= 1 << bit;
                    assert!(read(&changed).is_err(), "byte {at}, bit {bit}");
                }
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
        let head = ChainHead {
            seq: 7,
            hash: "0a".repeat(32),
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "7", "7:xyz", "x:00"] {
            assert!(bad.parse::<ChainHead>().is_err(), "{bad}");
        }
    }
}
