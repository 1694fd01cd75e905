//! Databases and collections.

use reqwest::Method;
use serde_json::json;

use crate::client::JettraClient;
use crate::error::Result;
use crate::request::{Request, segment};
use crate::wire::DatabaseInfo;

impl JettraClient {
    /// The databases that the user may use, by name.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.create_database("shop").await?;
    /// assert!(client.list_databases().await?.iter().any(|database| database.name == "shop"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_databases(&self) -> Result<Vec<DatabaseInfo>> {
        self.call_json(Request::read("/api/dbs")).await
    }

    /// Creates a database. It may exist already.
    ///
    /// # Errors
    /// Code `invalid_name` if the name is none.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        let request = Request::write(Method::POST, "/api/dbs").json(&json!({"name": name}));
        self.call(request).await.map(drop)
    }

    /// As [`create_database`](JettraClient::create_database), naming the engine that is to be reported:
    /// `JettraBasicStore` or `JettraEngineStore`.
    ///
    /// # Errors
    /// As [`create_database`](JettraClient::create_database).
    pub async fn create_database_with(&self, name: &str, engine: &str) -> Result<()> {
        let request = Request::write(Method::POST, "/api/dbs").json(&json!({"name": name, "engine": engine}));
        self.call(request).await.map(drop)
    }

    /// Deletes a database and everything in it. It may be absent.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn delete_database(&self, name: &str) -> Result<()> {
        self.call(Request::write(Method::DELETE, "/api/dbs").param("name", name)).await.map(drop)
    }

    /// Renames a database.
    ///
    /// # Errors
    /// Code `not_found` if there is none of the old name, `conflict` if there is one of the new.
    pub async fn rename_database(&self, old: &str, new: &str) -> Result<()> {
        let request = Request::write(Method::POST, "/api/dbs/rename");
        self.call(request.json(&json!({"oldName": old, "newName": new}))).await.map(drop)
    }

    /// The collections of a database, by name; none if there is no such database.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.create_collection("shop", "users").await?;
    /// client.rename_collection("shop", "users", "customers").await?;
    /// assert!(client.list_collections("shop").await?.contains(&"customers".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_collections(&self, database: &str) -> Result<Vec<String>> {
        self.call_json(Request::read(&format!("/api/dbs/{}/cols", segment(database)?))).await
    }

    /// Creates a collection. It may exist already.
    ///
    /// # Errors
    /// Code `invalid_name` if the name is none.
    pub async fn create_collection(&self, database: &str, collection: &str) -> Result<()> {
        let request = Request::write(Method::POST, "/api/cols");
        self.call(request.json(&json!({"database": database, "collection": collection}))).await.map(drop)
    }

    /// Deletes a collection and its documents. It may be absent.
    ///
    /// # Errors
    /// As every call: see [`Error`](crate::Error).
    pub async fn delete_collection(&self, database: &str, collection: &str) -> Result<()> {
        let request = Request::write(Method::DELETE, "/api/cols");
        self.call(request.param("database", database).param("collection", collection)).await.map(drop)
    }

    /// Renames a collection.
    ///
    /// # Errors
    /// Code `not_found` if there is none of the old name, `conflict` if there is one of the new.
    pub async fn rename_collection(&self, database: &str, old: &str, new: &str) -> Result<()> {
        let request = Request::write(Method::POST, "/api/cols/rename");
        self.call(request.json(&json!({"database": database, "oldName": old, "newName": new}))).await.map(drop)
    }
}
