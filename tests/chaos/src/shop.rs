//! Reads and writes of the keys, each checked against the history or noted in it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use larder_proto::catalog::{
    BatchGetProductsRequest, CacheInfo, CreateProductRequest, DeleteProductRequest, GetProductRequest,
    ListProductsRequest, Product, ProductFilter, ReadOptions, SearchProductsRequest, UpdateProductRequest,
    product_catalog_client::ProductCatalogClient, read_options::Consistency,
};
use prost_types::FieldMask;
use tokio::{sync::Mutex, time::timeout};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    history::{History, Mark, Moment, Read, Seen, Write},
    product::{self, KEYS, LOADED},
    tally::Tally,
};

/// How long any call may take.
const LIMIT: Duration = Duration::from_secs(15);
/// The server's default for `LARDER_STALENESS_BOUND`.
const BOUND: Duration = Duration::from_secs(1);
const PAGE: i32 = 100;

/// A client of one replica.
pub(crate) type Client = ProductCatalogClient<Channel>;

/// The keys, as clients of the replicas see them.
#[derive(Debug)]
pub(crate) struct Shop {
    /// What was written.
    pub(crate) history: History,
    /// What happened.
    pub(crate) tally: Tally,
    start: Instant,
    clients: Vec<Client>,
    heads: Vec<Mutex<Head>>,
}

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

/// Which call a read of several keys makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// The keys one by one, in one call.
    Batch,
    /// The category.
    List,
    /// The word.
    Search,
}

impl Shop {
    /// Over replicas that have none of the keys. All keys of the load are created.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> anyhow::Result<Arc<Self>> {
        let mut clients = Vec::new();
        for address in addresses {
            clients.push(connect(*address).await?);
        }
        let shop = Arc::new(Self {
            history: History::new(KEYS, BOUND),
            tally: Tally::new(),
            start: Instant::now(),
            clients,
            heads: (0..KEYS).map(|_| Mutex::default()).collect(),
        });
        for key in 0..LOADED {
            shop.write(key, key % addresses.len(), 0, Change::Put).await?;
        }
        Ok(shop)
    }

    /// The time.
    pub(crate) fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// Reads a key, and returns what it was, or `None` when the call failed.
    pub(crate) async fn get(&self, key: usize, replica: usize, mark: Option<Mark>) -> Option<Seen> {
        let begin = self.now();
        let request = GetProductRequest { id: product::id(key), read: options(mark.as_ref()) };
        let reply = within(self.client(replica).get_product(request)).await;
        let end = self.now();
        let (product, info) = match reply {
            Ok(reply) => (reply.product, reply.cache),
            Err(status) if status.code() == Code::NotFound => (None, told_of_absence(&status)),
            Err(status) => {
                self.tally.read_failed(replica, "get", end.saturating_sub(begin), &status);
                return None;
            }
        };
        self.tally.answered(end.saturating_sub(begin), info.as_ref());
        let (seen, stale) = (product::seen(product.as_ref()), info.is_some_and(|info| info.stale));
        self.check(&Read { key, replica, call: "get", begin, end, seen, stale, mark });
        Some(seen)
    }

    /// Reads the keys of a group by one call, and returns what they were.
    pub(crate) async fn page(
        &self,
        page: Page,
        group: usize,
        replica: usize,
        mark: Option<Mark>,
    ) -> Option<Vec<(usize, Seen)>> {
        let (begin, keys) = (self.now(), product::group(group));
        let mut client = self.client(replica);
        let read = options(mark.as_ref());
        let (call, reply) = match page {
            Page::Batch => {
                let ids = keys.iter().map(|key| product::id(*key)).collect();
                let reply = within(client.batch_get_products(BatchGetProductsRequest { ids, read })).await;
                ("batch", reply.map(|reply| (reply.products, reply.cache)))
            }
            Page::List => {
                let filter = Some(ProductFilter { category: product::category(group), ..ProductFilter::default() });
                let request = ListProductsRequest { filter, page_size: PAGE, read, ..ListProductsRequest::default() };
                let reply = within(client.list_products(request)).await;
                ("list", reply.map(|reply| (reply.products, reply.cache)))
            }
            Page::Search => {
                let query = product::word(group);
                let request =
                    SearchProductsRequest { query, page_size: PAGE, read, ..SearchProductsRequest::default() };
                let reply = within(client.search_products(request)).await;
                ("search", reply.map(|reply| (reply.products, reply.cache)))
            }
        };
        let end = self.now();
        let (products, info) = match reply {
            Ok(found) => found,
            Err(status) => {
                self.tally.read_failed(replica, call, end.saturating_sub(begin), &status);
                return None;
            }
        };
        self.tally.answered(end.saturating_sub(begin), info.as_ref());
        let stale = info.is_some_and(|info| info.stale);
        let look = |key: usize| {
            let found = products.iter().find(|product| product.id == product::id(key));
            let seen = product::seen(found);
            self.check(&Read { key, replica, call, begin, end, seen, stale, mark: mark.clone() });
            (key, seen)
        };
        Some(keys.into_iter().map(look).collect())
    }

    /// Writes a key, after whoever is writing it now.
    pub(crate) async fn write(&self, key: usize, replica: usize, writer: u32, change: Change) -> Result<Write, Status> {
        let mut head = self.heads[key].lock().await;
        if head.unsure {
            self.resolve(&mut head, key, replica).await?;
        }
        let present = change == Change::Put || head.etag.is_none();
        let begin = self.now();
        let write = self.history.begin(key, writer, present, begin);
        let result = self.send(write, replica, head.etag.clone(), present).await;
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

    /// Checks a read that was made elsewhere.
    pub(crate) fn check(&self, read: &Read) {
        self.tally.judged(&self.history.check(read), read.stale);
    }

    /// A client of a replica.
    pub(crate) fn client(&self, replica: usize) -> Client {
        self.clients[replica].clone()
    }

    /// Learns what became of a write. If it did not happen yet, the etag of the next one sees to it that it never does.
    async fn resolve(&self, head: &mut Head, key: usize, replica: usize) -> Result<(), Status> {
        let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..ReadOptions::default() };
        let request = GetProductRequest { id: product::id(key), read: Some(read) };
        let begin = self.now();
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
        let etag_of = |product: Option<Product>| product.map(|product| product.etag);
        match etag {
            None => {
                let request = CreateProductRequest { product: Some(product), ..CreateProductRequest::default() };
                let reply = within(client.create_product(request)).await?;
                Ok((etag_of(reply.product), reply.token))
            }
            Some(etag) if present => {
                let paths = ["name", "attributes"].map(str::to_owned).to_vec();
                let request = UpdateProductRequest {
                    product: Some(Product { etag, ..product }),
                    update_mask: Some(FieldMask { paths }),
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

/// Connects to a replica.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let endpoint = Endpoint::try_from(format!("http://{address}"))?.connect_timeout(LIMIT).tcp_nodelay(true);
    Ok(ProductCatalogClient::new(endpoint.connect().await?))
}

/// Absence is an error here; what the caches say of it stands in its metadata.
fn told_of_absence(status: &Status) -> Option<CacheInfo> {
    let told = status.metadata().get("x-cache-status")?;
    Some(CacheInfo { stale: told == "STALE", ..CacheInfo::default() })
}

fn options(mark: Option<&Mark>) -> Option<ReadOptions> {
    let consistency = Some(Consistency::AtLeastAsFresh(mark?.token.clone()));
    Some(ReadOptions { consistency, ..ReadOptions::default() })
}

async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match timeout(LIMIT, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the client has waited long enough")),
    }
}
