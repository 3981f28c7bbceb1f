//! The truth: products and their change log, in PostgreSQL or SQLite.
//!
//! [`ProductRepository`] says what a database must offer, [`Repository`] is the one that a URL names. Row versions and the change
//! log are kept by triggers, so that a change typed into a shell of the database counts like any other. The schema is in the
//! crate's `migrations` directory; its README has the rule that a migration must keep to.

mod any;
mod change;
mod config;
mod driver;
mod error;
mod hash;
mod horizon;
mod migrations;
mod postgres;
mod product;
mod query;
mod repository;
mod request;
mod retry;
mod search;
mod sqlite;
mod trace;

pub use any::Repository;
pub use change::{Change, Changes, LogBatch, ReadPoint, Replay, Subject};
pub use config::StorageConfig;
pub use error::{BoxError, StorageError};
pub use larder_change::{Cause, Incarnation, Lineage, Recall, Recalled, Snapshot, Term, Token, Witness};
pub use postgres::PostgresRepository;
pub use product::{Money, Product, ProductData, ProductMask, Products};
pub use query::{
    Filter, ListPage, ListPosition, ListQuery, Order, OrderField, PriceRange, SearchPage, SearchQuery, SearchRank,
    SortValue,
};
pub use repository::{
    Backend, Committed, Creation, Deletion, Imported, Invalidating, Invalidation, Loaded, Pool, ProductRepository,
    Update, Updating, WriteOptions,
};
pub use search::words;
pub use sqlite::SqliteRepository;
pub use trace::with_trace;
