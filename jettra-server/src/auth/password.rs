//! Passwords: checking one costs about 50 ms by design, so what was right is remembered for minutes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::attempts::{Attempts, Network};
use super::{ADMIN, Principal, parse_basic};
use crate::config::PASSWORD_BYTES;
use crate::error::{Error, Result};
use crate::lasting::Unless;
use crate::recent::Recent;
use crate::seldom::Seldom;
use crate::state::User;

/// How long a password that was right is right without another look.
const REMEMBERED: Duration = Duration::from_secs(300);
/// And how long it is not held up by wrong ones.
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Right passwords remembered.
const REMEMBERED_MOST: usize = 4096;
/// How long anybody waits for a place.
const PLACE: Duration = Duration::from_secs(5);
/// Between two lines of the log about wrong passwords.
const TOLD: Duration = Duration::from_secs(60);

/// Checks take 19 MiB and a core each, so there are two places: this one is everybody's,
static EVERYBODYS: Semaphore = Semaphore::const_new(1);
/// and this one is kept for who was right lately, or comes from where no wrong ones came from.
static KEPT: Semaphore = Semaphore::const_new(1);

/// Refuses passwords that nobody should have.
///
/// # Errors
/// `bad_request`, naming `field`.
pub fn check_fitness(field: &str, password: &str) -> Result<()> {
    if PASSWORD_BYTES.contains(&password.len()) {
        return Ok(());
    }
    Err(Error::bad_request(format!("{field}: a password has 8 to 1024 bytes: choose another one")))
}

/// The hash of a password as a PHC string.
///
/// # Errors
/// `busy` when too many are being hashed.
pub async fn hash(password: &str) -> Result<String> {
    let password = password.to_owned();
    let place = place(true).await?;
    let hashed = tokio::task::spawn_blocking(move || {
        // Kept until it is done, also where nobody waits for it any more.
        let _place = place;
        Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string())
    });
    hashed
        .await
        .map_err(|e| Error::internal(e.to_string()))?
        .map_err(|e| Error::internal(format!("the password could not be hashed: {e}")))
}

async fn place(any: bool) -> Result<SemaphorePermit<'static>> {
    let taken = async {
        if !any {
            return EVERYBODYS.acquire().await;
        }
        tokio::select! {
            biased;
            place = EVERYBODYS.acquire() => place,
            place = KEPT.acquire() => place,
        }
    };
    match tokio::time::timeout(PLACE, taken).await {
        Ok(Ok(place)) => Ok(place),
        _ => {
            count("busy");
            Err(Error::busy("too many passwords are being checked: log in once and send the token"))
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("jettra_logins_total", "result" => result).increment(1);
}

/// What makes this password of this user, as it is now, this one. Never the password.
type Keyed = [u8; 32];

/// Checks passwords and counts wrong ones.
pub struct Verifier {
    key: [u8; 32],
    /// When each was right last.
    right: Mutex<HashMap<Keyed, Instant>>,
    /// The same password asked for many times at once is checked once.
    turns: Mutex<HashMap<Keyed, Arc<tokio::sync::Mutex<()>>>>,
    attempts: Attempts,
    /// For the doctor.
    wrong: Arc<Recent>,
    /// For the log.
    told: Seldom,
    /// A hash to check against when there is no such user, so that both take the same time.
    decoy: tokio::sync::OnceCell<String>,
}

impl Verifier {
    /// Counts in `wrong` what it refuses.
    pub fn new(wrong: Arc<Recent>) -> Self {
        Verifier {
            key: crate::random::bytes(),
            right: Mutex::default(),
            turns: Mutex::default(),
            attempts: Attempts::default(),
            wrong,
            told: Seldom::every(TOLD),
            decoy: tokio::sync::OnceCell::new(),
        }
    }

    /// Checks `password` against `user`'s hash.
    ///
    /// # Errors
    /// `unauthorized`, or `busy` where too many wrong ones came before.
    pub async fn verify(&self, name: &str, password: &str, user: Option<&User>, from: IpAddr) -> Result<()> {
        let keyed = self.keyed(name, password, user.map_or(0, |u| u.rev));
        if self.was_right(&keyed, REMEMBERED) {
            return Ok(());
        }
        let turn = self.turns.lock().entry(keyed).or_default().clone();
        // Also where the client goes meanwhile.
        let _last = Unless::new(|| {
            let mut turns = self.turns.lock();
            if turns.get(&keyed).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
                turns.remove(&keyed);
            }
        });
        match tokio::time::timeout(PLACE, turn.lock()).await {
            Ok(_mine) if self.was_right(&keyed, REMEMBERED) => Ok(()),
            Ok(_mine) => self.check(&keyed, name, password, user, Network::of(from)).await,
            Err(_) => {
                count("busy");
                Err(Error::busy("too many passwords are being checked: log in once and send the token"))
            }
        }
    }

    async fn check(&self, keyed: &Keyed, name: &str, password: &str, user: Option<&User>, from: Network) -> Result<()> {
        let lately = self.was_right(keyed, LATELY);
        if !lately {
            self.attempt(name, from)?;
        }
        let give_back = || {
            if !lately {
                self.attempts.give_back(name, from)
            }
        };
        let stored = match user {
            Some(user) => user.password_hash.clone(),
            None => self.decoy.get_or_try_init(|| hash("a decoy")).await.inspect_err(|_| give_back())?.clone(),
        };
        let given = password.to_owned();
        let matches = {
            let any = lately || !self.attempts.is_suspect(from);
            let place = place(any).await.inspect_err(|_| give_back())?;
            tokio::task::spawn_blocking(move || {
                // Kept until it is done, also where nobody waits for it any more.
                let _place = place;
                let Ok(parsed) = PasswordHash::new(&stored) else { return false };
                Argon2::default().verify_password(given.as_bytes(), &parsed).is_ok()
            })
            .await
            .map_err(|e| Error::internal(e.to_string()))?
        };
        if !matches || user.is_none() {
            return Err(self.refuse(from));
        }
        give_back();
        count("right");
        self.remember(*keyed);
        Ok(())
    }

    /// Checks HTTP Basic against the password that this node was configured with, while it is no member
    /// of a cluster that could know.
    ///
    /// # Errors
    /// `unauthorized`, or `busy` where too many wrong ones came before.
    pub fn verify_configured(&self, header: Option<&str>, password: &str, from: IpAddr) -> Result<Principal> {
        let basic = header.and_then(|h| h.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let (name, given) = match basic {
            Some((_, text)) => parse_basic(text.trim())?,
            None => {
                return Err(Error::unauthorized("send the configured administrator's name and password as HTTP Basic"));
            }
        };
        let (keyed, from) = (self.keyed(&name, &given, 0), Network::of(from));
        if self.was_right(&keyed, LATELY) {
            return Ok(Principal::admin());
        }
        self.attempt(&name, from)?;
        // Hashes of equal length: comparing them tells nothing of the password.
        if name == ADMIN && blake3::hash(given.as_bytes()) == blake3::hash(password.as_bytes()) {
            self.attempts.give_back(&name, from);
            self.remember(keyed);
            return Ok(Principal::admin());
        }
        Err(self.refuse(from))
    }

    fn attempt(&self, name: &str, from: Network) -> Result<()> {
        let Err(wait) = self.attempts.take(name, from) else { return Ok(()) };
        count("slowed");
        self.note_wrong(from);
        let seconds = wait.as_secs() + 1;
        let message = format!("too many wrong passwords came from {from}: the next one is looked at in {seconds} s");
        Err(Error::busy(message).with("retryAfter", seconds))
    }

    fn refuse(&self, from: Network) -> Error {
        count("wrong");
        self.note_wrong(from);
        Error::unauthorized("wrong user name or password")
    }

    fn note_wrong(&self, from: Network) {
        self.wrong.count();
        // The name is not told: many a password is typed in its place.
        self.told.tell(move |times| tracing::warn!(times, last_from = %from, "wrong passwords"));
    }

    fn was_right(&self, keyed: &Keyed, within: Duration) -> bool {
        self.right.lock().get(keyed).is_some_and(|at| at.elapsed() < within)
    }

    fn remember(&self, keyed: Keyed) {
        let mut right = self.right.lock();
        for within in [LATELY, REMEMBERED] {
            if right.len() >= REMEMBERED_MOST {
                right.retain(|_, at| at.elapsed() < within);
            }
        }
        if right.len() < REMEMBERED_MOST {
            right.insert(keyed, Instant::now());
        }
    }

    fn keyed(&self, name: &str, password: &str, rev: u64) -> Keyed {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&rev.to_be_bytes()).update(&(name.len() as u64).to_be_bytes());
        hasher.update(name.as_bytes()).update(password.as_bytes());
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use jettra_client::wire::ErrorCode;

    use super::*;

    async fn user(password: &str, rev: u64) -> User {
        let password_hash = hash(password).await.unwrap();
        User { role: crate::state::UserRole::Admin, password_hash, databases: vec![], rev }
    }

    #[tokio::test]
    async fn who_guesses_holds_up_neither_who_was_right_lately_nor_another_user() {
        let verifier = Verifier::new(Arc::default());
        let (admin, ann) = (user("correct horse", 1).await, user("battery staple", 2).await);
        let here = "127.0.0.1".parse().unwrap();
        verifier.verify("admin", "correct horse", Some(&admin), here).await.unwrap();
        // Each check takes its time, so there may be more than ten before the next one is refused.
        let mut wrong = 0;
        while wrong < 40 {
            let from = format!("127.0.{wrong}.1").parse().unwrap();
            let guess = format!("guess {wrong}");
            match verifier.verify("admin", &guess, Some(&admin), from).await.unwrap_err().code() {
                ErrorCode::Unauthorized => wrong += 1,
                code => {
                    assert_eq!(code, ErrorCode::Busy);
                    break;
                }
            }
        }
        assert!((10..40).contains(&wrong), "{wrong}");
        verifier.verify("admin", "correct horse", Some(&admin), here).await.unwrap();
        verifier.verify("ann", "battery staple", Some(&ann), here).await.unwrap();
        // It is looked at again after minutes, and then goes before the guesses.
        for at in verifier.right.lock().values_mut() {
            *at -= REMEMBERED;
        }
        verifier.verify("admin", "correct horse", Some(&admin), here).await.unwrap();
        // What was right once is a guess like others once the user has another revision.
        let changed = User { rev: 3, ..user("another one", 3).await };
        let error = verifier.verify("admin", "correct horse", Some(&changed), here).await.unwrap_err();
        assert!(matches!(error.code(), ErrorCode::Busy | ErrorCode::Unauthorized), "{error}");
        assert!(verifier.turns.lock().is_empty());
    }

    #[tokio::test]
    async fn the_same_right_password_many_times_at_once_is_checked_once() {
        let verifier = Verifier::new(Arc::default());
        let admin = user("correct horse", 1).await;
        let from = "192.0.2.1".parse().unwrap();
        let all = (0..100).map(|_| verifier.verify("admin", "correct horse", Some(&admin), from));
        for checked in futures_util::future::join_all(all).await {
            checked.unwrap();
        }
        assert!(!verifier.attempts.is_suspect(Network::of(from)) && verifier.turns.lock().is_empty());
    }
}
