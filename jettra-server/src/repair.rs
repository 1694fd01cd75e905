//! `jettra-server repair`: says what of a data directory is damaged, and mends it where that is safe.
//!
//! Safe is: putting back a single flipped bit of a small file, which its checksum proves; and setting aside a damaged
//! state whose log is whole, since the log and the other members give it again. Entries that this node has
//! acknowledged and its votes are promises: where these are damaged nothing is changed, and the commands are named that
//! let the node come back as a new member.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cluster::addresses::{self, Addresses};
use crate::cluster::identity::{self, Identity};
use crate::data_dir::DataDir;
use crate::peers::Secret;
use crate::raft::{StateStore, Survey, mark_is_whole, mark_path, offline, state_in_use};
use crate::remedy;
use crate::sealed;
use crate::storage::sled::files as sled_files;

/// What to repair.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// The data directory of a node that does not run
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Set the state aside though it is whole, so that the node gets it anew: for a member that holds something else
    /// than the others
    #[arg(long)]
    pub refetch: bool,
}

/// Memory for reading a state, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A line of the report.
struct Row {
    what: String,
    found: String,
    done: &'static str,
}

/// What was looked at, and what is left to do.
#[derive(Default)]
struct Report {
    rows: Vec<Row>,
    /// What a person has to do; nothing where the node can be started.
    left: Vec<String>,
}

impl Report {
    fn whole(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.rows.push(Row { what: what.into(), found: found.into(), done: "" });
    }

    /// Sets `name`, whose row is the last one, aside: a node goes on without it.
    fn set_aside(&mut self, dir: &DataDir, name: &str) -> Result<(), String> {
        dir.set_aside(name, "damaged").map_err(|e| format!("{name} could not be set aside: {e}"))?;
        if let Some(row) = self.rows.last_mut() {
            row.done = "set aside";
        }
        Ok(())
    }

    fn damaged(&mut self, what: impl Into<String>, found: impl Into<String>, done: &'static str) {
        self.rows.push(Row { what: what.into(), found: format!("DAMAGED: {}", found.into()), done });
    }
}

/// Checks the directory, mends what can be, prints what it found. Returns the program's exit code: 0 when the node can
/// be started, 1 when something is left to do, 2 when the directory cannot be looked at.
pub fn run(args: &RepairArgs) -> u8 {
    let taken = DataDir::take(&args.data_dir);
    let closed = taken.and_then(|dir| crate::private::directory(dir.path()).map(|()| dir));
    let checked = closed.and_then(|dir| check(&dir, args.refetch));
    let report = match checked {
        Ok(report) => report,
        Err(why) => {
            crate::output::complain(format_args!("jettra-server: {why}"));
            return 2;
        }
    };
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(["file", "found", "done"]);
    for Row { what, found, done } in &report.rows {
        table.add_row([what.as_str(), found.as_str(), done]);
    }
    crate::output::say!("{table}");
    if report.left.is_empty() {
        crate::output::say!("the node can be started");
        return 0;
    }
    for left in &report.left {
        crate::output::say!("{left}");
    }
    1
}

fn check(dir: &DataDir, refetch: bool) -> Result<Report, String> {
    let mut report = Report::default();
    if let Some(why) = crate::recover::unfinished(dir.path()) {
        return Err(why);
    }
    let of = |name: &str| dir.join(name);
    let is_identity = |bytes: &[u8]| sealed::read_json::<Identity>(bytes).is_some();
    let is_line = |bytes: &[u8]| sealed::read_line(bytes).is_some();
    let is_addresses = |bytes: &[u8]| sealed::read_json::<Addresses>(bytes).is_some();
    let mut identity_is_lost = small_file(&mut report, &identity::path(dir.path()), &is_identity) == Small::Lost;
    // A node makes it at its first start, before anything else.
    identity_is_lost |= !identity::path(dir.path()).exists();
    let identity = sealed::bytes_of(&identity::path(dir.path())).ok().flatten();
    let identity = identity.and_then(|bytes| sealed::read_json::<Identity>(&bytes));
    if let Some(identity) = &identity {
        identity.check_version(dir.path())?;
    }
    if small_file(&mut report, &of("secret"), &is_line) == Small::Lost {
        report.left.push(format!(
            "copy the file from another member: scp <another member's data directory>/secret {}",
            remedy::shell_word(&of("secret").display().to_string())
        ));
    }
    if small_file(&mut report, &addresses::path(dir.path()), &is_addresses) == Small::Lost {
        report.set_aside(dir, "members.json")?;
    }
    let raft_id = identity.as_ref().and_then(|identity| identity.membership.as_ref()).map(|m| m.raft_id);
    let known = Addresses::load(dir.path()).ok().flatten().unwrap_or_default();
    let who = Who {
        url: raft_id.and_then(|id| known.url_of(id)).map(str::to_owned),
        other: raft_id.and_then(|id| known.others(id).next()).map(|other| other.url.clone()),
        alone: raft_id.is_some() && !known.members.is_empty() && known.members.len() == 1,
    };

    let log = of("log");
    let mark = small_file(&mut report, &mark_path(&log), &mark_is_whole);
    let survey = Survey::of(&log, false).map_err(|e| format!("{} cannot be read: {e}", log.display()))?;
    let mut log_is_whole = true;
    if mark == Small::Lost
        && survey.lost_mark.is_none()
        && let Some(row) = report.rows.last_mut()
    {
        row.found = "DAMAGED: one of its two slots cannot be read".to_owned();
        row.done = "the next start goes on with the other one";
    }
    let has_held = survey.acknowledged.is_some()
        || identity.as_ref().is_some_and(|identity| identity.has_promised)
        || of("state").join("CURRENT").exists();
    if let Some(damage) = survey.damage() {
        log_is_whole = false;
        report.damaged("log", damage, "nothing");
    } else if raft_id.is_some() && survey.is_pristine && (has_held || !log.is_dir()) {
        log_is_whole = false;
        report.damaged("log", "it is gone, and this node is a member of a cluster", "nothing");
    } else if !log.is_dir() {
        report.whole("log", "there is none");
    } else {
        let last = survey.last_position().map_or_else(|| "no entry".to_owned(), |last| last.to_string());
        report.whole("log", format!("{} records, from index {} to {last}", survey.records, survey.first_index()));
    }
    if identity_is_lost || !log_is_whole {
        report.left.push(who.promises_lost(dir.path()));
    }

    let state = of("state");
    let is_kept = log_is_whole && !identity_is_lost;
    if refetch && !(is_kept && who.other.is_some()) {
        report.left.push(
            "the state was not set aside: that needs a whole log, and another member that this node knows of"
                .to_owned(),
        );
    } else if refetch && state.is_dir() {
        report.whole("state", "not looked at");
        set_aside(&mut report, dir, Some(survey.first_index()), &who)?;
    } else if state.is_dir() {
        check_state(&mut report, dir, &state, is_kept.then_some(survey.first_index()), &who)?;
    } else {
        report.whole("state", "there is none");
    }
    Ok(report)
}

/// Who the node is, as far as that can be read.
struct Who {
    url: Option<String>,
    other: Option<String>,
    /// It is known to be the only member.
    alone: bool,
}

impl Who {
    /// What to do where what this node promised is lost.
    fn promises_lost(&self, dir: &Path) -> String {
        let alone = "restore the data directory from a copy, or go on with what can be read of it: jettra-server recover \
                     --accept-loss --apply";
        if self.alone {
            return format!(
                "what this node promised cannot be read: {alone} {}",
                remedy::shell_word(&dir.display().to_string())
            );
        }
        format!(
            "what this node promised to the others cannot be read, so it has to come back as a new member. Run: {}",
            remedy::register_anew(dir, self.url.as_deref(), self.other.as_deref())
        )
    }
}

/// How a small file is after it was looked at.
#[derive(Debug, PartialEq, Eq)]
enum Small {
    /// Whole, or whole again, or never written.
    Whole,
    /// Not to be read.
    Lost,
}

/// Looks at a sealed file and puts back a single flipped bit.
fn small_file(report: &mut Report, path: &Path, is_whole: &dyn Fn(&[u8]) -> bool) -> Small {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = match sealed::bytes_of(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            report.whole(name, "there is none");
            return Small::Whole;
        }
        Err(e) => {
            report.damaged(name, e.to_string(), "nothing");
            return Small::Lost;
        }
    };
    if is_whole(&bytes) {
        report.whole(name, "whole");
        return Small::Whole;
    }
    match sealed::with_one_bit_mended(&bytes, is_whole).map(|mended| write_as_before(path, &mended)) {
        Some(Ok(())) => {
            report.damaged(name, "one bit had changed", "put back");
            Small::Whole
        }
        Some(Err(e)) => {
            report.damaged(name, format!("one bit has changed, and it cannot be written: {e}"), "nothing");
            Small::Lost
        }
        None => {
            report.damaged(name, "it does not fit its checksum", "nothing");
            Small::Lost
        }
    }
}

/// Writes the secret readable by its user only, and all else as any file.
fn write_as_before(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    match sealed::read_line(bytes).and_then(Secret::new) {
        Some(secret) if path.file_name().is_some_and(|name| name == "secret") => secret.store(path),
        _ => crate::files::write(path, bytes),
    }
}

/// Looks at all of the state. `first` is the first index of the log where that is whole.
fn check_state(report: &mut Report, dir: &DataDir, state: &Path, first: Option<u64>, who: &Who) -> Result<(), String> {
    let pointer = state.join("CURRENT");
    let is_number = |bytes: &[u8]| sealed::read_line(bytes).is_some_and(|text| text.parse::<u64>().is_ok());
    small_file(report, &pointer, &is_number);
    let mut contradiction = Ok(None);
    let verified = state_in_use(state).and_then(|generation| {
        if let Some(generation) = generation {
            small_file(report, &sled_files::mark_path(&state.join(generation.to_string())), &|bytes| {
                sealed::read_line(bytes).is_some()
            });
        }
        // Everything is read below; a collection with all its documents is a long read, and the only certain one.
        let Some(store) = StateStore::look(state, CACHE_BYTES)? else { return Ok(None) };
        let store = Arc::new(store);
        let (applied, verified) = (store.state().applied(), store.state().verify());
        if !store.has_arrived() {
            contradiction = offline::contradiction(&store.state(), &dir.join("log"));
        }
        if verified.is_err() {
            // sled may hang on its way out after it has failed; this process ends soon.
            std::mem::forget(store);
        }
        verified.map(|found| Some((applied.index, found)))
    });
    match verified {
        Ok(None) => report.whole("state", "there is none yet"),
        Ok(Some((applied, found))) => {
            let next = applied.map_or(0, |index| index + 1);
            let upto = applied.map_or_else(|| "the beginning".to_owned(), |index| format!("index {index}"));
            let records = format!("{} documents, {} records, up to {upto}", found.documents, found.records);
            match (first, contradiction?) {
                (Some(first), _) if next < first => {
                    report.damaged("state", format!("it ends before index {next} and the log begins at {first}"), "");
                    set_aside(report, dir, Some(first), who)?;
                }
                // What the log lost, or has in another place, was promised.
                (Some(_), Some(why)) => {
                    report.damaged("log", why, "nothing");
                    report.left.push(who.promises_lost(dir.path()));
                }
                _ => report.whole("state", records),
            }
        }
        Err(why) if !why.is_damage() => {
            return Err(format!(
                "the state in {} was not checked: {why}. Nothing was set aside: remove the cause, and run the same again",
                state.display()
            ));
        }
        Err(why) => {
            report.damaged("state", why.to_string(), "");
            set_aside(report, dir, first, who)?;
        }
    }
    Ok(())
}

/// Sets the state aside where it can be had again.
fn set_aside(report: &mut Report, dir: &DataDir, first: Option<u64>, who: &Who) -> Result<(), String> {
    let Some(first) = first else {
        // The log is damaged too: that has been said.
        return Ok(());
    };
    if first > 0 && who.alone {
        report
            .left
            .push("the log alone does not give the state again: restore the data directory from a copy".to_owned());
        return Ok(());
    }
    if first > 0 && who.other.is_none() {
        report.left.push(who.promises_lost(dir.path()));
        return Ok(());
    }
    let aside = dir.set_aside("state", "damaged").map_err(|e| format!("the state could not be set aside: {e}"))?;
    let source = if first == 0 { "builds it again from its log" } else { "fetches it from another member" };
    if let Some(row) = report.rows.last_mut() {
        row.done = "set aside";
    }
    crate::output::say!("the state that was there is {} now; at its next start the node {source}", aside.display());
    Ok(())
}
