//! What a client was told at its making.

use std::time::Duration;

/// How it calls.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) deadline: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_response_bytes: usize,
    pub(crate) discover: bool,
}

/// Who the client is.
#[derive(Clone, Default)]
pub(crate) struct Identity {
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) token: Option<String>,
}
