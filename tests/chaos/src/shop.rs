//! Reads and writes of the keys, each checked against the history or noted in it.

mod write;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use larder_proto::catalog::{
    BatchGetProductsRequest, CacheCounts, CacheInfo, CacheTier, GetProductRequest, ListProductsRequest, ProductFilter,
    ReadOptions, SearchProductsRequest, product_catalog_client::ProductCatalogClient, read_options::Consistency,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Endpoint};

use crate::{
    calls::Calls,
    figures::Hits,
    history::{History, Mark, Moment, Read, Seen},
    product::{self, GROUP, KEYS, LOADED},
    retry::{Balanced, Way},
    tally::Tally,
};
pub(crate) use write::{Change, Head};

/// How long any call may take.
const LIMIT: Duration = Duration::from_secs(15);
/// The server's default for `LARDER_STALENESS_BOUND`.
const BOUND: Duration = Duration::from_secs(1);
const PAGE: i32 = 100;
/// Between two looks whether something has happened.
const LOOK: Duration = Duration::from_millis(5);

/// A client of one replica, or of all of them.
pub(crate) type Client = ProductCatalogClient<Way>;

/// The keys, as clients of the replicas see them.
#[derive(Debug)]
pub(crate) struct Shop {
    /// What was written.
    pub(crate) history: History,
    /// What happened.
    pub(crate) tally: Tally,
    calls: Calls,
    start: Instant,
    clients: Vec<Client>,
    /// Makes the calls of the load in the place of the others, if it is there.
    balanced: Option<Arc<Balanced>>,
    heads: Vec<Mutex<Head>>,
}

/// Which replica a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calling {
    /// The one that is named.
    Named,
    /// Any, and then another one, as the shipped service config says.
    Balanced,
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
    /// Over replicas that have none of the keys. All keys of the load are created. Calls go to the replica that is named, or to all in
    /// turn.
    pub(crate) async fn open(addresses: &[SocketAddr], calls: Calling) -> anyhow::Result<Arc<Self>> {
        let mut clients = Vec::new();
        for address in addresses {
            clients.push(connect(*address).await?);
        }
        let shop = Arc::new(Self {
            history: History::new(KEYS, BOUND),
            tally: Tally::new(),
            calls: Calls::default(),
            start: Instant::now(),
            clients,
            balanced: match calls {
                Calling::Named => None,
                Calling::Balanced => Some(Arc::new(Balanced::new(addresses)?)),
            },
            heads: (0..KEYS).map(|_| Mutex::default()).collect(),
        });
        for group in 0..LOADED / GROUP {
            let create = |key| shop.write(key, key % addresses.len(), 0, Change::Put);
            try_join_all(product::group(group).into_iter().map(create)).await?;
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
        let under_way = self.calls.begin(begin);
        let mut request = Request::new(GetProductRequest { id: product::id(key), read: options(mark.as_ref()) });
        // An error, as absence is one, has no other place to tell its tier in.
        request.metadata_mut().insert("x-cache-debug", MetadataValue::from_static("1"));
        let reply = within(self.client(replica).get_product(request)).await;
        drop(under_way);
        let end = self.now();
        let (product, info) = match reply {
            Ok(reply) => (reply.product, reply.cache),
            Err(status) if status.code() == Code::NotFound => (None, Some(told_of_absence(&status))),
            Err(status) => {
                self.tally.read_failed(replica, "get", end.saturating_sub(begin), &status);
                return None;
            }
        };
        let tier = info.as_ref().map_or(CacheTier::Unspecified, CacheInfo::tier);
        self.tally.found_in(tier);
        self.tally.answered(replica, end.saturating_sub(begin), (key < LOADED).then_some(Hits::of(tier)));
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
        let under_way = self.calls.begin(begin);
        let mut client = self.client(replica);
        let read = options(mark.as_ref());
        let (call, reply) = match page {
            Page::Batch => {
                let ids = keys.iter().map(|key| product::id(*key)).collect();
                let reply = within(client.batch_get_products(BatchGetProductsRequest { ids, read })).await;
                ("batch", reply.map(|reply| (reply.products, reply.cache, reply.counts)))
            }
            Page::List => {
                let filter = Some(ProductFilter { category: product::category(group), ..ProductFilter::default() });
                let request = ListProductsRequest { filter, page_size: PAGE, read, ..ListProductsRequest::default() };
                let reply = within(client.list_products(request)).await;
                ("list", reply.map(|reply| (reply.products, reply.cache, None)))
            }
            Page::Search => {
                let query = product::word(group);
                let request =
                    SearchProductsRequest { query, page_size: PAGE, read, ..SearchProductsRequest::default() };
                let reply = within(client.search_products(request)).await;
                ("search", reply.map(|reply| (reply.products, reply.cache, None)))
            }
        };
        drop(under_way);
        let end = self.now();
        let (products, info, counts) = match reply {
            Ok(found) => found,
            Err(status) => {
                self.tally.read_failed(replica, call, end.saturating_sub(begin), &status);
                return None;
            }
        };
        let hits = hits(info.as_ref(), counts);
        self.tally.answered(replica, end.saturating_sub(begin), (group < LOADED / GROUP).then_some(hits));
        let stale = info.is_some_and(|info| info.stale);
        let look = |key: usize| {
            let found = products.iter().find(|product| product.id == product::id(key));
            let seen = product::seen(found);
            self.check(&Read { key, replica, call, begin, end, seen, stale, mark: mark.clone() });
            (key, seen)
        };
        Some(keys.into_iter().map(look).collect())
    }

    /// Checks a read that was made elsewhere.
    pub(crate) fn check(&self, read: &Read) {
        self.tally.judged(&self.history.check(read), read.stale);
    }

    /// Waits until no call is under way that began before a moment. Every call has its limit.
    pub(crate) async fn ended_before(&self, moment: Moment) {
        while self.calls.oldest().is_some_and(|oldest| oldest < moment) {
            sleep(LOOK).await;
        }
    }

    /// Has every replica look at the change log: what was committed before is known to all of them afterwards.
    pub(crate) async fn look_everywhere(&self) -> Result<(), Status> {
        let read = ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), ..ReadOptions::default() };
        for replica in 0..self.clients.len() {
            let request = GetProductRequest { id: "no-such".to_owned(), read: Some(read.clone()) };
            match within(self.clients[replica].clone().get_product(request)).await {
                Err(status) if status.code() != Code::NotFound => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// A client of a replica, or of all of them.
    pub(crate) fn client(&self, replica: usize) -> Client {
        match &self.balanced {
            None => self.clients[replica].clone(),
            Some(balanced) => ProductCatalogClient::new(Way::Balanced(Arc::clone(balanced))),
        }
    }

    /// What calls all replicas in turn.
    pub(crate) fn balanced(&self) -> Option<&Balanced> {
        self.balanced.as_deref()
    }
}

/// Connects to a replica.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let endpoint = Endpoint::try_from(format!("http://{address}"))?.connect_timeout(LIMIT).tcp_nodelay(true);
    Ok(ProductCatalogClient::new(Way::Direct(endpoint.connect().await?)))
}

/// Absence is an error here; what the caches say of it stands in its metadata.
fn told_of_absence(status: &Status) -> CacheInfo {
    let told = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let tier = match told("x-cache-tier") {
        Some("L1") => CacheTier::L1,
        Some("L2") => CacheTier::L2,
        Some("DATABASE") => CacheTier::Database,
        _ => CacheTier::Unspecified,
    };
    CacheInfo { stale: told("x-cache-status") == Some("STALE"), tier: tier.into(), ..CacheInfo::default() }
}

/// A batch tells of each of its products; a page is one thing.
fn hits(info: Option<&CacheInfo>, counts: Option<CacheCounts>) -> Hits {
    match counts {
        Some(CacheCounts { l1, l2, database }) => {
            Hits { found: l1.into(), sought: u64::from(l1) + u64::from(l2) + u64::from(database) }
        }
        None => Hits::of(info.map_or(CacheTier::Unspecified, CacheInfo::tier)),
    }
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
