//! What clients know of the nodes: where each can be reached now. Faults move nodes, add and remove them.

use std::sync::{Arc, RwLock};

/// A node as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name (`NodeID`), which stays when it moves.
    pub name: String,
    /// Where it is reached, over the clients' own way, which no fault cuts.
    pub url: String,
}

/// Who is there at the moment, shared by all clients. A node that is down or cut off is still in it.
#[derive(Clone, Default)]
pub struct Directory {
    /// The `Authorization` header of each request.
    authorization: Option<String>,
    targets: Arc<RwLock<Vec<Target>>>,
}

impl Directory {
    pub fn new(authorization: Option<String>) -> Self {
        Directory { authorization, targets: Arc::default() }
    }

    /// Replaces what is known.
    pub fn set(&self, targets: Vec<Target>) {
        *self.targets.write().unwrap() = targets;
    }

    pub fn targets(&self) -> Vec<Target> {
        self.targets.read().unwrap().clone()
    }

    pub fn find(&self, name: &str) -> Option<Target> {
        self.targets.read().unwrap().iter().find(|target| target.name == name).cloned()
    }

    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}
