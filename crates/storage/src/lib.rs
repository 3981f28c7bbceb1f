//! The truth: products and their change log, in PostgreSQL or SQLite.

mod change;
mod error;
mod product;
mod query;
mod repository;

pub use change::{Change, Incarnation, Pass, PassChanges, ReadPoint, Snapshot, Subject, Term};
pub use error::{BoxError, StorageError};
pub use product::{Money, Product, ProductData, ProductMask};
pub use query::{
    Filter, ListPage, ListPosition, ListQuery, Order, OrderField, PriceRange, SearchPage, SearchQuery, SearchRank,
    SortValue, words,
};
pub use repository::{
    Backend, Commit, Committed, Creation, Deletion, Imported, Loaded, ProductRepository, Update, Updating, WriteOptions,
};
