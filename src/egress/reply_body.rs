//! Decodes the body of a reply to text. A complete reply is read even in an encoding that was not
//! asked for, and never grows beyond [`limits::REPLY_BYTES_MAX`].
//!
//! The client's own decompression has no bound, so bodies are decompressed here. A label that does
//! not fit the body is ignored: plain JSON with `Content-Encoding: gzip` is plain JSON, and a gzip
//! without a label is a gzip.

use std::io::{self, Read as _};

use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};

use crate::limits;

/// The magic number of gzip (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes that are inflated per step.
const ROOM_BYTES: usize = 16 * 1024;

/// Why a complete body has no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is longer than [`limits::REPLY_BYTES_MAX`], compressed or decompressed.
    TooLong,
    /// It cannot be decompressed, for this reason.
    Damaged(String),
}

/// A supported content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// Decodes a body with these `Content-Encoding` headers, first coding first.
///
/// # Errors
/// If it cannot be decompressed, or is too long.
pub(super) fn text<'a>(
    encodings: impl IntoIterator<Item = &'a str>,
    body: Vec<u8>,
) -> Result<String, Unread> {
    unpacked(&codings(encodings)?, body).map(characters)
}

/// The known codings. Unknown names, such as `identity` or `utf-8`, are skipped: the label may be
/// wrong, and a body that is compressed after all is no JSON.
fn codings<'a>(encodings: impl IntoIterator<Item = &'a str>) -> Result<Vec<Coding>, Unread> {
    let codings: Vec<_> = encodings
        .into_iter()
        .flat_map(|value| value.split(','))
        .filter_map(|name| match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            _ => None,
        })
        .take(limits::REPLY_CODINGS_MAX + 1)
        .collect();
    if codings.len() > limits::REPLY_CODINGS_MAX {
        let most = limits::REPLY_CODINGS_MAX;
        return Err(Unread::Damaged(format!("it has more than {most} codings")));
    }
    Ok(codings)
}

fn unpacked(codings: &[Coding], mut body: Vec<u8>) -> Result<Vec<u8>, Unread> {
    // The last coding was applied last.
    for coding in codings.iter().rev() {
        body = match coding {
            Coding::Gzip if body.starts_with(&GZIP) => gunzipped(&body)?,
            Coding::Deflate if is_zlib(&body) => whole(inflated(&body, true)?)?,
            // Some servers omit the zlib wrapper. Raw deflate has no magic number, so a body that
            // does not inflate to its very end is taken as plain.
            Coding::Deflate => match inflated(&body, false).and_then(whole) {
                Ok(plain) => plain,
                Err(Unread::TooLong) => return Err(Unread::TooLong),
                Err(Unread::Damaged(_)) => body,
            },
            Coding::Gzip => body,
        };
    }
    if body.starts_with(&GZIP) {
        body = gunzipped(&body)?;
    }
    Ok(body)
}

/// Decompresses all members of a gzip, which form one text (RFC 1952, section 2.2).
fn gunzipped(body: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut plain = Vec::new();
    let mut rest = body;
    while !is_padding(rest) {
        let mut member = GzDecoder::new(rest);
        let room = (limits::REPLY_BYTES_MAX + 1).saturating_sub(plain.len());
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        // Reading to the end of a member also checks its length and checksum.
        let read = member.by_ref().take(room).read_to_end(&mut plain);
        if plain.len() > limits::REPLY_BYTES_MAX {
            return Err(Unread::TooLong);
        }
        read.map_err(|error| damaged(&error))?;
        rest = member.into_inner();
    }
    Ok(plain)
}

/// An inflated stream, and the bytes after it.
struct Inflated<'a> {
    plain: Vec<u8>,
    rest: &'a [u8],
}

fn inflated(body: &[u8], zlib: bool) -> Result<Inflated<'_>, Unread> {
    let mut stream = Decompress::new(zlib);
    let mut plain = Vec::new();
    let mut room = vec![0; ROOM_BYTES];
    let mut rest = body;
    loop {
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream
            .decompress(rest, &mut room, FlushDecompress::None)
            .map_err(|error| damaged(&error.into()))?;
        let taken = usize::try_from(stream.total_in() - taken).unwrap_or(usize::MAX);
        let given = usize::try_from(stream.total_out() - given).unwrap_or(usize::MAX);
        rest = rest.get(taken..).unwrap_or_default();
        if plain.len().saturating_add(given) > limits::REPLY_BYTES_MAX {
            return Err(Unread::TooLong);
        }
        plain.extend_from_slice(room.get(..given).unwrap_or_default());
        match status {
            Status::StreamEnd => return Ok(Inflated { plain, rest }),
            // No input was taken and no output came: the stream is truncated.
            _ if taken == 0 && given == 0 => {
                return Err(damaged(&io::ErrorKind::UnexpectedEof.into()));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// The inflated bytes, if nothing but padding follows.
fn whole(inflated: Inflated<'_>) -> Result<Vec<u8>, Unread> {
    if is_padding(inflated.rest) {
        Ok(inflated.plain)
    } else {
        Err(Unread::Damaged("something is behind its end".to_owned()))
    }
}

fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0 || b.is_ascii_whitespace())
}

/// Whether a body has a zlib header (RFC 1950, section 2.2).
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

fn damaged(error: &io::Error) -> Unread {
    Unread::Damaged(error.to_string())
}

/// Bytes as text: UTF-16 if a byte order mark says so, else UTF-8. Invalid sequences are replaced.
fn characters(body: Vec<u8>) -> String {
    match body.as_slice() {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes),
        _ => String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (units, odd) = bytes.as_chunks::<2>();
    char::decode_utf16(units.iter().map(|pair| unit(*pair)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .chain(odd.iter().map(|_| char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Compression for tests.
#[cfg(test)]
pub(super) mod packing {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    pub(in crate::egress) fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{DeflateEncoder, ZlibEncoder},
    };

    use super::{packing::gzip, *};

    const PLAIN: &str = r#"{"status":"canceled"}"#;

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(plain: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    }

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn a_packed_body_is_unpacked_however_it_is_labelled() {
        let plain = PLAIN.as_bytes();
        for (encodings, body) in [
            (&[][..], plain.to_vec()),
            (&["identity"], plain.to_vec()),
            (&["gzip"], gzip(plain)),
            (&["GZip"], gzip(plain)),
            (&["x-gzip"], gzip(plain)),
            (&[" gzip ,"], gzip(plain)),
            (&["deflate"], zlib(plain)),
            (&["Deflate"], raw(plain)),
            (&["gzip, gzip"], gzip(&gzip(plain))),
            (&["deflate, gzip"], gzip(&zlib(plain))),
            (&["gzip", "deflate"], zlib(&gzip(plain))),
            // Without a label, or with too few of them.
            (&[], gzip(plain)),
            (&["gzip"], gzip(&gzip(plain))),
            // With a label that is wrong.
            (&["gzip"], plain.to_vec()),
            (&["deflate"], plain.to_vec()),
            (&["utf-8"], plain.to_vec()),
            // Padded, and in two members.
            (&["gzip"], joined(&[&gzip(plain), b"\0\0\n"])),
            (&["deflate"], joined(&[&zlib(plain), b"\0\0"])),
            (
                &["gzip"],
                joined(&[&gzip(b"{\"status\":"), &gzip(b"\"canceled\"}")]),
            ),
        ] {
            let read = text(encodings.iter().copied(), body);
            assert_eq!(read.as_deref(), Ok(PLAIN), "{encodings:?}");
        }
        assert_eq!(text(["gzip"], Vec::new()).as_deref(), Ok(""));
    }

    #[test]
    fn a_packed_body_that_is_not_whole_is_never_read_in_part() {
        let plain = PLAIN.as_bytes();
        for (encoding, body) in [("gzip", gzip(plain)), ("deflate", zlib(plain))] {
            for kept in 2..body.len() {
                let cut = body[..kept].to_vec();
                assert!(
                    matches!(text([encoding], cut), Err(Unread::Damaged(_))),
                    "{encoding} {kept}"
                );
            }
            let mut flipped = body.clone();
            *flipped.last_mut().unwrap() ^= 1;
            assert!(matches!(text([encoding], flipped), Err(Unread::Damaged(_))));
            let followed = joined(&[&body, b"{}"]);
            assert!(matches!(
                text([encoding], followed),
                Err(Unread::Damaged(_))
            ));
        }
        let body = raw(plain);
        for kept in 0..body.len() {
            let read = text(["deflate"], body[..kept].to_vec()).unwrap();
            assert!(!read.contains("canceled"), "{kept}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let most = vec![b' '; limits::REPLY_BYTES_MAX];
        let more = vec![b' '; limits::REPLY_BYTES_MAX + 1];
        for (encoding, fits, too_much) in [
            ("gzip", gzip(&most), gzip(&more)),
            ("deflate", zlib(&most), zlib(&more)),
            ("deflate", raw(&most), raw(&more)),
        ] {
            assert_eq!(text([encoding], fits).unwrap().len(), most.len());
            assert_eq!(text([encoding], too_much), Err(Unread::TooLong));
        }
        let members = joined(&[&gzip(&most), &gzip(b" ")]);
        assert_eq!(text(["gzip"], members), Err(Unread::TooLong));
        let bomb = gzip(&gzip(&vec![0; 64 * 1024 * 1024]));
        assert_eq!(text(["gzip, gzip"], bomb), Err(Unread::TooLong));
        let many = text(["gzip,gzip,gzip,gzip,gzip,gzip"], PLAIN.into());
        assert!(matches!(many, Err(Unread::Damaged(_))));
    }

    #[test]
    fn a_byte_order_mark_says_what_the_characters_are() {
        let units = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("\u{feff}{PLAIN}")
                .encode_utf16()
                .flat_map(bytes)
                .collect()
        };
        for body in [units(u16::to_le_bytes), units(u16::to_be_bytes)] {
            assert_eq!(text([], body).as_deref(), Ok(PLAIN));
        }
        let marked = format!("\u{feff}{PLAIN}");
        assert_eq!(text([], marked.clone().into_bytes()), Ok(marked));
        assert_eq!(
            text([], vec![0xff, 0xfe, b'a', 0, b'b']).unwrap(),
            "a\u{fffd}"
        );
        assert_eq!(text([], vec![b'a', 0xe9]).unwrap(), "a\u{fffd}");
    }
}
