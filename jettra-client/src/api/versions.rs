//! Earlier states of documents.

use reqwest::Method;
use serde_json::json;

use super::documents::place;
use crate::client::JettraClient;
use crate::document::Document;
use crate::error::Result;
use crate::request::Request;

impl JettraClient {
    /// The superseded states of a document, newest first, as `<epochMillis>_<rev>`.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.update("shop", "stock", "pen", r#"{"left":3}"#).await?;
    /// client.update("shop", "stock", "pen", r#"{"left":2}"#).await?;
    ///
    /// let versions = client.versions("shop", "stock", "pen").await?;
    /// let before = client.version("shop", "stock", "pen", &versions[0]).await?.expect("it is listed");
    /// assert!(before.as_str().contains(r#""left":3"#));
    ///
    /// client.restore_version("shop", "stock", "pen", &versions[0]).await?;
    /// let now = client.get_document("shop", "stock", "pen").await?.expect("it was restored");
    /// assert_eq!(now.as_str(), before.as_str());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn versions(&self, database: &str, collection: &str, id: &str) -> Result<Vec<String>> {
        self.call_json(place(Request::read("/api/versions"), database, collection).param("id", id)).await
    }

    /// One superseded state of a document, or nothing.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn version(&self, database: &str, collection: &str, id: &str, version: &str) -> Result<Option<Document>> {
        let request = place(Request::read("/api/version"), database, collection);
        self.document(request.param("id", id).param("version", version)).await
    }

    /// Makes a superseded state the document's state again, also of a deleted document. The state
    /// it replaces becomes a version.
    ///
    /// # Errors
    /// Code `not_found` if there is no such version.
    pub async fn restore_version(&self, database: &str, collection: &str, id: &str, version: &str) -> Result<()> {
        let body = json!({"db": database, "col": collection, "id": id, "version": version});
        self.call(Request::write(Method::POST, "/api/restore-version").json(&body)).await.map(drop)
    }
}
