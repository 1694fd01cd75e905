//! Watching changes.

use std::time::{Duration, Instant};

use crate::client::JettraClient;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::events::{Event, Events};
use crate::options::WatchOptions;
use crate::request::Request;
use crate::retry;
use crate::transport::Opened;
use crate::wire::{ChangeData, ChangeOp, CollectionPath, CompactedData, ErrorCode, Position};

/// A node says something every 5 s; one that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(15);

const WATCH: &str = "/api/watch";

/// A committed change.
///
/// Database and collection have the names that they had at its revision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Change {
    /// Where it stands in the order of all changes: what to give to [`WatchOptions::after`] to go on behind it.
    pub position: Position,
    /// What it did.
    pub op: ChangeOp,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// The document; absent where the collection itself was dropped or renamed.
    pub id: Option<String>,
    /// Of a saved document, what that revision wrote, unless it is no longer kept.
    pub document: Option<Document>,
    /// Of a renamed collection, where it is from then on.
    pub renamed_to: Option<CollectionPath>,
}

impl Change {
    /// The revision that made the change.
    pub fn rev(&self) -> u64 {
        self.position.rev
    }
}

/// Changes as they are committed: see [`JettraClient::watch`].
///
/// It keeps its position, and when its connection breaks it goes on behind it, on another node if need be: no change
/// is left out and none is told twice. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    client: JettraClient,
    database: String,
    collection: Option<String>,
    /// Everything up to here was told; none before the first connection says where "now" is.
    position: Option<Position>,
    connection: Option<Connection>,
    /// Connections in a row that told nothing.
    fruitless: u32,
}

#[derive(Debug)]
struct Connection {
    opened: Opened,
    events: Events,
    has_told: bool,
}

impl JettraClient {
    /// Watches a collection from now on: every change that is committed after this returns is told, in order.
    ///
    /// # Errors
    /// As every call: see [`Error`]; code `busy` if too many watch.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use jettra_client::wire::ChangeOp;
    ///
    /// let mut watch = client.watch("shop", "users").await?;
    /// client.save_document("shop", "users", r#"{"_id":"ada","born":1815}"#).await?;
    /// client.delete_document("shop", "users", "ada").await?;
    ///
    /// let saved = watch.next().await?;
    /// assert_eq!((saved.op, saved.id.as_deref()), (ChangeOp::Save, Some("ada")));
    /// let deleted = watch.next().await?;
    /// assert_eq!((deleted.op, deleted.id.as_deref()), (ChangeOp::Delete, Some("ada")));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, database: &str, collection: &str) -> Result<Watch> {
        self.watch_with(database, &WatchOptions::new().collection(collection)).await
    }

    /// Watches a database, or one of its collections, from now on or from an earlier position.
    ///
    /// # Errors
    /// As [`watch`](JettraClient::watch), and code `compacted` if what follows the position is no longer kept: the
    /// details have `oldest`, the oldest revision after which a watch can begin.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use jettra_client::WatchOptions;
    /// use jettra_client::wire::Position;
    ///
    /// let first = client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
    /// client.save_document("shop", "users", r#"{"_id":"grace"}"#).await?;
    ///
    /// let behind_ada = WatchOptions::new().after(Position::after(first.rev));
    /// let mut watch = client.watch_with("shop", &behind_ada).await?;
    /// assert_eq!(watch.next().await?.id.as_deref(), Some("grace"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch_with(&self, database: &str, options: &WatchOptions) -> Result<Watch> {
        let mut watch = Watch {
            client: self.clone(),
            database: database.to_owned(),
            collection: options.collection.clone(),
            position: options.after,
            connection: None,
            fruitless: 0,
        };
        watch.connect().await?;
        // "Now" is what the node said first; before that, a broken connection would move it.
        while watch.position.is_none() {
            watch.step().await?;
        }
        Ok(watch)
    }
}

impl Watch {
    /// The next change; waits for it as long as it takes.
    ///
    /// Nothing is lost when the future is dropped before it is done.
    ///
    /// # Errors
    /// Code `compacted` when this watch was away for so long that what follows its position is no longer kept: the
    /// details have `oldest`. What every call may say, when no node answers within the client's deadline, or the user
    /// may no longer read. [`Error::Decode`] when what a node said cannot be read. It can be called again, and goes on
    /// behind the last change that it returned.
    pub async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.step().await? {
                return Ok(change);
            }
        }
    }

    /// As [`next`](Watch::next), but also returns, with nothing, when the node said how far it has come without a
    /// change: at once after a connection, then every 5 s or so. See [`position`](Watch::position).
    ///
    /// # Errors
    /// As [`next`](Watch::next).
    pub async fn next_or_progress(&mut self) -> Result<Option<Change>> {
        self.step().await
    }

    /// Up to where everything was told: what to keep if the watch is to go on later, with [`WatchOptions::after`].
    pub fn position(&self) -> Position {
        self.position.unwrap_or(Position::after(0))
    }

    async fn step(&mut self) -> Result<Option<Change>> {
        loop {
            let limit = self.client.inner()?.settings.max_response_bytes;
            let Some(connection) = &mut self.connection else {
                self.connect().await?;
                continue;
            };
            if let Some(event) = connection.events.next() {
                connection.has_told = true;
                self.fruitless = 0;
                match self.take(event) {
                    Ok(Told::Change(change)) => return Ok(Some(change)),
                    Ok(Told::Progress) => return Ok(None),
                    Ok(Told::Nothing) => continue,
                    Err(e) => {
                        // What could not be taken has to be told anew: going on here would leave it out.
                        self.connection = None;
                        self.fruitless = 1;
                        return Err(e);
                    }
                }
            }
            if connection.events.waiting() > limit {
                self.connection = None;
                return Err(Error::AnswerTooLarge { limit });
            }
            match tokio::time::timeout(SILENCE, connection.opened.response.chunk()).await {
                Ok(Ok(Some(bytes))) => connection.events.push(&bytes),
                // The node ended it, or the connection broke, or hangs.
                Ok(Ok(None) | Err(_)) | Err(_) => self.lost()?,
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Told> {
        let position = event.id.as_deref().and_then(|id| id.parse::<Position>().ok());
        match event.kind.as_str() {
            "progress" => {
                let at = position.ok_or_else(|| unreadable("a progress event without a position"))?;
                self.position = Some(self.position.map_or(at, |before| before.max(at)));
                Ok(Told::Progress)
            }
            // This end was too slow; the position is good.
            "lagging" => {
                self.connection = None;
                Ok(Told::Nothing)
            }
            "compacted" => {
                let data: CompactedData = serde_json::from_str(&event.data).map_err(unreadable)?;
                Err(self.compacted(data))
            }
            "" | "message" => {
                let at = position.ok_or_else(|| unreadable("a change without a position"))?;
                let data: ChangeData = serde_json::from_str(&event.data).map_err(unreadable)?;
                if self.position.is_some_and(|before| at <= before) {
                    return Ok(Told::Nothing);
                }
                self.position = Some(at);
                Ok(Told::Change(Change {
                    position: at,
                    op: data.op,
                    database: data.db,
                    collection: data.col,
                    id: data.id,
                    document: data.doc.map(|doc| Document::from_raw(doc, Some(data.rev))),
                    renamed_to: data.to,
                }))
            }
            // Of a later version.
            _ => Ok(Told::Nothing),
        }
    }

    async fn connect(&mut self) -> Result<()> {
        if self.fruitless > 0 {
            let random = uuid::Uuid::new_v4().as_u64_pair().1;
            tokio::time::sleep(retry::pause(self.fruitless - 1, random)).await;
        }
        let request = Request::read(WATCH)
            .param("db", &self.database)
            .maybe("col", self.collection.as_ref())
            .maybe("from", self.position)
            .streaming();
        let opened = self.client.call(request).await?.opened;
        let opened = opened.ok_or_else(|| unreadable("an answer that is no stream of events"))?;
        self.connection = Some(Connection { opened, events: Events::default(), has_told: false });
        Ok(())
    }

    /// Leaves a node whose stream has ended.
    fn lost(&mut self) -> Result<()> {
        if let Some(Connection { opened, has_told, .. }) = self.connection.take() {
            self.client.inner()?.targets().failed(&opened.url, Instant::now());
            self.fruitless = if has_told { self.fruitless } else { self.fruitless.saturating_add(1) };
        }
        Ok(())
    }

    fn compacted(&self, data: CompactedData) -> Error {
        let mut details = serde_json::Map::new();
        details.insert("oldest".to_owned(), data.oldest.into());
        let at = self.position();
        Error::Server {
            code: ErrorCode::Compacted,
            status: ErrorCode::Compacted.status(),
            message: format!("what follows {at} is no longer kept: read anew, then watch from there"),
            details,
            outcome_unknown: false,
        }
    }
}

/// What an event came to.
enum Told {
    Change(Change),
    Progress,
    Nothing,
}

fn unreadable(what: impl ToString) -> Error {
    Error::Decode { call: format!("GET {WATCH}"), message: what.to_string(), written: false }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::FakeNode;

    #[tokio::test]
    async fn a_change_that_cannot_be_read_is_told_anew() {
        let node = FakeNode::start().unwrap();
        let client = node.client();
        let mut watch = client.watch("shop", "users").await.unwrap();
        let first = client.save_document("shop", "users", r#"{"_id":"ada"}"#).await.unwrap().rev;
        let second = client.save_document("shop", "users", r#"{"_id":"grace"}"#).await.unwrap().rev;

        // The first of them arrives damaged, with the second right behind it.
        let damaged = format!("id: {first}\ndata: {{\"op\":\"save\n\n");
        let sound = r#"{"op":"save","db":"shop","col":"users","id":"grace","rev":"#;
        let sound = format!("id: {second}\ndata: {sound}{second}}}\n\n");
        watch.connection.as_mut().unwrap().events.push((damaged + &sound).as_bytes());

        let refused = watch.next().await.unwrap_err();
        assert!(matches!(refused, Error::Decode { .. }), "{refused}");
        assert_eq!(watch.next().await.unwrap().id.as_deref(), Some("ada"));
        assert_eq!(watch.next().await.unwrap().id.as_deref(), Some("grace"));
    }
}
