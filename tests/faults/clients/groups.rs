//! Documents that belong together: written by one request, with the same number in each, and read by one query.

use reqwest::Method;
use serde_json::Value;

use super::wire::{self, LIMIT};
use super::{Client, Desk, keyed, plain};
use crate::common::Answer;
use crate::history::{Content, Fresh, Key, Name, Op, Outcome, Way};

/// How many documents belong together.
pub const MEMBERS: u8 = 8;

/// The group of a lane: what is hot in this turn.
fn group(desk: &Desk, lane: usize) -> Key {
    // They sort by turn, so that a query from one turn on begins with its group.
    let id = format!("turn-{:08}", desk.work.turn());
    desk.work.key(&Name { collection: format!("groups-{lane}"), id, members: MEMBERS })
}

/// The id of one document.
pub fn member_id(name: &Name, member: u8) -> String {
    format!("{}-{member}", name.id)
}

pub struct Writer {
    lane: usize,
    way: Way,
}

impl Writer {
    pub fn of(lane: usize, way: Way) -> Self {
        Writer { lane, way }
    }
}

impl Client for Writer {
    async fn step(&mut self, desk: &mut Desk) {
        let key = group(desk, self.lane);
        let (name, db, tag) = (desk.work.name(key), desk.work.options.database.clone(), desk.work.tag());
        let op = Op::Save { tag };
        let ids: Vec<String> = (0..name.members).map(|member| member_id(&name, member)).collect();
        let body: String = ids.iter().map(|id| format!("{}\n", wire::body(id, tag))).collect();
        let col = &name.collection;
        let make = |desk: &Desk, url: &str| {
            let url = format!("{url}/api/docs?db={db}&col={col}&{LIMIT}");
            desk.http.request(&desk.work.directory, Method::POST, &url).body(body.clone())
        };
        let exact = self.way == Way::Plain;
        let outcome = |answer: &Answer| saved(&name, &op, &ids, exact, answer);
        if self.way == Way::Keyed {
            keyed::call(desk, key, op, make, outcome).await;
        } else {
            let Some(target) = desk.node() else { return };
            let request = make(desk, &target.url);
            let begun = desk.begin(key, Way::Plain, op);
            let outcome = plain::settled(&op, wire::send(request).await, outcome);
            desk.end(begun, &target.name, outcome);
        }
    }
}

/// What the answer to a bulk save says. Its index is that of the write, unless it may be a repeat's.
fn saved(name: &Name, op: &Op, ids: &[String], exact: bool, answer: &Answer) -> Outcome {
    if answer.status != 200 {
        return wire::outcome(name, op, answer);
    }
    let index = answer.header("x-jettra-index").and_then(|index| index.parse().ok());
    match answer.success() {
        Ok(value) if value["ids"] == serde_json::json!(ids) => Outcome::Written { rev: index.filter(|_| exact), index },
        _ => Outcome::Wrong(answer.shown()),
    }
}

pub struct Reader {
    lane: usize,
}

impl Reader {
    pub fn of(lane: usize) -> Self {
        Reader { lane }
    }
}

impl Client for Reader {
    async fn step(&mut self, desk: &mut Desk) {
        let key = group(desk, self.lane);
        let Some(target) = desk.node() else { return };
        let (name, db) = (desk.work.name(key), desk.work.options.database.clone());
        let op = desk.read();
        let url = format!("{}{}", target.url, query(&db, &name, &op));
        let request = desk.http.request(&desk.work.directory, Method::GET, &url);
        let begun = desk.begin(key, Way::Plain, op);
        let outcome = plain::settled(&op, wire::send(request).await, |answer| seen(&name, &op, answer));
        desk.end(begun, &target.name, outcome);
    }
}

/// The group that local readers look at.
pub fn hot(desk: &Desk, lane: usize) -> Key {
    group(desk, lane)
}

/// The query for exactly one group.
pub fn query(db: &str, name: &Name, op: &Op) -> String {
    let (fresh, min_index) = match op {
        Op::Read { fresh, min_index } => (*fresh, *min_index),
        _ => (Fresh::Linearizable, None),
    };
    let (col, id, limit) = (&name.collection, &name.id, name.members);
    format!("/api/query?db={db}&col={col}&after={id}&limit={limit}&{LIMIT}&{}", wire::freshness(fresh, min_index))
}

/// What a query for one group shows: whole, not there, or torn.
pub fn seen(name: &Name, op: &Op, answer: &Answer) -> Outcome {
    if answer.status != 200 {
        return wire::outcome(name, op, answer);
    }
    let index = answer.header("x-jettra-index").and_then(|index| index.parse().ok());
    let Ok(Value::Array(found)) = answer.success() else { return Outcome::Wrong(answer.shown()) };
    // Where the group is not there, the next one may be.
    let prefix = format!("{}-", name.id);
    let found: Vec<&Value> =
        found.iter().filter(|found| found["_id"].as_str().is_some_and(|id| id.starts_with(&prefix))).collect();
    if found.is_empty() {
        return Outcome::Seen { content: None, rev: None, index };
    }
    let contents: Result<Vec<Content>, String> =
        (0..).zip(&found).map(|(member, found)| wire::document(&member_id(name, member), found)).collect();
    match contents {
        Ok(contents) if contents.len() == usize::from(name.members) && contents.iter().all(|c| *c == contents[0]) => {
            Outcome::Seen { content: Some(contents[0]), rev: None, index }
        }
        Ok(contents) => {
            let shown: Vec<String> = contents.iter().map(Content::to_string).collect();
            Outcome::Wrong(format!("torn: {} of {} documents: {}", found.len(), name.members, shown.join(" ")))
        }
        Err(why) => Outcome::Wrong(format!("torn: {why}")),
    }
}
