//! The calls, one file per area. Each builds a request, makes it, and reads the answer.

mod auth;
mod bulk;
mod cluster;
mod databases;
mod documents;
mod health;
mod membership;
mod settings;
mod typed;
mod versions;
mod watch;

pub use watch::{Change, Watch};
