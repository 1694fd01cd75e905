//! The measurements in order: prepare, measure, tidy up, report.

use std::time::Duration;

use jettra_client::JettraClient;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

use super::load::{Filling, Tally, Target, http, measure, send};
use super::{BenchOptions, Mode, workload};
use crate::cli::DEFAULT_URL;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::shell::{credentials, full_url};

/// One line of the result.
struct Row {
    operation: &'static str,
    clients: u16,
    seconds: f64,
    tally: Tally,
}

impl Row {
    fn per_second(&self) -> f64 {
        self.tally.latencies.count() as f64 / self.seconds
    }

    /// A quantile in milliseconds.
    fn millis(&self, share: f64) -> f64 {
        f64::from(self.tally.latencies.quantile(share)) / 1000.0
    }

    fn longest(&self) -> f64 {
        f64::from(self.tally.latencies.longest()) / 1000.0
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.operation.to_owned(),
            self.clients.to_string(),
            format!("{:.0}", self.per_second()),
            format!("{:.2}", self.millis(0.5)),
            format!("{:.2}", self.millis(0.99)),
            format!("{:.2}", self.longest()),
            self.tally.errors.to_string(),
        ]
    }

    fn json(&self) -> Value {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "operation": self.operation,
            "clients": self.clients,
            "seconds": round(self.seconds),
            "operations": self.tally.latencies.count(),
            "opsPerSecond": round(self.per_second()),
            "p50Ms": round(self.millis(0.5)),
            "p99Ms": round(self.millis(0.99)),
            "maxMs": round(self.longest()),
            "errors": self.tally.errors,
            "firstError": self.tally.example,
        })
    }
}

/// Measures, and prints the result. Returns whether no request failed.
///
/// # Errors
/// If the cluster cannot be prepared.
pub async fn run(options: &BenchOptions) -> Result<bool, Failure> {
    let credentials = credentials(options.user.as_deref(), options.password.given()?)?;
    let client = client(&options.url, credentials.as_ref())?;
    let http = http()?;
    let target = target(options, authorization(&http, credentials.as_ref())?)?;
    if let Some(workload) = options.workload {
        let ran = workload::run(options, workload, &http, &target).await;
        if !options.keep {
            client.delete_collection(&target.database, &target.collection).await?;
        }
        let (report, failed) = ran?;
        report::print(&report, options.format)?;
        return Ok(failed == 0);
    }
    let documents = report::counted(options.keys.into(), "document");
    report::progress(&format!("preparing {documents} in {}.{}", target.database, target.collection));
    let measured = match prepare(&http, &target).await {
        Ok(()) => measure_all(options, &http, &target).await,
        Err(failure) => Err(failure),
    };
    // What was made is taken away again whatever came of it.
    let tidied = client.delete_collection(&target.database, &target.collection).await;
    let rows = measured?;
    report::print(&result(options, &rows), options.format)?;
    for row in rows.iter().filter(|row| row.tally.errors > 0) {
        let example = row.tally.example.as_deref().unwrap_or_default();
        report::hint(&format!("{} with {}: {example}", row.operation, report::counted(row.clients.into(), "client")));
    }
    tidied?;
    Ok(rows.iter().all(|row| row.tally.errors == 0))
}

async fn measure_all(options: &BenchOptions, http: &Client, target: &Target) -> Result<Vec<Row>, Failure> {
    let modes = options.mode.map_or_else(|| vec![Mode::Put, Mode::Get], |mode| vec![mode]);
    let mut rows = Vec::new();
    for mode in modes {
        for &clients in &options.clients {
            let what = match mode {
                Mode::Put => "puts",
                Mode::Get => "gets",
                Mode::Mixed => "puts and gets",
            };
            report::progress(&format!("{what}, {}, {} s", report::counted(clients.into(), "client"), options.seconds));
            let duration = Duration::from_secs(options.seconds);
            let tallies = measure(http, target, mode, clients.into(), duration).await?;
            let row = |operation, tally| Row { operation, clients, seconds: tallies.seconds, tally };
            if mode != Mode::Get {
                rows.push(row("put", tallies.puts));
            }
            if mode != Mode::Put {
                rows.push(row("get", tallies.gets));
            }
        }
    }
    Ok(rows)
}

fn result(options: &BenchOptions, rows: &[Row]) -> Report {
    Report::Table {
        header: &["Operation", "Clients", "ops/s", "p50 ms", "p99 ms", "max ms", "Errors"],
        rows: rows.iter().map(Row::cells).collect(),
        json: json!({
            "urls": options.url,
            "bytes": options.size,
            "keys": options.keys,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        }),
    }
}

/// A client for what is not measured.
fn client(urls: &[String], credentials: Option<&(String, String)>) -> Result<JettraClient, Failure> {
    let mut builder = JettraClient::builder().urls(urls.iter().map(|url| full_url(url)));
    if let Some((user, password)) = credentials {
        builder = builder.credentials(user, password);
    }
    Ok(builder.build()?)
}

/// The header for user and password. A token would be shorter, but may end before the load does.
fn authorization(http: &Client, credentials: Option<&(String, String)>) -> Result<Option<HeaderValue>, Failure> {
    let Some((user, password)) = credentials else { return Ok(None) };
    let example = http.get(DEFAULT_URL).basic_auth(user, Some(password)).build();
    let headers = example.map_err(|error| Failure::Said(format!("user and password fit no header: {error}")))?;
    Ok(headers.headers().get(AUTHORIZATION).cloned())
}

fn target(options: &BenchOptions, authorization: Option<HeaderValue>) -> Result<Target, Failure> {
    let parse = |url: &String| {
        Url::parse(&full_url(url)).map_err(|error| Failure::Said(format!("{url:?} is no URL of a node: {error}")))
    };
    let mut target = Target {
        urls: options.url.iter().map(parse).collect::<Result<_, _>>()?,
        database: options.db.clone(),
        collection: format!("load-{:08x}", uuid::Uuid::new_v4().as_fields().0),
        keys: options.keys,
        filling: Filling::default(),
        authorization,
    };
    let missing = (options.size as usize).saturating_sub(target.document(0).len());
    target.filling = Filling::new(missing);
    Ok(target)
}

/// Saves every document once, so that gets find them.
async fn prepare(http: &Client, target: &Target) -> Result<(), Failure> {
    let url = target.url(0, "/api/docs", None);
    let mut first = 0;
    while first < target.keys {
        let last = target.keys.min(first + chunk(target));
        let lines: Vec<String> = (first..last).map(|id| target.document(id)).collect();
        let mut request = target.request(Method::POST, url.clone());
        *request.body_mut() = Some(lines.join("\n").into());
        let sent = send(http, request).await;
        sent.map_err(|said| Failure::Said(format!("the documents cannot be saved: {said}")))?;
        first = last;
    }
    Ok(())
}

/// How many documents to save in one request: about 1 MiB of them.
fn chunk(target: &Target) -> u32 {
    u32::try_from((1 << 20) / target.document(0).len()).unwrap_or(u32::MAX).clamp(1, 1000)
}
