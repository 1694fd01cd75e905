//! What may happen as often as a stranger likes, and is told in the log seldom: with the number of times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two log lines about the same thing.
pub const APART: Duration = Duration::from_secs(10);

/// Counts something and tells it at once, then at most once in [`APART`], with how often it was since. What was
/// counted last is told too, when its time has come.
///
/// ```text
/// wrong_logins.tell(|times| tracing::warn!(times, "wrong passwords"));
/// ```
#[derive(Debug, Clone)]
pub struct Seldom {
    apart: Duration,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Since it was told last.
    times: u64,
    told: Option<Instant>,
    /// Whether somebody waits to tell the rest.
    is_awaited: bool,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::every(APART)
    }
}

impl Seldom {
    /// The same with another time between two lines.
    pub fn every(apart: Duration) -> Self {
        Seldom { apart, counted: Arc::default() }
    }

    /// Counts one more. `line` is called with the number of times, now or later, or not at all where someone else
    /// will be.
    pub fn tell(&self, line: impl FnOnce(u64) + Send + 'static) {
        let mut counted = self.counted.lock();
        counted.times += 1;
        let since = counted.told.map(|told| told.elapsed());
        let Some(left) = since.and_then(|since| self.apart.checked_sub(since)) else {
            return line(counted.take());
        };
        if counted.is_awaited {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        counted.is_awaited = true;
        let shared = self.counted.clone();
        runtime.spawn(async move {
            tokio::time::sleep(left).await;
            let mut counted = shared.lock();
            counted.is_awaited = false;
            if counted.times > 0 {
                line(counted.take());
            }
        });
    }
}

impl Counted {
    fn take(&mut self) -> u64 {
        self.told = Some(Instant::now());
        std::mem::take(&mut self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thousand_times_are_two_lines_with_their_numbers() {
        let (told, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let seldom = Seldom::every(Duration::from_millis(300));
        for _ in 0..1000 {
            let told = told.clone();
            seldom.tell(move |times| told.send(times).unwrap());
        }
        drop(told);
        let first = lines.recv().await.unwrap();
        // Nobody has to come again for the rest to be told.
        let mut all = first;
        let mut count = 1;
        while let Some(more) = lines.recv().await {
            (all, count) = (all + more, count + 1);
        }
        assert_eq!((first, all), (1, 1000));
        assert!(count <= 3, "{count} lines");
    }
}
