//! Typed async client of JettraDB, and the types of its wire.
#![warn(missing_docs)]

pub mod wire;
