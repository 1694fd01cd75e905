//! The proof of the cluster secret, and the MAC of each call after it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Secret;

/// 16 random bytes as hex; each side gives one a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    /// A fresh one.
    pub fn random() -> Self {
        Nonce(crate::random::hex::<16>())
    }

    /// One that came over the wire: hex digits, 16 to 64 of them.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (16..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Nonce(text.to_owned()))
    }

    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All that a session's proofs and key depend on besides the secret.
#[derive(Debug, Clone)]
pub struct Handshake<'a> {
    /// The caller's nonce.
    pub caller: &'a Nonce,
    /// The called node's nonce.
    pub called: &'a Nonce,
    /// The caller's Raft id.
    pub from: u64,
    /// The Raft id that the caller takes the node for.
    pub to: u64,
    /// The cluster's id.
    pub cluster: &'a str,
}

impl Handshake<'_> {
    fn hmac(&self, secret: &Secret, purpose: &str) -> [u8; 32] {
        // A key of any length is fine for HMAC, so this cannot fail.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
        for part in [purpose, self.caller.as_str(), self.called.as_str(), self.cluster] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&self.from.to_be_bytes());
        mac.update(&self.to.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What the caller shows.
    pub fn caller_proof(&self, secret: &Secret) -> String {
        crate::random::to_hex(&self.hmac(secret, "jettra caller"))
    }

    /// What the called node shows.
    pub fn called_proof(&self, secret: &Secret) -> String {
        crate::random::to_hex(&self.hmac(secret, "jettra called"))
    }

    /// The session's key.
    pub fn key(&self, secret: &Secret) -> Key {
        Key(self.hmac(secret, "jettra key"))
    }
}

/// Whether two proofs are the same, in time that does not depend on where they differ.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// The key of one session.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// The MAC of a call, hex.
    pub fn call(&self, path: &str, sequence: u64, body: &[u8]) -> String {
        self.mac(b"call", path.as_bytes(), sequence, body)
    }

    /// The MAC of the answer to that call, hex.
    pub fn answer(&self, status: u16, sequence: u64, body: &[u8]) -> String {
        self.mac(b"answer", &status.to_be_bytes(), sequence, body)
    }

    /// The checksum of one chunk of a stream.
    pub fn chunk(&self, sequence: u64, position: u64, body: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"chunk").update(&sequence.to_be_bytes()).update(&position.to_be_bytes()).update(body);
        let mut sum = [0; 16];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        sum
    }

    fn mac(&self, kind: &[u8], subject: &[u8], sequence: u64, body: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind).update(&(subject.len() as u64).to_be_bytes()).update(subject);
        hasher.update(&sequence.to_be_bytes()).update(body);
        crate::random::to_hex(&hasher.finalize().as_bytes()[..16])
    }
}
