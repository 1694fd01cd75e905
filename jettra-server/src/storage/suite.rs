//! One suite that every engine passes.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;

use super::*;

fn put(engine: &dyn Engine, pairs: &[(&str, &str)]) {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(key.as_bytes().to_vec(), Bytes::copy_from_slice(value.as_bytes()));
    }
    engine.apply(batch).unwrap();
}

fn keys(scan: Scan<&dyn Engine>) -> Vec<String> {
    scan.map(|pair| String::from_utf8(pair.unwrap().0.to_vec()).unwrap()).collect()
}

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn gets_what_was_put(engine: &dyn Engine) {
    assert_eq!(engine.get(b"a").unwrap(), None);
    put(engine, &[("a", "1"), ("b", "2")]);
    put(engine, &[("a", "3"), ("", "empty key"), ("e", "")]);
    assert_eq!(text(engine.get(b"a").unwrap()), Some("3".into()));
    assert_eq!(text(engine.get(b"").unwrap()), Some("empty key".into()));
    assert_eq!(text(engine.get(b"e").unwrap()), Some("".into()));
}

fn a_batch_puts_and_deletes_and_the_last_write_counts(engine: &dyn Engine) {
    put(engine, &[("a", "1"), ("b", "2")]);
    let mut batch = Batch::default();
    batch.delete(b"a".to_vec());
    batch.delete(b"absent".to_vec());
    batch.put(b"c".to_vec(), Bytes::from_static(b"old"));
    batch.put(b"c".to_vec(), Bytes::from_static(b"new"));
    batch.put(b"d".to_vec(), Bytes::from_static(b"x"));
    batch.delete(b"d".to_vec());
    engine.apply(batch).unwrap();
    engine.apply(Batch::default()).unwrap();
    assert_eq!(keys(engine.scan(Unbounded, Unbounded)), ["b", "c"]);
    assert_eq!(text(engine.get(b"c").unwrap()), Some("new".into()));
}

fn scans_both_ways_within_every_kind_of_bound(engine: &dyn Engine) {
    let names: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    let mut batch = Batch::default();
    for name in &names {
        batch.put(name.clone().into_bytes(), Bytes::from_static(b"v"));
    }
    engine.apply(batch).unwrap();
    let key = |n: usize| names[n].clone().into_bytes();
    assert_eq!(keys(engine.scan(Unbounded, Unbounded)), names);
    assert_eq!(keys(engine.scan(Included(key(10)), Excluded(key(700)))), names[10..700]);
    assert_eq!(keys(engine.scan(Excluded(key(10)), Included(key(700)))), names[11..=700]);
    assert_eq!(keys(engine.scan(Included(key(20)), Excluded(key(10)))), Vec::<String>::new());
    assert_eq!(keys(engine.scan(Excluded(key(20)), Excluded(key(20)))), Vec::<String>::new());
    let reversed = |range: &[String]| range.iter().rev().cloned().collect::<Vec<_>>();
    assert_eq!(keys(engine.scan_rev(Unbounded, Unbounded)), reversed(&names));
    assert_eq!(keys(engine.scan_rev(Included(key(10)), Excluded(key(700)))), reversed(&names[10..700]));
    assert_eq!(keys(engine.scan_rev(Excluded(key(10)), Included(key(700)))), reversed(&names[11..=700]));
    assert_eq!(keys(engine.scan_rev(Included(b"0".to_vec()), Excluded(b"0003x".to_vec()))), reversed(&names[..4]));
}

fn a_chunk_keeps_to_its_limit(engine: &dyn Engine) {
    put(engine, &[("a", "1111"), ("b", "2222"), ("c", "3333")]);
    let chunk =
        |pairs, bytes| engine.chunk(Unbounded, Unbounded, Order::Ascending, ChunkLimit { pairs, bytes }).unwrap().len();
    assert_eq!((chunk(2, 1000), chunk(9, 6), chunk(9, 0), chunk(9, 1000)), (2, 2, 1, 3));
}

fn a_scan_goes_on_while_its_keys_are_written_and_deleted(engine: &dyn Engine) {
    let mut batch = Batch::default();
    for n in 0..2000u32 {
        batch.put(n.to_be_bytes().to_vec(), Bytes::from_static(b"v"));
    }
    engine.apply(batch).unwrap();
    let mut seen = Vec::new();
    for (step, pair) in engine.scan(Unbounded, Unbounded).enumerate() {
        let n = u32::from_be_bytes(pair.unwrap().0.as_ref().try_into().unwrap());
        seen.push(n);
        if step % 100 == 0 {
            // Deletes behind and far ahead of the scan: what stays must be seen once, in order.
            let mut batch = Batch::default();
            batch.delete(n.to_be_bytes().to_vec());
            batch.delete((n / 2 + 1500).to_be_bytes().to_vec());
            engine.apply(batch).unwrap();
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b));
    let left = engine.scan(Unbounded, Unbounded).map(|pair| pair.unwrap().0).collect::<Vec<_>>();
    assert!(left.iter().all(|key| seen.contains(&u32::from_be_bytes(key.as_ref().try_into().unwrap()))));
}

fn a_reader_sees_a_batch_whole(engine: &Arc<dyn Engine>) {
    // The reader reads the key that sorts last first: it must never find an older value in the first one.
    let write = |n: u64| {
        let mut batch = Batch::default();
        for key in [&b"a"[..], b"m", b"z"] {
            batch.put(key.to_vec(), Bytes::copy_from_slice(&n.to_be_bytes()));
        }
        engine.apply(batch).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let read = |key: &[u8]| u64::from_be_bytes(engine.get(key).unwrap().unwrap().as_ref().try_into().unwrap());
            loop {
                let (last, first) = (read(b"z"), read(b"a"));
                assert!(first >= last, "saw {last} in the last key, then {first} in the first");
                if first == 2000 {
                    return;
                }
            }
        });
        for n in 1..=2000 {
            write(n);
        }
        reader.join().unwrap();
    });
}

fn large_values_come_back_whole(engine: &dyn Engine) {
    for length in [0usize, 1, 4095, 65_536, 16 << 20] {
        let value: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let mut batch = Batch::default();
        batch.put(b"large".to_vec(), Bytes::from(value.clone()));
        engine.apply(batch).unwrap();
        assert_eq!(engine.get(b"large").unwrap().unwrap(), value);
    }
    engine.durable_point().unwrap();
}

fn large_values_are_replaced_and_deleted_under_a_reader(engine: &Arc<dyn Engine>) {
    // Of one byte over and over, so that a torn one shows; small and large ones by turns.
    let value = |n: usize| Bytes::from(vec![n as u8; [100, 3000, 20_000, 4096, 1024, 1025][n % 6]]);
    let check = |read: &Bytes| assert!(read.iter().all(|byte| *byte == read[0]), "a torn value");
    let write = |n: usize| {
        let mut batch = Batch::default();
        batch.put(b"a".to_vec(), value(n));
        if n.is_multiple_of(7) {
            batch.delete(b"b".to_vec())
        } else {
            batch.put(b"b".to_vec(), value(n))
        }
        engine.apply(batch).unwrap();
    };
    write(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    check(&engine.get(b"a").unwrap().unwrap());
                    for pair in engine.scan_rev(Unbounded, Unbounded) {
                        check(&pair.unwrap().1);
                    }
                }
            });
        }
        for n in 2..2000 {
            write(n);
            if n % 500 == 0 {
                engine.durable_point().unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(engine.get(b"a").unwrap().unwrap(), value(1999));
    assert_eq!(keys(engine.scan(Unbounded, Unbounded)), ["a", "b"]);
}

macro_rules! suite {
    ($engine:ident: $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let (_keep, engine) = $engine();
            super::$name(&*engine);
        })*

        #[test]
        fn a_reader_sees_a_batch_whole() {
            let (_keep, engine) = $engine();
            super::a_reader_sees_a_batch_whole(&engine);
        }

        #[test]
        fn large_values_are_replaced_and_deleted_under_a_reader() {
            let (_keep, engine) = $engine();
            super::large_values_are_replaced_and_deleted_under_a_reader(&engine);
        }
    };
    ($engine:ident) => {
        suite!($engine: gets_what_was_put, a_batch_puts_and_deletes_and_the_last_write_counts,
            scans_both_ways_within_every_kind_of_bound, a_chunk_keeps_to_its_limit,
            a_scan_goes_on_while_its_keys_are_written_and_deleted, large_values_come_back_whole);
    };
}

mod memory {
    use super::*;

    fn fresh() -> ((), Arc<dyn Engine>) {
        ((), Arc::new(MemoryEngine::new()))
    }

    suite!(fresh);
}

mod sled {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Arc<dyn Engine>) {
        let dir = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(&SledConfig::new(dir.path())).unwrap();
        (dir, Arc::new(engine))
    }

    suite!(fresh);

    #[test]
    fn opening_again_under_readers_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = SledConfig { written_bytes: 100_000, ..SledConfig::new(dir.path()) };
        let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(&config).unwrap());
        super::large_values_are_replaced_and_deleted_under_a_reader(&engine);
        for n in 0..50u32 {
            let mut batch = Batch::default();
            for m in 0..100u32 {
                batch.put([n.to_be_bytes(), m.to_be_bytes()].concat(), Bytes::from(vec![7; 100]));
            }
            engine.apply(batch).unwrap();
            if n % 3 == 0 {
                engine.durable_point().unwrap();
            }
        }
        assert_eq!(engine.scan_prefix(&[0]).count(), 5000);
    }

    #[test]
    fn what_was_durable_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        {
            let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(&SledConfig::new(dir.path())).unwrap());
            put(&*engine, &[("a", "1"), ("b", "2")]);
            engine.durable_point().unwrap();
        }
        let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(&SledConfig::new(dir.path())).unwrap());
        assert_eq!(keys(engine.scan(Unbounded, Unbounded)), ["a", "b"]);
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("format"), "jettradb documents, format 2\n").unwrap();
        let error = SledEngine::open(&SledConfig::new(dir.path())).err().unwrap();
        assert!(error.to_string().contains("format 2"), "{error}");
    }

    fn bytes_in(path: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let bytes = entries.map(|entry| match entry.metadata().unwrap() {
            data if data.is_dir() => bytes_in(&entry.path()),
            data => data.len(),
        });
        bytes.sum()
    }

    #[test]
    fn emptied_leaves_do_not_stay() {
        let (keep, engine) = fresh();
        for round in 0..20u32 {
            let mut batch = Batch::default();
            for n in 0..2000u32 {
                batch.put([round.to_be_bytes(), n.to_be_bytes()].concat(), Bytes::from(vec![round as u8; 200]));
                if round > 0 {
                    batch.delete([(round - 1).to_be_bytes(), n.to_be_bytes()].concat());
                }
            }
            engine.apply(batch).unwrap();
            engine.durable_point().unwrap();
        }
        let bytes = bytes_in(keep.path());
        assert!(bytes < 2_000_000, "{bytes} bytes on disk for 400 kB of live data");
    }
}
