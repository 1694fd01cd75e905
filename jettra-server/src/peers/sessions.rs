//! The called side of sessions: which are open, and which calls have been seen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::proof::{Handshake, Nonce, same};
use super::{Key, Pace, ProveRequest, Secret, Secrets};
use crate::seldom::Seldom;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Sessions that may be open at once; beyond, the one unused for longest goes.
const OPEN: usize = 1024;
/// Handshakes that may succeed within [`HANDSHAKE`]; more than all members together ever make.
const PROVED: usize = 4096;
/// Addresses remembered from which the secret was proved.
const KNOWN: usize = 1024;
/// How far behind the newest a call may arrive.
const WINDOW: u64 = 4096;

/// Why a call is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such session: the caller opens a new one.
    UnknownSession,
    /// The body is not sealed as this call.
    BadSeal,
    /// The call was seen before.
    Replayed,
    /// The caller does not know the secret.
    BadProof,
    /// A web page sent it.
    WebPage,
}

impl Refused {
    /// A word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::UnknownSession => "unknown_session",
            Refused::BadSeal => "bad_seal",
            Refused::Replayed => "replayed",
            Refused::BadProof => "bad_proof",
            Refused::WebPage => "web_page",
        }
    }
}

struct Session {
    key: Key,
    from: u64,
    seen: Seen,
    used: Instant,
}

/// The sessions that other nodes have opened with this one.
pub struct Sessions {
    nonces: Nonces,
    tables: Mutex<Tables>,
    /// How fast the secret may be tried from where it was proved before, and from elsewhere.
    members: Pace,
    strangers: Pace,
    /// Calls that were not let in.
    pub refused: Seldom,
    /// Proofs of another secret.
    pub guessed: Seldom,
}

#[derive(Default)]
struct Tables {
    open: HashMap<String, Session>,
    /// Handshakes that have succeeded: each does so once.
    proved: HashMap<String, Instant>,
    /// From where, and when last.
    known: HashMap<IpAddr, Instant>,
}

/// An admitted call.
#[derive(Clone)]
pub struct Admitted {
    /// The Raft id that the caller proved to speak for.
    pub from: u64,
    /// The session's key, for the answer.
    pub key: Key,
    /// The call's sequence number, for the answer.
    pub sequence: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        // Real members prove it once a session, and what is right is given back: so this is about wrong proofs alone.
        let pace = || Pace::new(50, Duration::from_millis(20), Duration::from_millis(1500));
        Sessions {
            nonces: Nonces::new(),
            tables: Mutex::default(),
            members: pace(),
            strangers: pace(),
            refused: Seldom::default(),
            guessed: Seldom::default(),
        }
    }
}

impl Sessions {
    /// Our nonce for a handshake that begins with the caller's. Nothing is kept.
    pub fn nonce(&self, caller: &Nonce) -> Nonce {
        self.nonces.make(caller.as_str())
    }

    /// Whether our nonce in `request` is one that we have made for the caller's, not long ago.
    pub fn is_under_way(&self, request: &ProveRequest) -> bool {
        self.nonces.is_ours(&request.caller, &request.called)
    }

    /// How fast proofs that come from `address` may be tried: who proved the secret there before has a lane of his own.
    pub fn lane(&self, address: IpAddr) -> &Pace {
        let is_known = self.tables.lock().known.contains_key(&address.to_canonical());
        if is_known { &self.members } else { &self.strangers }
    }

    /// The secret that the caller proves.
    ///
    /// # Errors
    /// [`Refused::BadProof`] where it is none of these.
    pub fn check<'a>(&self, secrets: &'a Secrets, request: &ProveRequest) -> Result<&'a Secret, Refused> {
        let handshake = Handshake::of(request);
        let proves = |secret: &&Secret| {
            let right = handshake.caller_proof(secret);
            // Two count at a node at most.
            request.proofs.iter().take(2).any(|proof| same(&right, proof))
        };
        secrets.iter().find(proves).ok_or(Refused::BadProof)
    }

    /// Opens the session of a handshake that was checked, for a caller at `address`.
    ///
    /// # Errors
    /// [`Refused::Replayed`] where it was opened before.
    pub fn open(&self, secret: &Secret, request: &ProveRequest, address: IpAddr) -> Result<(), Refused> {
        let key = Handshake::of(request).key(secret);
        let now = Instant::now();
        let mut tables = self.tables.lock();
        tables.proved.retain(|_, at| at.elapsed() < HANDSHAKE);
        if tables.proved.contains_key(&request.called) || tables.proved.len() >= PROVED {
            return Err(Refused::Replayed);
        }
        tables.proved.insert(request.called.clone(), now);
        make_room(&mut tables.open, OPEN, |session| session.used);
        make_room(&mut tables.known, KNOWN, |at| *at);
        tables.known.insert(address.to_canonical(), now);
        let session = Session { key, from: request.from, seen: Seen::default(), used: now };
        tables.open.insert(request.called.clone(), session);
        Ok(())
    }

    /// Whether the session that `header` names is open. Proves nothing: its name is no secret.
    pub fn knows(&self, header: &str) -> bool {
        self.tables.lock().open.contains_key(name_in(header))
    }

    /// Lets a call in that is sealed as the one to `path` under its number, which is new; gives its body. Where the body
    /// is a stream, `sealed` is its head, and the chunks are checked one by one.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(&self, header: &str, path: &str, sealed: Bytes) -> Result<(Admitted, Bytes), Refused> {
        let (name, sequence) = header.split_once(';').ok_or(Refused::UnknownSession)?;
        let sequence: u64 = sequence.parse().map_err(|_| Refused::BadSeal)?;
        let (key, from) = {
            let tables = self.tables.lock();
            let session = tables.open.get(name).ok_or(Refused::UnknownSession)?;
            (session.key.clone(), session.from)
        };
        // Outside the lock: this reads the whole body.
        let body = key.open_call(path, sequence, sealed).ok_or(Refused::BadSeal)?;
        let mut tables = self.tables.lock();
        let session = tables.open.get_mut(name).ok_or(Refused::UnknownSession)?;
        session.used = Instant::now();
        if !session.seen.first_time(sequence) {
            return Err(Refused::Replayed);
        }
        Ok((Admitted { from, key, sequence }, body))
    }

    /// Closes every session of the member `from`, which was removed.
    pub fn close(&self, from: u64) {
        self.tables.lock().open.retain(|_, session| session.from != from);
    }
}

fn name_in(header: &str) -> &str {
    header.split(';').next().unwrap_or_default()
}

/// Lets the oldest go where there are `limit`.
fn make_room<K: Clone + Eq + std::hash::Hash, V>(
    table: &mut HashMap<K, V>,
    limit: usize,
    used: impl Fn(&V) -> Instant,
) {
    if table.len() >= limit
        && let Some(oldest) = table.iter().min_by_key(|(_, value)| used(value)).map(|(key, _)| key.clone())
    {
        table.remove(&oldest);
    }
}

/// Nonces that need not be remembered: the time, something random, and a MAC over both and the caller's nonce.
struct Nonces {
    key: [u8; 32],
    began: Instant,
}

impl Nonces {
    fn new() -> Self {
        Nonces { key: crate::random::bytes(), began: Instant::now() }
    }

    fn make(&self, caller: &str) -> Nonce {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let random = u64::from_be_bytes(crate::random::bytes());
        self.with(caller, now, random)
    }

    fn with(&self, caller: &str, time: u64, random: u64) -> Nonce {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&time.to_be_bytes()).update(&random.to_be_bytes()).update(caller.as_bytes());
        let mac = crate::random::to_hex(&hasher.finalize().as_bytes()[..16]);
        // 64 hex digits, as many as a nonce may have.
        Nonce::from_hex(format!("{time:016x}{random:016x}{mac}"))
    }

    fn is_ours(&self, caller: &str, called: &str) -> bool {
        let number = |from: usize| called.get(from..from + 16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let (Some(time), Some(random)) = (number(0), number(16)) else { return false };
        let age = self.began.elapsed().checked_sub(Duration::from_millis(time));
        age.is_some_and(|age| age < HANDSHAKE) && same(self.with(caller, time, random).as_str(), called)
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

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

    /// A request of a caller that knows `theirs`.
    fn request(sessions: &Sessions, theirs: &[&Secret]) -> ProveRequest {
        let caller = Nonce::random();
        let called = sessions.nonce(&caller);
        let mut request = ProveRequest {
            caller: caller.as_str().into(),
            called: called.as_str().into(),
            cluster: "c".into(),
            from: 1,
            to: 2,
            url: "http://b:1".into(),
            proofs: vec![],
        };
        request.proofs = theirs.iter().map(|secret| Handshake::of(&request).caller_proof(secret)).collect();
        request
    }

    #[test]
    fn only_who_knows_the_secret_gets_in() {
        let (sessions, secret, other) = (Sessions::default(), Secret::random(), Secret::random());
        let secrets = Secrets::from(secret.clone());
        let wrong = request(&sessions, &[&other]);
        assert!(sessions.is_under_way(&wrong));
        assert_eq!(sessions.check(&secrets, &wrong).err(), Some(Refused::BadProof));

        let right = request(&sessions, &[&secret]);
        assert_eq!(sessions.check(&secrets, &right), Ok(&secret));
        sessions.open(&secret, &right, HERE).unwrap();
        assert_eq!(sessions.open(&secret, &right, HERE), Err(Refused::Replayed), "a handshake counts once");
        let (header, key) = (format!("{};1", right.called), Handshake::of(&right).key(&secret));
        let call = key.seal_call("/raft/rpc/vote", 1, b"{}");
        let admitted = sessions.admit(&header, "/raft/rpc/vote", call.clone());
        assert!(admitted.is_ok_and(|(admitted, body)| admitted.from == 1 && body == "{}"));
        let again = |path: &str, call: &Bytes| sessions.admit(&header, path, call.clone()).err();
        assert_eq!(again("/raft/rpc/vote", &call), Some(Refused::Replayed));
        assert_eq!(again("/raft/rpc/append", &call), Some(Refused::BadSeal));
        sessions.close(1);
        assert_eq!(again("/raft/rpc/vote", &call), Some(Refused::UnknownSession));
    }

    #[test]
    fn a_proof_is_about_all_that_was_said() {
        let (sessions, secret) = (Sessions::default(), Secret::random());
        let secrets = Secrets::from(secret.clone());
        let right = request(&sessions, &[&secret]);
        let with = |change: fn(&mut ProveRequest)| {
            let mut changed = right.clone();
            change(&mut changed);
            sessions.check(&secrets, &changed).is_ok()
        };
        assert!(with(|_| ()));
        assert!(!with(|r| r.url = "http://m:1".into()));
        assert!(!with(|r| r.cluster = "d".into()));
        assert!(!with(|r| r.from = 3));
        assert!(!with(|r| r.to = 3));
        assert!(!with(|r| r.caller = Nonce::random().as_str().into()));
        let handshake = Handshake::of(&right);
        let proof = |node, removed| handshake.called_proof(&secret, node, removed);
        assert_ne!(proof("{}", None), proof("{ }", None));
        assert_ne!(proof("{}", None), proof("{}", Some(1)));
    }

    #[test]
    fn either_secret_counts_while_it_is_changed() {
        let (sessions, old, new) = (Sessions::default(), Secret::random(), Secret::random());
        let changing = Secrets { now: new.clone(), before: Some(old.clone()) };
        for (theirs, ours, wanted) in [
            (vec![&old], changing.clone(), Some(&old)),
            (vec![&new, &old], Secrets::from(old.clone()), Some(&old)),
            (vec![&new, &old], changing.clone(), Some(&new)),
            (vec![&new, &old], Secrets::from(new.clone()), Some(&new)),
            (vec![&old], Secrets::from(new.clone()), None),
        ] {
            assert_eq!(sessions.check(&ours, &request(&sessions, &theirs)).ok(), wanted);
        }
    }

    #[test]
    fn nothing_is_kept_of_strangers_and_their_nonces_end() {
        let sessions = Sessions::default();
        let secret = Secret::random();
        let early = request(&sessions, &[&secret]);
        for _ in 0..10_000 {
            sessions.nonce(&Nonce::random());
        }
        assert!(sessions.is_under_way(&early), "strangers push nobody out");
        let mut other = early.clone();
        other.caller = Nonce::random().as_str().into();
        assert!(!sessions.is_under_way(&other), "it was made for another one");
        let made = |time| sessions.nonces.with(&early.caller, time, 7).as_str().to_owned();
        assert!(sessions.nonces.is_ours(&early.caller, &made(0)));
        assert!(!sessions.nonces.is_ours(&early.caller, &made(60_000)), "it is not of this time");
        assert!(!Sessions::default().is_under_way(&early), "it is of another process");
        for odd in ["", "0", "ä".repeat(32).as_str(), &"0".repeat(64)] {
            assert!(!sessions.nonces.is_ours(&early.caller, odd));
        }
    }
}
