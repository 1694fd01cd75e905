//! `jettra-shell bench`: writes and linearizable reads of a cluster under load.
//!
//! Closed loop: each client sends its next request when it has the answer to the one before, on a
//! connection that it keeps. Requests are raw, and of answers only the status is looked at, so that the
//! load leaves the machine to the nodes where they share it.
//!
//! With `--workload` it is one long stream of bulk writes instead, and a row every few seconds tells how
//! fast it goes and what it does to each node's memory and disk.

mod histogram;
mod load;
mod run;
mod sizes;
mod workload;

use clap::{Args, ValueEnum};

use crate::cli::{DEFAULT_URL, Password};
use crate::report::Format;

pub use run::run;

/// What to measure, and how.
#[derive(Debug, Clone, Args)]
pub struct BenchOptions {
    /// Nodes to ask, several times or separated by ','; the clients are dealt out to them in turn
    #[arg(long, value_delimiter = ',', default_value = DEFAULT_URL)]
    pub url: Vec<String>,

    /// How many clients at once; one measurement for each number
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub clients: Vec<u16>,

    /// How long each measurement lasts, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,

    /// How large each document is, about, in bytes
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub size: u32,

    /// What the clients do [default: puts, then gets]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    /// How many different documents there are
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keys: u32,

    /// A stream of bulk writes instead, with a row every few seconds of each node's memory and disk
    #[arg(long, value_enum, conflicts_with_all = ["mode", "seconds"])]
    pub workload: Option<Workload>,

    /// With --workload: how many documents to write
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub documents: u64,

    /// With --workload: how many documents a request has
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub batch: u64,

    /// With --workload: seconds between rows
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,

    /// With --workload load: ids in no order, instead of ascending
    #[arg(long, requires = "workload")]
    pub scattered: bool,

    /// With --workload: leave the documents there
    #[arg(long, requires = "workload")]
    pub keep: bool,

    /// The database to use; a collection is made in it and deleted at the end
    #[arg(long, default_value = "bench")]
    pub db: String,

    /// The user to connect as
    #[arg(short, long, env = "JETTRA_USER")]
    pub user: Option<String>,

    /// Where the user's password comes from.
    #[command(flatten)]
    pub password: Password,

    /// How to print results
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Format,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Save documents
    Put,
    /// Read documents, linearizably
    Get,
    /// Save and read in turn
    Mixed,
}

/// What a stream of bulk writes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Each document is new
    Load,
    /// The same few (--keys) over and over, in turn
    Overwrite,
}
