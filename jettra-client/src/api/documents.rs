//! Documents as JSON text.

use reqwest::Method;
use serde_json::value::RawValue;

use super::cluster::found;
use crate::client::{JettraClient, decode};
use crate::document::{Document, DocumentBody};
use crate::error::Result;
use crate::options::{QueryOptions, ReadOptions, WriteOptions};
use crate::request::Request;
use crate::wire::{CountAnswer, Saved, StatusAnswer};

const DOC: &str = "/api/doc";

impl JettraClient {
    /// Saves a document: the one with its `_id` is replaced, or a new one made. Database and
    /// collection come into being by it.
    ///
    /// # Errors
    /// Code `bad_request` if the body is no JSON object.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// let saved = client.save_document("shop", "users", r#"{"_id":"ada","born":1815}"#).await?;
    /// assert_eq!(saved.id, "ada");
    ///
    /// let named_by_the_node = client.save_document("shop", "users", r#"{"born":1791}"#).await?;
    /// assert!(!named_by_the_node.id.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_document(
        &self,
        database: &str,
        collection: &str,
        document: impl Into<DocumentBody>,
    ) -> Result<Saved> {
        let request = place(Request::write(Method::POST, DOC), database, collection);
        self.call_json(request.bytes(document.into().into_bytes())).await
    }

    /// The document with this id, or nothing.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.save_document("shop", "users", r#"{"_id":"a b&c=d/é","big":18446744073709551616}"#).await?;
    ///
    /// let document = client.get_document("shop", "users", "a b&c=d/é").await?.expect("it is there");
    /// assert!(document.as_str().contains("18446744073709551616"));
    /// assert!(client.get_document("shop", "users", "nobody").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_document(&self, database: &str, collection: &str, id: &str) -> Result<Option<Document>> {
        self.get_document_with(database, collection, id, &ReadOptions::new()).await
    }

    /// As [`get_document`](JettraClient::get_document), with options.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn get_document_with(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        options: &ReadOptions,
    ) -> Result<Option<Document>> {
        let request = place(Request::read(DOC), database, collection).param("id", id).reading(options);
        self.document(request).await
    }

    /// Replaces the document with this id, or makes it. Returns the revision of the write.
    ///
    /// # Errors
    /// Code `bad_request` if the body is no JSON object.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// let rev = client.update("shop", "stock", "pen", r#"{"left":3}"#).await?;
    /// let pen = client.get_document("shop", "stock", "pen").await?.expect("it was just written");
    /// assert_eq!(pen.rev(), Some(rev));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        document: impl Into<DocumentBody>,
    ) -> Result<u64> {
        self.update_with(database, collection, id, document, &WriteOptions::new()).await
    }

    /// As [`update`](JettraClient::update), with options.
    ///
    /// # Errors
    /// Code `conflict` if the condition does not hold.
    pub async fn update_with(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        document: impl Into<DocumentBody>,
        options: &WriteOptions,
    ) -> Result<u64> {
        let request = place(Request::write(Method::PUT, DOC), database, collection).param("id", id).writing(options);
        self.write(request.bytes(document.into().into_bytes())).await
    }

    /// Changes parts of a document: a JSON merge patch (RFC 7396). Returns the revision of the write.
    ///
    /// # Errors
    /// Code `not_found` if there is no such document.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.save_document("shop", "users", r#"{"_id":"ada","born":1815,"city":"Paris"}"#).await?;
    /// client.patch("shop", "users", "ada", r#"{"city":null,"name":"Ada"}"#).await?;
    ///
    /// let ada = client.get_document("shop", "users", "ada").await?.expect("it was just saved");
    /// assert_eq!(ada.as_str(), r#"{"_id":"ada","born":1815,"name":"Ada"}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        patch: impl Into<DocumentBody>,
    ) -> Result<u64> {
        self.patch_with(database, collection, id, patch, &WriteOptions::new()).await
    }

    /// As [`patch`](JettraClient::patch), with options.
    ///
    /// # Errors
    /// Code `not_found` if there is no such document, `conflict` if the condition does not hold.
    pub async fn patch_with(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        patch: impl Into<DocumentBody>,
        options: &WriteOptions,
    ) -> Result<u64> {
        let request = place(Request::write(Method::PATCH, DOC), database, collection).param("id", id).writing(options);
        self.write(request.bytes(patch.into().into_bytes())).await
    }

    /// Deletes a document. It may be absent. Its states stay as versions.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
    /// client.delete_document("shop", "users", "ada").await?;
    /// assert!(client.get_document("shop", "users", "ada").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_document(&self, database: &str, collection: &str, id: &str) -> Result<()> {
        self.delete_document_with(database, collection, id, &WriteOptions::new()).await
    }

    /// As [`delete_document`](JettraClient::delete_document), with options.
    ///
    /// # Errors
    /// Code `conflict` if the condition does not hold.
    pub async fn delete_document_with(
        &self,
        database: &str,
        collection: &str,
        id: &str,
        options: &WriteOptions,
    ) -> Result<()> {
        let request = place(Request::write(Method::DELETE, DOC), database, collection).param("id", id);
        self.call(request.writing(options)).await.map(drop)
    }

    /// Documents of a collection, in `_id` order; none if there is no such collection.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// use jettra_client::QueryOptions;
    ///
    /// for id in ["c", "a", "b"] {
    ///     client.update("shop", "letters", id, "{}").await?;
    /// }
    /// let two = client.query_documents("shop", "letters", &QueryOptions::new().limit(2)).await?;
    /// assert_eq!(two.iter().map(|document| document.id()).collect::<Vec<_>>(), [Some("a"), Some("b")]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_documents(
        &self,
        database: &str,
        collection: &str,
        options: &QueryOptions,
    ) -> Result<Vec<Document>> {
        self.call_json(query(database, collection, options)).await
    }

    /// How many documents a collection holds.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
    /// assert_eq!(client.count("shop", "users").await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count(&self, database: &str, collection: &str) -> Result<u64> {
        self.count_with(database, collection, None, &ReadOptions::new()).await
    }

    /// As [`count`](JettraClient::count), of the documents that match a filter (JSON), with options.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn count_with(
        &self,
        database: &str,
        collection: &str,
        filter: Option<&str>,
        options: &ReadOptions,
    ) -> Result<u64> {
        let request = place(Request::read("/api/count"), database, collection).maybe("filter", filter).reading(options);
        let answer: CountAnswer = self.call_json(request).await?;
        Ok(answer.count)
    }

    /// The one document that a read answers with.
    pub(super) async fn document(&self, request: Request) -> Result<Option<Document>> {
        let name = request.name();
        let Some(answer) = found(self.call(request).await)? else { return Ok(None) };
        let json: Box<RawValue> = decode(&name, false, &answer.body)?;
        Ok(Some(Document::from_raw(json, answer.rev)))
    }

    /// The revision that a write of one document answers with.
    async fn write(&self, request: Request) -> Result<u64> {
        let name = request.name();
        let answer = self.call(request).await?;
        let status: StatusAnswer = decode(&name, true, &answer.body)?;
        Ok(status.rev.or(answer.signs.index).unwrap_or_default())
    }
}

/// Names the collection that a call is about.
pub(super) fn place(request: Request, database: &str, collection: &str) -> Request {
    request.param("db", database).param("col", collection)
}

pub(super) fn query(database: &str, collection: &str, options: &QueryOptions) -> Request {
    place(Request::read("/api/query"), database, collection)
        .maybe("limit", options.limit)
        .maybe("offset", options.offset)
        .maybe("filter", options.filter.as_ref())
        .maybe("sort", options.sort.as_ref())
        .maybe("fields", options.fields.as_ref())
        .maybe("after", options.after.as_ref())
        .reading(&options.read)
}
