//! One confirmation of leadership for all reads that wait for one.
//!
//! A read may use only a confirmation that was asked for after the read arrived. So those that
//! arrive while one is under way share the next.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::Result;
use crate::lasting::Unless;

type Answer = Option<Result<u64>>;

#[derive(Default)]
struct Rounds {
    running: bool,
    next: Option<watch::Sender<Answer>>,
    #[cfg(feature = "planted-bugs")]
    under_way: Option<watch::Sender<Answer>>,
}

impl Rounds {
    /// The round under way, for who takes its answer though it began before: a bug, and in no other build.
    #[cfg(feature = "planted-bugs")]
    fn earlier(&self) -> Option<watch::Receiver<Answer>> {
        use crate::planted::{Bug, has};
        let under_way = self.under_way.as_ref().filter(|_| self.running && has(Bug::ShareAnEarlierRound));
        under_way.map(watch::Sender::subscribe)
    }

    #[cfg(not(feature = "planted-bugs"))]
    fn earlier(&self) -> Option<watch::Receiver<Answer>> {
        None
    }
}

/// Joins reads into rounds.
#[derive(Clone, Default)]
pub struct ReadRounds {
    rounds: Arc<Mutex<Rounds>>,
}

impl ReadRounds {
    /// The read index of a round that begins after this call; `round` asks for one.
    ///
    /// # Errors
    /// What the round says.
    pub async fn join<F, Fut>(&self, round: F) -> Result<u64>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<u64>> + Send + 'static,
    {
        let mut answer = {
            let mut rounds = self.rounds.lock();
            let earlier = rounds.earlier();
            let own = || {
                let answer = rounds.next.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
                if !rounds.running {
                    rounds.running = true;
                    tokio::spawn(self.clone().run(round));
                }
                answer
            };
            earlier.unwrap_or_else(own)
        };
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }

    async fn run<F, Fut>(self, round: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<u64>>,
    {
        // A round that dies takes those with it who wait for it and for the next one.
        let ended = Unless::new(|| {
            let mut rounds = self.rounds.lock();
            (rounds.running, rounds.next) = (false, None);
        });
        loop {
            let waiting = {
                let mut rounds = self.rounds.lock();
                let Some(waiting) = rounds.next.take() else {
                    rounds.running = false;
                    break;
                };
                waiting
            };
            #[cfg(feature = "planted-bugs")]
            {
                self.rounds.lock().under_way = Some(waiting.clone());
            }
            waiting.send_replace(Some(round().await));
        }
        ended.done();
    }
}

fn lost() -> crate::error::Error {
    crate::error::Error::unavailable(
        "this node broke off what would have confirmed the read: try again, or ask another node",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jettra_client::wire::ErrorCode;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn a_round_that_panics_ends_its_readers_and_the_next_one_is_asked() {
        let reads = ReadRounds::default();
        let opened = Arc::new(Semaphore::new(0));
        let (own, open) = (reads.clone(), opened.clone());
        let dies = move || {
            let open = open.clone();
            async move {
                open.acquire().await.unwrap().forget();
                panic!("a bug")
            }
        };
        let first = tokio::spawn(async move { own.join(dies).await });
        while !reads.rounds.lock().running || reads.rounds.lock().next.is_some() {
            tokio::task::yield_now().await;
        }
        let own = reads.clone();
        let second = tokio::spawn(async move { own.join(|| async { Ok(1) }).await });
        while reads.rounds.lock().next.is_none() {
            tokio::task::yield_now().await;
        }
        opened.add_permits(1);
        for broken in [first, second] {
            assert_eq!(broken.await.unwrap().unwrap_err().code(), ErrorCode::Unavailable);
        }
        assert_eq!(reads.join(|| async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn reads_that_arrive_during_a_round_share_the_next_one() {
        let reads = ReadRounds::default();
        let (rounds, open) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let read = || {
            let (reads, rounds, open) = (reads.clone(), rounds.clone(), open.clone());
            tokio::spawn(async move {
                let round = move || {
                    let (rounds, open) = (rounds.clone(), open.clone());
                    async move {
                        let number = rounds.fetch_add(1, Ordering::SeqCst) + 1;
                        open.acquire().await.unwrap().forget();
                        Ok(number)
                    }
                };
                reads.join(round).await
            })
        };
        let first = read();
        while rounds.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let late: Vec<_> = (0..10).map(|_| read()).collect();
        while reads.rounds.lock().next.as_ref().map_or(0, watch::Sender::receiver_count) < 10 {
            tokio::task::yield_now().await;
        }
        open.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(1));
        for read in late {
            assert_eq!(read.await.unwrap(), Ok(2));
        }
        assert_eq!(rounds.load(Ordering::SeqCst), 2);
    }
}
