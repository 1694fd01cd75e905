//! What each directory holds, and which one is the best.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cluster::identity::{Identity, Membership, path};
use crate::data_dir::DataDir;
use crate::raft::{Position, StateStore, Survey, offline};
use crate::remedy::{Fault, Kind};
use crate::state::{Command, Op, State, Write};

/// Memory for reading a state, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Documents that are listed of each directory.
const LISTED: usize = 10;

/// What a data directory holds.
pub(super) struct Candidate {
    /// The directory, held.
    pub dir: DataDir,
    /// Whose it is.
    pub identity: Identity,
    /// What the node is in which cluster.
    pub membership: Membership,
    /// Its log.
    pub survey: Survey,
    /// What is wrong with the log; `None` where it is whole.
    pub log_damage: Option<String>,
    /// Whether its state does not go with its log: then the log is not replayed.
    pub contradicts: bool,
    /// Its state, open; or why it cannot be.
    pub state: Result<StateStore, String>,
    /// Up to where entries are committed for certain: no other directory can contradict them.
    pub committed: Option<Position>,
}

impl Candidate {
    /// Takes and reads the directory at `path`.
    pub fn read(path: &Path) -> Result<Candidate, String> {
        if let Some(why) = super::unfinished(path) {
            return Err(why);
        }
        let dir = DataDir::take(path)?;
        let identity = existing_identity(&dir)?;
        let membership = identity.membership.clone().ok_or_else(|| {
            format!("{} belongs to no cluster: its node was never registered, so it holds no data", path.display())
        })?;
        let log = dir.join("log");
        let survey = Survey::of(&log, true).map_err(|e| format!("{} cannot be read: {e}", log.display()))?;
        let state = match StateStore::look(&dir.join("state"), CACHE_BYTES) {
            Ok(Some(store)) => Ok(store),
            Ok(None) => Err(format!("there is no state in {}", dir.join("state").display())),
            Err(e) => Err(e.to_string()),
        };
        let applied = state.as_ref().ok().and_then(|store| applied_position(&store.state()));
        let committed = survey.committed.max(applied);
        let (contradiction, has_arrived) = match &state {
            Ok(store) => (offline::contradiction(&store.state(), &log)?, store.has_arrived()),
            Err(_) => (None, false),
        };
        let contradicts = contradiction.is_some();
        let damage = survey.damage().or(contradiction.filter(|_| !has_arrived));
        let is_gone = || survey.is_pristine.then(|| format!("the raft log in {} is gone", log.display()));
        Ok(Candidate {
            log_damage: damage.or_else(is_gone),
            contradicts,
            dir,
            identity,
            membership,
            survey,
            state,
            committed,
        })
    }

    /// Where its log ends; the state's end where that is further, as after a snapshot.
    pub fn last(&self) -> Option<Position> {
        self.survey.last_position().max(self.committed)
    }

    /// Why it cannot be used as it is; `None` where it can.
    pub fn damage(&self) -> Option<String> {
        if let Some(damage) = &self.log_damage {
            return Some(damage.clone());
        }
        let store = match &self.state {
            Ok(store) => store,
            // The log alone gives the state again.
            Err(_) if self.survey.first_index() == 0 => return None,
            Err(why) => return Some(why.clone()),
        };
        let next = store.state().applied().index.map_or(0, |index| index + 1);
        let first = self.survey.first_index();
        (next < first).then(|| format!("the state ends before index {next} and the log begins at {first}"))
    }

    /// The documents that entries touch which are not committed for certain: `db/col/id`, with the index of the last
    /// such entry; and how many other commands there are.
    fn doubtful(&self) -> (BTreeMap<String, u64>, usize) {
        let from = self.committed.map_or(0, |at| at.index + 1);
        let (mut documents, mut others) = (BTreeMap::new(), 0);
        for (index, bytes) in self.survey.uncommitted.range(from..) {
            let writes: Vec<Write> = match Command::decode(bytes).map(|(command, _)| command.op) {
                Ok(Op::Write(write)) => vec![write],
                Ok(Op::Batch(writes)) => writes,
                _ => {
                    others += 1;
                    continue;
                }
            };
            for write in writes {
                documents.insert(format!("{}/{}/{}", write.db, write.col, write.action.id()), *index);
            }
        }
        (documents, others)
    }
}

/// The identity in the directory; one is never made here.
fn existing_identity(dir: &DataDir) -> Result<Identity, String> {
    if !path(dir.path()).exists() {
        return Err(format!("{} is missing: without it the directory belongs to nobody", path(dir.path()).display()));
    }
    let read = Identity::load_or_create(dir.path(), None);
    read.map_err(|e| Fault::new(Kind::of(&e), e.to_string()).told(dir.path()))
}

fn applied_position(state: &State) -> Option<Position> {
    let applied = state.applied();
    let word = |at: usize| Some(u64::from_be_bytes(applied.position.get(at..at + 8)?.try_into().ok()?));
    Some(Position { term: word(0)?, index: word(8)? })
}

/// Reads all directories, which must be different ones of one cluster.
pub(super) fn read_all(dirs: &[PathBuf]) -> Result<Vec<Candidate>, String> {
    let mut seen = Vec::new();
    for dir in dirs {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
        if seen.contains(&real) {
            return Err(format!("{} is named twice: name each directory once", dir.display()));
        }
        seen.push(real);
    }
    let candidates: Vec<Candidate> = dirs.iter().map(|dir| Candidate::read(dir)).collect::<Result<_, _>>()?;
    if let Some((first, other)) = candidates.first().and_then(|first| {
        Some((first, candidates.iter().find(|c| c.membership.cluster_id != first.membership.cluster_id)?))
    }) {
        return Err(format!(
            "{} belongs to cluster {} and {} to cluster {}: name directories of one cluster",
            first.dir.path().display(),
            first.membership.cluster_id,
            other.dir.path().display(),
            other.membership.cluster_id
        ));
    }
    Ok(candidates)
}

/// The best of them: of those that are whole the one whose log ends with the highest term, then the highest index.
pub(super) fn best(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .filter(|c| c.damage().is_none())
        .max_by_key(|c| (c.last(), std::cmp::Reverse(c.membership.raft_id)))
}

/// Prints what each directory holds and which one to take.
pub(super) fn show(dirs: &[PathBuf]) -> Result<(), String> {
    let candidates = read_all(dirs)?;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["directory", "node", "raft id", "log ends at", "committed for certain", "in doubt", "whole"]);
    let or_nothing = |at: Option<Position>| at.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
    for candidate in &candidates {
        let (documents, others) = candidate.doubtful();
        table.add_row([
            candidate.dir.path().display().to_string(),
            candidate.identity.name.clone(),
            candidate.membership.raft_id.to_string(),
            or_nothing(candidate.last()),
            or_nothing(candidate.committed),
            format!("{} documents, {others} other commands", documents.len()),
            candidate.damage().map_or_else(|| "yes".to_owned(), |why| format!("NO: {why}")),
        ]);
    }
    if let Some(first) = candidates.first() {
        crate::output::say!("cluster {}", first.membership.cluster_id);
    }
    crate::output::say!("{table}");
    for candidate in &candidates {
        let (documents, _) = candidate.doubtful();
        if documents.is_empty() {
            continue;
        }
        crate::output::say!(
            "{}: in doubt are {} documents, which --apply keeps as they are here:",
            candidate.identity.name,
            documents.len()
        );
        documents.iter().take(LISTED).for_each(|(document, index)| crate::output::say!("  {document} (index {index})"));
        if documents.len() > LISTED {
            crate::output::say!("  and {} more", documents.len() - LISTED);
        }
    }
    let Some(best) = best(&candidates) else {
        return Err(
            "none of these directories is whole: repair them first (jettra-server repair --data-dir <DIR>)".to_owned()
        );
    };
    let others: String = candidates
        .iter()
        .filter(|c| c.membership.raft_id != best.membership.raft_id)
        .map(|c| format!(" {}", crate::remedy::shell_word(&c.dir.path().display().to_string())))
        .collect();
    let dir = crate::remedy::shell_word(&best.dir.path().display().to_string());
    crate::output::say!(
        "the best is {dir}: its log ends at the highest term and index, so it holds every acknowledged write that any of \
         these directories holds. What only the lost nodes held is in none of them.\nnothing was changed. To go on with it:\n  \
         jettra-server recover --apply {dir}{others}"
    );
    Ok(())
}
