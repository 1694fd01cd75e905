//! `jettra-server recover`: a cluster has lost its majority for good; one of the data directories that are left goes on
//! as a new cluster.
//!
//! - `plan`: what each directory holds, and which one is the best
//! - `apply`: makes one directory that of a new cluster with one member
//! - `switch`: how the new content takes the old one's place, in steps that a crash may interrupt

mod apply;
mod plan;
mod switch;

use std::path::PathBuf;

use clap::Args;

pub use switch::unfinished;

/// What to recover.
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// The data directories that are left of one cluster; its nodes do not run
    #[arg(value_name = "DIR", required_unless_present = "apply")]
    pub dirs: Vec<PathBuf>,
    /// Only show what each directory holds and which one is the best (the default)
    #[arg(long, conflicts_with = "apply")]
    pub plan: bool,
    /// Make this directory, the best of those given, that of a new cluster with one member
    #[arg(long, value_name = "DIR")]
    pub apply: Option<PathBuf>,
    /// With --apply: take this directory though another one has a newer log; what only that one has is lost
    #[arg(long, requires = "apply")]
    pub though_not_the_best: bool,
    /// With --apply: go on with what can be read of a damaged log; what stands behind the damage is lost
    #[arg(long, requires = "apply")]
    pub accept_loss: bool,
}

/// Plans or applies. Returns the program's exit code: 0, or 2 with one line where a directory cannot be used.
pub fn run(args: &RecoverArgs) -> u8 {
    let done = match &args.apply {
        None => plan::show(&args.dirs),
        Some(chosen) => apply::run(chosen, args),
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            crate::output::complain(format_args!("jettra-server: {why}"));
            2
        }
    }
}
