//! What every database must offer.

use std::{future::Future, time::Duration};

use crate::{
    Change, Filter, Incarnation, ListPage, ListQuery, LogBatch, Product, ProductData, ProductMask, Products, ReadPoint,
    Recall, Replay, SearchPage, SearchQuery, Snapshot, StorageError, Term, Token, Witness,
};

/// Something read, and under what.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded<T> {
    /// What was read.
    pub value: T,
    /// Under what.
    pub point: ReadPoint,
}

/// Something written and committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed<T> {
    /// What the write returns.
    pub value: T,
    /// What it changed, for learning. Empty after a dry run, a replay, and a write that changed nothing.
    pub changes: Vec<Change>,
    /// Names the commit; `None` after a dry run. A commit that changed nothing has the salt 0 in PostgreSQL, and names the newest
    /// change before it in SQLite.
    pub commit: Option<Token>,
    /// The horizon of a copy made of what was written: every change of a lower id was finished, and seen, when the transaction
    /// read back what it had logged. In PostgreSQL that is the xmin of the statement's snapshot, so at most the id of the commit,
    /// and less while an older transaction is open. SQLite has one writer: there it is one more than the id of the commit. 0
    /// after a dry run.
    ///
    /// It holds only for a value that `changes` tells of: what a replay returns is as old as the first call.
    pub horizon: u64,
}

/// How a write is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteOptions {
    /// Makes a repeated call safe: within a day, a call with the same id returns what the first one returned.
    pub request_id: Option<String>,
    /// Checks everything and changes nothing.
    pub validate_only: bool,
}

/// How a creation ended.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, and mostly the large one")]
pub enum Creation {
    /// The product is there now, as the first call with this request id left it.
    Created(Product),
    /// There was one of that id.
    Exists,
    /// The request id was used before, for a call that asked for something else.
    RequestIdReused,
}

/// What an update asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The product.
    pub id: String,
    /// New values for the fields of the mask.
    pub data: ProductData,
    /// The fields to change.
    pub mask: ProductMask,
    /// The version that the product must still have.
    pub version: Option<i64>,
    /// Creates the product when there is none (with the fields of the mask; the others are empty).
    pub allow_missing: bool,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, and mostly the large one")]
pub enum Updating {
    /// The product as it is now, or as the first call with this request id left it.
    Updated(Product),
    /// There is none of that id.
    Missing,
    /// It has another version.
    VersionDiffers,
    /// The request id was used before, for a call that asked for something else.
    RequestIdReused,
}

/// How a deletion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It was there and is gone.
    Deleted,
    /// There is none of that id.
    Missing,
    /// It has another version.
    VersionDiffers,
}

/// What an import did with one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It did not exist before.
    Created,
    /// It was replaced.
    Updated,
    /// It was already stored exactly so; nothing was written.
    Unchanged,
}

/// What somebody wants dropped of the copies that caches keep. Nothing of the products changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// The copy of one key: the id of a product, or the name of a copy.
    Key(String),
    /// The copies of everything in a category or with a tag.
    Term(Term),
    /// The copies of every key that matches a glob, which is not read here.
    Pattern(String),
    /// Every copy.
    All,
}

/// How a request of invalidations that is to be done once ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalidating {
    /// It was done.
    Done,
    /// It had been done before, and was signed anew since; nothing was written.
    Repeated,
    /// It had been done before, and this was signed no later than what came then; nothing was written.
    Replayed,
    /// The request id was used before, for a call that asked for something else; nothing was written.
    RequestIdReused,
}

impl Invalidation {
    /// As the change log holds it: a kind and a key.
    pub(crate) fn row(&self) -> (&'static str, &str) {
        match self {
            Self::Key(key) => ("key", key),
            Self::Term(Term::Category(category)) => ("category", category),
            Self::Term(Term::Tag(tag)) => ("tag", tag),
            Self::Pattern(pattern) => ("pattern", pattern),
            Self::All => ("all", ""),
        }
    }
}

/// Facts about a repository for logs and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `PostgreSQL` or `SQLite`.
    pub name: &'static str,
    /// The version that the database reports.
    pub version: String,
}

/// The use of a pool of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// What its connections are for.
    pub name: &'static str,
    /// Connections that nobody uses.
    pub idle: u64,
    /// Connections in use.
    pub used: u64,
    /// Connections that there may be.
    pub most: u64,
}

/// Products, their change log and nothing else.
///
/// Every read is one statement on the primary, so that its value and its [`ReadPoint`] belong together. Every write is one
/// transaction; it returns only after a commit that the database acknowledged.
pub trait ProductRepository: Send + Sync + 'static {
    /// Returns the products among `ids` (at most 1,000, none twice), in any order.
    fn get(&self, ids: &[String]) -> impl Future<Output = Result<Loaded<Products>, StorageError>> + Send;

    /// Returns one page of a list.
    fn list(&self, query: &ListQuery) -> impl Future<Output = Result<Loaded<ListPage>, StorageError>> + Send;

    /// Returns one page of a list with its products, in the order of the page, all of one snapshot.
    fn list_whole(
        &self,
        query: &ListQuery,
    ) -> impl Future<Output = Result<Loaded<(ListPage, Products)>, StorageError>> + Send;

    /// Returns one page of a search.
    fn search(&self, query: &SearchQuery) -> impl Future<Output = Result<Loaded<SearchPage>, StorageError>> + Send;

    /// Returns one page of a search with its products, in the order of the page, all of one snapshot.
    fn search_whole(
        &self,
        query: &SearchQuery,
    ) -> impl Future<Output = Result<Loaded<(SearchPage, Products)>, StorageError>> + Send;

    /// Returns up to `limit` whole products in the order of their ids, after `after`: for exports, outside any cache.
    fn scan(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Products, StorageError>> + Send;

    /// Creates a product.
    fn create(
        &self,
        id: &str,
        data: &ProductData,
        options: &WriteOptions,
    ) -> impl Future<Output = Result<Committed<Creation>, StorageError>> + Send;

    /// Changes a product. The version is checked by the statement that writes.
    fn update(
        &self,
        update: &Update,
        options: &WriteOptions,
    ) -> impl Future<Output = Result<Committed<Updating>, StorageError>> + Send;

    /// Deletes a product. The version is checked by the statement that writes.
    fn delete(
        &self,
        id: &str,
        version: Option<i64>,
    ) -> impl Future<Output = Result<Committed<Deletion>, StorageError>> + Send;

    /// Creates or replaces up to 1,000 products, no id twice, in one transaction. The result is in the order of the input.
    fn import(
        &self,
        products: &[(String, ProductData)],
    ) -> impl Future<Output = Result<Committed<Vec<Imported>>, StorageError>> + Send;

    /// Asks every cache to drop copies: writes up to 1,000 rows to the change log, in one statement. No key, tag or pattern may
    /// be empty or hold a NUL.
    fn invalidate(
        &self,
        invalidations: &[Invalidation],
    ) -> impl Future<Output = Result<Committed<()>, StorageError>> + Send;

    /// Like [`invalidate`](Self::invalidate), once: within a day of the last call with the same request id that was not a replay,
    /// another one changes nothing. The ids are of a name space of their own: other
    /// writes may have the same. The id is remembered in the transaction of the rows, so that neither is there without the
    /// other, and with it when the newest call was `signed`, in seconds since 1970: of several calls that were signed at the same
    /// time, one counts.
    fn invalidate_once(
        &self,
        request_id: &str,
        signed: u64,
        invalidations: &[Invalidation],
    ) -> impl Future<Output = Result<Committed<Invalidating>, StorageError>> + Send;

    /// Whether there is no product at all.
    fn is_empty(&self) -> impl Future<Output = Result<bool, StorageError>> + Send;

    /// Looks at the change log: what has been committed since the snapshot `since` of incarnation `of`.
    ///
    /// Without `since`, when `of` is no longer the incarnation, when there are more than `limit` changes, and when some of them
    /// may have been pruned, the newest changes that there are, at most `limit`, are told instead ([`Changes::Window`]).
    fn pass(
        &self,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> impl Future<Output = Result<LogBatch, StorageError>> + Send;

    /// Reads the change log again from an earlier snapshot of the incarnation `of`, for somebody who does not follow it: what
    /// [`changed`](Self::changed) waits for stays as it is. Of more than `limit` changes none is told
    /// ([`Changes::Window`](crate::Changes::Window)).
    fn replay(
        &self,
        since: &Snapshot,
        of: Incarnation,
        limit: u32,
    ) -> impl Future<Output = Result<Replay, StorageError>> + Send;

    /// Asks the change log for at most 1,000 named changes.
    fn recall(&self, changes: &[Witness]) -> impl Future<Output = Result<Recall, StorageError>> + Send;

    /// Begins another incarnation for everybody, as if the database had been restored: for what nobody can detect.
    fn begin_life(&self) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Waits until there may be something new in the change log, at most `at_most`. Wakes too often rather than too rarely;
    /// a database that cannot tell waits the whole time.
    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;

    /// Removes what the change log and the remembered request ids no longer need: changes that every snapshot taken within
    /// `retention` (measured on this process's monotonic clock) has seen, and request ids older than a day. Returns how many
    /// rows went. Called every few minutes.
    fn prune(&self, retention: Duration) -> impl Future<Output = Result<u64, StorageError>> + Send;

    /// How many rows the change log has. Counts them.
    fn log_rows(&self) -> impl Future<Output = Result<u64, StorageError>> + Send;

    /// Puts right what keeps the change log from being complete: triggers that are missing, changed or switched off. Logs a
    /// change of everything, whatever it found. Returns what was wrong, a line for each thing.
    fn repair(&self) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// How many connections writes can take.
    fn write_connections(&self) -> usize;

    /// The pools of connections now.
    fn pools(&self) -> Vec<Pool>;

    /// What is behind this.
    fn backend(&self) -> &Backend;

    /// Closes every connection; waits for statements under way, at most 5 seconds.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
