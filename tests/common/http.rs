use std::time::Duration;

use jettra_client::wire::ErrorCode;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A client without proxy, redirects and credentials, as curl would be.
#[derive(Clone)]
pub struct Http(reqwest::Client);

impl Http {
    /// A client whose requests end after `limit`.
    pub fn new(limit: Duration) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(limit);
        Http(client.build().unwrap())
    }

    /// A request to complete with headers and a body.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.request(method, url)
    }
}

/// Sends a request; the error says why there is no answer.
pub async fn send(request: RequestBuilder) -> Result<Answer, String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.map_err(|error| format!("{error:?}"))?;
    let answer = Answer { status, headers, body: String::from_utf8(body.into()).expect("answers are UTF-8") };
    answer.is_for_people();
    Ok(answer)
}

/// `text` without what stands in quotes, which is somebody's own or a command.
fn unquoted(text: &str) -> String {
    let (mut out, mut quote, mut before) = (String::new(), None, ' ');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            // The apostrophe of "this node's" ends nothing.
            Some(q) if c == q && !chars.peek().is_some_and(|next| next.is_alphanumeric()) => quote = None,
            Some(_) => {}
            None if c == '"' || (c == '\'' && !before.is_alphanumeric()) => quote = Some(c),
            None => out.push(c),
        }
        before = c;
    }
    out
}

/// What a node answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body of a success as JSON.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.success().unwrap_or_else(|seen| panic!("not a success: {seen}"))
    }

    /// The body of a success as JSON, or what was answered instead.
    pub fn success(&self) -> Result<Value, String> {
        match self.status {
            200 => serde_json::from_str(&self.body).map_err(|error| format!("{error}: {}", self.shown())),
            _ => Err(self.shown()),
        }
    }

    /// The error of this answer, after checking that it is one as the contract has them.
    #[track_caller]
    pub fn error(&self, code: &str) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.shown()));
        let error = body["error"].clone();
        assert_eq!(error["code"], code, "{}", self.shown());
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.shown());
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"), "{}", self.shown());
        let known = ErrorCode::ALL.iter().find(|known| known.as_str() == code).expect("a code of the contract");
        if *known == ErrorCode::Unsupported {
            assert!(matches!(self.status, 404 | 405), "{}", self.shown());
        } else {
            assert_eq!(self.status, known.status(), "{}", self.shown());
        }
        error
    }

    /// Fails where an error's message has what only its programmers can read, or says a thing twice.
    #[track_caller]
    pub fn is_for_people(&self) {
        let Ok(body) = serde_json::from_str::<Value>(&self.body) else { return };
        let Some(message) = body["error"]["message"].as_str() else { return };
        let plain = unquoted(message).replace("[::", "[");
        for sign in ["{", "Some(", "None)", "Err(", "Ok(", "::"] {
            assert!(!plain.contains(sign), "{sign} is in the message of {}", self.shown());
        }
        for advice in [": try again", "may or may not have", "no leader within"] {
            assert!(plain.matches(advice).count() <= 1, "said twice: {}", self.shown());
        }
    }

    /// The code of an error.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.shown()));
        body["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {}", self.shown())).to_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are ASCII").to_owned())
    }

    /// A header's value as a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name}: {}", self.shown()));
        value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
    }

    /// Status and body, cut where they are too long to read.
    pub fn shown(&self) -> String {
        format!("{} {}", self.status, self.body.chars().take(600).collect::<String>())
    }
}
