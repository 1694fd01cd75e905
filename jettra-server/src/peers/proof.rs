//! The proof of the cluster secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Key, ProveRequest, Secret};

/// Random bytes as hex; each side gives one a session.
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

    /// One of 64 hex digits that we have made.
    pub(super) fn from_hex(text: String) -> Self {
        Nonce(text)
    }

    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// All that a session's proofs and keys depend on besides the secret.
#[derive(Debug, Clone)]
pub struct Handshake<'a> {
    /// The caller's nonce.
    pub caller: &'a str,
    /// The called node's nonce.
    pub called: &'a str,
    /// The caller's Raft id.
    pub from: u64,
    /// The Raft id that the caller takes the node for.
    pub to: u64,
    /// The cluster's id.
    pub cluster: &'a str,
    /// The URL that the caller dialled.
    pub url: &'a str,
}

impl<'a> Handshake<'a> {
    /// What `request` is a part of.
    pub fn of(request: &'a ProveRequest) -> Self {
        let ProveRequest { caller, called, cluster, from, to, url, .. } = request;
        Handshake { caller, called, from: *from, to: *to, cluster, url }
    }

    fn hmac(&self, secret: &Secret, purpose: &str, further: &[&[u8]]) -> [u8; 32] {
        // A key of any length is fine for HMAC, so this cannot fail.
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
        let texts = [purpose, self.caller, self.called, self.cluster, self.url].map(str::as_bytes);
        for part in texts.iter().chain(further) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.update(&self.from.to_be_bytes());
        mac.update(&self.to.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What the caller shows.
    pub fn caller_proof(&self, secret: &Secret) -> String {
        crate::random::to_hex(&self.hmac(secret, "jettra caller", &[]))
    }

    /// What the called node shows; it covers what it says of itself, and that the caller was removed.
    pub fn called_proof(&self, secret: &Secret, node: &str, removed: Option<u64>) -> String {
        let removed = removed.map_or_else(Vec::new, |index| index.to_be_bytes().to_vec());
        crate::random::to_hex(&self.hmac(secret, "jettra called", &[node.as_bytes(), &removed]))
    }

    /// The session's key.
    pub fn key(&self, secret: &Secret) -> Key {
        Key::new(|purpose| self.hmac(secret, purpose, &[]))
    }
}

/// Whether two proofs are the same, in time that does not depend on where they differ.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
