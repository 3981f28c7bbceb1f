//! What every test stands on.
//!
//! ```ignore
//! on_both_databases!(a_product_comes_back);
//!
//! async fn a_product_comes_back(database: &Database) {
//!     let server = Server::start(database).await;
//!     let created = server.create(product("a")).await;
//!     assert_eq!(server.get("a").await.product, created.product);
//!     server.stop().await;
//! }
//! ```
//!
//! [`Server`] runs inside the test through the builder of the program; [`Process`] is the program itself, for tests that
//! kill it or read its exit code.

mod database;
mod fixtures;
mod lock;
mod process;
mod raw;
mod receiver;
mod refusal;
mod server;
mod tools;

pub(crate) use database::{Database, on_both_databases};
pub(crate) use fixtures::{eventually, named, product, user_fields};
pub(crate) use lock::{PATIENT, TableLock, patient};
pub(crate) use process::{Process, Ran};
pub(crate) use raw::{Raw, RawReply, framed, framed_compressed};
pub(crate) use receiver::{Points, Receiver, Span, points};
pub(crate) use refusal::{Refusal, read_refusal, refusal, sent};
pub(crate) use server::{Client, Server, connect};
pub(crate) use tools::{Grpcio, PyCall, PyReply, find_tool, grpc_health_probe, grpcurl, kustomize, run_with_input};
