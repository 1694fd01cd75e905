//! Pinned views: while one lives, nothing that it shows is deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::garbage::Horizon;
use super::view::View;

/// Which revisions are pinned. Held in memory only.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<BTreeMap<u64, Pinned>>);

/// The pins at one revision.
#[derive(Debug)]
struct Pinned {
    count: usize,
    horizon: Horizon,
}

impl Pins {
    /// Up to where nothing is needed by the oldest pinned view.
    pub fn oldest(&self) -> Option<Horizon> {
        self.0.lock().first_key_value().map(|(_, pinned)| pinned.horizon)
    }
}

/// The state at one revision, kept readable while this lives. Clones share it.
#[derive(Debug, Clone)]
pub struct Pin(Arc<Held>);

#[derive(Debug)]
struct Held {
    pins: Arc<Pins>,
    view: Arc<View>,
}

impl Pin {
    pub(super) fn new(pins: Arc<Pins>, view: Arc<View>) -> Self {
        let horizon = view.horizon();
        pins.0.lock().entry(horizon.rev).or_insert(Pinned { count: 0, horizon }).count += 1;
        Pin(Arc::new(Held { pins, view }))
    }

    pub(super) fn view(&self) -> &View {
        &self.0.view
    }

    /// The revision it shows.
    pub fn rev(&self) -> u64 {
        self.0.view.rev()
    }

    /// The last log index applied there.
    pub fn index(&self) -> Option<u64> {
        self.0.view.meta.index
    }

    /// The caller's log id of that entry.
    pub fn position(&self) -> &Bytes {
        &self.0.view.meta.position
    }

    /// The caller's last membership there.
    pub fn membership(&self) -> Option<&Bytes> {
        self.0.view.meta.membership.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        let rev = self.view.rev();
        if let Some(pinned) = pins.get_mut(&rev) {
            pinned.count -= 1;
            if pinned.count == 0 {
                pins.remove(&rev);
            }
        }
    }
}
