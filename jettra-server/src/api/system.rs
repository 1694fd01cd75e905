//! Probes, metrics, configuration.

use std::sync::{Arc, LazyLock};

use serde_json::value::RawValue;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, openapi, route};
use crate::auth::{Basis, Role};
use crate::error::{Error, Result};
use crate::raft::ServerState;
use bytes::Bytes;

/// The probe that says nothing but that the process serves.
pub(super) const LIVEZ: &str = "/livez";

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/livez", Access::Public, Page, [], "200 while the process serves", livez),
    route!(GET "/readyz", Access::Public, Page, [], "200 when the node can serve requests, else 503; a line a check", readyz),
    route!(GET "/metrics", Access::Machine, Plain, [], "Prometheus text", prometheus),
    route!(GET "/api/metrics", Access::Machine, Plain, [], "the machine that the node runs on", machine),
    route!(GET "/api/config", Access::Role(Role::Admin), Plain, [], "the effective configuration, secrets masked", config),
    route!(GET "/api/openapi.json", Access::Public, Plain, [], "this API as an OpenAPI document", document),
];

async fn livez(_: &Arc<App>, _: Request) -> Result<Answer> {
    Ok(Answer::raw("text/plain; charset=utf-8", "ok\n".into()))
}

async fn readyz(app: &Arc<App>, request: Request) -> Result<Answer> {
    let mut lines = Vec::new();
    let mut ready = true;
    // Strangers are told which check fails, and nothing of ids and addresses.
    let known = app.auth.principal(request.header("authorization")?, &request.origin, Basis::ThisNode).await.is_ok();
    let mut check = |name: &str, result: std::result::Result<String, String>| {
        let (mark, said) = match result {
            Ok(good) => ('+', good),
            Err(bad) => ('-', bad),
        };
        ready &= mark == '+';
        lines.push(if known { format!("[{mark}] {name}: {said}") } else { format!("[{mark}] {name}") });
    };
    match app.cluster.consensus() {
        Err(e) => check("member", Err(e.message().to_owned())),
        Ok(consensus) => {
            let picture = consensus.picture();
            let member = picture.member(consensus.id()).is_some();
            let voters = picture.voters().len();
            check(
                "member",
                match (member, picture.state) {
                    (false, _) if voters > 0 => Err("this node was removed from the cluster".to_owned()),
                    (_, ServerState::Shutdown) => Err("raft has stopped".to_owned()),
                    _ => Ok(format!("raft id {} of cluster {}", consensus.id(), consensus.cluster())),
                },
            );
            if app.auth.is_being_set() {
                check("administrator", Err("the configured password is not in force yet".to_owned()));
            }
            check(
                "disk",
                if app.cluster.is_disk_full() {
                    Err("nearly full: writes are refused".to_owned())
                } else {
                    Ok("has room".to_owned())
                },
            );
            check("raft", picture.halted.as_ref().map_or(Ok("running".to_owned()), |fault| Err(fault.to_string())));
            check(
                "leader",
                match picture.believed.and_then(|id| picture.member(id)) {
                    Some(leader) => Ok(format!("{} at {}", leader.name, leader.url)),
                    None => Err(app.cluster.why_no_leader(&consensus).unwrap_or_else(|| "none is known".to_owned())),
                },
            );
            let behind = picture.committed.saturating_sub(consensus.applied_index());
            let applied = format!("index {} applied, {behind} behind", consensus.applied_index());
            check("state", if behind <= 10_000 { Ok(applied) } else { Err(applied) });
        }
    }
    let text = lines.join("\n") + "\n";
    if ready {
        return Ok(Answer::raw("text/plain; charset=utf-8", text.into()));
    }
    Err(Error::unavailable(text.trim_end().to_owned()))
}

/// Memory and disk, measured when asked.
async fn sizes(app: &App) {
    if let Some(bytes) = crate::machine::resident_bytes() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    let dir = app.config.data_dir.clone();
    let measure = move || ["state", "log"].map(|part| (part, crate::files::disk_bytes(&dir.join(part))));
    for (part, bytes) in tokio::task::spawn_blocking(measure).await.into_iter().flatten() {
        // A node that waits to be registered has neither yet.
        metrics::gauge!("jettra_data_bytes", "part" => part).set(bytes.unwrap_or(0) as f64);
    }
}

async fn prometheus(app: &Arc<App>, _: Request) -> Result<Answer> {
    sizes(app).await;
    if let Some(consensus) = app.cluster.running() {
        let picture = consensus.picture();
        let number = |n: u64| n as f64;
        metrics::gauge!("jettra_raft_term").set(number(picture.term));
        let (part, _) = consensus.standing();
        for (state, name) in [
            (ServerState::Leader, "leader"),
            (ServerState::Follower, "follower"),
            (ServerState::Candidate, "candidate"),
            (ServerState::Learner, "learner"),
        ] {
            metrics::gauge!("jettra_raft_state", "state" => name).set(f64::from(u8::from(part == state)));
        }
        metrics::gauge!("jettra_raft_last_index").set(number(picture.last));
        metrics::gauge!("jettra_raft_committed_index").set(number(picture.committed));
        metrics::gauge!("jettra_raft_applied_index").set(number(consensus.applied_index()));
        metrics::gauge!("jettra_raft_durable_index").set(number(picture.snapshot));
        metrics::gauge!("jettra_log_first_index").set(number(consensus.log().bounds().0));
        metrics::gauge!("jettra_log_disk_bytes").set(number(consensus.log().disk_bytes()));
        for (id, matched) in picture.matched.iter().filter_map(|(id, at)| Some((id, (*at)?))) {
            let peer = picture.member(*id).map_or_else(|| id.to_string(), |m| m.name.clone());
            metrics::gauge!("jettra_raft_lag_entries", "peer" => peer)
                .set(number(picture.last.saturating_sub(matched)));
        }
    }
    Ok(Answer::raw("text/plain; version=0.0.4; charset=utf-8", app.prometheus.render().into()))
}

async fn machine(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.machine().await)
}

async fn config(app: &Arc<App>, _: Request) -> Result<Answer> {
    let text = RawValue::from_string(app.config.masked_json()).map_err(|e| Error::internal(e.to_string()))?;
    Answer::json(&text)
}

async fn document(_: &Arc<App>, _: Request) -> Result<Answer> {
    // Written once: whoever takes it slowly holds no copy.
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
    Ok(Answer::raw_json(DOCUMENT.clone()))
}
