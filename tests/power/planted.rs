//! Bugs that were put in on purpose, each of which a power cut must bring to light:
//! `cargo test -p jettra-server --features planted-bugs --test power planted -- --nocapture`

use jettra_server::planted::Bug;

use crate::alone::{self, Plan};
use crate::cuts;
use crate::mount::Lies;
use crate::trio;

/// Looks at a part of the moments of one node's run, and of all three.
async fn is_found(bug: Bug, by_trio: bool) {
    let seed = cuts::seed(Some(1));
    let set = |node: &mut crate::common::Node| node.set_env("JETTRA_PLANTED_BUG", bug.name());
    let mut chosen = seed.fork("moments");
    let findings = if by_trio {
        let Some(mut run) = trio::record(&seed, 30, set).await else { return };
        let every = run.recording.len() / 20;
        run.look(&seed, 1, usize::MAX, |_| chosen.below(every) == 0)
    } else {
        let plan = Plan { lives: 1, writes: 400, lies: Lies::None, rotates: false };
        let Some(run) = alone::record_with(&seed, plan, set).await else { return };
        let every = run.recording.len() / 40;
        run.look(&seed, 1, usize::MAX, |_| chosen.below(every) == 0)
    };
    assert!(findings.count() > 0, "{} is not found", bug.name());
    println!("{} is found: {}", bug.name(), findings.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_is_acknowledged_before_it_is_on_disk() {
    is_found(Bug::AcknowledgeBeforeFlush, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_purged_behind_what_is_durable() {
    is_found(Bug::PurgePastDurable, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_yet_in_its_directory() {
    is_found(Bug::UnsyncedEntry, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_pointer_is_not_yet_in_its_directory() {
    is_found(Bug::UnsyncedEntry, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_is_not_written() {
    is_found(Bug::ForgetAVote, true).await;
}
