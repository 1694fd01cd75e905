//! A disk that is full.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Aim, Deed, Fault, millis, seconds, start};
use crate::machines::Machine;
use crate::timeline::Entry;
use crate::world::{Claim, Need, World};

pub struct Full;

impl Fault for Full {
    fn name(&self) -> &'static str {
        "disk full"
    }

    fn weight(&self) -> usize {
        5
    }

    fn needs(&self) -> &'static [Need] {
        &[Need::SmallDisk]
    }

    fn aim(&self, aim: &mut Aim) -> Option<Deed> {
        let (place, disk) = aim.world.small_disk.clone()?;
        aim.take(Claim::Machine(place))?;
        let machine = aim.world.machine(place).clone();
        let (world, entry, seed) = (aim.world.clone(), aim.entry.clone(), &mut aim.seed);
        // To the last byte, or so that little fits.
        let left = *seed.pick(&[0, 64 << 10, 700 << 10, 3 << 20]);
        let time = seed.between(millis(500), seconds(6));
        Some(Box::pin(async move {
            let ballast = disk.join("ballast");
            let filled = fill(&disk, &ballast, left);
            entry.note(format!("{}: {} KiB left for {} ms", machine.name, left >> 10, time.as_millis()));
            world.rest(time).await;
            std::fs::remove_file(&ballast).map_err(|error| format!("{}: {error}", ballast.display()))?;
            filled.map_err(|error| format!("{} cannot be filled: {error}", disk.display()))?;
            entry.note("there is room again");
            goes_on(&world, &machine, &entry).await
        }))
    }
}

/// Waits until the node goes on, or starts it where it has ended: it ends rather than going on with what it could not
/// write, at once or a moment later.
async fn goes_on(world: &World, machine: &Machine, entry: &Entry) -> Result<(), String> {
    let end = Instant::now() + seconds(60).mul_f64(world.starvation.factor());
    loop {
        let mut node = machine.node.lock().await;
        if node.has_ended() {
            if !node.log_tail(3).contains("is full") {
                let tail = node.log_tail(20);
                return Err(format!("{} has ended on a full disk and does not say so\n{tail}", machine.name));
            }
            drop(node);
            start(machine, entry).await;
            return Ok(());
        }
        drop(node);
        if follows(world, machine).await.is_some() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{} neither ends nor goes on after its disk was full", machine.name));
        }
        tokio::time::sleep(millis(50)).await;
    }
}

/// Whether the node has, in its own state, something that was written after there was room.
async fn follows(world: &World, machine: &Machine) -> Option<()> {
    let other = world.machines.all.iter().find(|other| other.place != machine.place)?;
    let body = json!({ "_id": "room" });
    let saved = other.post("/api/doc?db=harness&col=probes", body, seconds(2)).await.ok()?.success().ok()?;
    let path =
        format!("/api/doc?db=harness&col=probes&id=room&consistency=local&min_index={}&timeout=1s", saved["rev"]);
    machine.get(&path, seconds(2)).await.ok()?.success().ok().map(drop)
}

/// Takes room away until `left` bytes are free.
fn fill(disk: &Path, ballast: &Path, left: u64) -> std::io::Result<()> {
    use std::io::Write as _;
    let free = nix::sys::statvfs::statvfs(disk)?;
    let free = free.blocks_available() * free.fragment_size();
    let mut file = std::fs::File::create(ballast)?;
    let (zeros, mut rest, end) =
        (vec![0; 1 << 20], free.saturating_sub(left), Instant::now() + Duration::from_secs(10));
    while rest > 0 && Instant::now() < end {
        let part = zeros.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        match file.write(&zeros[..part]) {
            Ok(written) => rest -= written as u64,
            // The node was quicker.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
