//! Passwords: Argon2id costs about 50 ms by design, so what was verified is remembered for minutes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{ADMIN, Principal, parse_basic};
use crate::error::{Error, Result};
use crate::state::User;

/// Verifications at once: each takes 19 MiB and a core.
const AT_ONCE: usize = 2;
/// How long a verified password is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Verified passwords remembered.
const REMEMBERED_MOST: usize = 4096;
/// Wrong passwords from one address within [`LOCKED`] that lock it out.
const WRONG_MOST: u32 = 10;
/// How long an address is locked out.
const LOCKED: Duration = Duration::from_secs(60);
/// Addresses whose wrong passwords are counted.
const ADDRESSES_MOST: usize = 10_000;

static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// The hash of a password as a PHC string.
///
/// # Errors
/// `busy` when too many are being hashed.
pub async fn hash(password: &str) -> Result<String> {
    let password = password.to_owned();
    let _room = room().await?;
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string())
    });
    hashed
        .await
        .map_err(|e| Error::internal(e.to_string()))?
        .map_err(|e| Error::internal(format!("the password could not be hashed: {e}")))
}

async fn room() -> Result<tokio::sync::SemaphorePermit<'static>> {
    match tokio::time::timeout(Duration::from_secs(5), ROOM.acquire()).await {
        Ok(Ok(room)) => Ok(room),
        _ => Err(Error::busy("too many passwords are being checked: log in once and send the token")),
    }
}

/// Verifies passwords and counts wrong ones.
pub struct Verifier {
    /// Keyed hashes of what was verified, never the passwords.
    key: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Instant>>,
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    /// A hash to check against when there is no such user, so that both take the same time.
    decoy: tokio::sync::OnceCell<String>,
}

impl Default for Verifier {
    fn default() -> Self {
        Verifier {
            key: crate::random::bytes(),
            verified: Mutex::default(),
            wrong: Mutex::default(),
            decoy: tokio::sync::OnceCell::new(),
        }
    }
}

impl Verifier {
    /// Checks `password` against `user`'s hash.
    ///
    /// # Errors
    /// `unauthorized`, or `busy` for an address locked out.
    pub async fn verify(&self, name: &str, password: &str, user: Option<&User>, from: IpAddr) -> Result<()> {
        let rev = user.map_or(0, |u| u.rev);
        let remembered = self.keyed(name, password, rev);
        if user.is_some() && self.verified.lock().get(&remembered).is_some_and(|at| at.elapsed() < REMEMBERED) {
            return Ok(());
        }
        self.check_lock(from)?;
        let stored = match user {
            Some(user) => user.password_hash.clone(),
            None => self.decoy.get_or_try_init(|| hash("decoy")).await?.clone(),
        };
        let given = password.to_owned();
        let matches = {
            let _room = room().await?;
            // Again: others may have been wrong while this one waited for its turn.
            self.check_lock(from)?;
            tokio::task::spawn_blocking(move || {
                let Ok(parsed) = PasswordHash::new(&stored) else { return false };
                Argon2::default().verify_password(given.as_bytes(), &parsed).is_ok()
            })
            .await
            .map_err(|e| Error::internal(e.to_string()))?
        };
        if matches && user.is_some() {
            let mut verified = self.verified.lock();
            if verified.len() >= REMEMBERED_MOST {
                verified.retain(|_, at| at.elapsed() < REMEMBERED);
            }
            if verified.len() < REMEMBERED_MOST {
                verified.insert(remembered, Instant::now());
            }
            return Ok(());
        }
        self.count_wrong(from);
        Err(Error::unauthorized("wrong user name or password"))
    }

    /// Checks HTTP Basic against the password that this node was configured with, while it is no member
    /// of a cluster that could know.
    ///
    /// # Errors
    /// `unauthorized`, or `busy` for an address locked out.
    pub fn verify_configured(&self, header: Option<&str>, password: &str, from: IpAddr) -> Result<Principal> {
        self.check_lock(from)?;
        let basic = header.and_then(|h| h.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let (name, given) = match basic {
            Some((_, text)) => parse_basic(text.trim())?,
            None => {
                return Err(Error::unauthorized("send the configured administrator's name and password as HTTP Basic"));
            }
        };
        // Hashes of equal length: comparing them tells nothing of the password.
        if name == ADMIN && blake3::hash(given.as_bytes()) == blake3::hash(password.as_bytes()) {
            return Ok(Principal::admin());
        }
        self.count_wrong(from);
        Err(Error::unauthorized("wrong user name or password"))
    }

    fn keyed(&self, name: &str, password: &str, rev: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&rev.to_be_bytes()).update(&(name.len() as u64).to_be_bytes());
        hasher.update(name.as_bytes()).update(password.as_bytes());
        hasher.finalize().into()
    }

    fn check_lock(&self, from: IpAddr) -> Result<()> {
        let wrong = self.wrong.lock();
        match wrong.get(&from) {
            Some((count, since)) if *count >= WRONG_MOST && since.elapsed() < LOCKED => {
                let left = (LOCKED - since.elapsed()).as_secs() + 1;
                Err(Error::busy(format!("{WRONG_MOST} wrong passwords came from {from}: try again in {left} s"))
                    .with("retryAfter", left))
            }
            _ => Ok(()),
        }
    }

    fn count_wrong(&self, from: IpAddr) {
        let mut wrong = self.wrong.lock();
        wrong.retain(|_, (_, since)| since.elapsed() < LOCKED);
        if wrong.len() < ADDRESSES_MOST || wrong.contains_key(&from) {
            wrong.entry(from).or_insert_with(|| (0, Instant::now())).0 += 1;
        }
    }
}
