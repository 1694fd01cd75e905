//! Who asks, and what they may do.
//!
//! - `origin`: is it the user that this node runs as; `page`: is it a browser that was led here
//! - `password`: Argon2id, and the memory of what was right
//! - `attempts`: how fast passwords may be guessed
//! - `token`: what login gives; `logins`: who has one
//!
//! All of it meets in [`Auth::principal`], the one place where a request gets its principal.

mod attempts;
mod logins;
mod origin;
mod page;
mod password;
mod token;

pub use origin::{FarEnd, Origin};
pub use page::{check_host, check_one_host, check_page, host_of};
pub use password::hash;

pub use crate::state::UserRole as Role;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;

use self::password::{Verifier, check_fitness};
use self::token::Renewals;
use crate::cluster::{Call, Cluster, Consistency};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::{By, Command, NewUser, Op, State, User};
use jettra_client::wire::{ErrorCode, LoginAnswer};

/// The administrator's name.
pub const ADMIN: &str = "admin";

/// Who a request acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The revision of the user's last change, as this node knows it; 0 in protected mode.
    pub rev: u64,
    /// The token's id, where it was by a token.
    pub token: Option<String>,
}

impl Principal {
    /// Who has not been asked for anything: public routes act for nobody.
    pub fn nobody() -> Self {
        Principal { name: String::new(), role: Role::Reader, rev: 0, token: None }
    }

    fn admin() -> Self {
        Principal { name: ADMIN.to_owned(), role: Role::Admin, rev: 0, token: None }
    }

    /// The right by which they ask, to be looked at again where what they ask is done.
    pub fn by(&self) -> Option<By> {
        let by = By { user: self.name.clone(), rev: self.rev, token: self.token.clone() };
        Some(by).filter(|by| !by.user.is_empty())
    }

    /// Refuses a role that is too low.
    ///
    /// # Errors
    /// `forbidden`, naming both roles.
    pub fn require(&self, role: Role) -> Result<()> {
        if self.role >= role {
            return Ok(());
        }
        Err(Error::forbidden(format!(
            "user {:?} has role {}, this needs {}: ask an administrator",
            self.name,
            self.role.as_str(),
            role.as_str()
        )))
    }
}

/// What a request is answered from: so much must be known of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// What this node knows, however little: what is needed when the cluster is broken must not need the cluster.
    ThisNode,
    /// The cluster.
    Cluster,
}

/// Checks credentials on one node.
pub struct Auth {
    cluster: Arc<Cluster>,
    /// `AdminPassword`: while it is being set, this node is not in protected mode.
    configured: Option<String>,
    verifier: Verifier,
    renewals: Renewals,
}

/// How long this node asks the leader whether credentials are newer than what it knows.
const LEARN: Duration = Duration::from_secs(2);
/// How long a request waits for the configured password to be set.
const BEING_SET: Duration = Duration::from_secs(5);

impl Auth {
    /// Checks against the users in the cluster's state.
    pub fn new(cluster: Arc<Cluster>, configured: Option<String>) -> Arc<Self> {
        let verifier = Verifier::new(cluster.wrong_passwords.clone());
        Arc::new(Auth { cluster, configured, verifier, renewals: Renewals::default() })
    }

    fn state(&self) -> Option<State> {
        self.cluster.running().map(|c| c.state())
    }

    /// Whether no administrator has a password yet.
    pub fn is_protected_mode(&self) -> bool {
        self.state().is_none_or(|state| !state.has_admin())
    }

    /// Whether this node was given an administrator's password that is not in force yet.
    pub fn is_being_set(&self) -> bool {
        self.configured.is_some() && self.is_protected_mode()
    }

    /// Waits until the configured password is in force.
    async fn wait_until_set(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + BEING_SET;
        while self.is_being_set() {
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::unavailable("the administrator's password is being set: try again in a moment"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Looks at the name that this node was called by, for what it gives to everybody: until there is a password, a page
    /// whose name was pointed here gets nothing.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn check_public(&self, origin: &Origin) -> Result<()> {
        let Some(misnamed) = origin.misnamed().filter(|_| self.configured.is_none()) else { return Ok(()) };
        self.cluster.catch_up_if_led().await;
        if self.is_protected_mode() { Err(misnamed.clone()) } else { Ok(()) }
    }

    /// Waits until the cluster has the key that signs tokens, as it has a moment after its first start.
    async fn wait_for_key(&self) {
        let deadline = tokio::time::Instant::now() + BEING_SET;
        let has_none = || self.state().is_some_and(|state| state.token_key().is_none());
        while has_none() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Who the request with this `Authorization` header acts for, which is answered from `basis`.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden` (protected mode), `busy` (too many wrong passwords), `no_leader` where the cluster
    /// must be asked whether there is a password.
    pub async fn principal(
        self: &Arc<Self>,
        authorization: Option<&str>,
        origin: &Origin,
        basis: Basis,
    ) -> Result<Principal> {
        if self.is_protected_mode() {
            let is_member = self.cluster.identity().membership.is_some();
            match &self.configured {
                Some(_) if is_member && basis == Basis::Cluster => self.wait_until_set().await?,
                // Before it is a member, or with nobody to ask, the node itself knows the password.
                Some(password) => {
                    self.cluster.catch_up_if_led().await;
                    if self.is_protected_mode() {
                        return self.verifier.verify_configured(authorization, password, origin.address);
                    }
                }
                // It may have been away when a password was set.
                None if is_member && basis == Basis::ThisNode => self.cluster.catch_up_if_led().await,
                None if is_member => {
                    let caught_up = self.cluster.catch_up_once(&Call::internal(Duration::from_secs(5))).await;
                    caught_up.map_err(|e| match e.code() {
                        ErrorCode::NoLeader => Error::no_leader(format!(
                            "since its start this node has not learned whether there is a password: {}",
                            e.message()
                        )),
                        _ => e,
                    })?;
                }
                None => {}
            }
        }
        if self.is_protected_mode() {
            return origin.check_owner().await.map(|()| Principal::admin());
        }
        let Some(header) = authorization.filter(|header| !header.trim().is_empty()) else {
            return Err(Error::unauthorized(
                "credentials are missing: send HTTP Basic, or the token of POST /api/login, as the Authorization header",
            ));
        };
        match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.by_token(token.trim(), basis).await,
            Some((scheme, basic)) if scheme.eq_ignore_ascii_case("basic") => {
                let (name, password) = parse_basic(basic.trim())?;
                self.by_password(&name, &password, origin, basis).await
            }
            _ => Err(Error::unauthorized("the Authorization header is neither Basic nor Bearer")),
        }
    }

    /// Catches up with the leader where there is one; whether this node has learned of other users by it than `known`.
    async fn has_learned_more(&self, known: &Arc<BTreeMap<String, User>>) -> bool {
        let call = Call::internal(LEARN);
        self.cluster.ready_to_read(&call, Consistency::Linearizable, None).await.is_ok()
            && self.state().is_some_and(|state| !Arc::ptr_eq(&state.users(), known))
    }

    async fn by_password(&self, name: &str, password: &str, origin: &Origin, basis: Basis) -> Result<Principal> {
        let starting = || Error::unavailable("this node is starting: try again in a moment");
        let mut users = self.state().ok_or_else(starting)?.users();
        let checked = self.verifier.verify(name, password, users.get(name), origin.address).await;
        if let Err(e) = checked {
            // It may be right, and new: then this node only has not heard of it. What costs a guess costs a guesser time.
            let may_be_new = e.code() == ErrorCode::Unauthorized && basis == Basis::Cluster;
            if !may_be_new || !self.has_learned_more(&users).await {
                return Err(e);
            }
            users = self.state().ok_or_else(starting)?.users();
            self.verifier.verify(name, password, users.get(name), origin.address).await?;
        }
        let user = users.get(name);
        let role = user.map(|user| user.role);
        let role = role.ok_or_else(|| Error::forbidden(format!("user {name:?} was removed meanwhile")))?;
        Ok(Principal { name: name.to_owned(), role, rev: user.map_or(0, |u| u.rev), token: None })
    }

    async fn by_token(self: &Arc<Self>, text: &str, basis: Basis) -> Result<Principal> {
        let state = self.state().ok_or_else(|| Error::unavailable("this node is starting: try again in a moment"))?;
        let now = self.cluster.time_ms();
        let valid = token::check(&state, text, now)?;
        let mut users = state.users();
        // It is of a newer user than this node has heard of.
        let is_behind = users.get(&valid.user).is_none_or(|user| user.rev < valid.user_rev);
        if is_behind && basis == Basis::Cluster && self.has_learned_more(&users).await {
            users = self.state().map_or(users, |state| state.users());
        }
        let role = users.get(&valid.user).filter(|user| user.rev == valid.user_rev).map(|user| user.role);
        let role = role.ok_or_else(|| Error::unauthorized("the token has ended: log in again"))?;
        let renewal = valid.renewal(now).map(|expires_ms| Op::TokenRenew {
            id: valid.id.clone(),
            user: valid.user.clone(),
            expires_ms,
        });
        let record = valid.record(now).filter(|record| record.feature_level() <= state.feature_level());
        // Whoever uses a token must not lose it: a login that is not listed yet is listed by its next use.
        let limit = Duration::from_secs(10);
        let renewal = renewal.map(|op| (op, Call::internal(limit)));
        if let Some((op, call)) = renewal.or_else(|| record.map(|op| (op, logins::of_user(&valid.user, limit))))
            && self.renewals.begin(&valid.id, now)
        {
            let cluster = self.cluster.clone();
            tokio::spawn(async move {
                if let Err(e) = cluster.write(&call, &Command::new(op)).await {
                    tracing::info!(error = %e, "a login could not be renewed or listed yet: its next use tries again");
                }
            });
        }
        Ok(Principal { name: valid.user, role, rev: valid.user_rev, token: Some(valid.id) })
    }

    /// `POST /api/login`.
    ///
    /// # Errors
    /// `unauthorized` for wrong credentials; `busy` where there are too many logins.
    pub async fn login(&self, name: &str, password: &str, origin: &Origin) -> Result<LoginAnswer> {
        self.wait_until_set().await?;
        self.wait_for_key().await;
        let principal = if self.is_protected_mode() {
            origin.check_owner().await.map(|()| Principal::admin())?
        } else {
            self.by_password(name, password, origin, Basis::Cluster).await?
        };
        let state = self.cluster.state()?;
        let user = state.user(&principal.name);
        let rev = user.as_ref().map_or(0, |u| u.rev);
        let now = self.cluster.time_ms();
        let (token, record) = token::issue(&state, &principal.name, rev, now)?;
        if user.is_some() {
            self.keep_login(&state, &principal.name, record).await?;
        }
        Ok(LoginAnswer {
            token: format!("Bearer {token}"),
            role: principal.role.as_str().to_owned(),
            expires: now + limits::TOKEN_MS,
        })
    }

    /// `POST /api/logout`: ends the token that the caller came with, on every node.
    ///
    /// # Errors
    /// `bad_request` where it was not by a token, and what the write says.
    pub async fn logout(&self, caller: &Principal, call: &Call) -> Result<()> {
        let Some(id) = caller.token.clone() else {
            return Err(Error::bad_request(
                "only a token can be ended: send the one that should be as the Authorization header",
            ));
        };
        let until_ms = token::remembered_until(self.cluster.time_ms());
        let op = Op::TokenEnd { id, user: caller.name.clone(), until_ms };
        let done = self.cluster.write(call, &Command::new(op)).await?;
        done.outcome.into_result()?;
        self.cluster.consensus()?.wait_applied(done.index, call.left()).await;
        Ok(())
    }

    /// The same for all tokens of the caller: the user is stored anew, as it is, which ends what was given before.
    ///
    /// # Errors
    /// `conflict` in protected mode and below the feature level that knows this, and what the write says.
    pub async fn logout_everywhere(&self, caller: &Principal, call: &Call) -> Result<()> {
        let state = self.cluster.state()?;
        let Some(user) = state.user(&caller.name) else {
            return Err(Error::conflict("until a password is set there are no tokens that could be ended"));
        };
        // Only the right in the entry keeps a password that is changed at the same time from being taken back.
        if state.feature_level() < crate::feature::RIGHTS {
            return Err(Error::conflict("the cluster is at a feature level that does not know this: upgrade it first"));
        }
        let User { role, password_hash, databases, .. } = user;
        let user = NewUser { name: caller.name.clone(), role, password_hash, databases };
        let op = Op::SetUser { user, only_if_no_admin: false };
        let done = self.cluster.write(call, &Command::new(op)).await?;
        done.outcome.into_result()?;
        self.cluster.consensus()?.wait_applied(done.index, call.left()).await;
        Ok(())
    }

    /// Sets a user's password; `old` is checked unless an administrator asks for someone else: whoever has found a
    /// token must not get the account for it.
    ///
    /// # Errors
    /// `unauthorized` for a wrong old password, `bad_request` for an unfit new one, and what the write says.
    pub async fn change_password(
        &self,
        caller: &Principal,
        call: &Call,
        user: Option<&str>,
        old: Option<&str>,
        new: &str,
        origin: &Origin,
    ) -> Result<()> {
        let name = user.unwrap_or(&caller.name);
        if name != caller.name {
            caller.require(Role::Admin)?;
        }
        check_fitness("newPassword", new)?;
        let protected = self.is_protected_mode();
        let administers = name != caller.name && caller.role == Role::Admin;
        let needs_old = !protected && (!administers || old.is_some());
        if needs_old {
            let old = old.ok_or_else(|| Error::bad_request("oldPassword is missing"))?;
            self.by_password(name, old, origin, Basis::Cluster).await?;
        }
        let state = self.cluster.state()?;
        let known = state.user(name);
        let (role, databases) = match known {
            Some(user) => (user.role, user.databases),
            None if name == ADMIN => (Role::Admin, vec!["*".to_owned()]),
            None => return Err(Error::not_found(format!("there is no user {name:?}"))),
        };
        let user = NewUser { name: name.to_owned(), role, password_hash: hash(new).await?, databases };
        let op = Op::SetUser { user, only_if_no_admin: protected };
        let done = self.cluster.write(call, &Command::new(op)).await?;
        done.outcome.into_result()?;
        // Whoever asked this node next would be checked against what it knows.
        self.cluster.consensus()?.wait_applied(done.index, call.left()).await;
        Ok(())
    }

    /// Sets the configured administrator password, where no administrator has one yet.
    pub async fn set_configured_password(self: Arc<Self>) {
        let Some(password) = self.configured.clone() else { return };
        loop {
            let state = self.state().filter(|s| s.cluster_id().is_some());
            if state.is_some() && !self.is_protected_mode() {
                return;
            }
            if state.is_some() {
                let call = Call::internal(Duration::from_secs(10));
                match self.change_password(&Principal::admin(), &call, None, None, &password, &Origin::internal()).await
                {
                    Ok(()) => return,
                    Err(e) => tracing::info!(error = %e, "AdminPassword is not set yet, trying again"),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn protected_mode() -> Error {
    Error::forbidden(
        "this cluster has no administrator password yet, so only the user that runs this node may use it, on the same \
         machine and without a proxy: set one there with curl -X POST http://localhost:<port>/api/change-password -d '{\"newPassword\":\"…\"}', or with AdminPassword in \
         config.json, or with JETTRA_ADMIN_PASSWORD",
    )
}

fn parse_basic(text: &str) -> Result<(String, String)> {
    let wrong = || Error::unauthorized("the Authorization header is no valid HTTP Basic");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (name, password) = text.split_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), password.to_owned()))
}
