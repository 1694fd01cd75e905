//! How busy the machine is with other things: what must be done in time is given more of it then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a thread of the harness wakes to see how late it is.
const TICK: Duration = Duration::from_millis(20);

/// How long what was measured counts.
const MEMORY: Duration = Duration::from_secs(10);

/// Measures while it lives.
pub struct Starvation {
    late: Arc<Mutex<VecDeque<(Instant, Duration)>>>,
    end: Arc<AtomicBool>,
}

impl Starvation {
    pub fn watch() -> Self {
        let watch = Starvation { late: Arc::default(), end: Arc::default() };
        let (late, end) = (watch.late.clone(), watch.end.clone());
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                std::thread::sleep(TICK);
                let now = Instant::now();
                let mut late = late.lock().unwrap();
                late.push_back((now, now - asleep - TICK));
                while late.front().is_some_and(|(at, _)| now - *at > MEMORY) {
                    late.pop_front();
                }
            }
        });
        watch
    }

    /// How late a thread has woken at most, of late.
    pub fn latest(&self) -> Duration {
        self.late.lock().unwrap().iter().map(|(_, late)| *late).max().unwrap_or_default()
    }

    /// How many percent of the time something has waited for a processor, of late; 0 where the system does not tell.
    pub fn pressure() -> f64 {
        let told = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
        let average = told.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
        average.and_then(|average| average.parse().ok()).unwrap_or(0.0)
    }

    /// So many times longer may something take.
    pub fn factor(&self) -> f64 {
        1.0 + Self::pressure() / 20.0 + self.latest().as_secs_f64() * 10.0
    }

    /// Whether the machine has next to nothing else to do.
    pub fn is_calm(&self) -> bool {
        self.latest() < Duration::from_millis(100) && Self::pressure() < 40.0
    }
}

impl Drop for Starvation {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}
