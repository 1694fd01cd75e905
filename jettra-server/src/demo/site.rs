//! Where the demo's nodes live: directories, configuration files, ports.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::DemoError;
use crate::cli::DemoArgs;
use crate::config::{Config, FileText, Flags, NodeUrl};

/// The variables that would make two nodes of the demo the same.
pub(super) const PER_NODE_ENV: [&str; 9] = [
    "JETTRA_CONFIG",
    "JETTRA_HOST",
    "JETTRA_PORT",
    "JETTRA_DATA_DIR",
    "JETTRA_DISTRIBUTED",
    "JETTRA_NODE_ID",
    "JETTRA_BOOTSTRAP",
    "JETTRA_PEERS",
    "JETTRA_ADVERTISE_URL",
];

/// All nodes' places.
pub(super) struct Site {
    pub nodes: Vec<NodeSite>,
    dir: Dir,
}

enum Dir {
    /// Removed with everything in it when dropped.
    Temporary(TempDir),
    Kept(PathBuf),
}

/// One node's place.
#[derive(Debug, Clone)]
pub(super) struct NodeSite {
    pub id: String,
    pub url: NodeUrl,
    dir: PathBuf,
}

impl Site {
    /// Directories and configuration files for every node, with every port free. What an earlier demo
    /// left in `--dir` is taken up again, never changed.
    pub fn prepare(args: &DemoArgs) -> Result<Site, DemoError> {
        let dir = match &args.dir {
            None => Dir::Temporary(temporary()?),
            Some(path) => Dir::Kept(std::path::absolute(path).map_err(|error| unusable(path, &error))?),
        };
        let root = dir.path().to_owned();
        let nodes: Vec<NodeSite> = (0..args.nodes).map(|place| NodeSite::new(&root, place, args.port)).collect();
        refuse_more_nodes_than_asked_for(&root, args)?;
        for (place, node) in nodes.iter().enumerate() {
            node.refuse_other_port(args)?;
            refuse_port_in_use(args.port + u16::try_from(place).unwrap_or(u16::MAX))?;
        }
        std::fs::create_dir_all(&root).map_err(|error| unusable(&root, &error))?;
        for (place, node) in nodes.iter().enumerate() {
            node.close()?;
            node.write_config(place == 0).map_err(|error| unusable(&node.dir, &error))?;
        }
        Ok(Site { nodes, dir })
    }

    /// Where everything is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether it goes when the demo ends.
    pub fn is_temporary(&self) -> bool {
        matches!(self.dir, Dir::Temporary(_))
    }
}

impl Dir {
    fn path(&self) -> &Path {
        match self {
            Dir::Temporary(dir) => dir.path(),
            Dir::Kept(path) => path,
        }
    }
}

impl NodeSite {
    fn new(root: &Path, place: u16, first_port: u16) -> Self {
        let id = format!("node{}", place + 1);
        NodeSite { url: NodeUrl::localhost(first_port + place), dir: root.join(&id), id }
    }

    /// The node's configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// The file that gets the node's log lines.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Opens the log for what follows.
    pub fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log_path())
    }

    /// The log's last lines.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Configuration, data and log of a node are its user's only, also in a folder that an earlier demo left open.
    fn close(&self) -> Result<(), DemoError> {
        crate::private::closed(&self.dir).map_err(|error| unusable(&self.dir, &error))
    }

    fn write_config(&self, first: bool) -> io::Result<()> {
        if self.config_path().exists() {
            return Ok(());
        }
        let config = json!({
            "Host": "127.0.0.1",
            "Port": self.port(),
            "DataDir": self.dir.join("data"),
            "distributed": true,
            "NodeID": self.id,
            "Bootstrap": first,
            "Peers": [],
        });
        std::fs::create_dir_all(&self.dir)?;
        std::fs::write(self.config_path(), format!("{config:#}\n"))
    }

    fn port(&self) -> u16 {
        self.url.authority().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }

    /// Members know each other by URL, so a cluster that was made with other ports stays with them.
    fn refuse_other_port(&self, args: &DemoArgs) -> Result<(), DemoError> {
        let path = self.config_path();
        if !path.exists() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unusable(&path, &error))?;
        let file = FileText { path: path.clone(), text };
        let made_with = Config::resolve(Some(&file), &Default::default(), &Flags::default())
            .map_err(|error| DemoError::Refused(error.to_string()))?
            .config
            .port;
        if made_with == self.port() {
            return Ok(());
        }
        let first = made_with.saturating_sub(self.port() - args.port);
        Err(DemoError::Refused(format!(
            "{} was made for port {made_with}: start with --port {first}, or with another --dir",
            path.display()
        )))
    }
}

/// With fewer nodes than the cluster in the directory has, it could lack its majority.
fn refuse_more_nodes_than_asked_for(root: &Path, args: &DemoArgs) -> Result<(), DemoError> {
    let there = (1..=9).filter(|number| root.join(format!("node{number}")).join("config.json").exists()).count();
    if there <= args.nodes.into() {
        return Ok(());
    }
    Err(DemoError::Refused(format!(
        "{} holds a cluster of {there} nodes: start with --nodes {there}, or with another --dir",
        root.display()
    )))
}

fn refuse_port_in_use(port: u16) -> Result<(), DemoError> {
    // A node holds both addresses that localhost means.
    let taken = |ip| TcpListener::bind((ip, port)).err().filter(|error| error.kind() == io::ErrorKind::AddrInUse);
    match taken("127.0.0.1").or_else(|| taken("::1")) {
        None => Ok(()),
        Some(error) => Err(DemoError::Refused(format!(
            "port {port} cannot be used ({error}): stop what listens there, or choose other ports with --port"
        ))),
    }
}

fn temporary() -> Result<TempDir, DemoError> {
    tempfile::Builder::new().prefix("jettra-demo-").tempdir().map_err(|error| {
        DemoError::Refused(format!("cannot make a temporary folder ({error}): name a directory with --dir"))
    })
}

fn unusable(path: &Path, error: &io::Error) -> DemoError {
    DemoError::Refused(format!(
        "cannot use {} ({error}): check its permissions or choose another --dir",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn args(dir: &Path, nodes: u16, port: u16) -> DemoArgs {
        DemoArgs { nodes, dir: Some(dir.to_owned()), port }
    }

    fn refusal(args: &DemoArgs) -> String {
        match Site::prepare(args) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("not refused"),
        }
    }

    /// A port with free neighbours, below those that outgoing connections get.
    fn free_port() -> u16 {
        (17_000..30_000)
            .step_by(10)
            .find(|port| (0..3).all(|n| TcpListener::bind(("127.0.0.1", port + n)).is_ok()))
            .unwrap()
    }

    #[test]
    fn each_node_gets_a_directory_with_a_config_that_a_node_understands() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let site = Site::prepare(&args(dir.path(), 3, port)).unwrap();
        for (place, node) in site.nodes.iter().enumerate() {
            let text = std::fs::read_to_string(node.config_path()).unwrap();
            let file = FileText { path: node.config_path(), text };
            let loaded = Config::resolve(Some(&file), &Default::default(), &Flags::default()).unwrap();
            assert_eq!(loaded.warnings, [""; 0]);
            assert_eq!(loaded.config.advertise_url, node.url);
            assert_eq!((loaded.config.bootstrap, loaded.config.distributed), (place == 0, true));
        }
    }

    #[test]
    fn what_an_earlier_demo_left_is_taken_up_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let site = Site::prepare(&args(dir.path(), 2, port)).unwrap();
        let path = site.nodes[1].config_path();
        let edited = std::fs::read_to_string(&path).unwrap().replace("[]", r#"["http://localhost:9"]"#);
        std::fs::write(&path, &edited).unwrap();
        Site::prepare(&args(dir.path(), 3, port)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);
    }

    #[test]
    fn a_directory_made_with_other_ports_or_more_nodes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        Site::prepare(&args(dir.path(), 3, port)).unwrap();
        let message = refusal(&args(dir.path(), 3, port + 1));
        assert!(message.contains(&format!("--port {port}")), "{message}");
        assert!(refusal(&args(dir.path(), 2, port)).contains("--nodes 3"));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(65_500);
        let message = refusal(&args(dir.path(), 1, port));
        assert!(message.contains(&format!("port {port} cannot be used")), "{message}");
        assert!(!dir.path().join("node1").exists(), "nothing was made");
    }
}
