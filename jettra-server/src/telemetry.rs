//! Log lines: `tracing` events to standard error, for a person or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::output;

/// What is quieter than the configured level unless it is named there: the libraries under us tell
/// of every heartbeat. What ends raft is told by us; openraft's own words for it are for its makers, once for each request.
const QUIET: &str =
    "openraft=off,raft_log=warn,chunked_wal=warn,sled=warn,hyper=warn,hyper_util=warn,reqwest=warn,h2=warn,rustls=warn";

/// Sends this process's events to standard error. `level` is a level or a list of directives; a
/// directive for a library counts more than our quiet default for it.
///
/// Fails when directives are malformed (a checked configuration has none) or events go elsewhere already.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| error.to_string())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(output::Lines).log_internal_errors(false);
    let started = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|error| error.to_string())
}
