//! Tokens: signed by a key that all nodes share, so that every node takes them at once.
//!
//! `base64url({"id","user","rev","issued"}).base64url(mac)`. A token lives 15 minutes; use in its
//! second half renews it by a replicated record, for 12 hours in all. A change of the user's password ends it, and so
//! does logging out, by another such record.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;
use crate::state::{Op, State};

/// The clocks of the node that issued a token and of the one that looks at it may differ by so much, in milliseconds.
const CLOCKS_MS: u64 = 60 * 1000;

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
    /// Whether the cluster knows of the login, and lists it.
    pub listed: bool,
    issued: u64,
    ends: u64,
}

/// The record of a login is on its way for so long, in milliseconds.
const ON_ITS_WAY_MS: u64 = 5_000;

impl Valid {
    /// The record of the login, where there should be one by now and is none: it was made while nobody could write one,
    /// or by a version that wrote none.
    pub fn record(&self, now: u64) -> Option<Op> {
        let is_due = !self.listed && self.issued.saturating_add(ON_ITS_WAY_MS) < now;
        is_due.then(|| record(&self.id, &self.user, self.user_rev, self.issued))
    }

    /// Until when it should be renewed, if it is in the second half of its life and may live on.
    pub fn renewal(&self, now: u64) -> Option<u64> {
        let until = (now + limits::TOKEN_MS).min(self.issued.saturating_add(limits::TOKEN_LONGEST_MS));
        Some(until).filter(|until| self.ends < now + limits::TOKEN_MS / 2 && *until > self.ends)
    }
}

fn mac(state: &State, content: &[u8]) -> Result<[u8; 32]> {
    let key =
        state.token_key().ok_or_else(|| Error::unavailable("the cluster is being set up: try again in a moment"))?;
    let key: [u8; 32] = blake3::derive_key("jettra token", &key);
    Ok(blake3::keyed_hash(&key, content).into())
}

/// A token for `user`, and the record of it.
///
/// # Errors
/// `unavailable` before the cluster has a key.
pub fn issue(state: &State, user: &str, rev: u64, now: u64) -> Result<(String, Op)> {
    let content = Content { id: crate::random::hex::<8>(), user: user.to_owned(), rev, issued: now };
    let record = record(&content.id, user, rev, now);
    let content = serde_json::to_vec(&content).map_err(|e| Error::internal(e.to_string()))?;
    Ok((format!("{}.{}", BASE64.encode(&content), BASE64.encode(mac(state, &content)?)), record))
}

fn record(id: &str, user: &str, user_rev: u64, issued_ms: u64) -> Op {
    let expires_ms = issued_ms.saturating_add(limits::TOKEN_MS);
    Op::TokenIssue { id: id.to_owned(), user: user.to_owned(), user_rev, issued_ms, expires_ms }
}

/// Until when it must be remembered that a token was ended at `now`: as long as its last renewal may have reached, with
/// what clocks may be apart.
pub fn remembered_until(now: u64) -> u64 {
    now + limits::TOKEN_MS + 2 * CLOCKS_MS
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
    let (renewed, ended) = known.as_ref().map_or((0, false), |token| (token.expires_ms, token.ended));
    if content.issued > now.saturating_add(CLOCKS_MS) {
        return Err(Error::unauthorized(
            "the token was issued at a time that has not come yet here: set the clocks of the nodes, and log in again",
        ));
    }
    let ends = renewed
        .max(content.issued.saturating_add(limits::TOKEN_MS))
        .min(content.issued.saturating_add(limits::TOKEN_LONGEST_MS));
    if ended || ends <= now {
        return Err(Error::unauthorized("the token has ended: log in again"));
    }
    let listed = known.is_some_and(|token| token.issued.is_some());
    Ok(Valid { id: content.id, user: content.user, user_rev: content.rev, listed, issued: content.issued, ends })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::{Answer, Command, LogEntry, Payload, Settings};
    use crate::storage::MemoryEngine;

    const MINUTE: u64 = 60_000;
    const NOW: u64 = 1_700_000_000_000;

    fn state(ops: Vec<Op>) -> State {
        let state = State::open(Arc::new(MemoryEngine::new())).unwrap();
        let init = Op::ClusterInit {
            cluster_id: "c".into(),
            token_key: vec![7; 32],
            settings: Settings::default(),
            feature_level: 2,
        };
        for (n, op) in std::iter::once(init).chain(ops).enumerate() {
            let command = Command::new(op).encode(NOW);
            let entry = LogEntry { index: n as u64 + 1, position: b"position", payload: Payload::Command(&command) };
            state.apply(&[entry]).unwrap();
        }
        state
    }

    fn id(token: &str) -> String {
        let content = BASE64.decode(token.split_once('.').unwrap().0).unwrap();
        serde_json::from_slice::<Content>(&content).unwrap().id
    }

    #[test]
    fn a_token_lives_for_a_while_and_renewal_does_not_move_its_last_end() {
        let user = crate::state::NewUser {
            name: "ann".into(),
            role: crate::state::UserRole::Admin,
            password_hash: "x".into(),
            databases: vec![],
        };
        let set = || Op::SetUser { user: user.clone(), only_if_no_admin: false };
        let fresh = state(vec![set()]);
        let (token, record) = issue(&fresh, "ann", 2, NOW).unwrap();
        assert!(check(&fresh, &token, NOW + 14 * MINUTE).is_ok() && check(&fresh, &token, NOW + 15 * MINUTE).is_err());
        // Clocks may differ a little; a token of next year is nobody's.
        assert!(check(&fresh, &token, NOW - MINUTE).is_ok() && check(&fresh, &token, NOW - MINUTE - 1).is_err());
        assert_eq!(check(&fresh, &token, NOW + 7 * MINUTE).unwrap().renewal(NOW + 7 * MINUTE), None);
        let renewed = check(&fresh, &token, NOW + 8 * MINUTE).unwrap().renewal(NOW + 8 * MINUTE);
        assert_eq!(renewed, Some(NOW + 23 * MINUTE));

        let renewed = |until| Op::TokenRenew { id: id(&token), user: "ann".into(), expires_ms: until };
        let late = NOW + 719 * MINUTE;
        let renewed = state(vec![set(), renewed(late + 5 * MINUTE)]);
        assert_eq!(check(&renewed, &token, late).unwrap().renewal(late), None, "it has twelve hours");
        assert!(check(&renewed, &token, late + MINUTE).is_err());
        let ended = || Op::TokenEnd { id: id(&token), user: "ann".into(), until_ms: NOW + limits::TOKEN_LONGEST_MS };
        assert!(check(&state(vec![set(), ended()]), &token, NOW).is_err());

        // The record that a node sends late ends nothing and revives nothing.
        let in_time = check(&fresh, &token, NOW + 6_000).unwrap().record(NOW + 6_000);
        assert_eq!(in_time, Some(record.clone()));
        let until = NOW + 20 * MINUTE;
        let late = state(vec![set(), renewal_of(&token, until), record.clone()]);
        assert_eq!(late.logins(NOW).unwrap()[0].expires_ms, until);
        assert_eq!(check(&late, &token, NOW + 6_000).unwrap().record(NOW + 6_000), None);
        let gone = state(vec![set(), record.clone(), ended(), record.clone()]);
        assert!(check(&gone, &token, NOW).is_err() && gone.logins(NOW).unwrap().is_empty());
        // Renewed it is the login that it was; a changed user ends it.
        let known = state(vec![set(), record.clone(), renewal_of(&token, until)]);
        let listed = known.logins(NOW).unwrap();
        assert_eq!((listed.len(), listed[0].expires_ms, listed[0].issued.unwrap().at_ms), (1, until, NOW));
        assert!(known.logins(until).unwrap().is_empty());
        assert!(state(vec![set(), record, set()]).logins(NOW).unwrap().is_empty());
    }

    fn renewal_of(token: &str, expires_ms: u64) -> Op {
        Op::TokenRenew { id: id(token), user: "ann".into(), expires_ms }
    }

    #[test]
    fn logins_are_bounded_and_those_that_have_ended_make_room() {
        let user = crate::state::NewUser {
            name: "ann".into(),
            role: crate::state::UserRole::Admin,
            password_hash: "x".into(),
            databases: vec![],
        };
        let state = state(vec![
            Op::SetUser { user, only_if_no_admin: false },
            Op::SetSettings(Settings { max_sessions: 1000, ..Settings::default() }.to_map()),
        ]);
        let apply = |index: u64, op: Op, now: u64| {
            let command = Command::new(op).encode(now);
            let entry = LogEntry { index, position: b"position", payload: Payload::Command(&command) };
            state.apply(&[entry]).unwrap().remove(0).into_result().unwrap()
        };
        let login = |index: u64, now: u64| apply(index, record(&format!("t{index}"), "ann", 2, now), now);
        let kept = Answer::Done { changed: true };
        // The oldest ones live on.
        for index in 4..24 {
            assert_eq!(login(index, NOW), kept);
        }
        for n in 4..24 {
            let renewed = Op::TokenRenew { id: format!("t{n}"), user: "ann".into(), expires_ms: NOW + 100 * MINUTE };
            apply(20 + n, renewed, NOW);
        }
        for index in 44..924 {
            assert_eq!(login(index, NOW), kept);
        }
        assert_eq!(login(924, NOW), Answer::Done { changed: false }, "there are too many");
        assert_eq!(state.logins(NOW).unwrap().len(), 900);
        // A login that is refused has looked for room all the same, and so the next ones find some.
        let later = NOW + 15 * MINUTE;
        let refused = (925..1025).filter(|index| login(*index, later) != kept).count();
        assert!((1..=2).contains(&refused), "{refused}");
        assert_eq!(state.logins(later).unwrap().len(), 20 + 100 - refused);
        // Ending one is possible however many there are.
        apply(1025, Op::TokenEnd { id: "t4".into(), user: "ann".into(), until_ms: later + MINUTE }, later);
        assert_eq!(state.logins(later).unwrap().len(), 20 + 99 - refused);
    }
}
