//! How fast passwords may be guessed.
//!
//! Attempts are counted for each user *and* network, so that nobody shuts a user out everywhere, and for each network
//! over all names. It is a pace and no ban: a few at once, then one in a while. An attempt is counted before it is
//! checked, so that guesses made at once are counted as well, and given back when it was right. Names count whether
//! there is such a user or not. Nothing of it is replicated: a stranger writes nothing to the log.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong passwords of one user from one network at once, and then one in each of these times.
const BY_USER: (u32, Duration) = (10, Duration::from_secs(6));
/// The same of all users of one network together.
const BY_NETWORK: (u32, Duration) = (100, Duration::from_secs(1));
/// After so many wrong ones a network's passwords are checked behind those of others.
const SUSPECT: u32 = 10;
/// What is counted at once. Each entry takes a check of a password, so more come up only where those cost nothing.
const MOST: usize = 20_000;

/// Who is taken for one stranger: the addresses of a /24 or a /64, or this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// All of its loopback addresses.
    ThisMachine,
    /// A /24.
    V4([u8; 3]),
    /// A /64.
    V6([u16; 4]),
}

impl Network {
    /// The network that `ip` belongs to.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() => Network::ThisMachine,
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Network::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Network::V6([a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Network::ThisMachine => f.write_str("this machine"),
            Network::V4([a, b, c]) => write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Network::V6([a, b, c, d]) => write!(f, "{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    /// One user, by the keyed hash of the name, from one network.
    User([u8; 16], Network),
    Network(Network),
    /// All that there was no place for.
    Rest,
}

impl Counted {
    fn pace(self) -> (u32, Duration) {
        match self {
            Counted::Network(_) => BY_NETWORK,
            Counted::User(..) | Counted::Rest => BY_USER,
        }
    }
}

/// Counts attempts.
#[derive(Debug)]
pub struct Attempts {
    began: Instant,
    key: [u8; 32],
    /// Until when, since the beginning, what was taken is paid for: each attempt costs its time (a leaky bucket).
    paid: Mutex<HashMap<Counted, Duration>>,
}

impl Default for Attempts {
    fn default() -> Self {
        Attempts { began: Instant::now(), key: crate::random::bytes(), paid: Mutex::default() }
    }
}

impl Attempts {
    /// Takes an attempt at the password of `user`, or says how long it is until there is one.
    pub fn take(&self, user: &str, from: Network) -> Result<(), Duration> {
        self.take_at(self.began.elapsed(), user, from)
    }

    fn take_at(&self, now: Duration, user: &str, from: Network) -> Result<(), Duration> {
        let mut paid = self.paid.lock();
        if paid.len() + 3 > MOST {
            paid.retain(|_, until| *until > now);
        }
        let is_full = paid.len() + 3 > MOST;
        let both = self
            .counted(user, from)
            .map(|counted| if is_full && !paid.contains_key(&counted) { Counted::Rest } else { counted });
        for counted in both {
            let (at_once, every) = counted.pace();
            let until = paid.get(&counted).copied().unwrap_or_default().max(now);
            let wait = (until + every).saturating_sub(now + every * at_once);
            if !wait.is_zero() {
                return Err(wait);
            }
        }
        for counted in both {
            let until = paid.entry(counted).or_default();
            *until = (*until).max(now) + counted.pace().1;
        }
        Ok(())
    }

    /// What was taken was no wrong one.
    pub fn give_back(&self, user: &str, from: Network) {
        let mut paid = self.paid.lock();
        for counted in self.counted(user, from) {
            if let Some(until) = paid.get_mut(&counted) {
                *until = until.saturating_sub(counted.pace().1);
            }
        }
    }

    /// Whether so many wrong ones came from there that others go first.
    pub fn is_suspect(&self, from: Network) -> bool {
        let until = self.paid.lock().get(&Counted::Network(from)).copied().unwrap_or_default();
        until.saturating_sub(self.began.elapsed()) > BY_NETWORK.1 * SUSPECT
    }

    fn counted(&self, user: &str, from: Network) -> [Counted; 2] {
        let mut name = [0; 16];
        name.copy_from_slice(&blake3::keyed_hash(&self.key, user.as_bytes()).as_bytes()[..16]);
        [Counted::User(name, from), Counted::Network(from)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ip: &str) -> Network {
        Network::of(ip.parse().unwrap())
    }

    #[test]
    fn addresses_that_one_stranger_may_have_are_one() {
        assert_eq!(network("127.3.2.1"), network("::1"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.200"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:9"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("192.0.2.9").to_string(), "192.0.2.0/24");
        assert_eq!(network("2001:db8::9").to_string(), "2001:db8::/64");
    }

    #[test]
    fn a_few_at_once_then_one_in_a_while_for_each_user_and_network() {
        let attempts = Attempts::default();
        let (here, there, seconds) = (network("192.0.2.1"), network("198.51.100.1"), Duration::from_secs);
        let taken = |now, user, from| (0..50).filter(|_| attempts.take_at(seconds(now), user, from).is_ok()).count();
        assert_eq!(taken(100, "admin", here), 10);
        assert_eq!(attempts.take_at(seconds(102), "admin", here), Err(seconds(4)));
        assert_eq!(taken(106, "admin", here), 1);
        // Another user, and the same one from elsewhere, are not held up.
        assert_eq!(taken(106, "ann", here), 10);
        assert_eq!(taken(106, "admin", there), 10);
        // Who was right has taken nothing.
        assert_eq!(taken(112, "admin", here), 1);
        attempts.give_back("admin", here);
        assert_eq!(taken(112, "admin", here), 1);
        assert_eq!(taken(1000, "admin", here), 10);
    }

    #[test]
    fn one_password_for_many_names_is_slow_too_and_keeps_little() {
        let attempts = Attempts::default();
        let now = Duration::from_secs(100);
        let taken = |from: Network, names: std::ops::Range<u32>| {
            names.filter(|n| attempts.take_at(now, &format!("user {n}"), from).is_ok()).count()
        };
        assert_eq!(taken(network("192.0.2.1"), 0..1000), 100);
        for n in 0..300_u32 {
            let from = network(&format!("10.{}.{}.1", n / 250, n % 250));
            taken(from, 0..200);
        }
        assert!(attempts.paid.lock().len() <= MOST);
        assert_eq!(taken(network("203.0.113.1"), 0..100), 0, "those without a place share one");
    }
}
