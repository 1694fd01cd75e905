//! Many documents in one request.

use reqwest::Method;
use serde::Serialize;

use super::documents::place;
use crate::client::JettraClient;
use crate::document::DocumentBody;
use crate::error::{Error, Result};
use crate::request::Request;
use crate::wire::BulkSaved;

/// How many documents a node takes in one request.
const MOST: usize = 10_000;

impl JettraClient {
    /// Saves documents, all or none of them: at most 10 000 and 16 MiB. Of two with the same `_id`
    /// the later one counts.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there are too many or one cannot be written as JSON, code
    /// `too_large` if they are too long.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use serde_json::json;
    ///
    /// let saved = client.save_documents("shop", "stock", &[json!({"_id":"pen"}), json!({"_id":"ink"})]).await?;
    /// assert_eq!(saved.ids, ["pen", "ink"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_documents<T: Serialize>(
        &self,
        database: &str,
        collection: &str,
        documents: &[T],
    ) -> Result<BulkSaved> {
        if documents.len() > MOST {
            let given = documents.len();
            return Err(Error::invalid(format!("{given} documents are more than {MOST}; save them in several calls")));
        }
        self.save_bulk(database, collection, DocumentBody::of(documents)?).await
    }

    /// Saves documents given as JSON text: an array, or one document a line (NDJSON).
    ///
    /// # Errors
    /// Code `bad_request` if it is neither, `too_large` if it is too much.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// let lines = "{\"_id\":\"pen\",\"left\":3}\n{\"_id\":\"ink\",\"left\":4}\n";
    /// assert_eq!(client.save_bulk("shop", "stock", lines).await?.count, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_bulk(
        &self,
        database: &str,
        collection: &str,
        documents: impl Into<DocumentBody>,
    ) -> Result<BulkSaved> {
        let request = place(Request::write(Method::POST, "/api/docs"), database, collection);
        self.call_json(request.bytes(documents.into().into_bytes())).await
    }
}
