//! What a log holds, read from its files without opening or changing it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::EntryPayload;
use raft_log::{RaftLogAction, WALRecord};

use super::check::{self, End};
use super::entry::{Entry, LogId};
use super::mark::{self, Reading};

/// A position in a log, for those who know nothing of Raft's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The term.
    pub term: u64,
    /// The index.
    pub index: u64,
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Position { term: id.committed_leader_id().term, index: id.index }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index {} of term {}", self.index, self.term)
    }
}

/// What a log holds.
#[derive(Debug)]
pub struct Survey {
    /// Up to where it can be read.
    pub end: End,
    /// How many records were read.
    pub records: u64,
    /// Up to where entries are known to have been acknowledged by this node.
    pub acknowledged: Option<Position>,
    /// The file that says what was acknowledged, where it cannot be read at all.
    pub lost_mark: Option<PathBuf>,
    /// Up to where entries are known to be committed.
    pub committed: Option<Position>,
    /// Whether it holds a vote or entries at all.
    pub is_pristine: bool,
    /// Commands behind `committed`, where they were asked for: the index, and the command as it stands in the log.
    pub uncommitted: BTreeMap<u64, Bytes>,
    last: Option<LogId>,
    purged: Option<LogId>,
    term: u64,
}

impl Survey {
    /// Reads the log in `dir`; `with_commands` keeps the commands that are not known to be committed. Blocks.
    ///
    /// # Errors
    /// I/O errors; damage is part of what was found.
    pub fn of(dir: &Path, with_commands: bool) -> io::Result<Survey> {
        let (mut last, mut purged, mut committed, mut records) = (None::<LogId>, None::<LogId>, None::<LogId>, 0);
        let (mut term, mut votes) = (0, 0u64);
        let mut uncommitted = BTreeMap::new();
        let end = check::walk(dir, |_, record| {
            records += 1;
            match record {
                WALRecord::Action(RaftLogAction::Append(id, payload)) => {
                    last = Some(id.0);
                    if let (true, EntryPayload::Normal(command)) = (with_commands, payload.0) {
                        uncommitted.insert(id.0.index, command.0);
                    }
                }
                WALRecord::Action(RaftLogAction::TruncateAfter(id)) => {
                    last = id.map(|id| id.0);
                    uncommitted.split_off(&last.map_or(0, |id| id.index + 1));
                }
                WALRecord::Action(RaftLogAction::PurgeUpto(id)) => {
                    purged = Some(id.0);
                    last = last.max(purged);
                }
                WALRecord::Action(RaftLogAction::Commit(id)) => committed = Some(id.0),
                WALRecord::Action(RaftLogAction::SaveVote(vote)) => {
                    term = vote.0.leader_id().term;
                    votes += 1;
                }
                WALRecord::Checkpoint(state) => {
                    last = state.last().map(|id| id.0);
                    purged = state.purged().map(|id| id.0);
                    committed = state.committed().map(|id| id.0);
                    if let Some(vote) = state.vote() {
                        term = vote.0.leader_id().term;
                        votes += 1;
                    }
                }
            }
            if let Some(known) = committed.max(purged) {
                uncommitted = uncommitted.split_off(&(known.index + 1));
            }
        })?;
        let mark = super::mark_path(dir);
        let (acknowledged, lost_mark) = match mark::read(&mark)? {
            Reading::Says(id) => (id, None),
            Reading::Lost => (None, Some(mark)),
        };
        Ok(Survey {
            end,
            records,
            acknowledged: acknowledged.map(Position::from),
            lost_mark,
            committed: committed.max(purged).map(Position::from),
            is_pristine: last.is_none() && purged.is_none() && votes == 0,
            uncommitted,
            last: last.max(purged),
            purged,
            term,
        })
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Where the last entry stands.
    pub fn last_position(&self) -> Option<Position> {
        self.last.map(Position::from)
    }

    /// The term of the last vote.
    pub fn vote_term(&self) -> u64 {
        self.term
    }

    /// The index of the first entry that is kept.
    pub fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// What is wrong with it, in words; `None` where it is whole, or ends in a write that nobody was told of.
    pub fn damage(&self) -> Option<String> {
        let short = || match (self.acknowledged, self.last_position()) {
            (Some(acknowledged), last) if last < Some(acknowledged) => {
                let last = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
                Some(format!("it ends at {last}, and entries up to {acknowledged} were acknowledged"))
            }
            _ => None,
        };
        let lost =
            |mark: &PathBuf| format!("{} cannot be read, which says what this node has acknowledged", mark.display());
        self.end.damage().or_else(short).or_else(|| self.lost_mark.as_ref().map(lost))
    }
}

/// The entries from index `next` on of the log in `dir`, up to the first record that cannot be read. All are in memory.
pub(in crate::raft) fn entries_from(dir: &Path, next: u64) -> io::Result<BTreeMap<u64, Entry>> {
    let mut entries: BTreeMap<u64, Entry> = BTreeMap::new();
    check::walk(dir, |_, record| match record {
        WALRecord::Action(RaftLogAction::Append(id, payload)) if id.0.index >= next => {
            entries.insert(id.0.index, Entry { log_id: id.0, payload: payload.0 });
        }
        WALRecord::Action(RaftLogAction::TruncateAfter(id)) => {
            entries.split_off(&id.map_or(0, |id| id.0.index + 1));
        }
        _ => {}
    })?;
    Ok(entries)
}

/// Up to where the log in `dir` was purged, where it ends, and what it has at `index`, as far as it can be read.
pub(in crate::raft) fn ends_and(dir: &Path, index: u64) -> io::Result<(Option<LogId>, Option<LogId>, Option<LogId>)> {
    let mut there: Option<LogId> = None;
    check::walk(dir, |_, record| match record {
        WALRecord::Action(RaftLogAction::Append(id, _)) if id.0.index == index => there = Some(id.0),
        WALRecord::Action(RaftLogAction::TruncateAfter(id)) if id.is_none_or(|id| id.0.index < index) => there = None,
        _ => {}
    })?;
    let survey = Survey::of(dir, false)?;
    Ok((survey.purged, survey.last, there))
}
