//! `--workload`: one long stream of bulk writes, and what it does to the nodes meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Request};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::load::{REST, Tally, Target, key, scatter, send};
use super::sizes::{Size, sizes};
use super::{BenchOptions, Workload};
use crate::failure::Failure;
use crate::report::{self, Report};

/// A request that failed so often ends the run.
const ATTEMPTS: usize = 200;

/// One row: what happened since the row before it.
struct Row {
    /// Since the beginning.
    seconds: f64,
    /// Documents written since the beginning.
    documents: u64,
    per_second: f64,
    tally: Tally,
    nodes: Vec<Size>,
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let nodes: Vec<String> = self.nodes.iter().map(Size::shown).collect();
        vec![
            format!("{:.0}", self.seconds),
            self.documents.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.0}", f64::from(self.tally.latencies.quantile(0.99)) / 1000.0),
            self.tally.errors.to_string(),
            nodes.join("  ·  "),
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "seconds": self.seconds,
            "documents": self.documents,
            "documentsPerSecond": self.per_second,
            "p99Ms": f64::from(self.tally.latencies.quantile(0.99)) / 1000.0,
            "errors": self.tally.errors,
            "nodes": self.nodes.iter().map(Size::json).collect::<Vec<_>>(),
        })
    }
}

/// What all clients share.
struct Stream {
    http: Client,
    target: Target,
    workload: Workload,
    scattered: bool,
    keys: u64,
    documents: u64,
    batch: u64,
    /// Number of the next document.
    next: AtomicU64,
    done: AtomicU64,
    /// Requests since the last row.
    tally: Mutex<Tally>,
}

/// Writes the documents, and gives a table of how it went and how many requests failed.
///
/// # Errors
/// If a request fails again and again.
pub async fn run(
    options: &BenchOptions,
    workload: Workload,
    http: &Client,
    target: &Target,
) -> Result<(Report, u64), Failure> {
    let stream = Arc::new(Stream {
        http: http.clone(),
        target: target.clone(),
        workload,
        scattered: options.scattered,
        keys: options.keys.into(),
        documents: options.documents,
        batch: options.batch,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        tally: Mutex::default(),
    });
    let clients = usize::from(options.clients.first().copied().unwrap_or(1));
    let header = "s, documents, documents/s, p99 ms, errors, each node's MiB: memory / documents + log on disk";
    report::progress(&format!("{}; {header}", report::counted(clients as u64, "client")));
    let began = Instant::now();
    let writers: Vec<_> = (0..clients).map(|number| tokio::spawn(Arc::clone(&stream).write(number))).collect();
    let writing = async {
        for writer in writers {
            writer.await.map_err(|error| Failure::Said(format!("a client of the load failed: {error}")))??;
        }
        Ok::<_, Failure>(())
    };
    tokio::pin!(writing);
    let mut rows: Vec<Row> = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(options.every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    let mut written = None;
    while written.is_none() {
        tokio::select! {
            end = &mut writing => written = Some(end),
            _ = tick.tick() => {}
        }
        let row = stream.row(began, rows.last()).await;
        report::progress(&row.cells().join("  "));
        rows.push(row);
    }
    let outcome = report_of(options, &rows);
    match written {
        Some(Err(failure)) => Err(failure),
        _ => Ok((outcome, rows.iter().map(|row| row.tally.errors).sum())),
    }
}

fn report_of(options: &BenchOptions, rows: &[Row]) -> Report {
    let overall = rows.last().map_or(0.0, |row| row.documents as f64 / row.seconds.max(0.001));
    let mut cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    if let Some(last) = rows.last() {
        let mut all = last.cells();
        all[0] = format!("all {}", all[0]);
        all[2] = format!("{overall:.0}");
        all[3] = String::new();
        cells.push(all);
    }
    Report::Table {
        header: &["s", "Documents", "docs/s", "p99 ms", "Errors", "each node's MiB: memory / documents + log"],
        rows: cells,
        json: json!({
            "urls": options.url,
            "bytes": options.size,
            "batch": options.batch,
            "documentsPerSecond": overall,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        }),
    }
}

impl Stream {
    async fn row(&self, began: Instant, before: Option<&Row>) -> Row {
        let (seconds, documents) = (began.elapsed().as_secs_f64(), self.done.load(Ordering::Relaxed));
        let (seconds_then, documents_then) = before.map_or((0.0, 0), |row| (row.seconds, row.documents));
        let per_second = (documents - documents_then) as f64 / (seconds - seconds_then).max(0.001);
        let tally = std::mem::take(&mut *self.tally());
        Row { seconds, documents, per_second, tally, nodes: sizes(&self.http, &self.target).await }
    }

    async fn write(self: Arc<Self>, number: usize) -> Result<(), Failure> {
        loop {
            let first = self.next.fetch_add(self.batch, Ordering::Relaxed);
            if first >= self.documents {
                return Ok(());
            }
            let last = self.documents.min(first + self.batch);
            let lines: Vec<String> = (first..last).map(|n| self.document(n)).collect();
            self.send(number, lines.join("\n")).await?;
            self.done.fetch_add(last - first, Ordering::Relaxed);
        }
    }

    /// Sends a request until it succeeds.
    async fn send(&self, number: usize, body: String) -> Result<(), Failure> {
        let mut said = String::new();
        for attempt in 0..ATTEMPTS {
            let began = Instant::now();
            let url = self.target.url(number + attempt, "/api/docs", None);
            let mut request: Request = self.target.request(Method::POST, url);
            *request.body_mut() = Some(body.clone().into());
            let outcome = send(&self.http, request).await;
            if let Err(error) = &outcome {
                said.clone_from(error);
            }
            if self.tally().add(began, outcome) {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
        }
        Err(Failure::Said(format!("the documents cannot be saved: {said}")))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn document(&self, n: u64) -> String {
        match self.workload {
            Workload::Overwrite => self.target.document_as(&key((n % self.keys) as u32)),
            Workload::Load if self.scattered => self.target.document_as(&format!("{:016x}", scatter(n))),
            Workload::Load => self.target.document_as(&format!("{n:016}")),
        }
    }
}
