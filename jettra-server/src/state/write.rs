//! How a document changes: the one path of every write, the system's own documents included.

use bytes::Bytes;

use super::changes::Change;
use super::envelope::{Content, Envelope, Kept};
use super::garbage::Note;
use super::halt::Halt;
use super::names::SYSTEM_DATABASE;
use super::stage::Stage;
use super::system;
use crate::storage::Order;
use crate::storage::keys::{self, CollectionId};

/// Superseded states that one write of a document lets go of, at most.
const TRIM_STEPS: u32 = 128;

impl Stage<'_> {
    /// The document's newest state, unless it is deleted or has never been.
    pub fn live(&self, collection: CollectionId, id: &str) -> Result<Option<Envelope>, Halt> {
        Ok(self.envelope(collection, id)?.filter(|envelope| envelope.body().is_some()))
    }

    /// Gives a document a new body. The change of a user's document is for the caller to record.
    pub fn save(&mut self, collection: CollectionId, id: &str, body: Bytes) -> Result<(), Halt> {
        let old = self.envelope(collection, id)?;
        let mut stats = self.stats(collection);
        if let Some((old, old_body)) = old.as_ref().and_then(|old| Some((old, old.body()?))) {
            stats.remove(id, old.rev, old_body);
            self.scrub_out(collection, id, old.rev, old_body);
        }
        stats.add(id, self.rev, &body);
        self.scrub_in(collection, id, &body);
        self.set_stats(collection, stats);
        let created = old.as_ref().filter(|old| old.body().is_some()).map_or(self.rev, |old| old.created);
        let kept = self.supersede(collection, id, old.as_ref())?;
        self.put_envelope(collection, id, created, kept, Content::Live(body));
        self.note_system_change(collection, Change::Saved { id: id.to_owned() });
        Ok(())
    }

    /// Deletes a document; nothing is written where it is absent. Says whether it was there. As with
    /// [`Stage::save`], the caller records the change.
    pub fn remove(&mut self, collection: CollectionId, id: &str) -> Result<bool, Halt> {
        let Some(old) = self.live(collection, id)? else { return Ok(false) };
        let mut stats = self.stats(collection);
        let old_body = old.body().map_or(&[][..], |body| body);
        stats.remove(id, old.rev, old_body);
        self.scrub_out(collection, id, old.rev, old_body);
        self.set_stats(collection, stats);
        let kept = self.supersede(collection, id, Some(&old))?;
        let tombstone = Note::Tombstone { collection, id: id.to_owned(), rev: self.rev };
        if !system::is_system(collection) {
            let expires_ms = self.now_ms().saturating_add(self.core.settings.tombstone_ms);
            self.put_envelope(collection, id, old.created, kept, Content::Tombstone { expires_ms });
            let n = self.next_garbage();
            self.put(keys::expiry(expires_ms, self.rev, n), tombstone.encode());
        } else if self.pinned {
            self.put_envelope(collection, id, old.created, kept, Content::Tombstone { expires_ms: 0 });
            self.note_garbage(&tombstone);
        } else {
            self.delete(keys::current(collection, id));
        }
        self.note_system_change(collection, Change::Deleted { id: id.to_owned() });
        Ok(true)
    }

    /// Notes what may be deleted once no view is older than this entry.
    pub fn note_garbage(&mut self, note: &Note) {
        let n = self.next_garbage();
        self.put(keys::garbage(self.rev, n), note.encode());
    }

    fn put_envelope(&mut self, collection: CollectionId, id: &str, created: u64, kept: Kept, content: Content) {
        let envelope = Envelope { rev: self.rev, time_ms: self.now_ms(), created, kept, content };
        self.put(keys::current(collection, id), envelope.encode());
    }

    /// Records a change of one of the system's visible collections; the others' changes are told to nobody, and those
    /// of users' are recorded where their names are known.
    fn note_system_change(&mut self, collection: CollectionId, change: Change) {
        if let Some((name, _)) = system::VISIBLE.iter().find(|(_, id)| *id == collection) {
            self.note_change(collection, SYSTEM_DATABASE, name, &change);
        }
    }

    /// Moves the newest state to the superseded ones, and returns what is kept of these after it.
    fn supersede(&mut self, collection: CollectionId, id: &str, old: Option<&Envelope>) -> Result<Kept, Halt> {
        let Some(old) = old else { return Ok(Kept::default()) };
        if old.rev == self.rev {
            // Written by this same entry: at this revision there is only what comes last.
            return Ok(old.kept);
        }
        let keeps_none = system::is_system(collection) || self.core.settings.max_versions == 0;
        if keeps_none || old.is_expired(self.now_ms()) {
            // Of no use but to pinned views. An expired tombstone takes all older states along.
            if self.pinned {
                self.put(keys::history(collection, id, old.rev), old.encode());
            }
            if self.pinned || old.kept.oldest > 0 {
                self.note_garbage(&Note::Versions { collection, id: id.to_owned(), rev: old.rev });
            }
            return Ok(Kept::default());
        }
        self.put(keys::history(collection, id, old.rev), old.encode());
        let mut kept = old.kept;
        if kept.oldest == 0 {
            kept.oldest = old.rev;
        }
        if let Some(body) = old.body() {
            kept.count += 1;
            kept.bytes += body.len() as u64;
        }
        self.trim(collection, id, &mut kept)?;
        Ok(kept)
    }

    /// Lets go of the oldest superseded states beyond the bounds.
    fn trim(&mut self, collection: CollectionId, id: &str, kept: &mut Kept) -> Result<(), Halt> {
        let mut let_go = None;
        // Where a bound was lowered, the next writes of the document go on.
        for _ in 0..TRIM_STEPS {
            if kept.count <= self.core.settings.max_versions && kept.bytes <= self.core.settings.max_version_bytes {
                break;
            }
            let oldest = keys::history(collection, id, kept.oldest);
            let missing = || Halt::damage(format!("version {} of document {id:?} is missing", kept.oldest));
            let state = Envelope::decode(&self.get(&oldest)?.ok_or_else(missing)?)?;
            if let Some(body) = state.body() {
                kept.count -= 1;
                kept.bytes -= body.len() as u64;
            }
            let_go = Some(kept.oldest);
            kept.oldest = self.next_newer(collection, id, kept)?;
            if kept.oldest == 0 {
                break;
            }
        }
        if let Some(rev) = let_go {
            self.note_garbage(&Note::Versions { collection, id: id.to_owned(), rev });
        }
        Ok(())
    }

    /// The rev of the superseded state after the oldest one kept; 0 where that is the only one.
    fn next_newer(&self, collection: CollectionId, id: &str, kept: &Kept) -> Result<u64, Halt> {
        let oldest = keys::history(collection, id, kept.oldest);
        // Near first: an engine looks at all that lies between.
        let span = self.rev.saturating_sub(kept.oldest) / u64::from(kept.count.max(1)) * 2 + 1;
        for newest in [kept.oldest.saturating_add(span), u64::MAX] {
            // Newer states sort before older ones.
            let newest = keys::history(collection, id, newest);
            if let Some((key, _)) = self.first(&newest, &oldest, Order::Descending)? {
                return Ok(keys::history_parts(&key).map_or(0, |(_, _, rev)| rev));
            }
        }
        Ok(0)
    }
}
