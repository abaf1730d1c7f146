//! Counts messages in gRPC's framing, a flag and a length before each message.

/// The position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of the prefix that have arrived, and the length as far as it has arrived.
    prefix: u8,
    length: u32,
    /// Bytes of the message that are still to come.
    rest: usize,
}

/// A flag and four bytes of length.
const PREFIX_BYTES: u8 = 5;

impl Messages {
    /// The number of messages that end within these bytes.
    pub(super) fn ended_by(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        loop {
            if self.prefix == PREFIX_BYTES {
                let here = self.rest.min(bytes.len());
                bytes = bytes.get(here..).unwrap_or_default();
                self.rest -= here;
                if self.rest > 0 {
                    return ended;
                }
                ended += 1;
                *self = Self::default();
            }
            let Some((first, others)) = bytes.split_first() else {
                return ended;
            };
            bytes = others;
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(*first);
            }
            self.prefix += 1;
            self.rest = usize::try_from(self.length).unwrap_or(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let mut stream = Vec::new();
        for length in [0_u32, 3, 300, 0, 70_000] {
            stream.push(0);
            stream.extend(length.to_be_bytes());
            stream.resize(stream.len() + usize::try_from(length).unwrap(), 7);
        }
        for size in [1, 2, 5, 6, 7, 64, stream.len()] {
            let mut messages = Messages::default();
            let counted: u64 = stream
                .chunks(size)
                .map(|part| messages.ended_by(part))
                .sum();
            assert_eq!(counted, 5, "in pieces of {size}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.ended_by(&stream[..stream.len() - 1]), 4);
        assert_eq!(messages.ended_by(&[7]), 1);
    }
}
