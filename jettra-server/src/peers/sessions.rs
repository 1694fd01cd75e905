//! The called side of sessions: which are open, and which calls have been seen.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::proof::{Handshake, Key, Nonce, same};
use super::{ProveRequest, Secret};

/// Handshakes that may be under way at once.
const PENDING: usize = 256;
/// How long a handshake may take.
const PENDING_FOR: Duration = Duration::from_secs(10);
/// Sessions that may be open at once; beyond, the one unused for longest goes.
const OPEN: usize = 1024;
/// How far behind the newest a call may arrive.
const WINDOW: u64 = 4096;

/// Why a call is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such session: the caller opens a new one.
    UnknownSession,
    /// The MAC is not of this call.
    BadMac,
    /// The call was seen before.
    Replayed,
    /// The caller does not know the secret.
    BadProof,
}

impl Refused {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::UnknownSession => "unknown_session",
            Refused::BadMac => "bad_mac",
            Refused::Replayed => "replayed",
            Refused::BadProof => "bad_proof",
        }
    }
}

struct Pending {
    caller: Nonce,
    called: Nonce,
    since: Instant,
}

struct Session {
    key: Key,
    from: u64,
    seen: Seen,
    used: Instant,
}

/// The sessions that other nodes have opened with this one.
#[derive(Default)]
pub struct Sessions {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    pending: HashMap<String, Pending>,
    open: HashMap<String, Session>,
}

/// An admitted call.
pub struct Admitted {
    /// The Raft id that the caller proved to speak for.
    pub from: u64,
    /// The session's key, for the answer.
    pub key: Key,
    /// The call's sequence number, for the answer.
    pub sequence: u64,
}

impl Sessions {
    /// Notes a handshake that begins; returns the session's name and our nonce.
    pub fn begin(&self, caller: Nonce) -> (String, Nonce) {
        let (session, called) = (crate::random::hex::<16>(), Nonce::random());
        let mut tables = self.tables.lock();
        tables.pending.retain(|_, p| p.since.elapsed() < PENDING_FOR);
        if tables.pending.len() >= PENDING
            && let Some(oldest) = tables.pending.iter().min_by_key(|(_, p)| p.since).map(|(k, _)| k.clone())
        {
            tables.pending.remove(&oldest);
        }
        tables.pending.insert(session.clone(), Pending { caller, called: called.clone(), since: Instant::now() });
        (session, called)
    }

    /// Checks the caller's proof, opens the session and returns our own proof.
    pub fn prove(&self, secret: &Secret, request: &ProveRequest) -> Result<String, Refused> {
        let name = request.session.as_deref().ok_or(Refused::UnknownSession)?;
        let mut tables = self.tables.lock();
        let pending = tables.pending.remove(name).ok_or(Refused::UnknownSession)?;
        let handshake = Handshake {
            caller: &pending.caller,
            called: &pending.called,
            from: request.from,
            to: request.to,
            cluster: &request.cluster,
        };
        if !same(&handshake.caller_proof(secret), &request.proof) {
            return Err(Refused::BadProof);
        }
        if tables.open.len() >= OPEN
            && let Some(oldest) = tables.open.iter().min_by_key(|(_, s)| s.used).map(|(k, _)| k.clone())
        {
            tables.open.remove(&oldest);
        }
        let session =
            Session { key: handshake.key(secret), from: request.from, seen: Seen::default(), used: Instant::now() };
        tables.open.insert(name.to_owned(), session);
        Ok(handshake.called_proof(secret))
    }

    /// Whether the session that `header` names is open. Proves nothing: its name is no secret.
    pub fn knows(&self, header: &str) -> bool {
        let name = header.split(';').next().unwrap_or_default();
        self.tables.lock().open.contains_key(name)
    }

    /// Lets a call in whose MAC, over `path`, number and `body`, is right and whose number is new. Where
    /// the body is a stream, `body` is its head, and the chunks are checked one by one.
    pub fn admit(&self, header: &str, path: &str, body: &[u8]) -> Result<Admitted, Refused> {
        let mut parts = header.split(';');
        let (Some(name), Some(sequence), Some(mac)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refused::UnknownSession);
        };
        let sequence: u64 = sequence.parse().map_err(|_| Refused::BadMac)?;
        let (key, from) = {
            let tables = self.tables.lock();
            let session = tables.open.get(name).ok_or(Refused::UnknownSession)?;
            (session.key.clone(), session.from)
        };
        // Outside the lock: this reads the whole body.
        if !same(&key.call(path, sequence, body), mac) {
            return Err(Refused::BadMac);
        }
        let mut tables = self.tables.lock();
        let session = tables.open.get_mut(name).ok_or(Refused::UnknownSession)?;
        session.used = Instant::now();
        if !session.seen.first_time(sequence) {
            return Err(Refused::Replayed);
        }
        Ok(Admitted { from, key, sequence })
    }

    /// Closes every session: after the secret changed.
    pub fn clear(&self) {
        let mut tables = self.tables.lock();
        tables.pending.clear();
        tables.open.clear();
    }
}

/// Which sequence numbers have been seen: all up to `WINDOW` behind the newest count as seen.
#[derive(Default)]
struct Seen {
    newest: u64,
    bits: Vec<u64>,
}

impl Seen {
    fn first_time(&mut self, sequence: u64) -> bool {
        const WORDS: u64 = WINDOW / 64;
        if self.bits.is_empty() {
            self.bits = vec![0; WORDS as usize];
        }
        if sequence == 0 || sequence + WINDOW <= self.newest {
            return false;
        }
        if sequence > self.newest {
            // Forget what falls out of the window on the way.
            for n in (self.newest + 1..=sequence).rev().take(WINDOW as usize) {
                let at = n % WINDOW;
                self.bits[(at / 64) as usize] &= !(1 << (at % 64));
            }
            self.newest = sequence;
        }
        let at = sequence % WINDOW;
        let (word, bit) = ((at / 64) as usize, 1u64 << (at % 64));
        let fresh = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_counts_once_whatever_the_order() {
        let mut seen = Seen::default();
        assert!(seen.first_time(2));
        assert!(seen.first_time(1));
        assert!(!seen.first_time(2));
        assert!(seen.first_time(WINDOW + 1));
        assert!(!seen.first_time(1), "fell out of the window");
        assert!(seen.first_time(WINDOW));
        assert!(!seen.first_time(0));
        assert!(seen.first_time(10 * WINDOW));
        assert!(seen.first_time(10 * WINDOW - 1));
    }

    #[test]
    fn only_who_knows_the_secret_gets_in() {
        let (sessions, secret, other) = (Sessions::default(), Secret::random(), Secret::random());
        let caller = Nonce::random();
        for (theirs, lets_in) in [(&other, false), (&secret, true)] {
            let (session, called) = sessions.begin(caller.clone());
            let handshake = Handshake { caller: &caller, called: &called, from: 1, to: 2, cluster: "c" };
            let request = ProveRequest {
                session: Some(session.clone()),
                cluster: "c".into(),
                from: 1,
                to: 2,
                proof: handshake.caller_proof(theirs),
            };
            assert_eq!(sessions.prove(&secret, &request).is_ok(), lets_in);
            let mac = handshake.key(theirs).call("/raft/rpc/vote", 1, b"{}");
            let header = format!("{session};1;{mac}");
            assert_eq!(sessions.admit(&header, "/raft/rpc/vote", b"{}").is_ok(), lets_in);
            if lets_in {
                assert_eq!(sessions.admit(&header, "/raft/rpc/vote", b"{}").err(), Some(Refused::Replayed));
                assert_eq!(sessions.admit(&header, "/raft/rpc/append", b"{}").err(), Some(Refused::BadMac));
            }
        }
    }
}
