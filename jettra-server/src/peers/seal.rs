//! What seals the calls of a session: nobody between the two nodes reads or changes them.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};

/// Bytes that a seal adds.
pub const SEAL: usize = 16;

/// The key of one session. A sequence number belongs to one call, so no nonce is used twice under a key.
#[derive(Clone)]
pub struct Key(Arc<Keys>);

struct Keys {
    calls: LessSafeKey,
    answers: LessSafeKey,
    /// From which each stream gets a key of its own.
    streams: [u8; 32],
}

impl Key {
    /// The key whose parts `derive` makes, each for its purpose.
    pub(super) fn new(derive: impl Fn(&str) -> [u8; 32]) -> Self {
        Key(Arc::new(Keys {
            calls: aes(&derive("jettra calls")),
            answers: aes(&derive("jettra answers")),
            streams: derive("jettra streams"),
        }))
    }

    /// A call's body, sealed.
    pub fn seal_call(&self, path: &str, sequence: u64, body: &[u8]) -> Bytes {
        seal(&self.0.calls, sequence, path.as_bytes(), body)
    }

    /// A call's body, if it is sealed as that call.
    pub fn open_call(&self, path: &str, sequence: u64, sealed: Bytes) -> Option<Bytes> {
        open(&self.0.calls, sequence, path.as_bytes(), sealed)
    }

    /// The answer to that call, sealed.
    pub fn seal_answer(&self, status: u16, sequence: u64, body: &[u8]) -> Bytes {
        seal(&self.0.answers, sequence, &status.to_be_bytes(), body)
    }

    /// The answer to that call, if it is sealed as such.
    pub fn open_answer(&self, status: u16, sequence: u64, sealed: Bytes) -> Option<Bytes> {
        open(&self.0.answers, sequence, &status.to_be_bytes(), sealed)
    }

    /// The key of the stream that belongs to that call.
    pub fn stream(&self, sequence: u64) -> StreamKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.streams);
        hasher.update(&sequence.to_be_bytes());
        StreamKey(aes(hasher.finalize().as_bytes()))
    }
}

/// The key of one stream of chunks, each sealed at its position.
pub struct StreamKey(LessSafeKey);

impl StreamKey {
    /// A chunk, sealed.
    pub fn seal(&self, position: u64, chunk: &[u8]) -> Bytes {
        seal(&self.0, position, b"chunk", chunk)
    }

    /// A chunk, if it is sealed as the one at this position.
    pub fn open(&self, position: u64, sealed: Bytes) -> Option<Bytes> {
        open(&self.0, position, b"chunk", sealed)
    }
}

fn aes(key: &[u8; 32]) -> LessSafeKey {
    // It takes keys of 32 bytes, so this cannot fail.
    #[allow(clippy::expect_used)]
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes a key of 32 bytes"))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn seal(key: &LessSafeKey, number: u64, about: &[u8], body: &[u8]) -> Bytes {
    let mut sealed = Vec::with_capacity(body.len() + SEAL);
    sealed.extend_from_slice(body);
    // It fails beyond 64 GiB only, and no body comes near that.
    #[allow(clippy::expect_used)]
    key.seal_in_place_append_tag(nonce(number), Aad::from(about), &mut sealed).expect("a body of less than 64 GiB");
    sealed.into()
}

fn open(key: &LessSafeKey, number: u64, about: &[u8], sealed: Bytes) -> Option<Bytes> {
    // In place where nobody else holds it.
    let mut bytes = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let length = key.open_in_place(nonce(number), Aad::from(about), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_call_at_the_same_number_opens() {
        let key = Key::new(|purpose| *blake3::hash(purpose.as_bytes()).as_bytes());
        let sealed = key.seal_call("/a", 7, b"a secret");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key.open_call("/a", 7, sealed.clone()).unwrap(), "a secret");
        for (path, sequence) in [("/b", 7), ("/a", 8)] {
            assert_eq!(key.open_call(path, sequence, sealed.clone()), None);
        }
        assert_eq!(key.open_answer(200, 7, sealed.clone()), None);
        let mut changed = sealed.to_vec();
        changed[0] ^= 1;
        assert_eq!(key.open_call("/a", 7, changed.into()), None);
        assert_eq!(key.open_call("/a", 7, Bytes::new()), None);
        let answer = key.seal_answer(409, 7, b"no");
        assert_eq!(key.open_answer(409, 7, answer.clone()).unwrap(), "no");
        assert_eq!(key.open_answer(200, 7, answer), None);
        let chunk = key.stream(7).seal(0, b"records");
        assert_eq!(key.stream(7).open(0, chunk.clone()).unwrap(), "records");
        assert_eq!(key.stream(7).open(1, chunk.clone()), None);
        assert_eq!(key.stream(8).open(0, chunk), None);
    }
}
