//! A request, parsed once at the edge.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::App;
use crate::auth::{Origin, Principal};
use crate::cluster::{Call, Consistency};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::names::shown;
use crate::state::{CollectionName, Condition, DatabaseName, DocumentId, RequestKey};

/// What a handler gets.
pub struct Request {
    /// GET, POST, …
    pub method: Method,
    /// The path, decoded.
    pub path: String,
    /// The query's parameters.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub principal: Principal,
    /// From where.
    pub origin: Origin,
    /// Until when, and whether other nodes may be asked.
    pub call: Call,
}

/// A query's parameters, decoded.
#[derive(Debug, Default)]
pub struct Query {
    values: HashMap<String, String>,
}

impl Query {
    /// Parses `a=1&b=2`; `+` and `%20` are blanks.
    ///
    /// # Errors
    /// `bad_request` for a parameter given twice or one that is not UTF-8.
    pub fn parse(text: &str) -> Result<Self> {
        let mut values = HashMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).ok_or_else(|| not_utf8("the name of a parameter"))?;
            let value = decoded(value).ok_or_else(|| not_utf8(&name))?;
            if values.insert(name.clone(), value).is_some() {
                return Err(Error::bad_request(format!("{} is given twice: give it once", shown(&name))));
            }
        }
        Ok(Query { values })
    }

    /// The parameters' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// `bad_request`, naming it.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| Error::bad_request(format!("the parameter {name} is missing")))
    }

    /// A parameter of some other type than text.
    ///
    /// # Errors
    /// `bad_request`, naming it, its value and what was expected.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| Error::bad_request(format!("{name}: {} is not {expected}", shown(text))))
            })
            .transpose()
    }

    /// `db`.
    ///
    /// # Errors
    /// `bad_request` or `invalid_name`.
    pub fn database(&self) -> Result<DatabaseName> {
        DatabaseName::parse(self.required("db")?)
    }

    /// `col`.
    ///
    /// # Errors
    /// `bad_request` or `invalid_name`.
    pub fn collection(&self) -> Result<CollectionName> {
        CollectionName::parse(self.required("col")?)
    }

    /// `id`.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn id(&self) -> Result<DocumentId> {
        DocumentId::parse(self.required("id")?)
    }
}

impl Request {
    /// The body as JSON of a known shape, whatever its Content-Type.
    ///
    /// # Errors
    /// `bad_request`, with what is wrong and where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if self.body.is_empty() {
            return Err(Error::bad_request("the body is missing: send a JSON object"));
        }
        serde_json::from_slice(&self.body).map_err(|e| Error::bad_request(format!("the body: {e}")))
    }

    /// The precondition of `If-Match` or `If-None-Match`.
    ///
    /// # Errors
    /// `bad_request` for other values than `"<rev>"` and `*`.
    pub fn precondition(&self) -> Result<Option<Condition>> {
        if self.headers.contains_key("if-match") && self.headers.contains_key("if-none-match") {
            return Err(Error::bad_request("send If-Match or If-None-Match, not both"));
        }
        if let Some(text) = self.header("if-match")? {
            let rev = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse();
            let rev = rev.map_err(|_| {
                Error::bad_request(format!("If-Match: {} is no revision: send the ETag as it was given", shown(text)))
            })?;
            return Ok(Some(Condition::Rev(rev)));
        }
        match self.header("if-none-match")? {
            None => Ok(None),
            Some("*") => Ok(Some(Condition::Absent)),
            Some(other) => {
                Err(Error::bad_request(format!("If-None-Match: {} is not *, the only value for a write", shown(other))))
            }
        }
    }

    /// What tells this write from a repeat of it: `Idempotency-Key` or `Jettra-Session`.
    ///
    /// # Errors
    /// `bad_request` for a malformed header or both.
    pub fn key(&self) -> Result<Option<RequestKey>> {
        let (key, session) = (self.header("idempotency-key")?, self.header("jettra-session")?);
        let principal = self.principal.name.clone();
        match (key, session) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Error::bad_request("send Idempotency-Key or Jettra-Session, not both")),
            (Some(key), None) if (1..=128).contains(&key.chars().count()) => {
                Ok(Some(RequestKey::Key { principal, key: key.to_owned(), hash: self.hash() }))
            }
            (Some(_), None) => Err(Error::bad_request("Idempotency-Key: it has 1 to 128 characters")),
            (None, Some(text)) => {
                let wrong = || {
                    Error::bad_request(format!(
                        "Jettra-Session: {} is not <id>;<sequence>;<acknowledged-up-to>",
                        shown(text)
                    ))
                };
                let mut parts = text.split(';').map(str::trim);
                let (Some(id), Some(n), Some(acked), None) = (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    return Err(wrong());
                };
                if !(1..=128).contains(&id.len()) {
                    return Err(wrong());
                }
                Ok(Some(RequestKey::Session {
                    principal,
                    session: id.to_owned(),
                    sequence: n.parse().map_err(|_| wrong())?,
                    acked: acked.parse().map_err(|_| wrong())?,
                }))
            }
        }
    }

    /// What makes this request this request: method, path, parameters and body.
    fn hash(&self) -> String {
        let mut parameters: Vec<_> =
            self.query.values.iter().filter(|(k, _)| *k != "timeout" && *k != "forward").collect();
        parameters.sort();
        let mut hasher = Sha256::new();
        for part in [self.method.as_str(), &self.path, &format!("{parameters:?}")] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        for name in ["if-match", "if-none-match"] {
            hasher.update(self.headers.get(name).map_or(b"-".as_slice(), |v| v.as_bytes()));
            hasher.update([0]);
        }
        hasher.update(&self.body);
        crate::random::to_hex(&hasher.finalize()[..16])
    }

    /// A header's value.
    ///
    /// # Errors
    /// `bad_request` where it is not text, or given twice.
    pub fn header(&self, name: &str) -> Result<Option<&str>> {
        if self.headers.get_all(name).iter().nth(1).is_some() {
            return Err(Error::bad_request(format!("{name}: the header is given twice: give it once")));
        }
        let value = self.headers.get(name).map(|v| v.to_str());
        value.transpose().map_err(|_| Error::bad_request(format!("{name}: the header is not readable text")))
    }

    /// Waits until this node may answer a read as `consistency`, `min_index` and `max_lag` ask; returns the
    /// index that the answer reflects at least.
    ///
    /// # Errors
    /// `bad_request`, `no_leader`, `unavailable` (too far behind), `timeout` (`min_index` not reached).
    pub async fn ready_to_read(&self, app: &App) -> Result<u64> {
        let min_index = self.query.parsed("min_index", "a log index")?;
        app.cluster.ready_to_read(&self.call, self.consistency()?, min_index).await
    }

    /// How new the answer must be: `consistency` and `max_lag`.
    fn consistency(&self) -> Result<Consistency> {
        let max_lag = self.query.parsed("max_lag", "a number of entries")?;
        Ok(match self.query.get("consistency").unwrap_or("linearizable") {
            "linearizable" => Consistency::Linearizable,
            "lease" => Consistency::Lease,
            "local" => Consistency::Local { max_lag },
            other => {
                let shown = shown(other);
                return Err(Error::bad_request(format!("consistency: {shown} is none of linearizable, lease, local")));
            }
        })
    }
}

/// Until when a request runs and whether it may be forwarded, from its parameters and headers.
///
/// # Errors
/// `bad_request` for a malformed time limit.
pub fn call(query: &Query, headers: &HeaderMap, principal: &Principal, id: &str, default: Duration) -> Result<Call> {
    let limit = match query.get("timeout") {
        None => default,
        Some(text) => seconds(text).ok_or_else(|| {
            Error::bad_request(format!("timeout: {} is no duration such as 500ms, 2s or 10 (seconds)", shown(text)))
        })?,
    };
    let never = headers.get("x-jettra-forward").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"never"));
    let forward = !never && query.parsed("forward", "true or false")?.unwrap_or(true);
    let deadline = Instant::now() + limit.min(limits::TIMEOUT);
    Ok(Call { principal: principal.name.clone(), by: principal.by(), deadline, forward, id: id.to_owned() })
}

/// Percent-encoded UTF-8, with `+` for blanks.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn not_utf8(what: &str) -> Error {
    Error::bad_request(format!("{what} is not UTF-8: percent-encode UTF-8 bytes"))
}

fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = match text {
        _ if text.ends_with("ms") => (text.strip_suffix("ms")?, 0.001),
        _ if text.ends_with('s') => (text.strip_suffix('s')?, 1.0),
        _ => (text, 1.0),
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_given_once() {
        let query = Query::parse("db=a%20b&col=x+y&id=%C3%A9&empty=").unwrap();
        assert_eq!((query.get("db"), query.get("col"), query.get("id")), (Some("a b"), Some("x y"), Some("é")));
        assert_eq!((query.get("empty"), query.get("none")), (Some(""), None));
        assert!(Query::parse("a=1&a=2").is_err());
        assert!(Query::parse("a=%FF").is_err());
        assert!(Query::parse("%FF=a").is_err());
        // The replacement character is a character like others, however it is written.
        for text in ["a=%ef%bf%bd", "a=%EF%BF%BD", "a=\u{fffd}", "a=%ef%BF%bd&b=%ef%bf%bd"] {
            assert_eq!(Query::parse(text).unwrap().get("a"), Some("\u{fffd}"), "{text}");
        }
        assert!(Query::parse("a=%EF%BF%BD&b=%FF").is_err(), "one value does not excuse another");
    }

    #[test]
    fn time_limits_have_units() {
        assert_eq!(seconds("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(seconds("2s"), Some(Duration::from_secs(2)));
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!((seconds("-1"), seconds("soon"), seconds("1e300")), (None, None, None));
    }
}
