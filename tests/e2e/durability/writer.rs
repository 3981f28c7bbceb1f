//! A writer who remembers what was acknowledged.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use larder_proto::catalog::{
    BatchGetProductsRequest, CreateProductRequest, DeleteProductRequest, GetProductRequest, ImportProductsRequest,
    ListProductsRequest, Product, ProductFilter, ReadOptions, UpdateProductRequest, read_options::Consistency,
};
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::ledger::{Ledger, Outcome, State, product};
use crate::harness::{Client, eventually, user_fields};

/// Products that an import writes in one transaction.
const BATCH: usize = 12;

/// Somebody who writes products of their own: nobody else does.
pub(super) struct Writer {
    name: String,
    rng: SmallRng,
    ledger: Ledger,
    next: u64,
    /// The write whose outcome is not known.
    open: Option<Call>,
    /// The last write that was acknowledged before the kill was on its way, and its token.
    last: Option<(String, String)>,
    /// How many writes were acknowledged, and how many had an unknown outcome.
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
}

/// How far a round has come.
#[derive(Clone, Default)]
pub(super) struct Phase(Arc<Progress>);

#[derive(Default)]
struct Progress {
    stage: AtomicU8,
    acknowledged: AtomicU64,
}

/// A write.
#[derive(Debug, Clone)]
enum Call {
    Create { id: String, write: u64 },
    Update { id: String, write: u64 },
    Delete { id: String },
    Import { products: Vec<(String, u64)> },
}

impl Writer {
    pub(super) fn new(name: String, rng: SmallRng) -> Self {
        let ledger = Ledger::default();
        Self { name, rng, ledger, next: 1, open: None, last: None, acknowledged: 0, unknown: 0 }
    }

    /// Writes until the round is over or a write fails.
    pub(super) async fn write(&mut self, mut client: Client, phase: Phase) {
        while !phase.is_over() {
            let call = self.choose();
            let result = self.send(&mut client, &call).await;
            let outcome = match &result {
                Ok(_) => Outcome::Acknowledged,
                Err(status) => outcome(status),
            };
            for (id, made) in call.writes() {
                self.ledger.note(&id, made, outcome);
            }
            match result {
                Ok(token) => {
                    self.acknowledged += 1;
                    phase.0.acknowledged.fetch_add(1, Ordering::SeqCst);
                    let (id, _) = call.writes().pop().expect("a product");
                    if phase.is_writing() {
                        self.last = Some((id, token));
                    }
                }
                Err(_) => {
                    if outcome == Outcome::Unknown {
                        self.unknown += 1;
                        self.open = Some(call);
                    }
                    return;
                }
            }
        }
    }

    /// Checks everything that this writer has written lately, or ever; then repeats what has an unknown outcome.
    pub(super) async fn check(&mut self, mut client: Client) {
        if let Some((id, token)) = self.last.take() {
            self.check_token(&mut client, &id, token).await;
        }
        self.check_products(&mut client).await;
        let Some(call) = self.open.take() else { return };
        eventually("a repeated write to be acknowledged", async || match self.send(&mut client, &call).await {
            Ok(_) => true,
            Err(status) => {
                // The connection of before may only now be found to be gone.
                assert!(transient(&status), "{call:?}: {status:?}");
                false
            }
        })
        .await;
        for (id, made) in call.writes() {
            self.ledger.settle(&id, made);
        }
        self.check_products(&mut client).await;
    }

    /// Every product of this writer that there is, and no other: a write that was made twice shows here.
    pub(super) async fn check_list(&self, mut client: Client) {
        let mut listed = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListProductsRequest {
                filter: Some(ProductFilter { category: self.name.clone(), ..Default::default() }),
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let page = client.list_products(request).await.expect("a page").into_inner();
            listed.extend(page.products);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected: Vec<&String> = self.ledger.present().collect();
        let found: Vec<&String> = listed.iter().map(|product| &product.id).collect();
        assert_eq!(found, expected, "what {} wrote, in the order of the ids", self.name);
        for product in &listed {
            self.ledger.check(&product.id, Some(product));
        }
    }

    fn choose(&mut self) -> Call {
        let write = self.next;
        self.next += 1;
        let present: Vec<String> = self.ledger.present().cloned().collect();
        match (self.rng.random_range(0..10), present.choose(&mut self.rng)) {
            (0..3, Some(id)) => Call::Update { id: id.clone(), write },
            (3, Some(id)) => Call::Delete { id: id.clone() },
            (4, _) => {
                // Some that are there already and some that are not.
                let mut products = Vec::new();
                for _ in 0..BATCH {
                    let chosen = present.choose(&mut self.rng).filter(|_| self.rng.random_bool(0.5));
                    let id = chosen.cloned().unwrap_or_else(|| format!("{}-{}", self.name, self.next));
                    if products.iter().all(|(other, _)| *other != id) {
                        products.push((id, self.next));
                    }
                    self.next += 1;
                }
                Call::Import { products }
            }
            _ => Call::Create { id: format!("{}-{write}", self.name), write },
        }
    }

    /// Makes a call, the same again and again if need be. Returns the token.
    async fn send(&self, client: &mut Client, call: &Call) -> Result<String, Status> {
        match call {
            Call::Create { id, write } => {
                let product = Some(product(id, *write));
                let request = CreateProductRequest { product, request_id: self.request(*write), validate_only: false };
                let reply = client.create_product(request).await?.into_inner();
                check_reply(id, *write, reply.product.as_ref());
                Ok(reply.token)
            }
            Call::Update { id, write } => {
                let request = UpdateProductRequest {
                    product: Some(product(id, *write)),
                    update_mask: Some(prost_types::FieldMask { paths: vec!["*".to_owned()] }),
                    request_id: self.request(*write),
                    ..Default::default()
                };
                let reply = client.update_product(request).await?.into_inner();
                check_reply(id, *write, reply.product.as_ref());
                Ok(reply.token)
            }
            Call::Delete { id } => {
                let request = DeleteProductRequest { id: id.clone(), allow_missing: true, ..Default::default() };
                Ok(client.delete_product(request).await?.into_inner().token)
            }
            Call::Import { products } => {
                let request = |(id, write): &(String, u64)| ImportProductsRequest {
                    product: Some(product(id, *write)),
                    ..Default::default()
                };
                let requests: Vec<_> = products.iter().map(request).collect();
                let mut reports = client.import_products(tokio_stream::iter(requests)).await?.into_inner();
                let mut last = None;
                while let Some(report) = reports.message().await? {
                    last = Some(report);
                }
                let last = last.ok_or_else(|| Status::unknown("the import ended without a report"))?;
                assert_eq!(last.rejected, 0, "{last:?}");
                assert_eq!(last.created + last.updated + last.unchanged, products.len() as u64, "{last:?}");
                Ok(last.token)
            }
        }
    }

    fn request(&self, write: u64) -> String {
        format!("{}/{write}", self.name)
    }

    /// The token of the last acknowledged write is good, also in another life of the database: that has every acknowledged write.
    async fn check_token(&self, client: &mut Client, id: &str, token: String) {
        let read = ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(token)), ..Default::default() };
        let request = GetProductRequest { id: id.to_owned(), read: Some(read) };
        let mut result = None;
        eventually("an answer to a read with a token", async || {
            let answer = client.get_product(request.clone()).await;
            let waiting = answer.as_ref().is_err_and(transient);
            result = Some(answer);
            !waiting
        })
        .await;
        match result.expect("an answer") {
            Ok(reply) => self.ledger.check(id, reply.into_inner().product.as_ref()),
            Err(status) if status.code() == Code::NotFound => self.ledger.check(id, None),
            Err(status) => panic!("{id}, with the token of its last write: {status:?}"),
        }
    }

    /// Reads all products there have been, in batches, and checks each.
    async fn check_products(&self, client: &mut Client) {
        let ids: Vec<String> = self.ledger.ids().cloned().collect();
        for ids in ids.chunks(1_000) {
            // What was read before the kill may be in L1 and marked stale: the state of now is asked for.
            let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..Default::default() };
            let request = BatchGetProductsRequest { ids: ids.to_vec(), read: Some(read) };
            let mut reply = None;
            eventually("a batch to be read", async || match client.batch_get_products(request.clone()).await {
                Ok(batch) => {
                    reply = Some(batch.into_inner());
                    true
                }
                Err(status) => {
                    assert!(transient(&status), "{status:?}");
                    false
                }
            })
            .await;
            let reply = reply.expect("a batch");
            let mut found = reply.products.iter();
            for id in ids {
                let missing = reply.missing_ids.contains(id);
                let product = if missing { None } else { found.next() };
                assert!(missing || product.is_some_and(|product| product.id == *id), "{id}: {product:?}");
                self.ledger.check(id, product);
            }
            self.check_import(&reply.products);
        }
    }

    /// Of an import with an unknown outcome all products are there or none.
    fn check_import(&self, found: &[Product]) {
        let Some(Call::Import { products }) = &self.open else { return };
        let is_made = |(id, write): &&(String, u64)| {
            found.iter().any(|found| found.id == *id && found.attributes.get("write") == Some(&write.to_string()))
        };
        let made = products.iter().filter(is_made).count();
        let read = products.iter().filter(|(id, _)| self.ledger.ids().any(|other| other == id)).count();
        assert!(made == 0 || made == read, "{made} of {} products of one transaction", products.len());
    }
}

impl Phase {
    /// The kill is on its way: what is acknowledged from here on may be so by the life after.
    pub(super) fn set_doomed(&self) {
        self.0.stage.store(1, Ordering::SeqCst);
    }

    /// The kill has happened: no more writes are begun.
    pub(super) fn set_over(&self) {
        self.0.stage.store(2, Ordering::SeqCst);
    }

    /// How many writes have been acknowledged in this round.
    pub(super) fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::SeqCst)
    }

    fn is_writing(&self) -> bool {
        self.0.stage.load(Ordering::SeqCst) == 0
    }

    fn is_over(&self) -> bool {
        self.0.stage.load(Ordering::SeqCst) == 2
    }
}

impl Call {
    /// What it makes of which products.
    fn writes(&self) -> Vec<(String, State)> {
        match self {
            Self::Create { id, write } | Self::Update { id, write } => vec![(id.clone(), Some(*write))],
            Self::Delete { id } => vec![(id.clone(), None)],
            Self::Import { products } => products.iter().map(|(id, write)| (id.clone(), Some(*write))).collect(),
        }
    }
}

/// A reply shows what the call made, the first time and each time after.
fn check_reply(id: &str, write: u64, reply: Option<&Product>) {
    assert_eq!(reply.cloned().map(user_fields), Some(product(id, write)), "the reply to write {write} of {id}");
}

/// What is known after a call failed. Only the service itself can say that nothing was written.
fn outcome(status: &Status) -> Outcome {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    match reason.as_str() {
        "DATABASE_UNAVAILABLE" => Outcome::Refused,
        "" | "OUTCOME_UNKNOWN" => Outcome::Unknown,
        _ => panic!("a write was refused: {status:?}"),
    }
}

/// Whether a call may succeed a little later: the database is on its way back.
fn transient(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown)
}
