//! Documents as types of the caller, over serde.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::query;
use crate::client::JettraClient;
use crate::document::DocumentBody;
use crate::error::Result;
use crate::options::QueryOptions;
use crate::wire::Saved;

impl JettraClient {
    /// Saves a value as a document. Its field `_id` (or `id`) names the document.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if the value cannot be written as JSON.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct User {
    ///     _id: String,
    ///     born: u16,
    /// }
    ///
    /// let ada = User { _id: "ada".into(), born: 1815 };
    /// client.save("shop", "users", &ada).await?;
    /// assert_eq!(client.get::<User>("shop", "users", "ada").await?, Some(ada));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save<T: Serialize + ?Sized>(&self, database: &str, collection: &str, value: &T) -> Result<Saved> {
        self.save_document(database, collection, DocumentBody::of(value)?).await
    }

    /// The document with this id as a value, or nothing.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) if the document has another shape.
    pub async fn get<T: DeserializeOwned>(&self, database: &str, collection: &str, id: &str) -> Result<Option<T>> {
        match self.get_document(database, collection, id).await? {
            Some(document) => document.parse().map(Some),
            None => Ok(None),
        }
    }

    /// Documents of a collection as values, in `_id` order.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) if a document has another shape.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use jettra_client::QueryOptions;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Stock {
    ///     left: u32,
    /// }
    ///
    /// client.update("shop", "stock", "pen", r#"{"left":3}"#).await?;
    /// client.update("shop", "stock", "ink", r#"{"left":4}"#).await?;
    /// let stock: Vec<Stock> = client.query("shop", "stock", &QueryOptions::new()).await?;
    /// assert_eq!(stock.iter().map(|entry| entry.left).sum::<u32>(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query<T: DeserializeOwned>(
        &self,
        database: &str,
        collection: &str,
        options: &QueryOptions,
    ) -> Result<Vec<T>> {
        self.call_json(query(database, collection, options)).await
    }
}
