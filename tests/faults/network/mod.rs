//! A network between nodes that does what it is told.
//!
//! Each node has a network namespace with two devices: `peers`, by which it reaches the other nodes, and `clients`, by
//! which the harness reaches it. What a node sends to another comes out of a TUN device here in the harness, whose hub
//! passes it on, late, slowly or not at all, by what `Links` says of the pair: no kernel module, the same on every
//! machine, and loss from the seed. No fault touches `clients`.
//!
//! Both ways lead to the same address: a node has one URL, for its clients and for the other nodes.
//!
//! - `space`: a network namespace
//! - `links`: what is done to what one node sends to another
//! - `hub`: takes packets and passes them on

mod hub;
mod links;
mod space;

use std::net::Ipv4Addr;

pub use links::{Links, Pair, Quality};

use crate::seed::Seed;
use hub::Hub;
use space::{Space, ip};

/// How many bytes a packet has at most: large, so that the hub has less to do.
const MTU: u16 = 9_000;

/// The network of one run; gone when it is dropped.
pub struct Network {
    spaces: Vec<Space>,
    links: Links,
    _hub: Hub,
}

impl Network {
    /// A network with as many places for nodes, 0, 1, ….
    pub fn new(places: u8, seed: &Seed) -> std::io::Result<Network> {
        ip(&["link", "set", "lo", "up"])?;
        let mut spaces = Vec::new();
        let mut devices = Vec::new();
        for place in 0..places {
            let space = Space::new()?;
            devices.push(space.within(|| open(place))??);
            let (device, near, far) = (clients(place), format!("10.78.{place}.1"), format!("10.78.{place}.2"));
            // An earlier run's may not be gone yet.
            drop(ip(&["link", "del", &device]));
            ip(&["link", "add", &device, "type", "veth", "peer", "name", "clients", "netns", &space.path()])?;
            ip(&["addr", "add", &format!("{near}/30"), "dev", &device])?;
            ip(&["link", "set", &device, "up"])?;
            space.within(|| {
                ip(&["addr", "add", &format!("{far}/30"), "dev", "clients"])?;
                ip(&["link", "set", "clients", "up"])
            })??;
            ip(&["route", "replace", &format!("{}/32", Self::address(place)), "via", &far])?;
            spaces.push(space);
        }
        let links = Links::new(places.into());
        let hub = Hub::start(devices, links.clone(), seed)?;
        Ok(Network { spaces, links, _hub: hub })
    }

    /// The address of the node at `place`.
    pub fn address(place: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, place + 1)
    }

    /// The command that runs another one at `place`.
    pub fn runner(&self, place: u8) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.spaces[usize::from(place)].path()), "--".to_owned()]
    }

    pub fn links(&self) -> &Links {
        &self.links
    }
}

/// The place of an address.
fn place_of(address: Ipv4Addr) -> Option<usize> {
    match address.octets() {
        [10, 77, 0, host] => usize::from(host).checked_sub(1),
        _ => None,
    }
}

/// The harness's end of the clients' way to a node.
fn clients(place: u8) -> String {
    format!("clients{place}")
}

/// The device of the network namespace of the calling thread.
fn open(place: u8) -> std::io::Result<tun_rs::SyncDevice> {
    ip(&["link", "set", "lo", "up"])?;
    let device = tun_rs::DeviceBuilder::new().name("peers").build_sync();
    let device = device.map_err(|error| std::io::Error::new(error.kind(), format!("/dev/net/tun: {error}")))?;
    ip(&["addr", "add", &format!("{}/24", Network::address(place)), "dev", "peers"])?;
    ip(&["link", "set", "peers", "mtu", &MTU.to_string(), "up"])?;
    Ok(device)
}

#[test]
fn a_network_carries_cuts_and_delays() {
    crate::apart::run("network::a_network_carries_cuts_and_delays", async || {
        if !crate::apart::is_apart() {
            return;
        }
        let network = Network::new(3, &Seed::new(1)).unwrap();
        let pings = |from: u8, to: u8| {
            let runner = network.runner(from);
            let mut command = std::process::Command::new(&runner[0]);
            let to = Network::address(to).to_string();
            let began = std::time::Instant::now();
            let connects = format!("exec 3<>/dev/tcp/{to}/9");
            let output = command.args(&runner[1..]).args(["timeout", "1", "bash", "-c", &connects]).output().unwrap();
            // Nobody listens: a refusal has gone there and back.
            let refused = String::from_utf8_lossy(&output.stderr).contains("refused");
            refused.then(|| began.elapsed())
        };
        assert!(pings(0, 1).is_some() && pings(1, 0).is_some() && pings(2, 0).is_some());
        let held = network.links().cut(&[(0, 1)]);
        assert!(pings(0, 1).is_none() && pings(1, 0).is_none(), "one way is cut: nothing comes back");
        assert!(pings(0, 2).is_some() && pings(2, 1).is_some());
        let both = network.links().cut(&[(0, 1), (2, 1)]);
        drop(held);
        assert!(pings(0, 1).is_none() && pings(2, 1).is_none());
        drop(both);
        assert!(pings(0, 1).is_some() && pings(2, 1).is_some());
        let delay = std::time::Duration::from_millis(200);
        let held = network.links().impair(&[(0, 1)], Quality { delay, ..Quality::default() });
        assert!(pings(0, 1).unwrap() >= delay);
        drop(held);
        assert!(pings(0, 1).unwrap() < delay);
        let _lossy = network.links().impair(&[(0, 1)], Quality { loss_percent: 100, ..Quality::default() });
        assert!(pings(0, 1).is_none());
    });
}
