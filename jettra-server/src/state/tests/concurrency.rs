//! Readers, snapshots, the reclaimer and durable points beside a writer.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::{SledConfig, SledEngine};

const ACCOUNTS: u64 = 300;
const TOTAL: u64 = ACCOUNTS * 100;

fn account(n: u64) -> String {
    format!("account-{n:04}")
}

fn set(n: u64, balance: u64) -> Write {
    write("bank", "accounts", save(&account(n), &format!("{{\"balance\":{balance}}}")))
}

fn balance(doc: &Doc) -> u64 {
    serde_json::from_slice::<serde_json::Value>(&doc.body).unwrap()["balance"].as_u64().unwrap()
}

/// Moves money about, in runs of batches; now and then an account is closed and opened again.
fn bank(replica: &mut Replica, runs: usize, mut between: impl FnMut(usize, &State)) {
    let mut balances = vec![100; ACCOUNTS as usize];
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for run in 0..runs {
        let mut commands = Vec::new();
        for _ in 0..20 {
            let (from, to) = (next(ACCOUNTS) as usize, next(ACCOUNTS) as usize);
            let all = next(5) == 0;
            let amount = if all { balances[from] } else { next(balances[from] + 1) };
            balances[from] -= amount;
            balances[to] += amount;
            let mut writes = vec![set(to as u64, balances[to])];
            writes.push(if balances[from] == 0 {
                write("bank", "accounts", delete(&account(from as u64)))
            } else {
                set(from as u64, balances[from])
            });
            commands.push(Command::new(Op::Batch(writes)));
        }
        replica.apply_all(&commands);
        between(run, &replica.state);
    }
}

fn readers_always_find_the_total(engine: Arc<dyn Engine>, runs: usize) {
    let mut replica = Replica::on(engine);
    replica.run(Op::SetSettings(Settings { max_versions: 5, ..Settings::default() }.to_map())).unwrap();
    replica.run(Op::Batch((0..ACCOUNTS).map(|n| set(n, 100)).collect())).unwrap();
    let state = replica.state.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (state, done) = (&state, &done);
            scope.spawn(move || {
                let mut views = 0;
                while !done.load(Ordering::Relaxed) || views == 0 {
                    let pin = state.pin();
                    let (db, col) = (database("bank"), collection("accounts"));
                    let docs: Vec<Doc> = state.scan(&db, &col, None, &pin).map(|doc| doc.unwrap()).collect();
                    assert_eq!(docs.iter().map(balance).sum::<u64>(), TOTAL, "at {}", pin.rev());
                    assert_eq!(docs.len() as u64, pin.count(&db, &col));
                    assert!(docs.iter().all(|doc| doc.rev <= pin.rev()));
                    if reader == 0 {
                        check_copy(state, &pin, &docs);
                    }
                    if reader == 1 {
                        state.durable_point().unwrap();
                    }
                    views += 1;
                }
            });
        }
        bank(&mut replica, runs, |run, state| {
            if run % 3 == 0 {
                state.reclaim(100).unwrap();
            }
        });
        done.store(true, Ordering::Relaxed);
    });
}

/// A snapshot that is read while writes go on is the pinned state, digests included.
fn check_copy(state: &State, pin: &Pin, docs: &[Doc]) {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut importer = Importer::new(Arc::clone(&engine)).unwrap();
    for pair in state.export(pin) {
        let (key, value) = pair.unwrap();
        importer.put(key, value).unwrap();
    }
    importer.finish().unwrap();
    let copy = State::open(engine).unwrap();
    let scan = copy.scan(&database("bank"), &collection("accounts"), None, &copy.pin());
    assert_eq!(scan.map(|doc| doc.unwrap()).collect::<Vec<_>>(), docs);
    let versions = |id: &str| copy.versions(&database("bank"), &collection("accounts"), &doc_id(id)).unwrap();
    for doc in docs {
        for version in versions(doc.id.as_str()) {
            let (db, col) = (database("bank"), collection("accounts"));
            assert!(copy.version(&db, &col, &doc.id, version).unwrap().is_some());
        }
    }
}

#[test]
fn readers_always_find_the_total_in_memory() {
    readers_always_find_the_total(Arc::new(MemoryEngine::new()), 150);
}

#[test]
fn readers_always_find_the_total_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    readers_always_find_the_total(Arc::new(SledEngine::open(&SledConfig::new(dir.path())).unwrap()), 100);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut replica = Replica::new();
    bank(&mut replica, 2, |_, _| {});
    let pin = replica.state.pin();
    let records: Vec<_> = replica.state.export(&pin).map(|pair| pair.unwrap()).collect();
    let import = |records: &[(Bytes, Bytes)]| -> Result<(), Halt> {
        let mut importer = Importer::new(Arc::new(MemoryEngine::new()))?;
        for (key, value) in records {
            importer.put(key.clone(), value.clone())?;
        }
        importer.finish()
    };
    import(&records).unwrap();
    let at = records.iter().rposition(|(key, _)| key[0] == crate::storage::keys::CURRENT).unwrap();
    let mut damaged = records.clone();
    let mut value = damaged[at].1.to_vec();
    *value.last_mut().unwrap() ^= 1;
    damaged[at].1 = value.into();
    assert!(import(&damaged).is_err(), "a flipped bit");
    let mut cut = records.clone();
    cut.remove(at);
    assert!(import(&cut).is_err(), "a missing document");
    assert!(import(&records[1..]).is_err(), "no format");
    assert!(Importer::new(Arc::clone(replica.state.engine())).is_err(), "a store that is not empty");
}
