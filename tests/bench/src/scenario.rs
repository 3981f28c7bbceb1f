//! What is measured: the scenarios, their requests, and what a right reply to each is.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use larder_proto::catalog::{
    BatchGetProductsRequest, BatchGetProductsResponse, CacheInfo, CacheTier, GetProductRequest, GetProductResponse,
    ListProductsRequest, ListProductsResponse,
};
use prost::Message;

use crate::{
    bare::Replies,
    frame::{frame, unframe},
    load::{Calls, Connection, Prepared, Shape, Target},
    products::{self, Random},
};

pub(crate) const GET: &str = "/larder.catalog.v1.ProductCatalog/GetProduct";
const BATCH: &str = "/larder.catalog.v1.ProductCatalog/BatchGetProducts";
const LIST: &str = "/larder.catalog.v1.ProductCatalog/ListProducts";

/// Products in a batch and on a page.
const BATCH_SIZE: usize = 100;
const PAGE_SIZE: usize = 50;
/// How many different batches are asked.
const BATCHES: usize = 64;
/// Products of which it is looked up, one by one, that they come from the database.
const SAMPLE: usize = 200;
/// Bytes by which two right replies to one request may differ: the encodings of ages, times to live and tokens.
const CACHE_INFO: usize = 160;

/// One comparison: what is asked of the real server, and the same of the bare one.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether percentiles are taken in an open loop; in a closed one with correction otherwise.
    pub(crate) open_loop: bool,
    /// The most that the real server's CPU time should be, as a multiple of the bare one's.
    pub(crate) expected: Option<f64>,
    pub(crate) larder: (Target, Arc<Calls>),
    pub(crate) bare: (Target, Arc<Calls>),
}

/// Requests to the real server, with the replies that it gave.
#[derive(Debug)]
pub(crate) struct Requests {
    get: Arc<Calls>,
    batch: Arc<Calls>,
    list: Arc<Calls>,
    database: Arc<Calls>,
    captured: [Vec<u8>; 3],
}

impl Requests {
    /// Prepares requests for `hot` of the server's `products`, so that all of them are in its L1, and captures replies.
    pub(crate) async fn prepare(server: SocketAddr, products: usize, hot: usize) -> anyhow::Result<Self> {
        let hot: Vec<String> = (0..hot).map(|place| products::id(place * products / hot)).collect();
        let (get, got) = prepare(server, GET, get_requests(&hot), check_get).await?;
        let (batch, batched) = prepare(server, BATCH, batch_requests(&hot), check_batch).await?;
        let (list, listed) = prepare(server, LIST, list_requests(), check_list).await?;
        Ok(Self {
            get,
            batch,
            list,
            database: Arc::new(Calls::new(GET, database_requests(products))),
            captured: [got, batched, listed],
        })
    }

    /// The replies for the bare server.
    pub(crate) fn replies(&self) -> anyhow::Result<Replies> {
        let [get, batch, list] = &self.captured;
        let message = |framed| unframe(framed).context("not one frame");
        Replies::captured(message(get)?, message(batch)?, message(list)?)
    }

    /// The size of the reply to a `GetProduct`, without its frame.
    pub(crate) fn product_bytes(&self) -> usize {
        unframe(&self.captured[0]).map_or(0, <[u8]>::len)
    }

    /// Asks for some products that a cache of far fewer entries cannot hold all of. Returns the share that was read from
    /// the database.
    pub(crate) async fn share_from_database(&self, server: SocketAddr) -> anyhow::Result<f64> {
        let mut connection = Connection::open(server, GET).await?;
        let (mut asked, mut from_database) = (0_u32, 0_u32);
        for _ in 0..SAMPLE {
            let reply = connection.fetch(self.database.next().frame.clone()).await?;
            let told = Told::by(decode::<GetProductResponse>(&reply)?.cache.as_ref());
            asked += 1;
            from_database += u32::from(told.tier == CacheTier::Database);
        }
        Ok(f64::from(from_database) / f64::from(asked))
    }

    /// The scenarios: `small` is the real server with an L1 that holds a small part of the products.
    pub(crate) fn scenarios(&self, larder: Target, small: Target, bare: Target) -> Vec<Scenario> {
        let [got, batched, listed] = self.captured.each_ref().map(Vec::len);
        let shape = |connections, streams| Shape { connections, streams };
        let scenario = |name, shape, expected, larder, calls: &Arc<Calls>, reply| Scenario {
            name,
            shape,
            open_loop: shape.connections > 1,
            expected,
            larder: (larder, Arc::clone(calls)),
            bare: (bare, Arc::new(answered_with(calls, reply))),
        };
        vec![
            scenario("GetProduct, L1 hit, 8×32", shape(8, 32), Some(1.25), larder, &self.get, got),
            scenario("GetProduct, L1 hit, 1×1", shape(1, 1), None, larder, &self.get, got),
            scenario("BatchGetProducts(100), hits, 8×4", shape(8, 4), Some(1.5), larder, &self.batch, batched),
            scenario("GetProduct, database, 8×8", shape(8, 8), None, small, &self.database, got),
            scenario("ListProducts(50), hit, 8×4", shape(8, 4), None, larder, &self.list, listed),
        ]
    }
}

/// The same requests, to a server whose replies are always of one length.
fn answered_with(calls: &Calls, reply: usize) -> Calls {
    let prepared =
        calls.all().iter().map(|request| Prepared { frame: request.frame.clone(), least: reply, most: reply });
    Calls::new(calls.path, prepared.collect())
}

fn get_requests(ids: &[String]) -> Vec<GetProductRequest> {
    let request = |id: &String| GetProductRequest { id: id.clone(), read: None };
    ids.iter().map(request).collect()
}

fn batch_requests(ids: &[String]) -> Vec<BatchGetProductsRequest> {
    let mut random = Random(100);
    let mut batch = || (0..BATCH_SIZE).map(|_| ids[random.below(ids.len())].clone()).collect();
    (0..BATCHES).map(|_| BatchGetProductsRequest { ids: batch(), read: None }).collect()
}

fn list_requests() -> Vec<ListProductsRequest> {
    vec![ListProductsRequest {
        page_size: i32::try_from(PAGE_SIZE).expect("a small page"),
        ..ListProductsRequest::default()
    }]
}

/// Every product once, far from those asked just before, so that neither L1 nor a page of the database helps.
pub(crate) fn database_requests(products: usize) -> Vec<Prepared> {
    let mut places: Vec<usize> = (0..products).collect();
    let mut random = Random(50);
    for last in (1..products).rev() {
        places.swap(last, random.below(last + 1));
    }
    let prepared = |place| {
        let product = products::product(place);
        let least = crate::frame::PREFIX + product.encoded_len();
        Prepared { frame: frame(&GetProductRequest { id: product.id, read: None }), least, most: least + CACHE_INFO }
    };
    places.into_iter().map(prepared).collect()
}

/// Asks every request twice, checks that the second reply is right and from L1, and derives what later replies must be.
/// Returns the first of the second replies, too.
async fn prepare<Q: Message, R: Message + Default>(
    server: SocketAddr,
    path: &'static str,
    requests: Vec<Q>,
    check: impl Fn(&Q, &R) -> anyhow::Result<Told>,
) -> anyhow::Result<(Arc<Calls>, Vec<u8>)> {
    let mut connection = Connection::open(server, path).await?;
    let mut prepared = Vec::with_capacity(requests.len());
    let mut captured = None;
    for request in requests {
        let framed: Bytes = frame(&request);
        connection.fetch(framed.clone()).await.context(path)?;
        let reply = connection.fetch(framed.clone()).await.context(path)?;
        let told = check(&request, &decode(&reply)?).with_context(|| format!("a wrong reply to {path}"))?;
        ensure!(
            told.tier == CacheTier::L1,
            "{path}: the second reply is not from L1 but from {}",
            told.tier.as_str_name()
        );
        let least = reply.len() - told.bytes;
        prepared.push(Prepared { frame: framed, least, most: least + CACHE_INFO });
        captured.get_or_insert(reply);
    }
    Ok((Arc::new(Calls::new(path, prepared)), captured.context("no request")?))
}

fn check_get(request: &GetProductRequest, reply: &GetProductResponse) -> anyhow::Result<Told> {
    let id = reply.product.as_ref().map(|product| &product.id);
    ensure!(id == Some(&request.id), "{id:?} instead of {}", request.id);
    Ok(Told::by(reply.cache.as_ref()))
}

fn check_batch(request: &BatchGetProductsRequest, reply: &BatchGetProductsResponse) -> anyhow::Result<Told> {
    ensure!(
        request.ids.iter().eq(reply.products.iter().map(|product| &product.id)),
        "other products than those asked for"
    );
    Ok(Told::by(reply.cache.as_ref()))
}

fn check_list(_: &ListProductsRequest, reply: &ListProductsResponse) -> anyhow::Result<Told> {
    ensure!(reply.products.len() == PAGE_SIZE, "{} products on a page", reply.products.len());
    Ok(Told::by(reply.cache.as_ref()))
}

fn decode<R: Message + Default>(framed: &[u8]) -> anyhow::Result<R> {
    Ok(R::decode(unframe(framed).context("not one frame")?)?)
}

/// What a reply tells about the cache, and how many bytes it takes for that.
struct Told {
    tier: CacheTier,
    bytes: usize,
}

impl Told {
    fn by(cache: Option<&CacheInfo>) -> Self {
        Self {
            tier: cache.map_or(CacheTier::Unspecified, CacheInfo::tier),
            bytes: cache.map_or(0, Message::encoded_len),
        }
    }
}
