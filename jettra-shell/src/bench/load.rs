//! The clients: each a loop of requests on a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, Url};
use tokio::sync::Barrier;

use super::Mode;
use super::histogram::Histogram;
use crate::failure::Failure;

/// After an error a client rests, so that a node that is down is not asked without end.
pub const REST: Duration = Duration::from_millis(50);
/// How long one request may take before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all clients share.
#[derive(Clone)]
pub struct Target {
    /// The nodes, as `http://host:port`.
    pub urls: Vec<Url>,
    pub database: String,
    pub collection: String,
    pub keys: u32,
    pub filling: Filling,
    pub authorization: Option<HeaderValue>,
}

/// What one kind of request came to.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub latencies: Histogram,
    pub errors: u64,
    /// The first error, as an example.
    pub example: Option<String>,
}

impl Tally {
    /// Adds what another client came to.
    pub fn merge(&mut self, other: Tally) {
        self.latencies.merge(&other.latencies);
        self.errors += other.errors;
        self.example = self.example.take().or(other.example);
    }

    /// Adds a request that has just ended; says whether it succeeded.
    pub fn add(&mut self, began: Instant, outcome: Result<(), String>) -> bool {
        let succeeded = outcome.is_ok();
        match outcome {
            Ok(()) => self.latencies.add(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Err(example) => {
                self.errors += 1;
                self.example.get_or_insert(example);
            }
        }
        succeeded
    }
}

/// Puts and gets of one measurement.
#[derive(Debug, Default)]
pub struct Tallies {
    pub puts: Tally,
    pub gets: Tally,
    /// How long the measurement took, seconds.
    pub seconds: f64,
}

/// What fills documents up to their size: letters and digits in no order, for each id others, since stores
/// compress.
#[derive(Clone, Default)]
pub struct Filling {
    pool: Arc<str>,
    bytes: usize,
}

impl Filling {
    /// Bytes from which each filling is a piece: far more than are compressed together.
    const POOL: usize = 1 << 20;

    /// Fillings of this many bytes.
    pub fn new(bytes: usize) -> Filling {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let letter = |n: u64| char::from(LETTERS[(scatter(n) % 64) as usize]);
        Filling { pool: (0..(Self::POOL + bytes) as u64).map(letter).collect::<String>().into(), bytes }
    }

    fn of(&self, id: &str) -> &str {
        let number = id.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()));
        let from = scatter(number) as usize % Self::POOL;
        self.pool.get(from..from + self.bytes).unwrap_or_default()
    }
}

/// Another number for each number, in no order (the end of splitmix64).
pub fn scatter(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Target {
    /// The URL of a call about the collection, on the node of this client.
    pub fn url(&self, client: usize, path: &str, id: Option<u32>) -> Url {
        let mut url = self.urls[client % self.urls.len()].clone();
        url.set_path(path);
        url.query_pairs_mut().append_pair("db", &self.database).append_pair("col", &self.collection);
        if let Some(id) = id {
            url.query_pairs_mut().append_pair("id", &key(id));
        }
        url
    }

    /// A document of about the wanted size.
    pub fn document(&self, id: u32) -> String {
        self.document_as(&key(id))
    }

    /// The same under any id.
    pub fn document_as(&self, id: &str) -> String {
        format!("{{\"_id\":\"{id}\",\"filling\":\"{}\"}}", self.filling.of(id))
    }

    fn put(&self, url: &Url, id: u32) -> Request {
        let mut request = self.request(Method::POST, url.clone());
        *request.body_mut() = Some(self.document(id).into());
        request
    }

    /// A request with what every request carries.
    pub fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// The id of document number `id`; they sort as their numbers.
pub fn key(id: u32) -> String {
    format!("k{id:07}")
}

/// A client that keeps its connections and takes no detours.
///
/// # Errors
/// If TLS cannot be set up on this machine.
pub fn http() -> Result<Client, Failure> {
    let builder = Client::builder().no_proxy().http1_only().tcp_nodelay(true).timeout(PATIENCE);
    let built = builder.redirect(reqwest::redirect::Policy::none()).build();
    built.map_err(|error| Failure::Said(format!("the HTTP client cannot be set up: {error:?}")))
}

/// Sends a request and waits for the whole answer, of which only the status matters.
///
/// # Errors
/// What went wrong, or the status and the beginning of the answer.
pub async fn send(http: &Client, request: Request) -> Result<(), String> {
    let answer = http.execute(request).await.map_err(|error| innermost(&error))?;
    let status = answer.status();
    // Read to the end, so that the connection can be used again.
    let body = answer.bytes().await.map_err(|error| innermost(&error))?;
    if status.is_success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(format!("status {}: {said}", status.as_u16()))
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Lets this many clients work for this long.
///
/// # Errors
/// If a client's task failed.
pub async fn measure(
    http: &Client,
    target: &Target,
    mode: Mode,
    clients: usize,
    duration: Duration,
) -> Result<Tallies, Failure> {
    let start = Arc::new(Barrier::new(clients + 1));
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let client = OneClient::new(http.clone(), target.clone(), mode, number, clients);
            tokio::spawn(client.work(Arc::clone(&start), duration))
        })
        .collect();
    start.wait().await;
    let began = Instant::now();
    let mut tallies = Tallies::default();
    for task in tasks {
        let one = task.await.map_err(|error| Failure::Said(format!("a client of the load failed: {error}")))?;
        tallies.puts.merge(one.puts);
        tallies.gets.merge(one.gets);
    }
    tallies.seconds = began.elapsed().as_secs_f64();
    Ok(tallies)
}

struct OneClient {
    http: Client,
    target: Target,
    mode: Mode,
    doc: Url,
    number: usize,
    /// The key of the next request.
    key: u32,
}

impl OneClient {
    fn new(http: Client, target: Target, mode: Mode, number: usize, clients: usize) -> OneClient {
        let doc = target.url(number, "/api/doc", None);
        // Clients begin apart, so that they rarely write the same document at once.
        let key = u32::try_from(number * target.keys as usize / clients).unwrap_or_default();
        OneClient { http, target, mode, doc, number, key }
    }

    async fn work(mut self, start: Arc<Barrier>, duration: Duration) -> Tallies {
        let mut tallies = Tallies::default();
        // One request that does not count makes the connection.
        let warm_up = self.next_get();
        send(&self.http, warm_up).await.unwrap_or_default();
        start.wait().await;
        let end = Instant::now() + duration;
        let mut writes = self.mode == Mode::Put;
        while Instant::now() < end {
            let (request, tally) =
                if writes { (self.next_put(), &mut tallies.puts) } else { (self.next_get(), &mut tallies.gets) };
            let began = Instant::now();
            let outcome = send(&self.http, request).await;
            if !tally.add(began, outcome) {
                tokio::time::sleep(REST).await;
            }
            writes ^= self.mode == Mode::Mixed;
        }
        tallies
    }

    fn next_put(&mut self) -> Request {
        let id = self.next_key();
        self.target.put(&self.doc, id)
    }

    fn next_get(&mut self) -> Request {
        let id = self.next_key();
        let url = self.target.url(self.number, "/api/doc", Some(id));
        self.target.request(Method::GET, url)
    }

    fn next_key(&mut self) -> u32 {
        let key = self.key;
        self.key = (key + 1) % self.target.keys;
        key
    }
}
