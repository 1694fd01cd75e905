//! A node: opens its storage, joins or begins a cluster, serves, stops.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::Semaphore;

use crate::api::{App, Listener, Room, Watches, server};
use crate::auth::{Auth, host_of};
use crate::cluster::identity::{self, Identity, Membership};
use crate::cluster::{Call, Cluster, Options, Stop};
use crate::config::Config;
use crate::descriptors;
use crate::limits;
use crate::machine::Machine;
use crate::peers::{Secret, Secrets};
use crate::raft::Settings;
use crate::remedy::{Fault, Kind};
use crate::state::{Command, Op};

/// Why a node did not start, or could not go on. Displays as one line with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Port, data directory or format do not allow a start.
    #[error("{0}")]
    Start(String),
    /// The node was running and had to halt.
    #[error("{0}")]
    Halted(String),
}

impl StartError {
    /// The program's exit code: 2 before the node served, 1 after.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Start(_) => 2,
            StartError::Halted(_) => 1,
        }
    }
}

/// Runs a node until `shutdown`, or until it is stopped through the cluster.
///
/// # Errors
/// See [`StartError`].
pub async fn run(mut config: Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    fit_connections(&mut config).map_err(StartError::Start)?;
    let prepared = prepare(&config).await.map_err(StartError::Start)?;
    let Prepared { cluster, prometheus, listener, _lock } = prepared;
    let auth = Auth::new(cluster.clone(), config.admin_password.as_ref().map(|p| p.expose().to_owned()));
    let url = url::Url::parse(cluster.url()).ok();
    let mut hosts: Vec<String> = config.allowed_hosts.iter().map(|h| host_of(h).to_ascii_lowercase()).collect();
    hosts.extend(url.and_then(|u| u.host_str().map(str::to_ascii_lowercase)));
    let app = Arc::new(App {
        cluster: cluster.clone(),
        auth: auth.clone(),
        strangers_bodies: Arc::new(Semaphore::new(limits::STRANGERS_KIB)),
        bodies: Arc::new(Semaphore::new((config.max_in_flight_bytes / 1024).min(Semaphore::MAX_PERMITS))),
        room: Room::new(config.max_answer_bytes),
        prometheus,
        hosts,
        config: config.clone(),
        scans: Arc::new(Semaphore::new(limits::SCANS)),
        live: Arc::default(),
        watches: Watches::new(config.max_connections),
    });
    cluster.keep("what looks at the cluster for the page", app.live.clone().run(cluster.clone()));
    cluster.keep("the upkeep of metrics", tidy_metrics(app.prometheus.clone()));
    let (stop_serving, served) = tokio::sync::oneshot::channel::<()>();
    let (ended, server) = tokio::sync::oneshot::channel::<()>();
    let serving = server::serve(
        app,
        listener,
        async {
            served.await.ok();
        },
        limits::REQUESTS_FINISH,
    );
    cluster.keep("what accepts connections", async {
        serving.await;
        // Nobody waits where the node could not start.
        ended.send(()).ok();
    });

    let mut shutdown = std::pin::pin!(shutdown);
    let (began, was_stopped) = {
        let mut began = std::pin::pin!(begin(&cluster, &config));
        tokio::select! {
            began = &mut began => (began, false),
            () = &mut shutdown => {
                // It may wait for others, and ends now.
                cluster.ask_to_stop();
                (began.await, true)
            }
        }
    };
    cluster.set_started();
    let outcome = match began {
        _ if was_stopped => Ok(()),
        Err(why) => Err(StartError::Start(why)),
        Ok(()) => {
            cluster.keep("what sets the configured password", auth.set_configured_password());
            let mut stopped = cluster.stopped();
            let stopped = async { stopped.wait_for(|s| *s != Stop::Running).await.map(|s| s.clone()) };
            tokio::select! {
                () = &mut shutdown => Ok(()),
                stop = stopped => match stop {
                    Ok(Stop::Failed(why)) => Err(StartError::Halted(why)),
                    _ => Ok(()),
                },
            }
        }
    };
    cluster.ask_to_stop();
    tracing::info!("stopping");
    let stop = async {
        // Leadership first, so that the requests under way can be finished by the new leader.
        cluster.hand_over_before_stop().await;
        stop_serving.send(()).ok();
        if let Err(e) = server.await {
            tracing::warn!(error = %e, "not every request was finished: what accepts connections is gone");
        }
        cluster.close().await;
    };
    if tokio::time::timeout(limits::STOP, stop).await.is_err() {
        tracing::warn!(limit = ?limits::STOP, "not everything ended in time; what was acknowledged is on disk");
    }
    outcome
}

/// Lowers `MaxConnections` to what the limit of open files leaves beside the node's own files.
fn fit_connections(config: &mut Config) -> Result<(), String> {
    let limit = descriptors::limit();
    let most = descriptors::fit(config.max_connections, limit)?;
    if most < config.max_connections {
        tracing::warn!(
            limit,
            wanted = config.max_connections,
            connections = most,
            "MaxConnections is lowered: more do not fit below the limit of open files (ulimit -Hn, LimitNOFILE=)"
        );
    }
    config.max_connections = most;
    config.max_connections_per_address = config.max_connections_per_address.min(most);
    Ok(())
}

struct Prepared {
    cluster: Arc<Cluster>,
    prometheus: PrometheusHandle,
    listener: Listener,
    /// Held as long as the node runs: no other process uses its data directory.
    _lock: File,
}

async fn prepare(config: &Config) -> Result<Prepared, String> {
    let dir = config.data_dir.clone();
    let lock = tokio::task::spawn_blocking(move || lock(&dir)).await.map_err(|e| e.to_string())??;
    if let Some(why) = crate::recover::unfinished(&config.data_dir) {
        return Err(why);
    }
    if !identity::path(&config.data_dir).exists() && config.data_dir.join("log").is_dir() {
        return Err(format!(
            "{} is missing and there is a log: whose it is cannot be told: put the file back from a copy, or move {} aside",
            identity::path(&config.data_dir).display(),
            config.data_dir.display()
        ));
    }
    let listener = Listener::bind(&config.host, config.port).await?;
    let identity = Identity::load_or_create(&config.data_dir, config.node_id.as_ref().map(|n| n.as_str()))
        .map_err(|e| unreadable(&e, &config.data_dir))?;
    let stored = Secret::load(&config.data_dir.join("secret")).map_err(|e| unreadable(&e, &config.data_dir))?;
    let secret = |text: &Option<crate::config::Secret>| text.as_ref().and_then(|text| Secret::new(text.expose()));
    let configured = secret(&config.cluster_secret);
    let before = secret(&config.cluster_secret_before);
    let ours = configured.is_none();
    let secrets = configured.or(stored).map(|now| Secrets { now, before });
    let machine = Arc::new(Machine::new(&config.data_dir));
    let options = Options {
        data_dir: config.data_dir.clone(),
        url: config.advertise_url.as_str().to_owned(),
        port: config.port,
        allowed_hosts: config.allowed_hosts.clone(),
        distributed: config.distributed,
        inactive_after: config.inactive_after,
        raft: Settings {
            heartbeat: config.heartbeat,
            election_min: config.election_min,
            election_max: config.election_max,
            retain_entries: config.log_retain_entries,
            in_flight_bytes: config.max_in_flight_bytes,
        },
        cache_bytes: config.cache_bytes,
        retain_bytes: config.log_retain_bytes,
        peers: config.peers.iter().map(|p| p.as_str().to_owned()).collect(),
        disk_reserve_bytes: config.disk_reserve_bytes,
    };
    let cluster = Cluster::new(options, identity, secrets, ours, machine)?;
    Ok(Prepared { cluster, prometheus: prometheus()?, listener, _lock: lock })
}

/// What is said of a small file in `dir` that cannot be read or is damaged.
fn unreadable(e: &std::io::Error, dir: &Path) -> String {
    match Kind::of(e) {
        Kind::Damage => Fault::new(Kind::Damage, e.to_string()).told(dir),
        Kind::Other => format!("{}: {e}", dir.display()),
        kind => Fault::new(kind, format!("{}: {e}", dir.display())).told(dir),
    }
}

/// Makes the data directory and locks it against other processes.
fn lock(dir: &Path) -> Result<File, String> {
    let unusable = |e: std::io::Error| {
        format!("the data directory {} cannot be written: {e}: choose another with --data-dir", dir.display())
    };
    crate::private::directory(dir)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(format!(
            "the data directory {} is in use by another process: stop it, or choose another directory with --data-dir",
            dir.display()
        )),
        Err(std::fs::TryLockError::Error(e)) => Err(unusable(e)),
    }
}

/// How often metrics are tidied up.
const TIDIED: Duration = Duration::from_secs(5);

/// The recorder is one for the process; a second node in it shares the first one's.
fn prometheus() -> Result<PrometheusHandle, String> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let seconds = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    let builder = PrometheusBuilder::new().set_buckets(&seconds).map_err(|e| e.to_string())?;
    let handle = builder.install_recorder().map_err(|e| e.to_string())?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Puts what histograms were told into their buckets: else it would pile up until somebody asks for `/metrics`.
async fn tidy_metrics(handle: PrometheusHandle) {
    let mut tick = tokio::time::interval(TIDIED);
    loop {
        tick.tick().await;
        handle.run_upkeep();
    }
}

/// Opens what the node is a member of; else begins a cluster, or waits to be registered in one.
async fn begin(cluster: &Arc<Cluster>, config: &Config) -> Result<(), String> {
    let peers: Vec<String> = config.peers.iter().map(|p| p.as_str().to_owned()).collect();
    let identity = cluster.identity();
    if identity.membership.is_none() {
        if config.distributed && !config.bootstrap {
            tracing::info!(url = cluster.url(), "waiting to be registered by a member of a cluster");
            if !peers.is_empty() {
                cluster.keep("what asks the peers to be registered", cluster.clone().ask_peers(peers, config.voter));
            }
            return Ok(());
        }
        if config.distributed
            && let Some(url) = cluster.find_cluster(&peers).await
        {
            tracing::warn!(peer = url, "Bootstrap is true, but a peer belongs to a cluster already: asking to join it");
            cluster.keep("what asks the peers to be registered", cluster.clone().ask_peers(peers, config.voter));
            return Ok(());
        }
        if config.distributed
            && let Some(claim) = cluster.listen_before_it_begins().await
        {
            tracing::warn!(
                cluster = claim.cluster,
                raft_id = claim.raft_id,
                "Bootstrap is true, but a cluster counts this node as its member, whose data are lost: beginning none, \
                 waiting to be registered"
            );
            if !peers.is_empty() {
                cluster.keep("what asks the peers to be registered", cluster.clone().ask_peers(peers, config.voter));
            }
            return Ok(());
        }
        begin_cluster(cluster, config).await?;
    }
    let consensus = cluster.open().await?;
    cluster.keep("what tells the members where this node is", cluster.clone().announce_move(consensus.clone(), peers));
    if cluster.identity().membership.is_some_and(|m| m.raft_id == FIRST) {
        // The first node finishes what a crash during its first start may have left; once it is noted that Raft has
        // begun, an empty log was refused before this.
        consensus.initialize(cluster.member()).await?;
        cluster.keep_promised().await?;
        cluster.keep("what gives the cluster its id", give_identity(cluster.clone()));
    }
    tracing::info!(
        url = cluster.url(),
        raft_id = consensus.id(),
        cluster = consensus.cluster(),
        distributed = config.distributed,
        "serving"
    );
    Ok(())
}

/// The Raft id of the node that begins a cluster. No other gets it: later ids are revisions.
const FIRST: u64 = 1;

async fn begin_cluster(cluster: &Arc<Cluster>, config: &Config) -> Result<(), String> {
    let membership = Membership { cluster_id: uuid::Uuid::new_v4().to_string(), raft_id: FIRST };
    tracing::info!(cluster = membership.cluster_id, "beginning a new cluster");
    let secret = if config.cluster_secret.is_none() { Some(Secret::random()) } else { None };
    cluster.adopt(membership, crate::feature::supported(), secret).await
}

/// Gives the cluster its id, its key for tokens and its settings, once, as soon as this node leads.
async fn give_identity(cluster: Arc<Cluster>) {
    loop {
        let Some(consensus) = cluster.running() else { return };
        if consensus.state().cluster_id().is_some() {
            return;
        }
        let op = Op::ClusterInit {
            cluster_id: consensus.cluster().to_owned(),
            token_key: crate::random::bytes::<32>().to_vec(),
            settings: crate::state::Settings::default(),
            feature_level: crate::feature::supported(),
        };
        let done = cluster.write(&Call::internal(Duration::from_secs(5)), &Command::new(op)).await;
        if let Err(e) = done {
            tracing::debug!(error = %e, "the cluster has no identity yet, trying again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
