//! What watchers are told.

use std::collections::BTreeMap;

use jettra_client::wire::Position;

use super::model::{Model, text};
use super::*;

const ALL: ChangesLimit = ChangesLimit { records: 1000, bytes: 1 << 20 };

fn read(state: &State, after: Position, limit: ChangesLimit) -> (Vec<Changed>, Position) {
    match state.changes(after, u64::MAX, |_, _| true, limit).unwrap() {
        Changes::Run { changes, through } => (changes, through),
        Changes::Compacted { oldest } => panic!("only what follows {oldest} is kept"),
    }
}

/// Everything after a position, read in steps.
fn read_on(state: &State, mut after: Position, limit: ChangesLimit) -> Vec<Changed> {
    let mut all = Vec::new();
    while after < Position::after(state.applied().rev) {
        let (changes, through) = read(state, after, limit);
        assert!(through > after, "no step forward from {after}");
        assert!(changes.iter().all(|changed| after < changed.position && changed.position <= through));
        all.extend(changes);
        after = through;
    }
    all
}

type Documents = BTreeMap<String, (u64, Option<String>)>;

/// Somebody who keeps a copy of all databases by watching, a few records at a time.
#[derive(Default)]
pub(super) struct Follower {
    seen: Vec<Changed>,
    copy: BTreeMap<(String, String), Documents>,
}

impl Follower {
    /// Reads on and checks that the copy is what the model holds.
    pub fn check(&mut self, state: &State, model: &Model) {
        let after = self.seen.last().map_or(Position::after(0), |changed| changed.position);
        for changed in read_on(state, after, ChangesLimit { records: 3, bytes: 100 }) {
            self.take(&changed);
            self.seen.push(changed);
        }
        for (db, cols) in &model.dbs {
            for (col, docs) in cols {
                let want: Documents = docs
                    .iter()
                    .filter_map(|(id, history)| Some((id.clone(), history.live()?)))
                    .map(|(id, (rev, body))| (id, (rev, Some(text(body)))))
                    .collect();
                let got = self.copy.remove(&(db.clone(), col.clone())).unwrap_or_default();
                assert_eq!(got, want, "{db}/{col}");
                self.copy.insert((db.clone(), col.clone()), got);
            }
        }
        let known = |db: &str, col: &str| model.dbs.get(db).is_some_and(|cols| cols.contains_key(col));
        let left: Vec<_> = self.copy.keys().filter(|(db, col)| !known(db, col)).collect();
        assert!(left.is_empty(), "{left:?} were dropped or renamed");
    }

    /// Checks that somebody who comes late is told the same, but for documents that are no longer kept.
    pub fn check_late_comer(&self, state: &State) {
        let late = read_on(state, Position::after(0), ALL);
        assert_eq!(late.len(), self.seen.len());
        for (late, seen) in late.iter().zip(&self.seen) {
            let doc = late.doc.as_ref().or(seen.doc.as_ref());
            assert_eq!(Changed { doc: doc.cloned(), ..late.clone() }, *seen);
        }
    }

    fn take(&mut self, changed: &Changed) {
        let place = (changed.db.clone(), changed.col.clone());
        let documents = self.copy.entry(place.clone()).or_default();
        match &changed.change {
            Change::Saved { id } => {
                let doc = changed.doc.as_ref().map(|doc| String::from_utf8(doc.to_vec()).unwrap());
                documents.insert(id.clone(), (changed.position.rev, doc));
            }
            Change::Deleted { id } => drop(documents.remove(id)),
            Change::Dropped => drop(self.copy.remove(&place)),
            Change::Renamed { db, col } => {
                let documents = self.copy.remove(&place).unwrap();
                self.copy.insert((db.clone(), col.clone()), documents);
            }
        }
    }
}

#[test]
fn changes_come_in_log_order_with_what_each_revision_wrote() {
    let mut replica = Replica::new();
    let first = replica.save("db", "c", "x", r#"{"n":1}"#);
    let second = replica.save("db", "c", "x", r#"{"n":2}"#);
    let batch = vec![write("db", "c", delete("x")), write("db", "d", save("y", "{}"))];
    replica.run(Op::Batch(batch)).unwrap();
    replica.run(Op::Write(write("db", "c", delete("x")))).unwrap();

    let changes = read_on(&replica.state, Position::after(0), ALL);
    let told: Vec<String> = changes
        .iter()
        .map(|changed| {
            let doc = changed.doc.as_ref().map_or("", |doc| std::str::from_utf8(doc).unwrap());
            format!("{} {}/{} {:?} {doc}", changed.position, changed.db, changed.col, changed.change)
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"1.0 db/c Saved { id: "x" } {"_id":"x","n":1}"#,
            r#"2.0 db/c Saved { id: "x" } {"_id":"x","n":2}"#,
            r#"3.0 db/c Deleted { id: "x" } "#,
            r#"3.1 db/d Saved { id: "y" } {"_id":"y"}"#,
        ],
        "deleting what is absent changes nothing"
    );

    // Each position gives exactly the rest.
    let ids: Vec<Position> = changes.iter().map(|changed| changed.position).collect();
    for (n, position) in ids.iter().enumerate() {
        assert_eq!(read(&replica.state, *position, ALL).0, changes[n + 1..]);
    }
    assert_eq!(read(&replica.state, Position::after(first), ALL).0, changes[1..]);
    assert_eq!(read(&replica.state, Position::after(second), ALL).0, changes[2..]);
    let ahead = Position::after(1000);
    assert_eq!(read(&replica.state, ahead, ALL), (Vec::new(), ahead), "there is nothing yet");
}

#[test]
fn only_what_is_wanted_is_told_and_the_rest_passed_over() {
    let mut replica = Replica::new();
    for n in 0..20 {
        replica.save("db", if n == 13 { "rare" } else { "busy" }, &format!("{n}"), "{}");
    }
    let limit = ChangesLimit { records: 4, bytes: 1 << 20 };
    let (mut after, mut found, mut steps) = (Position::after(0), Vec::new(), 0);
    while after < Position::after(20) {
        let Changes::Run { changes, through } =
            replica.state.changes(after, u64::MAX, |db, col| (db, col) == ("db", "rare"), limit).unwrap()
        else {
            panic!("nothing is compacted")
        };
        found.extend(changes.into_iter().map(|changed| changed.position.to_string()));
        (after, steps) = (through, steps + 1);
    }
    assert_eq!((found, steps), (vec!["14.0".to_owned()], 6));

    // What came after `upto` is not looked at.
    let Changes::Run { changes, through } = replica.state.changes(Position::after(3), 7, |_, _| true, ALL).unwrap()
    else {
        panic!("nothing is compacted")
    };
    assert_eq!((changes.len(), through), (4, Position::after(7)));
}

#[test]
fn large_documents_come_a_few_at_a_time() {
    let mut replica = Replica::new();
    let text = "a".repeat(1000);
    replica
        .run(Op::Batch(
            (0..10).map(|n| write("db", "c", save(&n.to_string(), &format!(r#"{{"t":"{text}"}}"#)))).collect(),
        ))
        .unwrap();
    let limit = ChangesLimit { records: 1000, bytes: 2500 };
    let (changes, through) = read(&replica.state, Position::after(0), limit);
    assert_eq!((changes.len(), through.to_string().as_str()), (3, "1.2"));
    assert_eq!(read_on(&replica.state, Position::after(0), limit).len(), 10);
}

#[test]
fn a_position_that_is_no_longer_kept_is_compacted() {
    let mut replica = Replica::new();
    replica.run(Op::SetSettings(Settings { max_change_revisions: 5, ..Settings::default() }.to_map())).unwrap();
    for n in 0..20 {
        replica.save("db", "c", "x", &format!(r#"{{"n":{n}}}"#));
    }
    let compacted =
        |state: &State, position: Position| match state.changes(position, u64::MAX, |_, _| true, ALL).unwrap() {
            Changes::Compacted { oldest } => Some(oldest),
            Changes::Run { .. } => None,
        };
    // The last five revisions are 17 to 21.
    let state = replica.state.clone();
    assert_eq!(state.oldest_change_position(), Some(16));
    for _ in 0..2 {
        assert_eq!(compacted(&state, Position::after(15)), Some(16));
        assert_eq!(compacted(&state, Position { rev: 16, n: 0 }), Some(16), "the rest of 16 may be gone");
        assert_eq!(compacted(&state, Position::after(0)), Some(16));
        assert_eq!(compacted(&state, Position::after(16)), None);
        assert_eq!(read_on(&state, Position::after(16), ALL).len(), 5);
        while state.reclaim(3).unwrap() > 0 {}
    }
    let pin = state.pin();
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut importer = Importer::new(Arc::clone(&engine)).unwrap();
    for pair in state.export(&pin) {
        let (key, value) = pair.unwrap();
        importer.put(key, value).unwrap();
    }
    importer.finish().unwrap();
    let copy = State::open(engine).unwrap();
    assert_eq!(compacted(&copy, Position::after(15)), Some(16), "a snapshot knows it too");
    assert_eq!(read_on(&copy, Position::after(16), ALL), read_on(&state, Position::after(16), ALL));
}

#[test]
fn a_document_that_is_no_longer_kept_is_left_out() {
    let mut replica = Replica::new();
    replica.run(Op::SetSettings(Settings { max_versions: 1, ..Settings::default() }.to_map())).unwrap();
    for n in 0..4 {
        replica.save("db", "c", "x", &format!(r#"{{"n":{n}}}"#));
    }
    while replica.state.reclaim(100).unwrap() > 0 {}
    let kept: Vec<bool> =
        read_on(&replica.state, Position::after(0), ALL).iter().map(|changed| changed.doc.is_some()).collect();
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn renames_and_drops_are_told_and_what_came_before_keeps_its_names() {
    let mut replica = Replica::new();
    replica.save("a", "c", "x", "{}");
    replica.run(Op::RenameCollection { db: database("a"), from: collection("c"), to: collection("d") }).unwrap();
    replica.save("a", "d", "y", "{}");
    replica.run(Op::RenameDatabase { from: database("a"), to: database("b") }).unwrap();
    replica.run(Op::DeleteDatabase { name: database("b") }).unwrap();
    while replica.state.reclaim(100).unwrap() > 0 {}

    let about = |name: &'static str| {
        let wanted = move |_: &str, col: &str| col == name;
        let Changes::Run { changes, .. } = replica.state.changes(Position::after(0), u64::MAX, wanted, ALL).unwrap()
        else {
            panic!("nothing is compacted")
        };
        changes.iter().map(|c| format!("{} {}/{} {:?}", c.position, c.db, c.col, c.change)).collect::<Vec<_>>()
    };
    assert_eq!(about("c"), [r#"1.0 a/c Saved { id: "x" }"#, r#"2.0 a/c Renamed { db: "a", col: "d" }"#]);
    assert_eq!(
        about("d"),
        [
            r#"2.0 a/c Renamed { db: "a", col: "d" }"#,
            r#"3.0 a/d Saved { id: "y" }"#,
            r#"4.3 a/d Renamed { db: "b", col: "d" }"#,
            "5.3 b/d Dropped",
        ],
        "the three standard collections come first"
    );
}

#[test]
fn the_changes_of_few_revisions_are_bounded_by_their_bytes() {
    let mut replica = Replica::new();
    // 256 bytes a revision on average: 25 600.
    replica.run(Op::SetSettings(Settings { max_change_revisions: 100, ..Settings::default() }.to_map())).unwrap();
    for _ in 0..50 {
        let writes = (0..100).map(|n| write("db", "c", save(&format!("document-{n}"), "{}")));
        replica.run(Op::Batch(writes.collect())).unwrap();
    }
    let Changes::Compacted { oldest } = replica.state.changes(Position::after(0), u64::MAX, |_, _| true, ALL).unwrap()
    else {
        panic!("the changes of all revisions are there")
    };
    // A revision has some thousand bytes.
    assert!((replica.index - 12..replica.index - 2).contains(&oldest), "{oldest} of {}", replica.index);
    let kept = read_on(&replica.state, Position::after(oldest), ALL);
    assert_eq!(kept.len() as u64, 100 * (replica.index - oldest));
}
