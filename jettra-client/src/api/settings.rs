//! What all nodes go by: the replicated settings and the feature level.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::JettraClient;
use crate::error::Result;
use crate::request::Request;
use crate::retry::Safety;
use crate::wire::UpgradeAnswer;

impl JettraClient {
    /// The replicated settings by name: bounds in bytes, entries and milliseconds.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(1).unwrap();
    /// # let client = cluster.client();
    /// assert_eq!(client.get_settings().await?["maxVersions"], 100);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_settings(&self) -> Result<Map<String, Value>> {
        self.call_json(Request::read("/api/cluster/settings")).await
    }

    /// Changes those settings that `changes` names, and gives all as they are then.
    ///
    /// # Errors
    /// Code `bad_request` for a name that is none or a value out of bounds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let cluster = jettra_client::testing::FakeCluster::start(1).unwrap();
    /// # let client = cluster.client();
    /// let changes = serde_json::json!({"maxVersions": 7});
    /// let settings = client.change_settings(changes.as_object().expect("an object")).await?;
    /// assert_eq!(settings["maxVersions"], 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_settings(&self, changes: &Map<String, Value>) -> Result<Map<String, Value>> {
        let request = Request::write(Method::PUT, "/api/cluster/settings");
        self.call_json(request.json(&Value::Object(changes.clone()))).await
    }

    /// Raises the feature level to `level`, or to the highest that all members support. It is never lowered.
    ///
    /// # Errors
    /// Code `conflict` if a member does not support it or does not answer.
    pub async fn upgrade(&self, level: Option<u64>) -> Result<UpgradeAnswer> {
        let body = level.map_or_else(|| json!({}), |level| json!({"featureLevel": level}));
        self.call_json(Request::post("/api/cluster/upgrade", Safety::Idempotent).json(&body)).await
    }
}
