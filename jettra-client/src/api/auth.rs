//! Users: login and passwords.

use serde_json::json;

use crate::client::JettraClient;
use crate::error::{Error, Result};
use crate::request::Request;
use crate::retry::Safety;
use crate::settings::Identity;
use crate::wire::{Login, LoginAnswer};

impl JettraClient {
    /// Exchanges the credentials for a token and uses that from now on. When it ends, the client goes
    /// back to user and password by itself.
    ///
    /// # Errors
    /// Code `unauthorized` if user or password are wrong; [`Error::InvalidInput`] if the client has none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let port = node.port();
    /// use jettra_client::{ErrorCode, JettraClient};
    ///
    /// let client = JettraClient::new("localhost", port, "admin", "password");
    /// assert_eq!(client.login().await?.role, "admin");
    ///
    /// let stranger = JettraClient::new("localhost", port, "admin", "guess");
    /// assert_eq!(stranger.login().await.unwrap_err().code(), Some(ErrorCode::Unauthorized));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn login(&self) -> Result<LoginAnswer> {
        let inner = self.inner()?;
        let credentials = inner.identity().credentials.clone();
        let (user, password) = credentials
            .ok_or_else(|| Error::invalid("the client has no user and password; make it with `credentials`"))?;
        let request = Request::post("/api/login", Safety::Idempotent).anonymous();
        let answer: LoginAnswer =
            self.call_json(request.json(&json!({"username": user, "password": password}))).await?;
        inner.identity().token = Some(answer.token.clone());
        Ok(answer)
    }

    /// Ends the token of [`login`](JettraClient::login), on every node. The client keeps the user and password that it
    /// was made with, if any, and goes back to them.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the client has no token; code `unauthorized` if it has ended already.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let port = node.port();
    /// use jettra_client::JettraClient;
    ///
    /// let client = JettraClient::new("localhost", port, "admin", "password");
    /// client.login().await?;
    /// client.logout().await?;
    /// assert!(client.logout().await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logout(&self) -> Result<()> {
        let inner = self.inner()?;
        if inner.identity().token.is_none() {
            return Err(Error::invalid("the client has no token that could be ended; `login` gives one"));
        }
        self.call(Request::post("/api/logout", Safety::Idempotent)).await?;
        inner.identity().token = None;
        Ok(())
    }

    /// Who is logged in, newest first, 10 000 at most. For administrators.
    ///
    /// # Errors
    /// Code `forbidden` for others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let port = node.port();
    /// use jettra_client::JettraClient;
    ///
    /// let client = JettraClient::new("localhost", port, "admin", "password");
    /// client.login().await?;
    /// let logins = client.logins().await?;
    /// assert!(logins[0].current);
    /// client.end_login(&logins[0].id).await?;
    /// assert!(client.logins().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logins(&self) -> Result<Vec<Login>> {
        self.call_json(Request::read("/api/tokens")).await
    }

    /// Ends somebody's login, by the id that [`logins`](JettraClient::logins) gives. For administrators.
    ///
    /// # Errors
    /// Code `not_found` if nobody is logged in by it; `forbidden` for others than administrators.
    pub async fn end_login(&self, id: &str) -> Result<()> {
        self.call(Request::delete("/api/tokens", Safety::Idempotent).param("id", id)).await?;
        Ok(())
    }

    /// Changes the password of the client's user, and uses the new one from now on.
    ///
    /// # Errors
    /// Code `unauthorized` if `old` is wrong.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> jettra_client::Result<()> {
    /// # let node = jettra_client::testing::FakeNode::start().unwrap();
    /// # let client = node.client();
    /// client.change_password("password", "a better one").await?;
    /// assert!(client.list_databases().await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_password(&self, old: &str, new: &str) -> Result<()> {
        let request = Request::post("/api/change-password", Safety::Once);
        self.call(request.json(&json!({"oldPassword": old, "newPassword": new}))).await?;
        let mut identity = self.inner()?.identity();
        let user = identity.credentials.take().map(|(user, _)| user);
        *identity = Identity { credentials: user.map(|user| (user, new.to_owned())), token: None };
        Ok(())
    }
}
