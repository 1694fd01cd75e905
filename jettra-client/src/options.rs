//! What calls may be told beside their arguments.

use std::time::Duration;

use crate::wire::Position;

/// The methods that set one option each, all alike: an option that may be absent, a text, a switch, or a value.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident = $kind:tt $(($type:ty))?;)*) => {
        $(setters!(@ $(#[$doc])* $name $kind $(($type))?);)*
    };
    (@ $(#[$doc:meta])* $name:ident Some ($type:ty)) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = Some($name);
            self
        }
    };
    (@ $(#[$doc:meta])* $name:ident Text) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: impl Into<String>) -> Self {
            self.$name = Some($name.into());
            self
        }
    };
    (@ $(#[$doc:meta])* $name:ident true) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self) -> Self {
            self.$name = true;
            self
        }
    };
    (@ $(#[$doc:meta])* $name:ident $type:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        }
    };
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// It sees every write that was acknowledged before it began, on whichever node it is asked.
    #[default]
    Linearizable,
    /// As linearizable, resting on the leader's lease in place of a round to a majority: cheaper,
    /// and as good as the clocks' speed.
    Lease,
    /// The asked node's own state, at once; it may be behind.
    Local,
}

impl Consistency {
    /// The value of the parameter `consistency`.
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Linearizable => "linearizable",
            Consistency::Lease => "lease",
            Consistency::Local => "local",
        }
    }
}

/// Options of reads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> jettra_client::Result<()> {
/// # let node = jettra_client::testing::FakeNode::start().unwrap();
/// # let client = node.client();
/// use jettra_client::{Consistency, ReadOptions};
///
/// // Read what was just written, from any node, without a round to the leader.
/// let saved = client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
/// let read = ReadOptions::new().consistency(Consistency::Local).min_index(saved.rev);
/// assert!(client.get_document_with("shop", "users", "ada", &read).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub(crate) consistency: Consistency,
    pub(crate) min_index: Option<u64>,
    pub(crate) max_lag: Option<u64>,
    pub(crate) timeout: Option<Duration>,
}

impl ReadOptions {
    /// A linearizable read.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// How fresh the read must be.
        consistency = Consistency;
        /// Waits until the node has applied this log index, such as the `rev` of a write.
        min_index = Some(u64);
        /// Refuses a local read on a node that is more than this many log entries behind.
        max_lag = Some(u64);
        /// How long the call may take in all, in place of the client's deadline.
        timeout = Some(Duration);
    }
}

/// Options of writes to one document.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> jettra_client::Result<()> {
/// # let node = jettra_client::testing::FakeNode::start().unwrap();
/// # let client = node.client();
/// use jettra_client::{ErrorCode, WriteOptions};
///
/// let rev = client.update("shop", "stock", "pen", r#"{"left":3}"#).await?;
/// client.update_with("shop", "stock", "pen", r#"{"left":2}"#, &WriteOptions::new().if_match(rev)).await?;
///
/// let stale = WriteOptions::new().if_match(rev);
/// let lost_race = client.update_with("shop", "stock", "pen", r#"{"left":2}"#, &stale).await;
/// assert_eq!(lost_race.unwrap_err().code(), Some(ErrorCode::Conflict));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub(crate) condition: Option<Condition>,
    pub(crate) timeout: Option<Duration>,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The document's revision is this one.
    Rev(u64),
    /// There is no such document.
    Absent,
}

impl WriteOptions {
    /// An unconditional write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the document's revision is `rev`; else the call fails with `conflict`.
    #[must_use]
    pub fn if_match(mut self, rev: u64) -> Self {
        self.condition = Some(Condition::Rev(rev));
        self
    }

    /// Only if there is no such document (create only); else the call fails with `conflict`.
    #[must_use]
    pub fn if_none_match(mut self) -> Self {
        self.condition = Some(Condition::Absent);
        self
    }

    setters! {
        /// How long the call may take in all, in place of the client's deadline.
        timeout = Some(Duration);
    }
}

/// What a query selects, and how fresh it must be.
///
/// ```
/// use jettra_client::QueryOptions;
///
/// let page = QueryOptions::new().limit(20).offset(40).filter(r#"{"city":"Panamá"}"#);
/// ```
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    pub(crate) limit: Option<u64>,
    pub(crate) offset: Option<u64>,
    pub(crate) filter: Option<String>,
    pub(crate) sort: Option<String>,
    pub(crate) fields: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) read: ReadOptions,
}

impl QueryOptions {
    /// The first 100 documents of the collection, in `_id` order.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// How many documents at most; 0 means all. The node's default is 100.
        limit = Some(u64);
        /// How many documents to leave out at the beginning.
        offset = Some(u64);
        /// Only documents that match this filter (JSON).
        filter = Text;
        /// The order of the documents, as the node's parameter `sort` takes it.
        sort = Text;
        /// The fields to return, as the node's parameter `fields` takes them.
        fields = Text;
        /// Only documents after this cursor.
        after = Text;
        /// How fresh the documents must be.
        read = ReadOptions;
    }
}

/// Options of membership changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MembershipOptions {
    pub(crate) force: bool,
}

impl MembershipOptions {
    /// A change that the cluster refuses when it would cost the majority.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Go on even where the cluster loses its majority by it.
        force = true;
    }
}

/// Which events of the journal to tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventOptions {
    pub(crate) after: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: Option<u64>,
    pub(crate) newest_first: bool,
}

impl EventOptions {
    /// The oldest 100.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Only events with a higher revision: those that came after one that is known.
        after = Some(u64);
        /// At most this many; 0 means as many as one answer takes, which is 10 000.
        limit = Some(u64);
        /// Passes over this many.
        offset = Some(u64);
        /// Newest first.
        newest_first = true;
    }
}

/// What to watch, and from where on.
///
/// ```
/// use jettra_client::WatchOptions;
///
/// let options = WatchOptions::new().collection("users").after("812.3".parse()?);
/// # Ok::<(), jettra_client::wire::NoPosition>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    pub(crate) collection: Option<String>,
    pub(crate) after: Option<Position>,
}

impl WatchOptions {
    /// Every collection of the database, from now on.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// This collection only.
        collection = Text;
        /// Begins with the first change after this position: that of a [`Change`](crate::Change), or
        /// [`Position::after`] a revision that is known.
        after = Some(Position);
    }
}
