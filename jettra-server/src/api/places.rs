//! Who has a connection, and who has to give it up when there are too many.
//!
//! Connections are bounded, and anybody who reaches the port can take them. So that strangers cannot keep others out,
//! a new one takes the place of the weakest when all are taken: of one that has shown nothing yet, the longest silent
//! first; else of a user's that has long been idle. Nodes that have proved the secret and administrators keep theirs.
//! Where nobody can go, a few places more are there for newcomers, who may be asked for the node's health, are another
//! node or an administrator; others are told to come back.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::connection::{Connection, Shown};

/// Places beyond the bound.
const EXTRA: usize = 16;
/// A user's connection without a request and without a byte for so long may be given to somebody else.
const IDLE: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody can go, where nobody could.
const LOOK: Duration = Duration::from_millis(50);

/// Where connections come from: an address, or what one customer of IPv6 usually has.
type Network = [u8; 16];

/// The connections of a node.
pub(super) struct Places {
    most: usize,
    /// From one address, unless it is this machine's.
    most_of_one: usize,
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Default)]
struct Inner {
    last: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    by_network: HashMap<Network, usize>,
    extra: usize,
}

/// A connection's place, until dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    connection: Arc<Connection>,
}

impl Places {
    pub(super) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Places { most, most_of_one, inner: Mutex::default(), freed: Notify::new() })
    }

    /// Returns when one more may come.
    pub(super) async fn room(&self) {
        loop {
            {
                let inner = self.inner.lock();
                if inner.all.len() < self.most + EXTRA || inner.weakest(|_| true).is_some() {
                    return;
                }
            }
            // Looked at again in any case.
            tokio::time::timeout(LOOK, self.freed.notified()).await.ok();
        }
    }

    /// A place for who comes from `peer`; none where that address has its share.
    pub(super) fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut inner = self.inner.lock();
        let network = network(peer.ip());
        if let Some(network) = network
            && inner.by_network.get(&network).is_some_and(|count| *count >= self.most_of_one)
        {
            let weakest = inner.weakest(|one| self::network(one.peer.ip()) == Some(network))?;
            inner.cut(weakest);
        }
        if inner.all.len() >= self.most {
            // Newcomers on the further places get their time to say who they are.
            let usual = inner.weakest(|one| !one.is_extra());
            let any = || inner.weakest(|_| true).filter(|_| inner.all.len() >= self.most + EXTRA);
            if let Some(weakest) = usual.or_else(any) {
                inner.cut(weakest);
            }
        }
        let is_extra = inner.all.len() >= self.most;
        let connection = Arc::new(Connection::new(peer, is_extra));
        inner.last += 1;
        inner.extra += usize::from(is_extra);
        if let Some(network) = network {
            *inner.by_network.entry(network).or_default() += 1;
        }
        let number = inner.last;
        inner.all.insert(number, connection.clone());
        metrics::gauge!("jettra_connections").set(inner.all.len() as f64);
        Some(Place { places: self.clone(), number, connection })
    }

    /// Cuts off who asks nothing and whose streams stand still, as long as it is polled.
    pub(super) async fn cut_overdue(self: Arc<Self>, head: Duration, send: Duration) {
        let mut tick = tokio::time::interval((send / 4).min(Duration::from_secs(1)));
        loop {
            tick.tick().await;
            for connection in self.inner.lock().all.values() {
                if let Some(why) = connection.is_overdue(head, send) {
                    tracing::debug!(peer = %connection.peer, why, "a connection is cut off");
                    connection.cut();
                }
            }
        }
    }

    /// Cuts off the weakest, where something else than places is short.
    pub(super) fn cut_one(&self) {
        let mut inner = self.inner.lock();
        if let Some(weakest) = inner.weakest(|_| true) {
            inner.cut(weakest);
        }
    }
}

impl Inner {
    /// Who of these has to go first.
    fn weakest(&self, of: impl Fn(&Connection) -> bool) -> Option<u64> {
        self.all
            .iter()
            .filter(|(_, one)| of(one))
            .filter_map(|(number, one)| Some((weakness(one)?, *number)))
            .min()
            .map(|(_, number)| number)
    }

    /// Ends a connection, whose place is free at once.
    fn cut(&mut self, number: u64) {
        if let Some(connection) = self.remove(number) {
            metrics::counter!("jettra_connections_cut_total").increment(1);
            connection.cut();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.all.remove(&number)?;
        if let Some(network) = network(connection.peer.ip())
            && let Some(count) = self.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
        if connection.is_extra() {
            self.extra -= 1;
        } else if self.extra > 0
            && let Some(next) = self.all.values().find(|one| one.is_extra())
        {
            next.is_no_longer_extra();
            self.extra -= 1;
        }
        metrics::gauge!("jettra_connections").set(self.all.len() as f64);
        Some(connection)
    }
}

impl Place {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.inner.lock().remove(self.number);
        self.places.freed.notify_one();
    }
}

/// The less, the sooner it has to go; none where it stays.
fn weakness(connection: &Connection) -> Option<(u8, u64)> {
    let rank = match (connection.shown(), connection.is_asking()) {
        (Shown::Nothing, false) => 0,
        (Shown::Nothing, true) => 1,
        (Shown::User, false) if connection.idle() >= IDLE => 2,
        // Places for probes and nodes are kept free of programs that only might ask.
        (Shown::Admin, false) if connection.idle() >= IDLE => 3,
        (Shown::User | Shown::Admin | Shown::Node, _) => return None,
    };
    Some((rank, connection.last_byte()))
}

/// None for this machine, which has no share of its own.
fn network(ip: IpAddr) -> Option<Network> {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return None;
    }
    Some(match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => {
            let mut network = ip.octets();
            network[8..].fill(0);
            network
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn from(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    fn is_cut(place: &Place) -> bool {
        !place.places.inner.lock().all.contains_key(&place.number)
    }

    #[test]
    fn who_has_shown_nothing_for_the_longest_makes_room() {
        let places = Places::new(4, 4);
        let taken: Vec<Place> = (0..4).map(|port| places.take(from("127.0.0.1", port)).unwrap()).collect();
        taken[0].connection().shows(Shown::Node);
        taken[1].connection().shows(Shown::User);
        std::thread::sleep(Duration::from_millis(5));
        taken[2].connection().touch();
        let fifth = places.take(from("127.0.0.1", 5)).unwrap();
        assert_eq!(taken.iter().map(is_cut).collect::<Vec<_>>(), [false, false, false, true]);
        assert!(!fifth.connection().is_extra());
        fifth.connection().shows(Shown::User);
        drop(places.take(from("127.0.0.1", 6)).unwrap());
        assert_eq!(taken.iter().map(is_cut).collect::<Vec<_>>(), [false, false, true, true]);
    }

    #[tokio::test]
    async fn where_nobody_can_go_a_few_more_come_in_and_then_wait() {
        let places = Places::new(2, 2);
        let known: Vec<Place> = (0..2).map(|port| places.take(from("127.0.0.1", port)).unwrap()).collect();
        known.iter().for_each(|place| place.connection().shows(Shown::User));
        let extra: Vec<Place> = (0..EXTRA as u16).map(|port| places.take(from("127.0.0.1", port)).unwrap()).collect();
        assert!(extra.iter().all(|place| place.connection().is_extra()));
        places.room().await;
        extra.iter().for_each(|place| place.connection().shows(Shown::Node));
        assert!(tokio::time::timeout(3 * LOOK, places.room()).await.is_err(), "all are known");
        drop(known);
        places.room().await;
        assert_eq!(extra.iter().filter(|place| place.connection().is_extra()).count(), EXTRA - 2, "two moved up");
    }

    #[test]
    fn one_address_has_its_share_and_this_machine_all() {
        let places = Places::new(100, 2);
        let own: Vec<_> = (0..5).map(|port| places.take(from("::1", port)).unwrap()).collect();
        let theirs: Vec<_> = (0..2).map(|port| places.take(from("192.0.2.1", port)).unwrap()).collect();
        let another = places.take(from("192.0.2.2", 1)).unwrap();
        theirs[0].connection().shows(Shown::User);
        let third = places.take(from("192.0.2.1", 9)).unwrap();
        assert_eq!((is_cut(&theirs[0]), is_cut(&theirs[1]), is_cut(&another)), (false, true, false));
        third.connection().shows(Shown::User);
        assert!(places.take(from("192.0.2.1", 10)).is_none(), "nobody there can go");
        drop(third);
        assert!(places.take(from("192.0.2.1", 10)).is_some());
        let wide: Vec<_> =
            ["2001:db8::1", "2001:db8::2"].map(|ip| places.take(from(ip, 1)).unwrap()).into_iter().collect();
        drop(places.take(from("2001:db8::3", 1)).unwrap());
        assert!(is_cut(&wide[0]), "a network of IPv6 counts as one");
        assert!(!own.iter().any(is_cut));
    }
}
