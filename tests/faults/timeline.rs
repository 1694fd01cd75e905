//! What was done, and when.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// All faults of a run in the order in which they happened.
#[derive(Clone)]
pub struct Timeline {
    origin: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

struct Event {
    at: Duration,
    /// Which fault, from 1; 0 is the run itself.
    number: usize,
    name: &'static str,
    text: String,
}

/// One fault of the timeline.
#[derive(Clone)]
pub struct Entry {
    timeline: Timeline,
    number: usize,
    name: &'static str,
}

impl Timeline {
    pub fn new() -> Self {
        Timeline { origin: Instant::now(), events: Arc::default() }
    }

    /// The fault of this number.
    pub fn entry(&self, number: usize, name: &'static str) -> Entry {
        Entry { timeline: self.clone(), number, name }
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let events = self.events.lock().unwrap();
        let mut text = String::new();
        for event in &events[events.len().saturating_sub(count)..] {
            let number = if event.number == 0 { String::new() } else { format!("#{}", event.number) };
            let at = event.at.as_secs_f64();
            writeln!(text, "{at:>9.3} s {number:>5} {:<18} {}", event.name, event.text).unwrap();
        }
        text
    }

    pub fn all(&self) -> String {
        self.tail(usize::MAX)
    }
}

impl Entry {
    pub fn note(&self, text: impl Into<String>) {
        let event = Event { at: self.timeline.elapsed(), number: self.number, name: self.name, text: text.into() };
        self.timeline.events.lock().unwrap().push(event);
    }
}
