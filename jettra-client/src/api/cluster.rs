//! What the cluster looks like.

use serde::Deserialize;

use crate::client::{JettraClient, decode};
use crate::error::{Error, Result};
use crate::request::Request;
use crate::wire::{ClusterView, ErrorCode, FederatedConfig, FederatedNode, FederatedView, MachineMetrics};

/// The parts of `GET /api/federated` that every node tells, however little it knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Federated {
    #[serde(default)]
    leader_id: Option<String>,
    #[serde(default)]
    nodes: Vec<FederatedNode>,
}

impl JettraClient {
    /// The members of the cluster.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// use jettra_client::wire::{Role, Status};
    ///
    /// let nodes = client.get_federated_nodes().await?;
    /// assert!(nodes.iter().all(|node| node.status == Status::Active));
    /// assert_eq!(nodes.iter().filter(|node| node.role == Role::Leader).count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_federated_nodes(&self) -> Result<Vec<FederatedNode>> {
        Ok(self.federated().await?.nodes)
    }

    /// The leader as a member, or nothing while there is none.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// let leader = client.get_node_leader().await?.expect("the cluster has a leader");
    /// println!("{} leads, at {}", leader.id, leader.url);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_node_leader(&self) -> Result<Option<FederatedNode>> {
        let request = Request::read("/api/federated/node-leader");
        let name = request.name();
        let Some(answer) = found(self.call(request).await)? else { return Ok(None) };
        let leader: FederatedNode = decode(&name, false, &answer.body)?;
        self.inner()?.targets().leads(&leader.url);
        Ok(Some(leader))
    }

    /// The leader's `NodeID`, or nothing while there is none.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// assert_eq!(client.get_federated_leader().await?.as_deref(), Some("node1"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_federated_leader(&self) -> Result<Option<String>> {
        Ok(self.federated().await?.leader_id)
    }

    /// Everything that `GET /api/federated` tells, in the shape that old clients read.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn get_federated_status(&self) -> Result<FederatedView> {
        self.call_json(Request::read("/api/federated")).await
    }

    /// The URLs of the members.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// assert_eq!(client.get_federated_servers().await?.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_federated_servers(&self) -> Result<Vec<String>> {
        let config: FederatedConfig = self.call_json(Request::read("/api/federated/config")).await?;
        self.inner()?.targets().learn(config.federated_servers.iter().map(String::as_str));
        Ok(config.federated_servers)
    }

    /// The cluster as the asked node sees it: term, indexes, members and how far behind they are.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// let view = client.get_cluster().await?;
    /// assert!(view.enabled);
    /// assert_eq!(view.failure_tolerance, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_cluster(&self) -> Result<ClusterView> {
        let view: ClusterView = self.call_json(Request::read("/api/cluster")).await?;
        if let Some(leader) = &view.leader_url {
            self.inner()?.targets().leads(leader);
        }
        Ok(view)
    }

    /// The machine that the asked node runs on.
    ///
    /// # Errors
    /// As every call: see [`Error`].
    pub async fn get_metrics(&self) -> Result<MachineMetrics> {
        self.call_json(Request::read("/api/metrics")).await
    }

    async fn federated(&self) -> Result<Federated> {
        self.call_json(Request::read("/api/federated")).await
    }
}

/// A 404 `not_found` as nothing.
pub(super) fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Server { code: ErrorCode::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
