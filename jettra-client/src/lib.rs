//! Typed async client of JettraDB, and the types of its wire.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> jettra_client::Result<()> {
//! # let node = jettra_client::testing::FakeNode::start().unwrap();
//! # let port = node.port();
//! use jettra_client::JettraClient;
//!
//! # let _ = stringify! {
//! let client = JettraClient::new("localhost", 8080, "admin", "password");
//! # };
//! # let client = JettraClient::new("localhost", port, "admin", "password");
//! let saved = client.save_document("shop", "users", r#"{"_id":"ada","born":1815}"#).await?;
//! let ada = client.get_document("shop", "users", "ada").await?.expect("it was just saved");
//!
//! assert_eq!(ada.as_str(), r#"{"_id":"ada","born":1815}"#);
//! assert_eq!(ada.rev(), Some(saved.rev));
//! # Ok(())
//! # }
//! ```
//!
//! # What the client promises
//!
//! - **A write is applied at most once**, however often it had to be sent. Writes are numbered
//!   (`Jettra-Session`), so one whose answer was lost is sent again, to the same node or another,
//!   under the same number, and gets the first answer.
//! - **It says what it does not know.** A write that ran out of time after it may have reached a
//!   node fails with an error whose [`Error::outcome_unknown`] is true.
//! - **Documents are bytes.** They come back as they were stored: order of fields, numbers, blanks.
//! - **It finds its way**: to the leader for writes, past nodes that do not answer, and to members
//!   that it learned of from the cluster.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | the shapes that travel; all there is without the feature `http` |
//! | `client`, `builder`, `settings` | [`JettraClient`], how it is made, what it was told then |
//! | `api/` | the calls, one file per area |
//! | `exchange` | one call: attempts, retries, deadline |
//! | `retry` | what to do after a failed attempt: a pure decision |
//! | `targets` | the nodes known, the leader among them, which to ask next |
//! | `session` | the numbers of writes and what of them is acknowledged |
//! | `transport` | one attempt over HTTP |
//! | `events` | Server-Sent Events, taken apart |
//! | `document`, `options`, `error` | what calls take and return |
//! | `nearest` | the known word that is nearest to a mistyped one, for messages |
//! | `testing` | with the feature `test-util`: a node in memory |
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod wire;

mod nearest;

pub use nearest::nearest;

#[cfg(feature = "http")]
mod api;
#[cfg(feature = "http")]
mod builder;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod document;
#[cfg(feature = "http")]
mod error;
#[cfg(feature = "http")]
mod events;
#[cfg(feature = "http")]
mod exchange;
#[cfg(feature = "http")]
mod options;
#[cfg(feature = "http")]
mod request;
#[cfg(feature = "http")]
mod retry;
#[cfg(feature = "http")]
mod session;
#[cfg(feature = "http")]
mod settings;
#[cfg(feature = "http")]
mod targets;
#[cfg(feature = "test-util")]
pub mod testing;
#[cfg(feature = "http")]
mod transport;

#[cfg(feature = "http")]
pub use api::{Change, Watch};
#[cfg(feature = "http")]
pub use builder::JettraClientBuilder;
#[cfg(feature = "http")]
pub use client::JettraClient;
#[cfg(feature = "http")]
pub use document::{Document, DocumentBody};
#[cfg(feature = "http")]
pub use error::{Error, Result};
#[cfg(feature = "http")]
pub use options::{
    Consistency, EventOptions, MembershipOptions, QueryOptions, ReadOptions, WatchOptions, WriteOptions,
};
#[cfg(feature = "http")]
pub use wire::ErrorCode;
