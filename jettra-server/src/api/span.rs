//! What a request is called in the log, on every node that it reaches.
//!
//! Each request has an id: the client's own `X-Request-Id`, or a fresh one. The answer carries it, work that is forwarded
//! takes it along, and every line that is logged on the way stands in a span with it. So one search for an id shows the
//! request on all nodes.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;
use axum::http::request::Parts;
use tracing::Span;
use tracing::field::Empty;

use super::connection::ends;
use super::{Kind, Route};
use crate::auth::Principal;

/// Where a request and its answer carry the id.
pub(super) const HEADER: &str = "x-request-id";
/// Bytes in the longest id that is taken from a client.
const LONGEST: usize = 64;

/// The request's id: the client's, where it can stand in a log line as it is.
pub(super) fn id(headers: &HeaderMap) -> String {
    static PROCESS: LazyLock<String> = LazyLock::new(crate::random::hex::<4>);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
    match given.filter(|id| is_plain(id)) {
        Some(id) => id.to_owned(),
        None => format!("{}-{:x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(plain)
}

/// The span of a request. Reads are many and log little: theirs is there where the log is for debugging.
pub(super) fn of(route: &Route, id: &str, parts: &Parts) -> Span {
    let from = || ends(parts).map(|ends| ends.peer.to_string()).unwrap_or_default();
    let (method, path) = (route.method.as_str(), route.path);
    match route.kind {
        Kind::Page | Kind::Plain | Kind::Read => {
            tracing::debug_span!("request", id, method, path, from = from(), user = Empty)
        }
        Kind::Write | Kind::WriteOne | Kind::Membership => {
            tracing::info_span!("request", id, method, path, from = from(), user = Empty)
        }
    }
}

/// Notes in the request's span who asks.
pub(super) fn note_user(principal: &Principal) {
    Span::current().record("user", principal.name.as_str());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_taken_where_it_can_stand_in_a_log_line() {
        let with = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, given.parse().unwrap());
            id(&headers)
        };
        assert_eq!(with("order-7.a:b_C"), "order-7.a:b_C");
        for odd in ["", "a b", "a=b", &"x".repeat(65)] {
            assert_ne!(with(odd), odd);
        }
        assert_ne!(id(&HeaderMap::new()), id(&HeaderMap::new()));
    }
}
