//! Writes and reads through `jettra-client`, which numbers its writes in a session and repeats them itself.

use std::time::Duration;

use base64::Engine as _;
use jettra_client::{Consistency, Error, JettraClient, ReadOptions, WriteOptions};
use serde_json::json;

use super::wire;
use super::{Client, Desk};
use crate::directory::{Directory, Target};
use crate::history::{Fresh, Key, Name, Op, Outcome, Way};

pub struct Session {
    lane: Option<usize>,
    /// The client, and the nodes that it was made for. Where these move, it is made anew, with a session of its own.
    client: Option<(Vec<Target>, JettraClient)>,
}

impl Session {
    pub fn on(lane: usize) -> Self {
        Session { lane: Some(lane), client: None }
    }

    pub fn on_cold() -> Self {
        Session { lane: None, client: None }
    }

    fn client(&mut self, desk: &mut Desk) -> Option<JettraClient> {
        let targets = desk.work.directory.targets();
        if targets.is_empty() {
            return None;
        }
        if let Some((known, client)) = &self.client
            && *known == targets
        {
            return Some(client.clone());
        }
        let mut urls: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
        let first = desk.seed.below(urls.len());
        urls.rotate_left(first);
        let client = build(&urls, &desk.work.directory);
        self.client = Some((targets, client.clone()));
        Some(client)
    }
}

fn build(urls: &[&str], directory: &Directory) -> JettraClient {
    let mut builder = JettraClient::builder()
        .urls(urls.iter().copied())
        // Nodes know one another over ways that faults cut.
        .discover(false)
        .attempt_timeout(Duration::from_millis(700))
        .deadline(Duration::from_secs(8));
    if let Some(header) = directory.authorization() {
        let basic = header.strip_prefix("Basic ").map(|basic| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(basic).expect("Base64");
            String::from_utf8(decoded).expect("UTF-8")
        });
        builder = match basic.as_ref().and_then(|basic| basic.split_once(':')) {
            Some((user, password)) => builder.credentials(user, password),
            None => builder.token(header),
        };
    }
    builder.build().expect("a client")
}

impl Client for Session {
    async fn step(&mut self, desk: &mut Desk) {
        let key = desk.document(self.lane);
        let Some(client) = self.client(desk) else { return };
        let op = if desk.seed.chance(20) { desk.read() } else { desk.write(key) };
        // Now and then two at once, so that numbers of one session overtake one another.
        if desk.seed.chance(30) {
            let (other, second) = (desk.cold(), Op::Save { tag: desk.work.tag() });
            let both = (desk.begin(key, Way::Session, op), desk.begin(other, Way::Session, second));
            let (name, other_name) = (desk.work.name(key), desk.work.name(other));
            let db = desk.work.options.database.clone();
            let (first, second) =
                tokio::join!(call(&client, &db, key, &name, op), call(&client, &db, other, &other_name, second));
            desk.end(both.0, "any", first);
            desk.end(both.1, "any", second);
        } else {
            let (name, db) = (desk.work.name(key), desk.work.options.database.clone());
            let begun = desk.begin(key, Way::Session, op);
            let outcome = call(&client, &db, key, &name, op).await;
            desk.end(begun, "any", outcome);
        }
    }
}

async fn call(client: &JettraClient, db: &str, _key: Key, name: &Name, op: Op) -> Outcome {
    let (col, id) = (&name.collection, &name.id);
    let save = async |tag, options: &WriteOptions| {
        let rev = client.update_with(db, col, id, &wire::body(id, tag), options).await?;
        Ok(Outcome::Written { rev: Some(rev), index: None })
    };
    let done: Result<Outcome, Error> = match op {
        Op::Save { tag } => save(tag, &WriteOptions::new()).await,
        Op::Create { tag } => save(tag, &WriteOptions::new().if_none_match()).await,
        Op::Swap { tag, rev } => save(tag, &WriteOptions::new().if_match(rev)).await,
        Op::Patch { tag } => {
            let patched = client.patch(db, col, id, &json!({ "p": tag })).await;
            patched.map(|rev| Outcome::Written { rev: Some(rev), index: None })
        }
        Op::Delete => {
            let deleted = client.delete_document(db, col, id).await;
            deleted.map(|()| Outcome::Written { rev: None, index: None })
        }
        Op::Read { fresh, min_index } => {
            let mut options = ReadOptions::new().consistency(match fresh {
                Fresh::Linearizable => Consistency::Linearizable,
                Fresh::Lease => Consistency::Lease,
                Fresh::Local => Consistency::Local,
            });
            if let Some(index) = min_index {
                options = options.min_index(index);
            }
            client.get_document_with(db, col, id, &options).await.map(|found| match found {
                None => Outcome::Seen { content: None, rev: None, index: None },
                Some(found) => {
                    let value = found.parse().expect("JSON");
                    wire::document(id, &value).map_or_else(Outcome::Wrong, |content| Outcome::Seen {
                        content: Some(content),
                        rev: found.rev(),
                        index: None,
                    })
                }
            })
        }
        Op::Version { .. } | Op::Restore { .. } => unreachable!("sessions do not restore"),
    };
    done.unwrap_or_else(|error| failed(&op, &error))
}

fn failed(op: &Op, error: &Error) -> Outcome {
    if error.outcome_unknown() {
        return Outcome::Unknown(error.to_string());
    }
    match error {
        Error::Server { code, details, .. } => wire::refusal(
            op,
            Some(*code),
            details.get("rev").and_then(serde_json::Value::as_u64),
            None,
            error.to_string(),
        ),
        Error::Connect { .. } | Error::Timeout { .. } => Outcome::Refused("out of reach".to_owned()),
        other => Outcome::Wrong(other.to_string()),
    }
}
