//! Requests with an `Idempotency-Key`: repeated on the next node until there is a definite answer, and now and then once
//! more after it.

use std::time::{Duration, Instant};

use reqwest::RequestBuilder;

use super::wire::{self, Sent};
use super::{Client, Desk};
use crate::common::Answer;
use crate::history::{Key, Op, Outcome, Way};

/// A client gives up after so long; nobody knows then.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Keyed {
    lane: Option<usize>,
}

impl Keyed {
    pub fn on(lane: usize) -> Self {
        Keyed { lane: Some(lane) }
    }

    pub fn on_cold() -> Self {
        Keyed { lane: None }
    }
}

impl Client for Keyed {
    async fn step(&mut self, desk: &mut Desk) {
        let key = desk.document(self.lane);
        let (op, name, db) = (desk.write(key), desk.work.name(key), desk.work.options.database.clone());
        let make = |desk: &Desk, url: &str| wire::request(&desk.http, &desk.work.directory, url, &db, &name, &op);
        call(desk, key, op, make, |answer| wire::outcome(&name, &op, answer)).await;
    }
}

/// A write that is repeated with the same key for as long as nobody knows what came of it.
pub async fn call(
    desk: &mut Desk,
    key: Key,
    op: Op,
    make: impl Fn(&Desk, &str) -> RequestBuilder,
    outcome: impl Fn(&Answer) -> Outcome,
) {
    let Some(mut target) = desk.node() else { return };
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
    let Some(said) = said else { return };
    if desk.seed.chance(25) {
        let pause = desk.seed.between(Duration::ZERO, Duration::from_millis(300));
        tokio::time::sleep(pause).await;
        let Some(other) = desk.node() else { return };
        if let Sent::Answer(answer) = wire::send(with_key(desk, &other.url)).await
            && !matches!(outcome(&answer), Outcome::Unknown(_) | Outcome::Refused(_))
        {
            desk.repeated(&said, &shown(&answer));
        }
    }
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
