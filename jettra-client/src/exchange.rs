//! One call from beginning to end: attempts, pauses, the deadline.

use std::time::{Duration, Instant};

use crate::client::Inner;
use crate::error::{Error, Result};
use crate::request::Request;
use crate::retry::{self, Failure, Next, Safety};
use crate::session::Ticket;
use crate::transport::{Answer, Attempt, Authorization, Signs, Way, attempt};
use crate::wire::ErrorCode;

/// How many failures a message tells of.
const MOST_TOLD: usize = 4;

/// A call under way.
struct Exchange<'a> {
    inner: &'a Inner,
    request: &'a Request,
    started: Instant,
    allowed: Duration,
    /// The write's number, kept through all attempts.
    ticket: Option<Ticket<'a>>,
    /// The nodes asked since the last pause.
    tried: Vec<String>,
    attempts: u32,
    pauses: u32,
    logged_in: bool,
    /// Whether an attempt may have had an effect.
    doubt: bool,
    /// What became of the attempts, newest last.
    told: Vec<String>,
}

impl Inner {
    /// Makes a call: asks nodes in turn until one answers, or time is up.
    pub(crate) async fn call(&self, request: &Request) -> Result<Answer> {
        let started = Instant::now();
        let allowed = request.deadline.unwrap_or(self.settings.deadline);
        let ticket = match request.safety {
            Safety::Numbered => Some(self.ticket(started, allowed).await?),
            Safety::Read | Safety::Idempotent | Safety::Once => None,
        };
        let exchange = Exchange {
            inner: self,
            request,
            started,
            allowed,
            ticket,
            tried: Vec::new(),
            attempts: 0,
            pauses: 0,
            logged_in: false,
            doubt: false,
            told: Vec::new(),
        };
        exchange.run().await
    }

    async fn ticket(&self, started: Instant, allowed: Duration) -> Result<Ticket<'_>> {
        tokio::time::timeout(allowed, self.session.begin()).await.map_err(|_elapsed| Error::Timeout {
            outcome_unknown: false,
            waited: started.elapsed(),
            message: "too many writes of this client were waiting for their answers; nothing was sent".into(),
        })
    }
}

impl Exchange<'_> {
    async fn run(mut self) -> Result<Answer> {
        loop {
            let url = self.next_url().await?;
            let authorization = if self.request.anonymous { Authorization::None } else { self.inner.authorization() };
            let way = Way {
                http: &self.inner.http,
                url: &url,
                authorization: &authorization,
                session: self.ticket.as_ref().map(Ticket::header),
                limit: self.time_for_attempt(),
                max_bytes: self.inner.settings.max_response_bytes,
            };
            self.attempts += 1;
            let (failure, signs) = match attempt(self.request, way).await {
                Ok(answer) => {
                    self.inner.note(&url, &answer.signs);
                    return Ok(answer);
                }
                Err(Attempt::TooLarge) => {
                    return Err(Error::AnswerTooLarge { limit: self.inner.settings.max_response_bytes });
                }
                Err(Attempt::Unsendable(message)) => {
                    return Err(Error::invalid(format!("the call cannot be sent: {message}")));
                }
                Err(Attempt::Failed(failure, signs)) => (failure, signs),
            };
            self.note_failure(&url, &failure, &signs);
            match retry::next(self.request.safety, &failure) {
                Next::GiveUp => return Err(self.give_up(&url, failure)),
                Next::Elsewhere => self.tried.push(url),
                Next::Wait(at_least) => self.pause(at_least, &failure).await?,
                Next::LogIn => {
                    let expired = matches!(authorization, Authorization::Token(_)) && !self.logged_in;
                    if !expired || !self.inner.forget_token() {
                        return Err(self.give_up(&url, failure));
                    }
                    self.logged_in = true;
                }
            }
            self.doubt |= retry::may_have_happened(self.request.safety, &failure);
            if self.time_left() < self.least_attempt() {
                return Err(self.out_of_time(Some(failure)));
            }
            if self.inner.pick(self.prefers_leader(), &self.tried).is_none() {
                let at_least = match &failure {
                    Failure::Refused(refusal) => refusal.retry_after.unwrap_or_default(),
                    Failure::Unreachable(_) | Failure::Lost { .. } => Duration::ZERO,
                };
                self.pause(at_least, &failure).await?;
            }
        }
    }

    async fn next_url(&mut self) -> Result<String> {
        if let Some(url) = self.inner.pick(self.prefers_leader(), &self.tried) {
            return Ok(url);
        }
        self.tried.clear();
        self.inner.pick(self.prefers_leader(), &[]).ok_or_else(|| Error::invalid("no URL was given"))
    }

    fn prefers_leader(&self) -> bool {
        self.request.safety != Safety::Read
    }

    fn time_left(&self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// Each attempt may take twice as long as the one before: a node that hangs is left soon, a
    /// call that needs its time gets it.
    fn time_for_attempt(&self) -> Duration {
        let first = self.request.attempt.unwrap_or(self.inner.settings.attempt_timeout);
        first.saturating_mul(1 << self.attempts.min(6)).min(self.time_left()).max(Duration::from_millis(1))
    }

    /// An attempt with less time than this would say nothing but that time is up.
    fn least_attempt(&self) -> Duration {
        (self.allowed / 3).min(Duration::from_millis(100))
    }

    /// Waits before the next round, or reports the failure if it would have to wait too long.
    async fn pause(&mut self, at_least: Duration, failure: &Failure) -> Result<()> {
        let pause = retry::pause(self.pauses, random()).max(at_least);
        if pause + self.least_attempt() > self.time_left() {
            return Err(self.out_of_time(Some(failure.clone())));
        }
        self.pauses += 1;
        self.tried.clear();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn note_failure(&mut self, url: &str, failure: &Failure, signs: &Signs) {
        let what = match failure {
            Failure::Unreachable(message) | Failure::Lost { message, .. } => {
                self.inner.targets().failed(url, Instant::now());
                message.clone()
            }
            Failure::Refused(refusal) => {
                self.inner.note(url, signs);
                let mut targets = self.inner.targets();
                match refusal.code {
                    ErrorCode::NoLeader => targets.leaderless(),
                    ErrorCode::Unavailable => targets.failed(url, Instant::now()),
                    ErrorCode::NotLeader => {
                        if let Some(leader) = refusal.details.get("leaderUrl").and_then(|leader| leader.as_str()) {
                            targets.leads(leader);
                        }
                    }
                    _ => {}
                }
                refusal.code.to_string()
            }
        };
        let told = format!("{url}: {what}");
        if self.told.last() != Some(&told) {
            self.told.push(told);
        }
        if self.told.len() > MOST_TOLD {
            self.told.remove(0);
        }
    }

    /// The error of a call that is not repeated.
    fn give_up(&self, url: &str, failure: Failure) -> Error {
        let safety = self.request.safety;
        match failure {
            Failure::Unreachable(_) => Error::Connect { message: self.story() },
            Failure::Lost { message, timed_out: false } => Error::Disconnected { url: url.to_owned(), message },
            Failure::Lost { .. } => self.timeout(true),
            Failure::Refused(refusal) => {
                let code = refusal.code;
                let in_doubt = retry::may_have_happened(safety, &Failure::Refused(refusal.clone()))
                    || (self.doubt && !retry::settles(safety, code));
                Error::Server {
                    code,
                    status: refusal.status,
                    message: refusal.message,
                    details: refusal.details,
                    outcome_unknown: in_doubt,
                }
            }
        }
    }

    /// The error of a call whose time is up, after this failure.
    fn out_of_time(&self, last: Option<Failure>) -> Error {
        match last {
            Some(Failure::Unreachable(_)) if !self.doubt => Error::Connect { message: self.story() },
            Some(Failure::Refused(refusal)) => self.give_up("", Failure::Refused(refusal)),
            _ => self.timeout(self.doubt),
        }
    }

    fn timeout(&self, outcome_unknown: bool) -> Error {
        Error::Timeout { outcome_unknown, waited: self.started.elapsed(), message: self.story() }
    }

    fn story(&self) -> String {
        if self.told.is_empty() { "nothing was sent".into() } else { self.told.join("; ") }
    }
}

/// A number that no two clients share: the low half of a random UUID.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
