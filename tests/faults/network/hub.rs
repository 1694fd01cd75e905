use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use tun_rs::{InterruptEvent, SyncDevice};

use super::links::{Fate, Links};
use super::{MTU, place_of};
use crate::seed::Seed;

/// Takes what nodes send and passes it on: a thread for each node, and one for what is late.
pub struct Hub {
    ends: Vec<Arc<InterruptEvent>>,
    late: Arc<Late>,
    threads: Vec<JoinHandle<()>>,
}

/// Packets that are still under way.
#[derive(Default)]
struct Late {
    state: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    packets: BinaryHeap<Reverse<Packet>>,
    count: u64,
    ended: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    at: Instant,
    /// Packets of the same moment keep their order.
    number: u64,
    to: usize,
    bytes: Vec<u8>,
}

type Devices = Arc<Vec<SyncDevice>>;

impl Hub {
    pub fn start(devices: Vec<SyncDevice>, links: Links, seed: &Seed) -> std::io::Result<Hub> {
        let devices: Devices = Arc::new(devices);
        let late = Arc::<Late>::default();
        let mut hub = Hub { ends: Vec::new(), late: late.clone(), threads: Vec::new() };
        for from in 0..devices.len() {
            let end = Arc::new(InterruptEvent::new()?);
            hub.ends.push(end.clone());
            let (devices, links, late) = (devices.clone(), links.clone(), late.clone());
            let chance = seed.fork(&format!("packets from {from}"));
            hub.threads.push(std::thread::spawn(move || pass_on(from, &devices, &links, &late, &end, chance)));
        }
        hub.threads.push(std::thread::spawn(move || late.pass_on(&devices)));
        Ok(hub)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for end in &self.ends {
            end.trigger().ok();
        }
        self.late.state.lock().unwrap().ended = true;
        self.late.changed.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Passes on what the node at `from` sends, until told to end.
fn pass_on(from: usize, devices: &Devices, links: &Links, late: &Late, end: &InterruptEvent, mut chance: Seed) {
    let mut packet = vec![0; usize::from(MTU) + 64];
    loop {
        let bytes = match devices[from].recv_intr(&mut packet, end) {
            Ok(length) => &packet[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted && end.is_trigger() => return,
            // The device is down for a moment, or the call was disturbed.
            Err(_) if !end.is_trigger() => continue,
            Err(_) => return,
        };
        let Some(to) = receiver(bytes) else { continue };
        match links.fate((from, to), bytes.len(), &mut chance) {
            Fate::Lost => {}
            Fate::Now => send(devices, to, bytes),
            Fate::At(at) => late.add(at, to, bytes.to_vec()),
        }
    }
}

/// A device takes a packet or loses it, as networks do.
fn send(devices: &Devices, to: usize, bytes: &[u8]) {
    devices[to].send(bytes).ok();
}

/// The place to which an IPv4 packet goes.
fn receiver(packet: &[u8]) -> Option<usize> {
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    if packet[0] >> 4 != 4 {
        return None;
    }
    place_of(Ipv4Addr::from(address))
}

impl Late {
    fn add(&self, at: Instant, to: usize, bytes: Vec<u8>) {
        let mut queue = self.state.lock().unwrap();
        queue.count += 1;
        let number = queue.count;
        queue.packets.push(Reverse(Packet { at, number, to, bytes }));
        self.changed.notify_all();
    }

    fn pass_on(&self, devices: &Devices) {
        let mut queue = self.state.lock().unwrap();
        while !queue.ended {
            let now = Instant::now();
            match queue.packets.peek().map(|Reverse(packet)| packet.at) {
                None => queue = self.changed.wait(queue).unwrap(),
                Some(at) if at > now => queue = self.changed.wait_timeout(queue, at - now).unwrap().0,
                Some(_) => {
                    if let Some(Reverse(packet)) = queue.packets.pop() {
                        send(devices, packet.to, &packet.bytes);
                    }
                }
            }
        }
    }
}
