//! A client of the stream.

use std::time::Duration;

use larder_proto::catalog::{
    ProductEvent, ProductEventKind, ProductFilter, WatchProductsRequest, WatchProductsResponse,
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::harness::{Client, Server};

/// An open stream, and the token of the last message.
pub(crate) struct Watching {
    stream: Streaming<WatchProductsResponse>,
    pub(crate) token: String,
}

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

impl Watching {
    /// Watches everything from now on.
    pub(crate) async fn start(server: &Server) -> Self {
        Self::open(server, "", None).await.expect("a stream")
    }

    /// Watches from a token on.
    pub(crate) async fn open(server: &Server, token: &str, filter: Option<ProductFilter>) -> Result<Self, Status> {
        Self::open_by(server.client(), token, filter).await
    }

    /// Opens a stream by a client, and takes its first message, which is a checkpoint.
    pub(crate) async fn open_by(
        mut client: Client,
        token: &str,
        filter: Option<ProductFilter>,
    ) -> Result<Self, Status> {
        let request = WatchProductsRequest { start_token: token.to_owned(), filter };
        let stream = client.watch_products(request).await?.into_inner();
        let mut watching = Self { stream, token: String::new() };
        let first = watching.message().await?;
        assert_eq!(first.map(|message| message.event), Some(None), "the first message");
        Ok(watching)
    }

    /// The next message; `None` at the end.
    pub(crate) async fn message(&mut self) -> Result<Option<WatchProductsResponse>, Status> {
        let message = timeout(LONG, self.stream.message()).await.expect("a message in time")?;
        if let Some(message) = &message {
            assert!(!message.token.is_empty(), "{message:?}");
            self.token.clone_from(&message.token);
        }
        Ok(message)
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Result<ProductEvent, Status> {
        let wait = async {
            loop {
                let message = self.message().await?.expect("a stream that goes on");
                if let Some(event) = message.event {
                    return Ok(event);
                }
            }
        };
        timeout(LONG, wait).await.expect("an event in time")
    }

    /// The next event in short: what happened to which product, and its name now.
    pub(crate) async fn short(&mut self) -> (ProductEventKind, String, String) {
        let event = self.event().await.expect("an event");
        let name = event.product.as_ref().map(|product| product.name.clone()).unwrap_or_default();
        (event.kind(), event.id, name)
    }
}

/// The version in an event.
pub(crate) fn version(event: &ProductEvent) -> i64 {
    i64::from_str_radix(&event.etag, 16).expect("a version")
}
