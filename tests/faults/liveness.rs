//! A cluster that is whole again works again, at once.

use std::time::{Duration, Instant};

use crate::machines::Leader;
use crate::timeline::Entry;
use crate::world::World;

/// How long it may take after everything is well until each node takes a write, on a machine that is not busy with
/// other things.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How long it may take until all members are ACTIVE voters again, everywhere.
const WHOLE: Duration = Duration::from_secs(30);

/// After everything is put right: how long it took until every node had taken a write.
pub async fn check(world: &World, entry: &Entry) -> Result<Duration, String> {
    let (began, starvation) = (Instant::now(), &world.starvation);
    for machine in &world.machines.all {
        let mut node = machine.node.lock().await;
        if node.has_ended() {
            return Err(format!("{} has ended by itself\n{}", machine.name, node.log_tail(20)));
        }
    }
    // What takes longer is waited for, so that the failure tells how long.
    let end = 10 * AT_ONCE;
    let each = world.machines.all.iter().map(|machine| async move {
        let mut seen = String::new();
        while began.elapsed() < end {
            match machine.writes(AT_ONCE).await {
                Ok(()) => {
                    entry.note(format!("{} has written, after {} ms", machine.name, began.elapsed().as_millis()));
                    return (machine, Ok(began.elapsed()));
                }
                Err(error) => {
                    if seen != error {
                        entry.note(format!("after {} ms: {error}", began.elapsed().as_millis()));
                    }
                    seen = error;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (machine, Err(seen))
    });
    let mut longest = Duration::ZERO;
    for (machine, outcome) in futures_util::future::join_all(each).await {
        let took = outcome.map_err(|seen| {
            format!("{} takes no write {} s after everything was put right: {seen}", machine.name, end.as_secs())
        })?;
        let (factor, allowed) = (starvation.factor(), AT_ONCE.mul_f64(starvation.factor()));
        if took > allowed {
            return Err(format!(
                "{} took its first write {} ms after everything was put right; allowed are {} ms on this machine, which is \
                 {factor:.1} times as slow as one with nothing else to do",
                machine.name,
                took.as_millis(),
                allowed.as_millis()
            ));
        }
        longest = longest.max(took);
    }
    world.machines.are_whole(WHOLE.mul_f64(starvation.factor())).await.map_err(|seen| {
        format!("after everything was put right, not all members are ACTIVE voters everywhere: {seen}")
    })?;
    Ok(longest)
}

/// For `time`, nothing is done to the cluster: its leader must stay.
pub async fn leader_stays(world: &World, time: Duration) -> Result<(), String> {
    let mut before: Option<Leader> = None;
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Nobody: it was too busy to answer, or there is none; then another one follows.
        let Some(now) = world.leader().await else { continue };
        if let Some(before) = &before
            && now != *before
        {
            let seen = format!("{before} led, then {now}, though nothing was done to the cluster");
            if world.starvation.is_calm() {
                return Err(seen);
            }
            println!("not held against the cluster, since the machine is busy: {seen}");
            return Ok(());
        }
        before = Some(now);
    }
    Ok(())
}
