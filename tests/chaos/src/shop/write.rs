//! Writes, each noted in the history.

use larder_proto::catalog::{
    CreateProductRequest, DeleteProductRequest, GetProductRequest, Product, ReadOptions, UpdateProductRequest,
    read_options::Consistency,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

use super::{Shop, within};
use crate::{
    history::{Moment, Seen, Write},
    product,
};

/// What the writers know of a key.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// The etag; `None` when there is no product.
    etag: Option<String>,
    /// The write of which nobody knows whether it happened.
    open: Option<Write>,
    unsure: bool,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Creates the product, or changes it.
    Put,
    /// Deletes the product where there is one, and creates it otherwise.
    Delete,
}

impl Shop {
    /// Writes a key, after whoever is writing it now.
    pub(crate) async fn write(&self, key: usize, replica: usize, writer: u32, change: Change) -> Result<Write, Status> {
        let mut head = self.heads[key].lock().await;
        if head.unsure {
            self.resolve(&mut head, key, replica).await?;
        }
        let present = change == Change::Put || head.etag.is_none();
        let begin = self.now();
        let write = self.history.begin(key, writer, present, begin);
        let under_way = self.calls.begin(begin);
        let result = self.send(write, replica, head.etag.clone(), present).await;
        drop(under_way);
        let end = self.now();
        match result {
            Ok((etag, token)) => {
                self.history.acknowledge(write, Some(token), end);
                self.tally.written();
                // Its etag is gone for good.
                if let Some(open) = head.open {
                    self.history.refuse(open);
                }
                *head = Head { etag, open: None, unsure: false };
                Ok(write)
            }
            Err(status) => {
                // Another state than the one expected: a write of unknown outcome has happened after all.
                let refused = matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound);
                if refused && head.open.is_some() {
                    self.history.refuse(write);
                } else {
                    self.tally.write_failed(replica, end.saturating_sub(begin), &status);
                    head.open = Some(write);
                }
                head.unsure = true;
                Err(status)
            }
        }
    }

    /// Writes a key on a replica that does not live to tell: `killed` ends when the replica is dead, with the moment at which
    /// the write was known to be in the database. Returns the write, or `None` when the replica told after all.
    pub(crate) async fn write_unanswered(
        &self,
        key: usize,
        replica: usize,
        writer: u32,
        change: Change,
        killed: impl Future<Output = Option<Moment>>,
    ) -> Result<Option<Write>, Status> {
        let mut head = self.heads[key].lock().await;
        if head.unsure {
            self.resolve(&mut head, key, (replica + 1) % self.clients.len()).await?;
        }
        let present = change == Change::Put || head.etag.is_none();
        let write = self.history.begin(key, writer, present, self.now());
        head.unsure = true;
        let mut sending = std::pin::pin!(self.send(write, replica, head.etag.clone(), present));
        let (told, committed) = tokio::select! {
            committed = killed => (None, committed),
            result = &mut sending => (Some(result), Some(self.now())),
        };
        match (told, committed) {
            (None, Some(at)) => self.history.acknowledge(write, None, at),
            (Some(Ok((_, token))), Some(at)) => {
                self.history.acknowledge(write, Some(token), at);
                self.tally.written();
                return Ok(None);
            }
            (told, _) => {
                head.open = Some(write);
                let status = told.and_then(Result::err);
                return Err(status.unwrap_or_else(|| Status::internal("the replica lives and does not answer")));
            }
        }
        self.tally.written();
        // It fails when the replica is gone.
        Ok(sending.await.is_err().then_some(write))
    }

    /// Has every writer look again at what is there: another hand has changed it.
    pub(crate) async fn forget_heads(&self) {
        for head in &self.heads {
            *head.lock().await = Head { unsure: true, ..Head::default() };
        }
    }

    /// Learns what became of a write. If it did not happen yet, the etag of the next one sees to it that it never does.
    async fn resolve(&self, head: &mut Head, key: usize, replica: usize) -> Result<(), Status> {
        let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..ReadOptions::default() };
        let request = GetProductRequest { id: product::id(key), read: Some(read) };
        let begin = self.now();
        let _under_way = self.calls.begin(begin);
        let product = match within(self.client(replica).get_product(request)).await {
            Ok(reply) => reply.product,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => {
                self.tally.read_failed(replica, "resolve", self.now().saturating_sub(begin), &status);
                return Err(status);
            }
        };
        let seen = product::seen(product.as_ref());
        // A deletion was only ever sent where there was a product.
        let happened = |write: &Write| match seen {
            Seen::Present(seen) => seen == *write,
            Seen::Absent => !self.history.leaves_product(*write),
        };
        if let Some(write) = head.open.take_if(|write| happened(write)) {
            self.history.acknowledge(write, None, self.now());
        }
        head.etag = product.map(|product| product.etag);
        head.unsure = false;
        Ok(())
    }

    async fn send(
        &self,
        write: Write,
        replica: usize,
        etag: Option<String>,
        present: bool,
    ) -> Result<(Option<String>, String), Status> {
        let mut client = self.client(replica);
        let product = product::made(write);
        // A call that is made again must not write twice.
        let request_id = format!("{:016x}", rand::random::<u64>());
        let etag_of = |product: Option<Product>| product.map(|product| product.etag);
        match etag {
            None => {
                let request =
                    CreateProductRequest { product: Some(product), request_id, ..CreateProductRequest::default() };
                let reply = within(client.create_product(request)).await?;
                Ok((etag_of(reply.product), reply.token))
            }
            Some(etag) if present => {
                let paths = ["name", "attributes"].map(str::to_owned).to_vec();
                let request = UpdateProductRequest {
                    product: Some(Product { etag, ..product }),
                    update_mask: Some(FieldMask { paths }),
                    request_id,
                    ..UpdateProductRequest::default()
                };
                let reply = within(client.update_product(request)).await?;
                Ok((etag_of(reply.product), reply.token))
            }
            Some(etag) => {
                let request = DeleteProductRequest { id: product.id, etag, ..DeleteProductRequest::default() };
                let reply = within(client.delete_product(request)).await?;
                Ok((None, reply.token))
            }
        }
    }
}
