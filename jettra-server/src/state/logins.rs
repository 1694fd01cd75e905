//! What the state tells of tokens: who is logged in.

use super::apply::{Issued, TokenDoc};
use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::system;
use super::view::{CLUSTER_DOC, User, parse};
use crate::storage::keys;

/// What is kept of a token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Until when it was issued or renewed, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it was ended before its time.
    pub ended: bool,
    /// How it was issued, where that is known; only such logins are listed.
    pub issued: Option<Issued>,
}

impl From<TokenDoc> for Token {
    fn from(doc: TokenDoc) -> Self {
        Token { id: doc.id, user: doc.user, expires_ms: doc.expires, ended: doc.ended, issued: doc.issued }
    }
}

impl State {
    /// What is kept of a token, if anything.
    pub fn token(&self, id: &str) -> Result<Option<Token>, Halt> {
        let Some(bytes) = self.engine().get(&keys::current(system::TOKENS, id))? else { return Ok(None) };
        let envelope = Envelope::decode(&bytes)?;
        let Some(body) = envelope.body() else { return Ok(None) };
        Ok(Some(parse::<TokenDoc>(body, "a token")?.into()))
    }

    /// The logins that are good at `now_ms`, newest first. It reads all records, so it is for a thread that may block.
    pub fn logins(&self, now_ms: u64) -> Result<Vec<Token>, Halt> {
        let users = self.users();
        // What was issued before the cluster had its key is signed by another one.
        let key = self.engine().get(&keys::current(system::SETTINGS, CLUSTER_DOC))?;
        let key_rev = key.map(|bytes| Envelope::decode(&bytes)).transpose()?.map_or(0, |envelope| envelope.rev);
        let mut found = Vec::new();
        for pair in self.engine().scan_prefix(&keys::current_prefix(system::TOKENS)) {
            let envelope = Envelope::decode(&pair?.1)?;
            let Some(body) = envelope.body() else { continue };
            let token = Token::from(parse::<TokenDoc>(body, "a token")?);
            let is_of = |user: &User| token.issued.is_some_and(|issued| issued.user_rev == user.rev);
            let is_good = !token.ended && token.expires_ms > now_ms && envelope.rev >= key_rev;
            if is_good && users.get(&token.user).is_some_and(is_of) {
                found.push(token);
            }
        }
        found.sort_by_key(|token| std::cmp::Reverse(token.issued.map_or(0, |issued| issued.at_ms)));
        Ok(found)
    }
}
