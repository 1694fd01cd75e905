//! A node: opens its storage, joins or begins a cluster, serves, stops.

use std::future::Future;

use crate::config::Config;

/// Why a node did not start, or could not go on. Displays as one line with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Port, data directory or format do not allow a start.
    #[error("{0}")]
    Start(String),
    /// The node was running and had to halt.
    #[error("{0}")]
    Halted(String),
}

impl StartError {
    /// The program's exit code: 2 before the node served, 1 after.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Start(_) => 2,
            StartError::Halted(_) => 1,
        }
    }
}

/// Runs a node until `shutdown`, or until it is stopped through the cluster.
pub async fn run(_config: Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    shutdown.await;
    Ok(())
}
