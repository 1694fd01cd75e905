//! Requests with an `Idempotency-Key`: repeated on the next node until there is a definite answer, and now and then once
//! more after it: at once, or after others have been made, perhaps under another leader.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;

use super::wire::{self, Sent};
use super::{Client, Desk};
use crate::common::Answer;
use crate::history::{Call, Key, Op, Outcome, Way};

/// A client gives up after so long; nobody knows then.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many requests a client remembers, to ask them again.
const REMEMBERED: usize = 40;

pub struct Keyed {
    lane: Option<usize>,
    /// What was answered, oldest first.
    answered: VecDeque<Answered>,
}

/// A request that was answered.
pub struct Answered {
    call: Call,
    idempotency: String,
    said: String,
}

impl Keyed {
    pub fn on(lane: usize) -> Self {
        Keyed { lane: Some(lane), answered: VecDeque::new() }
    }

    pub fn on_cold() -> Self {
        Keyed { lane: None, answered: VecDeque::new() }
    }
}

impl Client for Keyed {
    async fn step(&mut self, desk: &mut Desk) {
        if desk.seed.chance(10) && !self.answered.is_empty() {
            let at = desk.seed.below(self.answered.len());
            return ask_again(desk, &self.answered[at]).await;
        }
        let key = desk.document(self.lane);
        let (op, name, db) = (desk.write(key), desk.work.name(key), desk.work.options.database.clone());
        let make = |desk: &Desk, url: &str| wire::request(&desk.http, &desk.work.directory, url, &db, &name, &op);
        if let Some(answered) = call(desk, key, op, make, |answer| wire::outcome(&name, &op, answer)).await {
            self.answered.push_back(answered);
        }
        if self.answered.len() > REMEMBERED {
            self.answered.pop_front();
        }
    }
}

/// The same request once more, on any node.
async fn ask_again(desk: &mut Desk, answered: &Answered) {
    let Some(target) = desk.node() else { return };
    let (op, name) = (answered.call.op, desk.work.name(answered.call.key));
    let db = desk.work.options.database.clone();
    let request = wire::request(&desk.http, &desk.work.directory, &target.url, &db, &name, &op);
    if let Sent::Answer(answer) = wire::send(request.header("Idempotency-Key", &answered.idempotency)).await
        && !matches!(wire::outcome(&name, &op, &answer), Outcome::Unknown(_) | Outcome::Refused(_))
    {
        desk.repeated(answered.call.clone(), &answered.said, &shown(&answer));
    }
}

/// A write that is repeated with the same key for as long as nobody knows what came of it.
pub async fn call(
    desk: &mut Desk,
    key: Key,
    op: Op,
    make: impl Fn(&Desk, &str) -> RequestBuilder,
    outcome: impl Fn(&Answer) -> Outcome,
) -> Option<Answered> {
    let mut target = desk.node()?;
    let idempotency = format!("{}-{}", desk.work.run, desk.work.tag());
    let with_key = |desk: &Desk, url: &str| make(desk, url).header("Idempotency-Key", &idempotency);
    let begun = desk.begin(key, Way::Keyed, op);
    let give_up = Instant::now() + PATIENCE;
    let mut in_doubt = false;
    let (settled, said) = loop {
        let why = match wire::send(with_key(desk, &target.url)).await {
            Sent::Answer(answer) => match outcome(&answer) {
                Outcome::Unknown(why) => {
                    in_doubt = true;
                    why
                }
                // Refused at the door: it says nothing of the attempts before.
                Outcome::Refused(why) if why != "no version" => why,
                settled => break (exact(&op, settled), Some(shown(&answer))),
            },
            Sent::Lost(why) => {
                in_doubt = true;
                why
            }
            Sent::Never(why) => why,
        };
        if Instant::now() > give_up || desk.work.is_over() {
            break (if in_doubt { Outcome::Unknown(why) } else { Outcome::Refused(why) }, None);
        }
        tokio::time::sleep(desk.seed.between(Duration::from_millis(5), Duration::from_millis(60))).await;
        if let Some(next) = desk.node_after(&target.name) {
            target = next;
        }
    };
    desk.end(begun, &target.name, settled);
    let (call, said) = (desk.last()?, said?);
    if desk.seed.chance(15) {
        let pause = desk.seed.between(Duration::ZERO, Duration::from_millis(300));
        tokio::time::sleep(pause).await;
        let other = desk.node()?;
        if let Sent::Answer(answer) = wire::send(with_key(desk, &other.url)).await
            && !matches!(outcome(&answer), Outcome::Unknown(_) | Outcome::Refused(_))
        {
            desk.repeated(call.clone(), &said, &shown(&answer));
        }
    }
    Some(Answered { call, idempotency, said })
}

/// A repeat of a delete or a bulk save tells the index of the repeat: then the write itself may be older.
fn exact(op: &Op, outcome: Outcome) -> Outcome {
    match (op, outcome) {
        (Op::Delete, Outcome::Written { index, .. }) => Outcome::Written { rev: None, index },
        (_, outcome) => outcome,
    }
}

/// What a client sees of an answer.
fn shown(answer: &Answer) -> String {
    format!("{} {:?} {}", answer.status, wire::etag(answer), answer.body)
}
