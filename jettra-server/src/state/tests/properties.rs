//! Random commands against the model, on both engines, with pins, snapshots and the reclaimer in between.

use std::sync::Arc;

use proptest::prelude::*;

use super::changes::Follower;
use super::model::{History, Model, ModelAction, ModelCondition, ModelWrite, Request, Step, Taken, saved, text};
use super::*;
use crate::storage::{SledConfig, SledEngine};

const START_MS: u64 = 1_700_000_000_000;
const DBS: [&str; 2] = ["a", "b"];
const COLS: [&str; 2] = ["c", "d"];
const IDS: [&str; 3] = ["x", "y", "z\u{0}\"ü"];

/// What is done between two runs of entries.
#[derive(Debug, Clone)]
enum Between {
    Nothing,
    Reclaim(usize),
    Pin,
    Unpin(usize),
    Snapshot(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let db = || prop::sample::select(&DBS[..]);
    let col = || prop::sample::select(&COLS[..]);
    let action = prop_oneof![
        4 => (0u8..40).prop_map(ModelAction::Save),
        3 => (0u8..3, prop::option::of(any::<u8>())).prop_map(|(field, value)| ModelAction::Update(field, value)),
        3 => Just(ModelAction::Delete),
        2 => (0usize..3).prop_map(ModelAction::Restore),
    ];
    let condition = prop_oneof![
        6 => Just(None),
        1 => Just(Some(ModelCondition::Absent)),
        2 => prop_oneof![3 => Just(0u64), 1 => Just(1)].prop_map(|more| Some(ModelCondition::Rev(more))),
    ];
    let write = (db(), col(), prop::sample::select(&IDS[..]), action, condition)
        .prop_map(|(db, col, id, action, condition)| ModelWrite { db, col, id, action, condition });
    let request = prop_oneof![
        6 => Just(None),
        1 => (prop::sample::select(&["k1", "k2"][..]), prop::sample::select(&["h1", "h2"][..]))
            .prop_map(|(key, hash)| Some(Request::Key(key, hash))),
        2 => (prop::sample::select(&["s1", "s2"][..]), 1u64..12, 0u64..8)
            .prop_map(|(name, sequence, acked)| Some(Request::Session(name, sequence, acked.min(sequence - 1)))),
    ];
    let settings = Settings::default();
    let step = prop_oneof![
        20 => (request, prop::collection::vec(write, 1..4)).prop_map(|(request, writes)| Step::Write(request, writes)),
        1 => db().prop_map(Step::CreateDatabase),
        1 => db().prop_map(Step::DeleteDatabase),
        1 => (db(), db()).prop_map(|(from, to)| Step::RenameDatabase(from, to)),
        1 => (db(), col()).prop_map(|(db, col)| Step::CreateCollection(db, col)),
        1 => (db(), col()).prop_map(|(db, col)| Step::DeleteCollection(db, col)),
        1 => (db(), col(), col()).prop_map(|(db, from, to)| Step::RenameCollection(db, from, to)),
        2 => prop::sample::select(vec![1, settings.request_ms, settings.tombstone_ms]).prop_map(Step::Wait),
        1 => (0u32..4, prop::sample::select(vec![60u64, 100, 1 << 20])).prop_map(|(n, bytes)| Step::Versions(n, bytes)),
    ];
    prop::collection::vec(step, 1..60)
}

fn between() -> impl Strategy<Value = Vec<(usize, Between)>> {
    let what = prop_oneof![
        3 => Just(Between::Nothing),
        3 => (1usize..20).prop_map(Between::Reclaim),
        2 => Just(Between::Pin),
        1 => (0usize..4).prop_map(Between::Unpin),
        1 => (0usize..4).prop_map(Between::Snapshot),
        1 => Just(Between::Reopen),
    ];
    prop::collection::vec((1usize..6, what), 60)
}

/// The command of a step, as the model stands before it.
fn command(model: &Model, step: &Step) -> Command {
    let db = |name: &str| DatabaseName::parse(name).unwrap();
    let op = match step {
        Step::Write(_, writes) => {
            let mut writes: Vec<Write> = writes.iter().map(|write| command_write(model, write)).collect();
            if writes.len() == 1 { Op::Write(writes.remove(0)) } else { Op::Batch(writes) }
        }
        Step::CreateDatabase(name) => Op::CreateDatabase { name: db(name), engine: None },
        Step::DeleteDatabase(name) => Op::DeleteDatabase { name: db(name) },
        Step::RenameDatabase(from, to) => Op::RenameDatabase { from: db(from), to: db(to) },
        Step::CreateCollection(name, col) => Op::CreateCollection { db: db(name), name: collection(col) },
        Step::DeleteCollection(name, col) => Op::DeleteCollection { db: db(name), name: collection(col) },
        Step::RenameCollection(name, from, to) => {
            Op::RenameCollection { db: db(name), from: collection(from), to: collection(to) }
        }
        // Something that changes nothing, at the later time.
        Step::Wait(_) => Op::ClusterUpdateNode { nodes: Vec::new() },
        Step::Versions(count, bytes) => Op::SetSettings(
            Settings { max_versions: *count, max_version_bytes: *bytes, ..Settings::default() }.to_map(),
        ),
    };
    let request = match step {
        Step::Write(Some(Request::Key(key, hash)), _) => {
            Some(RequestKey::Key { principal: "p".into(), key: (*key).into(), hash: (*hash).into() })
        }
        Step::Write(Some(Request::Session(session, sequence, acked)), _) => Some(RequestKey::Session {
            principal: "p".into(),
            session: (*session).into(),
            sequence: *sequence,
            acked: *acked,
        }),
        _ => None,
    };
    Command { request, op }
}

fn command_write(model: &Model, write: &ModelWrite) -> Write {
    let history = model.dbs.get(write.db).and_then(|cols| cols.get(write.col)?.get(write.id));
    let rev = history.and_then(|history| history.live()).map_or(0, |(rev, _)| rev);
    let action = match &write.action {
        ModelAction::Save(n) => save(write.id, &text(&saved(write.id, *n))),
        ModelAction::Update(field, value) => {
            let value = value.map_or("null".to_owned(), |value| value.to_string());
            update(write.id, &format!("{{\"f{field}\":{value}}}"))
        }
        ModelAction::Delete => delete(write.id),
        ModelAction::Restore(n) => {
            let versions = history.map(|history| history.versions(model.now_ms)).unwrap_or_default();
            let version = versions
                .get(*n)
                .map_or(Version { time_ms: 1, rev: 1 }, |state| Version { time_ms: state.time_ms, rev: state.rev });
            restore(write.id, version)
        }
    };
    let condition = write.condition.as_ref().map(|condition| match condition {
        ModelCondition::Absent => Condition::Absent,
        ModelCondition::Rev(more) => Condition::Rev(rev + more),
    });
    Write { condition, ..super::write(write.db, write.col, action) }
}

/// A batch may look at what it wrote itself; the revs and versions of its commands are those before it. So in a batch
/// only the first write to a document may have such a condition or restore.
fn is_plain(step: &Step) -> bool {
    let Step::Write(_, writes) = step else { return true };
    let looks = |write: &ModelWrite| {
        matches!(write.condition, Some(ModelCondition::Rev(_))) || matches!(write.action, ModelAction::Restore(_))
    };
    writes.len() == 1 || !writes.iter().any(looks)
}

/// Runs of steps, as commands with their times, and the model after each run.
struct Script {
    runs: Vec<(Vec<Bytes>, Vec<Taken>, Model, Between)>,
}

impl Script {
    fn new(steps: Vec<Step>, between: Vec<(usize, Between)>) -> Script {
        let mut model = Model::new(START_MS);
        let mut steps = steps.into_iter().filter(is_plain).peekable();
        let mut runs = Vec::new();
        for (length, what) in between {
            let (mut commands, mut answers) = (Vec::new(), Vec::new());
            for step in steps.by_ref().take(length) {
                let command = command(&model, &step);
                answers.push(model.take(&step));
                commands.push(command.encode(model.now_ms));
            }
            if commands.is_empty() {
                break;
            }
            runs.push((commands, answers, model.clone(), what));
        }
        Script { runs }
    }
}

fn apply(state: &State, commands: &[Bytes]) -> Vec<Outcome> {
    let first = state.applied().index.unwrap_or(0) + 1;
    let payload = |bytes| Payload::Command(bytes);
    let entry = |(n, bytes)| LogEntry { index: first + n as u64, position: b"p", payload: payload(bytes) };
    state.apply(&commands.iter().enumerate().map(entry).collect::<Vec<_>>()).unwrap()
}

fn check_answers(outcomes: &[Outcome], answers: &[Taken]) {
    for (outcome, (rev, replayed, answer)) in outcomes.iter().zip(answers) {
        assert_eq!((outcome.rev, outcome.replayed), (*rev, *replayed), "{outcome:?}");
        let got = match &outcome.result {
            Ok(Answer::Written(results)) => Some(Ok(results.iter().map(|one| (one.rev, one.existed)).collect())),
            Ok(_) => None,
            Err(error) => Some(Err(error.code())),
        };
        assert_eq!(&got, answer, "{outcome:?}");
    }
}

/// What the state shows now is what the model holds.
fn check_reads(state: &State, model: &Model) {
    let names: Vec<String> =
        state.list_databases().into_iter().map(|db| db.name).filter(|db| db != "_system").collect();
    assert_eq!(names, model.dbs.keys().cloned().collect::<Vec<_>>());
    for (db, cols) in &model.dbs {
        let db = database(db);
        let names: Vec<String> = state.list_collections(&db).iter().map(ToString::to_string).collect();
        assert_eq!(names, cols.keys().cloned().collect::<Vec<_>>());
        for (col, docs) in cols {
            let col = collection(col);
            let live = docs.values().filter(|history| history.live().is_some()).count();
            assert_eq!(state.count(&db, &col), live as u64);
            for id in IDS {
                let history = docs.get(id).cloned().unwrap_or_default();
                let got = state.get(&db, &col, &doc_id(id)).unwrap();
                let got = got.map(|doc| (doc.rev, String::from_utf8(doc.body.to_vec()).unwrap()));
                assert_eq!(got, history.live().map(|(rev, body)| (rev, text(body))), "{db}/{col}/{id}");
                let versions = state.versions(&db, &col, &doc_id(id)).unwrap();
                let want: Vec<Version> = history
                    .versions(model.now_ms)
                    .iter()
                    .map(|state| Version { time_ms: state.time_ms, rev: state.rev })
                    .collect();
                assert_eq!(versions, want, "{db}/{col}/{id}");
                for (version, want) in versions.iter().zip(history.versions(model.now_ms)) {
                    let doc = state.version(&db, &col, &doc_id(id), *version).unwrap().unwrap();
                    assert_eq!(String::from_utf8(doc.body.to_vec()).unwrap(), text(want.body.as_ref().unwrap()));
                }
            }
        }
    }
}

/// What a pinned view shows is what the model held then.
fn check_pin(state: &State, pin: &Pin, model: &Model) {
    for db in DBS {
        for col in COLS {
            let scan = state.scan(&database(db), &collection(col), None, pin);
            let got: Vec<(String, u64, String)> = scan
                .map(|doc| doc.unwrap())
                .map(|doc| (doc.id.to_string(), doc.rev, String::from_utf8(doc.body.to_vec()).unwrap()))
                .collect();
            let docs = model.dbs.get(db).and_then(|cols| cols.get(col)).cloned().unwrap_or_default();
            let live =
                |(id, history): (&String, &History)| history.live().map(|(rev, body)| (id.clone(), rev, text(body)));
            assert_eq!(got, docs.iter().filter_map(live).collect::<Vec<_>>(), "{db}/{col} at {}", pin.rev());
        }
    }
}

/// A fresh state from the pinned one's records.
fn copy(state: &State, pin: &Pin) -> State {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut importer = Importer::new(Arc::clone(&engine)).unwrap();
    for pair in state.export(pin) {
        let (key, value) = pair.unwrap();
        importer.put(key, value).unwrap();
    }
    importer.finish().unwrap();
    State::open(engine).unwrap()
}

fn play(script: &Script, engine: Arc<dyn Engine>) -> State {
    let mut state = State::open(Arc::clone(&engine)).unwrap();
    let mut pins: Vec<(Pin, Model, usize)> = Vec::new();
    let mut follower = Follower::default();
    for (n, (commands, answers, model, what)) in script.runs.iter().enumerate() {
        check_answers(&apply(&state, commands), answers);
        check_reads(&state, model);
        follower.check(&state, model);
        match what {
            Between::Nothing => {}
            Between::Reclaim(keys) => drop(state.reclaim(*keys).unwrap()),
            Between::Pin => pins.push((state.pin(), model.clone(), n + 1)),
            Between::Unpin(at) if *at < pins.len() => drop(pins.remove(*at)),
            Between::Snapshot(at) if *at < pins.len() => {
                // A replica that starts from the snapshot comes to the same state as one that applied everything.
                let (pin, then, next) = &pins[*at];
                let copy = copy(&state, pin);
                check_reads(&copy, then);
                assert_eq!((copy.applied().index, &copy.applied().position), (pin.index(), pin.position()));
                for (commands, answers, _, _) in &script.runs[*next..=n] {
                    check_answers(&apply(&copy, commands), answers);
                }
                assert_eq!(copy.digests(), state.digests());
                check_reads(&copy, model);
                check_nothing_is_left_over(&copy);
                check_reads(&copy, model);
            }
            Between::Reopen if pins.is_empty() => state = State::open(Arc::clone(&engine)).unwrap(),
            Between::Unpin(_) | Between::Snapshot(_) | Between::Reopen => {}
        }
        for (pin, model, _) in &pins {
            check_pin(&state, pin, model);
        }
        check_reads(&state, model);
    }
    follower.check_late_comer(&state);
    state
}

/// What is left once nothing is pinned and everything is reclaimed is what the state needs, and nothing else.
fn check_nothing_is_left_over(state: &State) {
    use crate::storage::keys;
    while state.reclaim(7).unwrap() > 0 {}
    let collections = state.view().core.catalog.collection_ids();
    let now_ms = state.view().meta.time_ms;
    let mut kept = 0usize;
    let mut history = 0;
    let mut newest = std::collections::BTreeMap::new();
    for (key, value) in dump(&**state.engine()) {
        match key[0] {
            keys::CURRENT => {
                let collection = keys::collection(&key).unwrap();
                assert!(collections.contains(&collection), "a dropped collection is left");
                let envelope = super::super::envelope::Envelope::decode(&value).unwrap();
                assert!(!envelope.is_expired(now_ms), "an expired tombstone is left");
                assert!(
                    !system::is_system(collection) || envelope.kept == Default::default(),
                    "versions of the system's"
                );
                newest.insert((collection, keys::current_id(&key).unwrap().to_owned()), envelope.rev);
                kept += envelope.kept.count as usize;
            }
            keys::HISTORY => {
                let (collection, id, rev) = keys::history_parts(&key).unwrap();
                assert!(rev < newest[&(collection, id.to_owned())], "the newest state is a version too");
                history += usize::from(super::super::envelope::Envelope::decode(&value).unwrap().body().is_some());
            }
            keys::GARBAGE => panic!("a note of garbage is left"),
            _ => {}
        }
    }
    assert_eq!(history, kept, "superseded states that nothing lists");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(256), ..ProptestConfig::default() })]

    #[test]
    fn the_state_does_what_the_model_does((steps, between) in (steps(), between())) {
        let script = Script::new(steps, between);
        let state = play(&script, Arc::new(MemoryEngine::new()));
        check_nothing_is_left_over(&state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(12), ..ProptestConfig::default() })]

    #[test]
    fn two_engines_come_to_one_digest((steps, between) in (steps(), between())) {
        let script = Script::new(steps, between);
        let one_by_one = State::open(Arc::new(MemoryEngine::new())).unwrap();
        let outcomes: Vec<Outcome> = script.runs.iter().flat_map(|(commands, ..)| commands)
            .flat_map(|bytes| apply(&one_by_one, std::slice::from_ref(bytes))).collect();
        let dir = tempfile::tempdir().unwrap();
        let open = || Arc::new(SledEngine::open(&SledConfig::new(dir.path())).unwrap());
        {
            let state = play(&script, open());
            prop_assert_eq!(state.digests(), one_by_one.digests());
            prop_assert_eq!(state.durable_point().unwrap(), one_by_one.applied().index);
        }
        let reopened = State::open(open()).unwrap();
        prop_assert_eq!(reopened.applied(), one_by_one.applied());
        prop_assert_eq!(reopened.digests(), one_by_one.digests());
        if let Some((_, _, model, _)) = script.runs.last() {
            check_reads(&reopened, model);
        }
        prop_assert_eq!(outcomes.len() as u64, one_by_one.applied().index.unwrap_or(0));
        check_nothing_is_left_over(&reopened);
    }
}

/// `PROPTEST_CASES` counts over the default.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}
