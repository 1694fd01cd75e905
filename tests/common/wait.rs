use std::time::{Duration, Instant};

/// Tests read better in seconds.
pub const SECOND: Duration = Duration::from_secs(1);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Repeats `attempt` until it gives `Ok`, at most for `limit`. An `Err` says what was seen instead;
/// the last one is part of the failure.
pub async fn eventually<T>(limit: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    let mut seen = "nothing".to_owned();
    loop {
        let left = end.saturating_duration_since(Instant::now()) + POLL;
        match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(instead)) => seen = instead,
            Err(_) => seen = format!("no outcome in time; before that: {seen}"),
        }
        assert!(Instant::now() < end, "after {limit:?} it is not so that {what}; last seen: {seen}");
        tokio::time::sleep(POLL).await;
    }
}
