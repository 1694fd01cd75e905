//! Replicas that differ are told apart, and what changes on disk by itself is found.

use crate::storage::{Batch, ChunkLimit, keys};

use super::*;

const STEP: ChunkLimit = ChunkLimit { pairs: 3, bytes: 1 << 20 };

/// Runs the scrub to the end of its pass.
fn scrub(replica: &Replica) -> Result<usize, Halt> {
    let mut read = 0;
    loop {
        match replica.state.scrub(STEP)? {
            Scrubbed::Keys(keys) => read += keys,
            Scrubbed::Pass => return Ok(read),
        }
    }
}

/// Changes the value of a key behind the state's back.
fn corrupt(replica: &Replica, key: Vec<u8>, change: impl Fn(&mut Vec<u8>)) {
    let mut value = replica.state.engine().get(&key).unwrap().unwrap().to_vec();
    change(&mut value);
    let mut batch = Batch::default();
    batch.put(key, value.into());
    replica.state.engine().apply(batch).unwrap();
}

fn collection_of(replica: &Replica) -> CollectionId {
    let all = replica.state.digests();
    all.into_iter().map(|one| one.collection).find(|id| !system::is_system(*id)).unwrap()
}

#[test]
fn a_digest_check_shows_the_state_at_its_own_entry() {
    let (mut a, mut b) = (Replica::new(), Replica::new());
    let writes = |n: usize| Command::new(Op::Write(write("db", "c", save(&format!("{n}"), "{}"))));
    let log = vec![writes(1), writes(2), Command::new(Op::DigestCheck), writes(3)];
    a.apply_all(&log);
    for command in &log {
        b.apply(command);
    }
    let (a, b) = (a.state.digest_checks(), b.state.digest_checks());
    assert_eq!((a.len(), a[0].index, a[0].total()), (1, 3, b[0].total()));
    let user: Vec<u64> =
        a[0].collections().iter().filter(|one| !system::is_system(one.collection)).map(|one| one.count).collect();
    assert_eq!(user, [2], "the write behind it does not count");
    assert_eq!(a[0].collections(), b[0].collections());
}

#[test]
fn only_the_last_checks_are_kept() {
    let mut replica = Replica::new();
    for _ in 0..5 {
        replica.run(Op::DigestCheck).unwrap();
    }
    let kept: Vec<u64> = replica.state.digest_checks().iter().map(|check| check.index).collect();
    assert_eq!(kept, [4, 5]);
}

#[test]
fn a_replica_that_applied_something_else_is_named_with_the_collection() {
    let mut replicas = [Replica::new(), Replica::new(), Replica::new()];
    for (n, replica) in replicas.iter_mut().enumerate() {
        replica.save("db", "c", "x", if n == 1 { r#"{"n":2}"# } else { r#"{"n":1}"# });
        replica.save("db", "other", "x", "{}");
        replica.run(Op::DigestCheck).unwrap();
    }
    let held = |n: usize| (format!("node{n}"), replicas[n].state.digest_checks()[0].collections());
    assert_ne!(replicas[0].state.digest_checks()[0].total(), replicas[1].state.digest_checks()[0].total());
    let found = compare(&[held(0), held(1), held(2)]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].nodes.as_slice(), found[0].certain), (&["node1".to_owned()][..], true));
    assert_eq!(replicas[0].state.collection_name(found[0].collection), "db/c");
}

#[test]
fn a_scrub_beside_writes_finds_nothing_wrong() {
    let mut replica = Replica::new();
    for n in 0..40 {
        replica.save("db", "c", &format!("{n:03}"), &format!("{{\"n\":{n}}}"));
        replica.save("db", "dropped", &format!("{n:03}"), "{}");
    }
    // Between each two steps: writes and deletes before, at and behind the place that the scrub has reached,
    // refused batches, which leave nothing, and entries that share a run.
    let mut passes = 0;
    for round in 0_usize.. {
        if let Scrubbed::Pass = replica.state.scrub(STEP).unwrap() {
            passes += 1;
            if passes == 3 {
                break;
            }
        }
        let id = |k: usize| format!("{:03}", (round * 7 + k * 13) % 60);
        let op = |action| Command::new(Op::Write(write("db", "c", action)));
        let refused = Op::Batch(vec![write("db", "c", save(&id(1), "{}")), write("db", "c", update("absent", "{}"))]);
        replica.apply_all(&[
            op(save(&id(0), &format!("{{\"n\":{round}}}"))),
            Command::new(refused),
            op(delete(&id(2))),
            op(save(&id(2), "{}")),
            op(delete(&id(3))),
        ]);
        if round == 30 {
            replica.run(Op::DeleteCollection { db: database("db"), name: collection("dropped") }).unwrap();
        }
        replica.state.reclaim(5).unwrap();
    }
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    type Damage = (&'static str, fn(&Replica, CollectionId));
    let cases: [Damage; 6] = [
        ("no JSON", |replica, c| corrupt(replica, keys::current(c, "017"), |value| value[46] = b'x')),
        ("come to", |replica, c| {
            corrupt(replica, keys::current(c, "017"), |value| {
                *value.iter_mut().rfind(|byte| **byte == b'7').unwrap() = b'8'
            });
        }),
        ("cannot be read", |replica, c| corrupt(replica, keys::current(c, "017"), |value| value[0] ^= 1)),
        ("come to", |replica, c| corrupt(replica, keys::stats(c), |value| value[31] ^= 1)),
        ("cannot be read", |replica, c| {
            let old = replica.state.versions(&database("db"), &collection("c"), &doc_id("000")).unwrap()[0].rev;
            corrupt(replica, keys::history(c, "000", old), |value| value.truncate(20));
        }),
        ("come to", |replica, c| {
            let mut batch = Batch::default();
            batch.delete(keys::current(c, "017"));
            replica.state.engine().apply(batch).unwrap();
        }),
    ];
    for (want, damage) in cases {
        let mut replica = Replica::new();
        for n in (0..30).chain(0..1) {
            replica.save("db", "c", &format!("{n:03}"), &format!("{{\"n\":{n}}}"));
        }
        assert!(scrub(&replica).unwrap() > 30);
        damage(&replica, collection_of(&replica));
        let halt = scrub(&replica).unwrap_err().to_string();
        assert!(halt.contains("damaged") && halt.contains(want), "{want}: {halt}");
    }
}
