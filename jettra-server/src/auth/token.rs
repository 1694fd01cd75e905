//! Tokens: signed by a key that all nodes share, so that every node takes them at once.
//!
//! `base64url({"id","user","rev","issued"}).base64url(mac)`. A token lives 15 minutes; use in its
//! second half renews it by a replicated record, and a change of the user's password ends it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::State;

/// How long a token lives after it was issued or renewed, in milliseconds.
pub const LIFE_MS: u64 = 15 * 60 * 1000;

#[derive(Serialize, Deserialize)]
struct Content {
    id: String,
    user: String,
    rev: u64,
    issued: u64,
}

/// A token whose signature and age are good.
pub struct Valid {
    /// Its own id.
    pub id: String,
    /// The user it was issued to.
    pub user: String,
    /// The user's revision at that time.
    pub user_rev: u64,
    ends: u64,
}

impl Valid {
    /// Whether it is in the second half of its life.
    pub fn wants_renewal(&self, now: u64) -> bool {
        self.ends < now + LIFE_MS / 2
    }
}

fn mac(state: &State, content: &[u8]) -> Result<[u8; 32]> {
    let key =
        state.token_key().ok_or_else(|| Error::unavailable("the cluster is being set up: try again in a moment"))?;
    let key: [u8; 32] = blake3::derive_key("jettra token", &key);
    Ok(blake3::keyed_hash(&key, content).into())
}

/// A token for `user`.
///
/// # Errors
/// `unavailable` before the cluster has a key.
pub fn issue(state: &State, user: &str, rev: u64, now: u64) -> Result<String> {
    let content = Content { id: crate::random::hex::<16>(), user: user.to_owned(), rev, issued: now };
    let content = serde_json::to_vec(&content).map_err(|e| Error::internal(e.to_string()))?;
    Ok(format!("{}.{}", BASE64.encode(&content), BASE64.encode(mac(state, &content)?)))
}

/// Checks a token's signature and age.
///
/// # Errors
/// `unauthorized`.
pub fn check(state: &State, token: &str, now: u64) -> Result<Valid> {
    let wrong = || Error::unauthorized("the token is not valid: log in again");
    let (content, signature) = token.split_once('.').ok_or_else(wrong)?;
    let content = BASE64.decode(content).map_err(|_| wrong())?;
    let signature: [u8; 32] = BASE64.decode(signature).ok().and_then(|s| s.try_into().ok()).ok_or_else(wrong)?;
    if blake3::Hash::from(mac(state, &content)?) != blake3::Hash::from(signature) {
        return Err(wrong());
    }
    let content: Content = serde_json::from_slice(&content).map_err(|_| wrong())?;
    let known = state.token(&content.id).map_err(|e| Error::internal(e.to_string()))?;
    let (renewed, ended) = known.unwrap_or_default();
    let ends = renewed.max(content.issued.saturating_add(LIFE_MS));
    if ended || ends <= now {
        return Err(Error::unauthorized("the token has ended: log in again"));
    }
    Ok(Valid { id: content.id, user: content.user, user_rev: content.rev, ends })
}

/// Which tokens this node is renewing, so that each is renewed once.
#[derive(Default)]
pub struct Renewals {
    begun: Mutex<HashMap<String, u64>>,
}

impl Renewals {
    /// Whether the caller should renew the token `id` now.
    pub fn begin(&self, id: &str, now: u64) -> bool {
        const AGAIN_MS: u64 = 30_000;
        let mut begun = self.begun.lock();
        begun.retain(|_, at| *at + AGAIN_MS > now);
        if begun.len() >= 10_000 || begun.contains_key(id) {
            return false;
        }
        begun.insert(id.to_owned(), now);
        true
    }
}
