//! Who is logged in: each login is kept by the cluster, so that administrators can see it and end it.

use std::time::Duration;

use jettra_client::wire::Login;

use super::{Auth, Principal, token};
use crate::cluster::{Call, Consistency};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::{Answer, Command, Op, State};

/// How long a login waits until it is kept.
const KEPT: Duration = Duration::from_secs(2);

/// A call in a user's name: unlike those of the node itself it needs room on the leader's disk.
pub(super) fn of_user(user: &str, limit: Duration) -> Call {
    Call { principal: user.to_owned(), ..Call::internal(limit) }
}

fn too_many() -> Error {
    Error::busy(
        "there are too many logins: send name and password with each request, or try again when some have ended, which \
         takes 15 minutes where nobody ends them: DELETE /api/tokens?id=…",
    )
}

impl Auth {
    /// Keeps a login by its record. Without a leader there is none: the token is good all the same, since that is when
    /// administrators need one, and its first use with a leader keeps it.
    ///
    /// # Errors
    /// `busy`: there are too many logins.
    pub(super) async fn keep_login(&self, state: &State, user: &str, record: Op) -> Result<()> {
        if record.feature_level() > state.feature_level() {
            return Ok(());
        }
        let consensus = self.cluster.consensus()?;
        if consensus.standing().1.is_none() {
            tracing::info!("a login is not listed yet: there is no leader");
            return Ok(());
        }
        match self.cluster.write(&of_user(user, KEPT), &Command::new(record)).await {
            Ok(done) => {
                if matches!(done.outcome.into_result()?, Answer::Done { changed: false }) {
                    return Err(too_many());
                }
                consensus.wait_applied(done.index, KEPT).await;
            }
            Err(e) => tracing::info!(error = %e, "a login is not listed yet"),
        }
        Ok(())
    }

    /// The logins that are good, newest first, at most `limit`; which of them the caller came with is marked.
    ///
    /// # Errors
    /// `unavailable` before this node has a state; `internal`.
    pub async fn logins(&self, caller: &Principal, limit: usize) -> Result<Vec<Login>> {
        let (state, now) = (self.cluster.state()?, self.cluster.time_ms());
        let users = state.users();
        let read = tokio::task::spawn_blocking(move || state.logins(now)).await;
        let read = read.map_err(|e| Error::internal(e.to_string()))?;
        let mut live = read.map_err(|e| Error::internal(e.to_string()))?;
        live.truncate(limit);
        let shown = live.into_iter().filter_map(|token| {
            let role = users.get(&token.user)?.role.as_str().to_owned();
            let issued = token.issued?.at_ms;
            Some(Login {
                current: caller.token.as_ref() == Some(&token.id),
                id: token.id,
                user: token.user,
                role,
                issued,
                expires: token.expires_ms,
                ends: issued.saturating_add(limits::TOKEN_LONGEST_MS),
            })
        });
        Ok(shown.collect())
    }

    /// Ends the login with the token `id`, on every node; fine where it was ended already.
    ///
    /// # Errors
    /// `not_found`, and what the write says.
    pub async fn end_login(&self, call: &Call, id: &str) -> Result<()> {
        self.cluster.ready_to_read(call, Consistency::Linearizable, None).await?;
        let known = self.cluster.state()?.token(id).map_err(|e| Error::internal(e.to_string()))?;
        let token = known.ok_or_else(|| {
            Error::not_found(format!(
                "nobody is logged in by the token {}: GET /api/tokens lists the ids",
                crate::state::names::shown(id)
            ))
        })?;
        if token.ended {
            return Ok(());
        }
        let until_ms = token::remembered_until(self.cluster.time_ms());
        let op = Op::TokenEnd { id: token.id, user: token.user, until_ms };
        let done = self.cluster.write(call, &Command::new(op)).await?;
        done.outcome.into_result()?;
        self.cluster.consensus()?.wait_applied(done.index, call.left()).await;
        Ok(())
    }
}
