//! Whether the cluster is well: the doctor and the journal.

use crate::client::JettraClient;
use crate::error::Result;
use crate::options::EventOptions;
use crate::request::Request;
use crate::wire::{ClusterEvent, Diagnosis};

impl JettraClient {
    /// The journal of the cluster: elections and why, joins, promotions, removals, silence and return, alarms, who asked
    /// for what; oldest first and 100 events unless the options say otherwise, as the asked node knows it.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// use jettra_client::EventOptions;
    /// use jettra_client::wire::EventKind;
    ///
    /// for event in client.get_cluster_events(&EventOptions::new().newest_first().limit(10)).await? {
    ///     println!("{} {}: {}", event.rev, event.kind, event.message);
    /// }
    /// let all = client.get_cluster_events(&EventOptions::new()).await?;
    /// let elected = all.iter().find(|event| event.kind == EventKind::Elected).expect("somebody leads");
    /// assert_eq!(elected.node.as_deref(), Some("node1"));
    ///
    /// // Only what came since.
    /// assert!(client.get_cluster_events(&EventOptions::new().after(all.last().unwrap().rev)).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_cluster_events(&self, options: &EventOptions) -> Result<Vec<ClusterEvent>> {
        let request = Request::read("/api/cluster/events")
            .maybe("after", options.after)
            .maybe("limit", options.limit)
            .maybe("offset", options.offset)
            .maybe("order", options.newest_first.then_some("desc"));
        self.call_json(request).await
    }

    /// What is wrong with the cluster, in plain sentences with the next step; any node tells it.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(3).unwrap();
    /// # let client = cluster.client();
    /// let diagnosis = client.get_doctor().await?;
    /// for finding in &diagnosis.findings {
    ///     println!("{}; what to do: {}", finding.what, finding.next);
    /// }
    /// assert!(diagnosis.healthy);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_doctor(&self) -> Result<Diagnosis> {
        self.call_json(Request::read("/api/cluster/doctor")).await
    }
}
