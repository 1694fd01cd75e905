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
    Ok(Answer { status, headers, body: String::from_utf8(body.into()).expect("answers are UTF-8") })
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
