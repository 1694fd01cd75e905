//! One call, before it is sent.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use crate::error::{Error, Result};
use crate::options::{Condition, ReadOptions, WriteOptions};
use crate::retry::Safety;

/// What stands for itself in a URL (RFC 3986, 2.3); everything else is encoded, a blank as `%20`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call: what to send and how it may be repeated.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path from `/api`, encoded.
    pub(crate) path: String,
    /// The parameters, encoded, without `?`.
    pub(crate) query: String,
    pub(crate) body: Option<Bytes>,
    pub(crate) condition: Option<Condition>,
    pub(crate) safety: Safety,
    /// Whether to ask without saying who asks.
    pub(crate) anonymous: bool,
    /// The time for the call in all, where it is not the client's.
    pub(crate) deadline: Option<Duration>,
    /// The time for one attempt, where it is not the client's.
    pub(crate) attempt: Option<Duration>,
    /// Whether the answer is a stream without an end.
    pub(crate) streams: bool,
}

impl Request {
    fn new(method: Method, path: &str, safety: Safety) -> Request {
        Request {
            method,
            path: path.to_owned(),
            query: String::new(),
            body: None,
            condition: None,
            safety,
            anonymous: false,
            deadline: None,
            attempt: None,
            streams: false,
        }
    }

    /// A call that changes nothing.
    pub(crate) fn read(path: &str) -> Request {
        Request::new(Method::GET, path, Safety::Read)
    }

    /// A numbered write.
    pub(crate) fn write(method: Method, path: &str) -> Request {
        Request::new(method, path, Safety::Numbered)
    }

    /// A POST that is not numbered.
    pub(crate) fn post(path: &str, safety: Safety) -> Request {
        Request::new(Method::POST, path, safety)
    }

    /// A DELETE that is not numbered.
    pub(crate) fn delete(path: &str, safety: Safety) -> Request {
        Request::new(Method::DELETE, path, safety)
    }

    /// Wants the answer as it comes: the time limits are for its beginning.
    pub(crate) fn streaming(mut self) -> Request {
        self.streams = true;
        self
    }

    /// Leaves out who asks.
    pub(crate) fn anonymous(mut self) -> Request {
        self.anonymous = true;
        self
    }

    /// Adds a parameter.
    pub(crate) fn param(mut self, name: &str, value: impl AsRef<str>) -> Request {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(name);
        self.query.push('=');
        self.query.extend(utf8_percent_encode(value.as_ref(), ENCODED));
        self
    }

    /// Adds a parameter if there is a value.
    pub(crate) fn maybe<T: ToString>(self, name: &str, value: Option<T>) -> Request {
        match value {
            Some(value) => self.param(name, value.to_string()),
            None => self,
        }
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Request {
        self.bytes(value.to_string().into())
    }

    pub(crate) fn bytes(mut self, body: Bytes) -> Request {
        self.body = Some(body);
        self
    }

    /// Adds the parameters of a read.
    pub(crate) fn reading(mut self, options: &ReadOptions) -> Request {
        self.deadline = options.timeout;
        let consistency = Some(options.consistency).filter(|consistency| *consistency != Default::default());
        self.maybe("consistency", consistency.map(|consistency| consistency.as_str()))
            .maybe("min_index", options.min_index)
            .maybe("max_lag", options.max_lag)
    }

    /// Adds the conditions of a write.
    pub(crate) fn writing(mut self, options: &WriteOptions) -> Request {
        self.condition = options.condition;
        self.deadline = options.timeout;
        self
    }

    /// Gives the call as a whole this long, and one attempt nearly as long: for calls at which a
    /// node works longer than at a document.
    pub(crate) fn patient(mut self, time: Duration) -> Request {
        self.deadline = Some(time);
        self.attempt = Some(time);
        self
    }

    /// The call as messages name it. Parameters are left out: they may hold what is private.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A name as one segment of a path.
///
/// # Errors
/// [`Error::InvalidInput`] for names that would change the path.
pub(crate) fn segment(name: &str) -> Result<String> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(Error::invalid(format!("{name:?} is no name; use letters, digits, '_', '.' and '-'")));
    }
    Ok(utf8_percent_encode(name, ENCODED).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Consistency;

    #[test]
    fn parameters_are_encoded() {
        let request = Request::read("/api/doc").param("db", "shop").param("id", "a b&c=d/é+%");
        assert_eq!(request.query, "db=shop&id=a%20b%26c%3Dd%2F%C3%A9%2B%25");
    }

    #[test]
    fn only_what_differs_from_the_default_is_sent() {
        assert_eq!(Request::read("/api/doc").reading(&ReadOptions::new()).query, "");
        let local = ReadOptions::new().consistency(Consistency::Local).min_index(7).max_lag(3);
        assert_eq!(Request::read("/api/doc").reading(&local).query, "consistency=local&min_index=7&max_lag=3");
    }

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("a/b?c").unwrap(), "a%2Fb%3Fc");
        for name in ["", ".", ".."] {
            assert!(segment(name).is_err());
        }
    }
}
