//! Makes one directory that of a new cluster with one member.
//!
//! **What is kept.** Every entry of the directory's log is applied, those too that are not known to be committed: any
//! of them may have been acknowledged by nodes that are lost, and none can be contradicted any more. Users, settings,
//! versions, and the answers to requests that may be repeated stay.
//!
//! **What is new.** The cluster's id, so that a lost node that comes back is refused; the key of tokens and the secret
//! that the cluster made, so that nothing that the old members held opens the new cluster; the membership.
//!
//! **Revisions.** The new log begins `GAP` entries behind the old one's end, at a higher term. So a revision is a log
//! index as before, and no ETag, version, watch position, collection number or Raft id that the old cluster has given,
//! on a lost node either, is ever given again: those nodes would have had to write for eight months at 50 000 entries
//! a second after they were parted from this one. Watchers begin anew.

use std::path::Path;
use std::sync::Arc;

use super::plan::{Candidate, best, read_all};
use super::{RecoverArgs, switch};
use crate::cluster::addresses::{self, Address, Addresses};
use crate::cluster::identity::Membership;
use crate::data_dir::DataDir;
use crate::peers::Secret;
use crate::raft::offline::{self, Beginning};
use crate::raft::{Member, Position, point_state_to};
use crate::remedy;
use crate::sealed;
use crate::state::{Halt, Importer, State};
use crate::storage::{Engine, SledConfig, SledEngine};

/// Entries between the end of the old log and the beginning of the new one.
const GAP: u64 = 1 << 40;
/// The highest revision that numbers of collections can be made of: they are revisions with 16 bits behind.
const MOST: u64 = 1 << 47;
/// Memory for reading and writing a state, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// Recovers from the directory `chosen`.
pub(super) fn run(chosen: &Path, args: &RecoverArgs) -> Result<(), String> {
    if super::unfinished(chosen).is_some() {
        let dir = DataDir::take(chosen)?;
        return switched(&dir);
    }
    let mut dirs = vec![chosen.to_owned()];
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    dirs.extend(args.dirs.iter().filter(|dir| real(dir) != real(chosen)).cloned());
    let mut candidates = read_all(&dirs)?;
    if let Some(best) = best(&candidates)
        && best.last() > candidates.first().and_then(Candidate::last)
        && !args.though_not_the_best
    {
        return Err(format!(
            "{} is not the best: {} ends at {}; take that one, or give up what only it holds with --though-not-the-best",
            chosen.display(),
            best.dir.path().display(),
            best.last().map_or_else(String::new, |at| at.to_string())
        ));
    }
    let chosen = candidates.swap_remove(0);
    drop(candidates);
    crate::private::directory(chosen.dir.path())?;
    if let Some(damage) = chosen.damage() {
        let log_begins = chosen.survey.first_index() == 0 && !chosen.survey.is_pristine;
        let only_log = chosen.log_damage.is_some() && (chosen.state.is_ok() || log_begins);
        if !(args.accept_loss && only_log) {
            let hint = if only_log { ", or go on with what can be read with --accept-loss" } else { "" };
            return Err(format!(
                "{} is damaged: {damage}: run {}{hint}",
                chosen.dir.path().display(),
                remedy::repair_command(chosen.dir.path())
            ));
        }
    }
    make(&chosen)?;
    let Candidate { dir, state, .. } = chosen;
    drop(state);
    switch::begin(&dir).map_err(|e| format!("the switch could not be begun: {e}"))?;
    switched(&dir)
}

/// Finishes the switch and says what comes next.
fn switched(dir: &DataDir) -> Result<(), String> {
    let aside =
        switch::finish(dir).map_err(|e| format!("the switch was not finished: {e}: run the same command again"))?;
    let aside = aside.map_or_else(String::new, |aside| format!("; what it held before is in {}", aside.display()));
    crate::output::say!(
        "{} holds a new cluster with one member now{aside}\n\
         next: start the node; start other nodes on empty data directories and register each:\n  \
         curl -X POST http://<this node>/api/cluster/register -d '{{\"url\":\"http://<other node>\"}}'\n\
         tokens that were given out count no more; passwords do. The old data directories of the other nodes are of no use \
         to the new cluster: it refuses them.",
        dir.path().display()
    );
    Ok(())
}

/// Makes the new content.
fn make(chosen: &Candidate) -> Result<(), String> {
    let workshop = switch::workshop(chosen.dir.path());
    let failed = |e: std::io::Error| format!("{}: {e}", workshop.display());
    if workshop.exists() {
        std::fs::remove_dir_all(&workshop).map_err(failed)?;
    }
    std::fs::create_dir_all(&workshop).map_err(failed)?;

    let state_dir = workshop.join("state");
    let engine = SledConfig { cache_bytes: CACHE_BYTES, ..SledConfig::new(state_dir.join("1")) };
    let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(&engine).map_err(|e| e.to_string())?);
    let state = match &chosen.state {
        Ok(store) => copied(&store.state(), engine).map_err(|e| e.fault().told(chosen.dir.path()))?,
        Err(_) => State::open(engine).map_err(|e| e.to_string())?,
    };
    if !chosen.contradicts {
        offline::replay(&state, &chosen.dir.join("log"))?;
    }

    let doc = state.members().into_iter().find(|doc| doc.raft_id == chosen.membership.raft_id);
    let url = doc.map(|doc| doc.url).unwrap_or_default();
    let member = Member {
        name: chosen.identity.name.clone(),
        url: url.clone(),
        incarnation: chosen.identity.incarnation.clone(),
    };
    let membership = Membership { cluster_id: uuid::Uuid::new_v4().to_string(), raft_id: chosen.membership.raft_id };
    let beginning = Beginning {
        at: beginning(&state, chosen)?,
        cluster_id: membership.cluster_id.clone(),
        token_key: crate::random::bytes::<32>().to_vec(),
        raft_id: membership.raft_id,
        member,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start threads: {e}: raise the limits"))?;
    runtime.block_on(offline::begin_anew(&state, &workshop.join("log"), &beginning))?;
    drop(state);
    point_state_to(&state_dir, 1).map_err(|e| e.to_string())?;

    if chosen.dir.join("secret").exists() {
        Secret::random().store(&workshop.join("secret")).map_err(failed)?;
    }
    let only = Address { raft_id: membership.raft_id, name: chosen.identity.name.clone(), url };
    let known = sealed::json(&Addresses { members: vec![only] }).map_err(failed)?;
    crate::files::write(&addresses::path(&workshop), &known).map_err(failed)?;
    let identity = crate::cluster::identity::Identity { membership: Some(membership), ..chosen.identity.clone() };
    identity.store(&workshop).map_err(failed)
}

/// Where the new cluster's log begins: a gap behind all that the old one can have given.
fn beginning(state: &State, chosen: &Candidate) -> Result<Position, String> {
    let last = chosen.last().unwrap_or_default();
    let index = state.applied().index.unwrap_or(0).max(last.index) + GAP;
    if index >= MOST {
        return Err(
            "this cluster was recovered so often that its revisions are used up: export its data instead".to_owned()
        );
    }
    Ok(Position { term: chosen.survey.vote_term().max(last.term) + 1, index })
}

/// A copy of `state` in the empty `engine`.
fn copied(state: &State, engine: Arc<dyn Engine>) -> Result<State, Halt> {
    let mut importer = Importer::new(engine.clone())?;
    let pin = state.pin();
    for record in state.export(&pin) {
        let (key, value) = record?;
        importer.put(key, value)?;
    }
    importer.finish()?;
    State::open(engine)
}
