//! Who belongs to the cluster, and who leads it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::JettraClient;
use crate::error::{Error, Result};
use crate::options::MembershipOptions;
use crate::request::Request;
use crate::retry::Safety;
use crate::wire::{ChangePlan, ErrorCode, RegisterAnswer, StatusAnswer, TransferAnswer};

/// A node waits up to 30 s for a new member to catch up.
const PATIENCE: Duration = Duration::from_secs(40);

impl JettraClient {
    /// Adds the node at `url` to the cluster. Registering a member again changes nothing.
    ///
    /// The answer comes when the node has caught up and votes, or after 30 s with the status
    /// `joining`: then that goes on in the background. The call may take 40 s in all.
    ///
    /// # Errors
    /// The cluster says why it refuses: the node cannot be reached, is none, belongs elsewhere.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(1).unwrap();
    /// # let client = cluster.client();
    /// let answer = client.register("http://localhost:8081").await?;
    /// assert_eq!(answer.status, "registered");
    /// assert_eq!(answer.node.expect("the new member").url, "http://localhost:8081");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register(&self, url: &str) -> Result<RegisterAnswer> {
        self.register_as(url, None).await
    }

    /// As [`register`](JettraClient::register), with a description of the node.
    ///
    /// # Errors
    /// As [`register`](JettraClient::register).
    pub async fn register_as(&self, url: &str, description: Option<&str>) -> Result<RegisterAnswer> {
        let mut body = json!({"url": url});
        if let Some(description) = description {
            body["description"] = description.into();
        }
        let request = Request::post("/api/cluster/register", Safety::Idempotent).json(&body).patient(PATIENCE);
        self.call_json(request).await
    }

    /// Adds the node at `url` as a read replica: a member that never votes nor counts for the majority, gets
    /// everything, serves reads and forwards writes. The answer comes when it has caught up, or after 30 s with the
    /// status `joining`.
    ///
    /// # Errors
    /// As [`register`](JettraClient::register); code `conflict` if it is a member that votes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # use jettra_client::wire::Role;
    /// # let cluster = jettra_client::testing::FakeCluster::start(1).unwrap();
    /// # let client = cluster.client();
    /// let answer = client.register_replica("http://localhost:8081", None).await?;
    /// let node = answer.node.expect("the new member");
    /// assert_eq!((node.role, node.voter), (Role::Replica, false));
    /// client.promote(&node.id).await?;
    /// assert_eq!(client.get_cluster().await?.quorum.expect("votes").voters, 2);
    /// client.demote(&node.id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_replica(&self, url: &str, description: Option<&str>) -> Result<RegisterAnswer> {
        let mut body = json!({"url": url, "voter": false});
        if let Some(description) = description {
            body["description"] = description.into();
        }
        let request = Request::post("/api/cluster/register", Safety::Idempotent).json(&body).patient(PATIENCE);
        self.call_json(request).await
    }

    /// Makes a read replica, given by its id or URL, a voter. The answer `promoted` comes when it has caught up and
    /// votes, `joining` after 30 s if it has not yet: then that goes on in the background. Does nothing to one that
    /// votes.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member; `conflict` if it is not heard.
    pub async fn promote(&self, node: &str) -> Result<StatusAnswer> {
        let request = Request::post("/api/cluster/promote", Safety::Idempotent).json(&json!({"node": node}));
        self.call_json(request.patient(PATIENCE)).await
    }

    /// Makes a voter, given by its id or URL, a read replica. A leader hands over first. Does nothing to one that is.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member; `quorum_at_risk` if the other voters would have no majority.
    pub async fn demote(&self, node: &str) -> Result<StatusAnswer> {
        let request = Request::post("/api/cluster/demote", Safety::Idempotent).json(&json!({"node": node}));
        self.call_json(request.patient(PATIENCE)).await
    }

    /// Removes a member, given by its id or URL. The leader may be removed: it hands over first.
    ///
    /// # Errors
    /// Code `quorum_at_risk` if the rest would have no majority.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// client.deregister("node3").await?;
    /// assert_eq!(client.get_federated_nodes().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn deregister(&self, node: &str) -> Result<StatusAnswer> {
        self.deregister_with(node, &MembershipOptions::new()).await
    }

    /// As [`deregister`](JettraClient::deregister), with options.
    ///
    /// # Errors
    /// As [`deregister`](JettraClient::deregister).
    pub async fn deregister_with(&self, node: &str, options: &MembershipOptions) -> Result<StatusAnswer> {
        let request = Request::post("/api/cluster/deregister", Safety::Idempotent);
        let answer = self.call_json(request.json(&names(node, options)).patient(PATIENCE)).await;
        match answer {
            // The answer to an earlier attempt was lost, and the member is gone.
            Err(Error::Server { code: ErrorCode::NotFound, outcome_unknown: true, .. }) => {
                Ok(StatusAnswer { status: "deregistered".into(), rev: None })
            }
            answer => answer,
        }
    }

    /// Stops a member, given by its id or URL: it finishes what it has, hands over if it leads, and
    /// exits. It stays a member. Not repeated once it was sent.
    ///
    /// # Errors
    /// Code `quorum_at_risk` if the rest would have no majority.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// assert_eq!(client.stop("node3").await?.status, "stop_sent");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop(&self, node: &str) -> Result<StatusAnswer> {
        self.stop_with(node, &MembershipOptions::new()).await
    }

    /// As [`stop`](JettraClient::stop), with options.
    ///
    /// # Errors
    /// As [`stop`](JettraClient::stop).
    pub async fn stop_with(&self, node: &str, options: &MembershipOptions) -> Result<StatusAnswer> {
        let request = Request::post("/api/cluster/stop", Safety::Once).json(&names(node, options));
        self.call_json(request.patient(PATIENCE)).await
    }

    /// Keeps a member from being sent requests and from being elected.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn pause(&self, node: &str) -> Result<StatusAnswer> {
        self.call_json(Request::post("/api/cluster/pause", Safety::Idempotent).json(&json!({"node": node}))).await
    }

    /// Ends what [`pause`](JettraClient::pause) began.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn resume(&self, node: &str) -> Result<StatusAnswer> {
        self.call_json(Request::post("/api/cluster/resume", Safety::Idempotent).json(&json!({"node": node}))).await
    }

    /// Hands leadership to a member, given by its id or URL. Not repeated once it was sent.
    ///
    /// # Errors
    /// The cluster says why it refuses: the member does not vote, is behind, is not heard.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// assert_eq!(client.transfer("node2").await?.leader_id, "node2");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer(&self, node: &str) -> Result<TransferAnswer> {
        let request = Request::post("/api/cluster/transfer", Safety::Once).json(&json!({"node": node}));
        self.call_json(request.patient(PATIENCE)).await
    }

    /// What removing a member would do to the cluster's majority. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_deregister(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/deregister", node).await
    }

    /// What stopping a member would do to the cluster's majority. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// assert!(client.plan_stop("node3").await?.allowed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan_stop(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/stop", node).await
    }

    /// What pausing a member would do. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_pause(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/pause", node).await
    }

    /// What resuming a member would do. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_resume(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/resume", node).await
    }

    /// Whether leadership could be handed to a member. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_transfer(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/transfer", node).await
    }

    /// What promoting a read replica would do. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_promote(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/promote", node).await
    }

    /// What making a voter a read replica would do. Changes nothing.
    ///
    /// # Errors
    /// Code `not_found` if there is no such member.
    pub async fn plan_demote(&self, node: &str) -> Result<ChangePlan> {
        self.plan("/api/cluster/demote", node).await
    }

    /// What adding the node at `url` as a read replica would do, and whether it may join. Changes nothing.
    ///
    /// # Errors
    /// Code `bad_request` if `url` is none.
    pub async fn plan_register_replica(&self, url: &str) -> Result<ChangePlan> {
        let request = Request::post("/api/cluster/register", Safety::Idempotent).param("dry_run", "true");
        self.call_json(request.json(&json!({"url": url, "voter": false}))).await
    }

    /// What adding the node at `url` would do, and whether it may join. Changes nothing.
    ///
    /// # Errors
    /// Code `bad_request` if `url` is none.
    pub async fn plan_register(&self, url: &str) -> Result<ChangePlan> {
        let request = Request::post("/api/cluster/register", Safety::Idempotent).param("dry_run", "true");
        self.call_json(request.json(&json!({"url": url}))).await
    }

    async fn plan(&self, path: &str, node: &str) -> Result<ChangePlan> {
        // It changes nothing, so it may be repeated.
        let request = Request::post(path, Safety::Idempotent).param("dry_run", "true");
        self.call_json(request.json(&json!({"node": node}))).await
    }
}

fn names(node: &str, options: &MembershipOptions) -> Value {
    if options.force { json!({"node": node, "force": true}) } else { json!({"node": node}) }
}
