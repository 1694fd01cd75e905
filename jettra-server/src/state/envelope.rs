//! How a document's state is stored: a fixed head, then the raw JSON.
//!
//! ```text
//! format u8 = 1 | flags u8 | rev u64 | time ms u64 | created rev u64
//! | kept versions u32 | their bytes u64 | oldest kept rev u64 | body, or for a tombstone: expires ms u64
//! ```
//! Numbers are big-endian. A superseded state keeps its bytes as they were.

use bytes::Bytes;

use super::halt::Halt;

const FORMAT: u8 = 1;
const TOMBSTONE: u8 = 1;
const HEAD: usize = 46;

/// One state of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The revision that wrote it.
    pub rev: u64,
    /// Cluster time of that write.
    pub time_ms: u64,
    /// The revision that created the document.
    pub created: u64,
    /// The superseded states that were kept when it was written.
    pub kept: Kept,
    /// What the document was.
    pub content: Content,
}

/// The window of superseded states of a document, decided by `apply`. Only live ones count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept {
    /// How many there are.
    pub count: u32,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Rev of the oldest, live or deleted; 0 where there is none.
    pub oldest: u64,
}

/// A document, or what is left of a deleted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The raw JSON.
    Live(Bytes),
    /// Deleted; from `expires_ms` of cluster time on the document has never been.
    Tombstone {
        /// In milliseconds since 1970.
        expires_ms: u64,
    },
}

impl Envelope {
    /// The raw JSON of a live state.
    pub fn body(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Live(body) => Some(body),
            Content::Tombstone { .. } => None,
        }
    }

    /// Whether it is a tombstone that has expired by `now_ms` of cluster time.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        matches!(self.content, Content::Tombstone { expires_ms } if expires_ms <= now_ms)
    }

    /// The stored form.
    pub fn encode(&self) -> Bytes {
        let expires;
        let (flags, tail): (u8, &[u8]) = match &self.content {
            Content::Live(body) => (0, body),
            Content::Tombstone { expires_ms } => {
                expires = expires_ms.to_be_bytes();
                (TOMBSTONE, &expires)
            }
        };
        let mut out = Vec::with_capacity(HEAD + tail.len());
        out.extend_from_slice(&[FORMAT, flags]);
        out.extend_from_slice(&self.rev.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.created.to_be_bytes());
        out.extend_from_slice(&self.kept.count.to_be_bytes());
        out.extend_from_slice(&self.kept.bytes.to_be_bytes());
        out.extend_from_slice(&self.kept.oldest.to_be_bytes());
        out.extend_from_slice(tail);
        out.into()
    }

    /// Reads the stored form.
    pub fn decode(bytes: &Bytes) -> Result<Envelope, Halt> {
        let broken = || Halt::damage("a document's envelope is broken");
        if bytes.first() != Some(&FORMAT) {
            return Err(Halt::damage(format!("a document's envelope has the format {}", bytes.first().unwrap_or(&0))));
        }
        let long = |at: usize| -> Result<u64, Halt> {
            let field = bytes.get(at..at + 8).ok_or_else(broken)?;
            Ok(field.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
        };
        let (rev, time_ms, created) = (long(2)?, long(10)?, long(18)?);
        // The count's four bytes are the upper half of the eight that start there.
        let kept = Kept { count: (long(26)? >> 32) as u32, bytes: long(30)?, oldest: long(38)? };
        let content = match bytes[1] {
            0 => Content::Live(bytes.slice(HEAD..)),
            TOMBSTONE => Content::Tombstone { expires_ms: long(HEAD)? },
            flags => return Err(Halt::damage(format!("a document's envelope has the flags {flags}"))),
        };
        Ok(Envelope { rev, time_ms, created, kept, content })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_wrote_and_refuses_anything_shorter() {
        let kept = Kept { count: 3, bytes: 1 << 40, oldest: 5 };
        let contents = [Content::Live(Bytes::from_static(b"{}")), Content::Tombstone { expires_ms: u64::MAX }];
        for content in contents {
            let envelope = Envelope { rev: u64::MAX - 1, time_ms: 17, created: 4, kept, content };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
            assert!(Envelope::decode(&bytes.slice(..HEAD - 1)).is_err());
        }
        assert!(Envelope::decode(&Bytes::new()).is_err());
        assert!(Envelope::decode(&Bytes::from_static(&[2; 60])).is_err());
    }
}
