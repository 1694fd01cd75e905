//! Single requests without a key: what is not answered stays unknown.

use reqwest::Method;
use serde_json::{Value, json};

use super::wire::{self, LIMIT, Sent};
use super::{Client, Desk};
use crate::common::Answer;
use crate::directory::Target;
use crate::history::{Key, Op, Outcome, Way};

/// Writes, reads, restores.
pub struct Plain {
    lane: Option<usize>,
}

impl Plain {
    /// On the hot documents of this lane.
    pub fn on(lane: usize) -> Self {
        Plain { lane: Some(lane) }
    }

    pub fn on_cold() -> Self {
        Plain { lane: None }
    }
}

impl Client for Plain {
    async fn step(&mut self, desk: &mut Desk) {
        let key = desk.document(self.lane);
        let Some(target) = desk.node() else { return };
        match desk.seed.below(10) {
            0 | 1 => {
                let op = desk.read();
                call(desk, &target, key, op).await;
            }
            2 => restore(desk, &target, key).await,
            _ => {
                let op = desk.write(key);
                call(desk, &target, key, op).await;
            }
        }
    }
}

/// One call on one document, written down.
pub async fn call(desk: &mut Desk, target: &Target, key: Key, op: Op) {
    let (name, db) = (desk.work.name(key), desk.work.options.database.clone());
    let request = wire::request(&desk.http, &desk.work.directory, &target.url, &db, &name, &op);
    let begun = desk.begin(key, Way::Plain, op);
    let outcome = settled(&op, wire::send(request).await, |answer| wire::outcome(&name, &op, answer));
    desk.end(begun, &target.name, outcome);
}

/// What one attempt says.
pub fn settled(op: &Op, sent: Sent, outcome: impl FnOnce(&Answer) -> Outcome) -> Outcome {
    match sent {
        Sent::Answer(answer) => outcome(&answer),
        Sent::Lost(why) if op.is_write() => Outcome::Unknown(why),
        Sent::Never(why) | Sent::Lost(why) => Outcome::Refused(why),
    }
}

/// Looks for a superseded state and makes it the newest again.
async fn restore(desk: &mut Desk, target: &Target, key: Key) {
    let (name, db) = (desk.work.name(key), desk.work.options.database.clone());
    let (col, id) = (&name.collection, &name.id);
    let directory = desk.work.directory.clone();
    let place = format!("db={db}&col={col}&id={id}&{LIMIT}");
    let get = |path: &str| desk.http.request(&directory, Method::GET, &format!("{}{path}?{place}", target.url));
    let Sent::Answer(listed) = wire::send(get("/api/versions")).await else { return };
    let Ok(Value::Array(versions)) = listed.success() else { return };
    // Mostly one of the newest: those are there still when it is asked for.
    let versions: Vec<&str> = versions.iter().take(10).filter_map(Value::as_str).collect();
    if versions.is_empty() {
        return;
    }
    let version = versions[desk.seed.below(versions.len())].to_owned();
    let Some(rev) = version.split_once('_').and_then(|(_, rev)| rev.parse().ok()) else { return };

    let op = Op::Version { rev };
    let url = format!("{}/api/version?{place}&version={version}", target.url);
    let request = desk.http.request(&directory, Method::GET, &url);
    let begun = desk.begin(key, Way::Plain, op);
    let seen = settled(&op, wire::send(request).await, |answer| wire::outcome(&name, &op, answer));
    desk.end(begun, &target.name, seen.clone());
    let Outcome::Seen { content: Some(content), .. } = seen else { return };

    let op = Op::Restore { content, rev };
    let url = format!("{}/api/restore-version?{LIMIT}", target.url);
    let body = json!({ "db": db, "col": col, "id": id, "version": version });
    let request = desk.http.request(&directory, Method::POST, &url).body(body.to_string());
    let begun = desk.begin(key, Way::Plain, op);
    let outcome = settled(&op, wire::send(request).await, |answer| wire::outcome(&name, &op, answer));
    desk.end(begun, &target.name, outcome);
}
