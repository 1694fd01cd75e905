//! Requests, and what their answers mean.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jettra_client::wire::ErrorCode;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::common::{Answer, Http as Plain};
use crate::directory::Directory;
use crate::history::{Content, Fresh, Name, Op, Outcome};

/// How long a node may take, by its own reckoning.
pub const LIMIT: &str = "timeout=3s";
/// How long a client waits: a node that hangs is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a request.
pub enum Sent {
    Answer(Answer),
    /// There was no connection, so it was never sent.
    Never(String),
    /// It may have arrived.
    Lost(String),
}

/// Connections that many requests share.
pub struct Http(Plain);

impl Http {
    pub fn new() -> Self {
        Http(Plain::new(PATIENCE))
    }

    pub fn request(&self, directory: &Directory, method: Method, url: &str) -> RequestBuilder {
        let request = self.0.request(method, url);
        match directory.authorization() {
            Some(header) => request.header("Authorization", header),
            None => request,
        }
    }
}

/// Sends a request.
pub async fn send(request: RequestBuilder) -> Sent {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Sent::Never(root_cause(&error)),
        Err(error) => return Sent::Lost(root_cause(&error)),
    };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    match response.bytes().await {
        Ok(body) => {
            let body = String::from_utf8(body.into()).expect("answers are UTF-8");
            let answer = Answer { status, headers, body };
            answer.is_for_people();
            Sent::Answer(answer)
        }
        Err(error) => Sent::Lost(root_cause(&error)),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}

/// A connection of its own to one node, for requests one after the other.
pub struct Line {
    sender: SendRequest<Empty<bytes::Bytes>>,
    host: String,
}

impl Line {
    pub async fn open(url: &str) -> Result<Line, String> {
        let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/').to_owned();
        let connect = async {
            let stream = TcpStream::connect(&host).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok::<_, String>(sender)
        };
        let sender =
            tokio::time::timeout(PATIENCE, connect).await.map_err(|_| "no connection in time".to_owned())??;
        Ok(Line { sender, host })
    }

    /// An error ends the connection.
    pub async fn get(&mut self, directory: &Directory, path: &str) -> Result<Answer, String> {
        let mut request = hyper::Request::get(path).header("host", &self.host);
        if let Some(header) = directory.authorization() {
            request = request.header("authorization", header);
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer { status, headers, body: String::from_utf8(body.into()).expect("answers are UTF-8") })
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no answer in time".to_owned())?
    }
}

/// What a document of this number is filled up with, so that what is torn or mixed up shows: mostly little, now and then
/// some KiB.
fn padding(tag: u64) -> String {
    let chance = tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let length = match chance % 100 {
        0..90 => chance % 40,
        90..98 => 500 + chance % 1_000,
        _ => 4_000 + chance % 20_000,
    };
    let letter = char::from(b'a' + u8::try_from(tag % 26).unwrap());
    std::iter::repeat_n(letter, usize::try_from(length).unwrap()).collect()
}

/// The document that the write of this number saves.
pub fn body(id: &str, tag: u64) -> Value {
    json!({ "_id": id, "v": tag, "pad": padding(tag) })
}

/// What stands in a document, if that is what a write wrote.
pub fn document(id: &str, value: &Value) -> Result<Content, String> {
    let number = |field: &str| value[field].as_u64();
    let (Some(saved), Some(pad)) = (number("v"), value["pad"].as_str()) else {
        return Err(format!("nobody wrote {}", short(value)));
    };
    if value["_id"] != id {
        return Err(format!("{} in the place of {id}", short(value)));
    }
    if saved > 0 && pad != padding(saved) {
        return Err(format!("v{saved} is filled up with what nobody wrote: {}", short(value)));
    }
    Ok(Content { saved, patched: number("p").unwrap_or(0) })
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(120).collect()
}

/// The request of an operation on one document.
pub fn request(http: &Http, directory: &Directory, url: &str, db: &str, name: &Name, op: &Op) -> RequestBuilder {
    let (col, id) = (&name.collection, &name.id);
    let place = format!("db={db}&col={col}&id={id}&{LIMIT}");
    let doc = |method, more: &str| http.request(directory, method, &format!("{url}/api/doc?{place}{more}"));
    match *op {
        // Half of them the one way, half the other.
        Op::Save { tag } if tag % 2 == 0 => {
            let url = format!("{url}/api/doc?db={db}&col={col}&{LIMIT}");
            http.request(directory, Method::POST, &url).body(body(id, tag).to_string())
        }
        Op::Save { tag } => doc(Method::PUT, "").body(body(id, tag).to_string()),
        Op::Create { tag } => doc(Method::PUT, "").header("If-None-Match", "*").body(body(id, tag).to_string()),
        Op::Swap { tag, rev } => {
            doc(Method::PUT, "").header("If-Match", format!("\"{rev}\"")).body(body(id, tag).to_string())
        }
        Op::Patch { tag } => doc(Method::PATCH, "").body(json!({ "p": tag }).to_string()),
        Op::Delete => doc(Method::DELETE, ""),
        Op::Read { fresh, min_index } => doc(Method::GET, &format!("&{}", freshness(fresh, min_index))),
        Op::Version { .. } | Op::Restore { .. } => unreachable!("these need a version's name"),
    }
}

/// The parameters that say how new a read must be.
pub fn freshness(fresh: Fresh, min_index: Option<u64>) -> String {
    let fresh = match fresh {
        Fresh::Linearizable => "linearizable",
        Fresh::Lease => "lease",
        Fresh::Local => "local",
    };
    let min_index = min_index.map(|index| format!("&min_index={index}")).unwrap_or_default();
    format!("consistency={fresh}{min_index}")
}

/// What an answer says of the operation. The contract: `timeout` and `internal` promise nothing, every other error means
/// that nothing was done.
pub fn outcome(name: &Name, op: &Op, answer: &Answer) -> Outcome {
    let index = answer.header("x-jettra-index").and_then(|index| index.parse().ok());
    let Ok(value) = serde_json::from_str::<Value>(&answer.body) else {
        return Outcome::Unknown(format!("no JSON: {}", answer.shown()));
    };
    if answer.status == 200 {
        return if op.is_write() {
            written(op, &value, answer, index)
        } else {
            let rev = etag(answer);
            document(&name.id, &value).map_or_else(Outcome::Wrong, |content| Outcome::Seen {
                content: Some(content),
                rev,
                index,
            })
        };
    }
    let error = &value["error"];
    let code = ErrorCode::ALL.iter().find(|code| error["code"] == code.as_str());
    refusal(op, code.copied(), error["rev"].as_u64(), index, answer.shown())
}

fn written(op: &Op, value: &Value, answer: &Answer, index: Option<u64>) -> Outcome {
    // A delete tells no revision; its index is that of the write.
    let rev = if *op == Op::Delete { index } else { value["rev"].as_u64() };
    let Some(rev) = rev else { return Outcome::Wrong(format!("no revision: {}", answer.shown())) };
    if etag(answer).is_some_and(|etag| etag != rev) {
        return Outcome::Wrong(format!("rev {rev} and ETag {:?} in one answer", etag(answer)));
    }
    Outcome::Written { rev: Some(rev), index }
}

pub fn etag(answer: &Answer) -> Option<u64> {
    answer.header("etag")?.trim_matches('"').parse().ok()
}

/// What an error says of the operation.
pub fn refusal(op: &Op, code: Option<ErrorCode>, rev: Option<u64>, index: Option<u64>, shown: String) -> Outcome {
    match (code, op) {
        (Some(ErrorCode::NotFound), Op::Read { .. }) => Outcome::Seen { content: None, rev: None, index },
        (Some(ErrorCode::NotFound), Op::Patch { .. }) => Outcome::Missing,
        (Some(ErrorCode::NotFound), Op::Version { .. } | Op::Restore { .. }) => {
            Outcome::Refused("no version".to_owned())
        }
        (Some(ErrorCode::Conflict), Op::Create { .. } | Op::Swap { .. }) => match rev {
            Some(rev) => Outcome::Conflict { rev },
            None => Outcome::Wrong(format!("a conflict without the revision: {shown}")),
        },
        (Some(ErrorCode::NotFound | ErrorCode::Conflict | ErrorCode::BadRequest), _) => Outcome::Wrong(shown),
        (Some(ErrorCode::Timeout | ErrorCode::Internal | ErrorCode::Unknown) | None, _) if op.is_write() => {
            Outcome::Unknown(shown)
        }
        (Some(code), _) => Outcome::Refused(code.as_str().to_owned()),
        (None, _) => Outcome::Refused(shown),
    }
}
