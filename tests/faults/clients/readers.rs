//! Reads that must see all that was acknowledged, on every node.

use super::{Client, Desk, plain};

pub struct Reader {
    lane: Option<usize>,
}

impl Reader {
    pub fn of(lane: usize) -> Self {
        Reader { lane: Some(lane) }
    }

    pub fn of_cold() -> Self {
        Reader { lane: None }
    }
}

impl Client for Reader {
    async fn step(&mut self, desk: &mut Desk) {
        let key = desk.document(self.lane);
        let Some(target) = desk.node() else { return };
        let op = desk.read();
        plain::call(desk, &target, key, op).await;
    }
}
