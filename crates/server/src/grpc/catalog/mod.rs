//! `larder.catalog.v1.ProductCatalog`.

mod import;
pub(in crate::grpc) mod replies;
pub(in crate::grpc) mod session;
mod watch;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use larder_cache::{Entry, Tier};
use larder_proto::{
    Product, catalog,
    serving::{
        BatchGetProductsRequest, BatchGetProductsResponse, CacheCounts, CreateProductRequest, CreateProductResponse,
        DeleteProductRequest, DeleteProductResponse, GetProductRequest, GetProductResponse, ImportProductsRequest,
        ListProductsRequest, ListProductsResponse, SearchProductsRequest, SearchProductsResponse, UpdateProductRequest,
        UpdateProductResponse, WatchProductsRequest, product_catalog_server::ProductCatalog,
    },
};
use larder_storage::{Creation, Deletion, ProductMask, Update, Updating, WriteOptions};
use prost::Message;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};
use xxhash_rust::xxh3::xxh3_128;

use self::{
    replies::{Facts, product, unreadable},
    session::{marked, session},
};
use super::{
    MessageLimits,
    call::{CallerKey, SLICED_FROM, Shares, Sliced, WithProducts, headers::TOKEN},
    errors, reply,
};
use crate::{
    catalog::{Catalog, Copy, Page, WatchError},
    config::Compression,
    contract::{
        MAX_BATCH, ProductId, Stamp, Violations, encode_stamp, parse_etag, parse_id, parse_list, parse_mask,
        parse_product, parse_read, parse_search, product_name, to_message,
    },
};

/// The catalogue over gRPC.
#[derive(Clone)]
pub struct CatalogService {
    catalog: Catalog,
    max_response: usize,
    /// Whether replies are compressed for some clients.
    compresses: bool,
    imports: Shares,
    watches: Shares,
}

/// Imports at once. They take turns in the database, and each may hold some megabytes.
const IMPORTS: usize = 16;

const LONGEST_REQUEST_ID: usize = 128;

impl CatalogService {
    /// The service of a catalogue.
    pub fn new(catalog: Catalog, messages: MessageLimits) -> Self {
        let MessageLimits { max_response, compression, .. } = messages;
        let watches = Shares::new(catalog.max_watchers());
        let compresses = compression != Compression::default();
        Self { catalog, max_response, compresses, imports: Shares::new(IMPORTS), watches }
    }

    /// The reply of a read, unless it is too large. tonic would refuse it after the headers were sent, without details, and with
    /// another code.
    fn sized<T: WithProducts>(&self, mut message: T) -> Result<Response<T>, Status> {
        let length = message.encoded_len();
        if length > self.max_response {
            return Err(errors::reply_too_large());
        }
        if length < SLICED_FROM || self.compresses {
            return Ok(self.reply(message));
        }
        let sliced = Sliced::new(&mut message);
        let mut response = Response::new(message);
        response.extensions_mut().insert(sliced);
        Ok(response)
    }

    fn reply<T: Message>(&self, message: T) -> Response<T> {
        reply(message, self.compresses)
    }

    fn facts(&self) -> Facts {
        Facts::new(self.catalog.cache().clock().now())
    }
}

#[tonic::async_trait]
impl ProductCatalog for CatalogService {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if request.read.is_none() && !metadata.contains_key(TOKEN) {
            let mut reader = self.catalog.reader();
            if let Some(entry) = reader.get(&request.id) {
                let mut facts = Facts::new(reader.now());
                facts.hit(&entry);
                return self.got(facts, &entry, &request.id, &metadata);
            }
        }
        // In a box of its own: the future of a hit would have room for it, and be copied with that room.
        Box::pin(self.read_product(metadata, request)).await
    }

    async fn batch_get_products(
        &self,
        request: Request<BatchGetProductsRequest>,
    ) -> Result<Response<BatchGetProductsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let mut violations = Violations::default();
        if request.ids.len() > MAX_BATCH {
            violations.add("ids", format!("must hold at most {MAX_BATCH} entries, holds {}", request.ids.len()));
            return Err(errors::invalid(&violations));
        }
        let plain = request.read.is_none() && !metadata.contains_key(TOKEN);
        let session = violations.take(session(&metadata, request.read.as_ref()));
        let read = violations.take(parse_read(request.read));

        let mut reader = self.catalog.reader();
        let mut facts = Facts::new(reader.now());
        let mut entries = Vec::with_capacity(request.ids.len());
        let mut absent = Vec::new();
        for (number, id) in request.ids.iter().enumerate() {
            let entry = if plain { reader.get(id) } else { None };
            match &entry {
                Some(entry) => facts.hit(entry),
                None => absent.push(number),
            }
            entries.push(entry.map(|entry| (entry, Tier::L1)));
        }
        drop(reader);
        // A repeated id is looked up once.
        let mut wanted = Vec::new();
        let mut seen = HashSet::new();
        for &number in &absent {
            let id = violations.take(parse_id(&format!("ids[{number}]"), request.ids[number].clone()));
            wanted.extend(id.filter(|id| seen.insert(id.clone())).map(ProductId::into_string));
        }
        let (Some(session), Some(read)) = (session, read) else { return Err(errors::invalid(&violations)) };
        violations.or(()).map_err(|violations| errors::invalid(&violations))?;
        if !wanted.is_empty() {
            let found = self.catalog.products(wanted.clone(), session.freshen(read));
            let found = errors::told(self.catalog.since(session.others(), found).await, errors::read).await?;
            facts = self.facts();
            entries.iter().flatten().for_each(|(entry, _)| facts.hit(entry));
            let found: HashMap<_, _> = wanted.into_iter().zip(found).collect();
            found.values().flatten().for_each(|found| facts.add(found));
            for number in absent {
                let found = found.get(&request.ids[number]).and_then(Option::as_ref);
                entries[number] = found.map(|found| (Arc::clone(&found.entry), found.tier));
            }
        }

        let reply = batch_reply(&request.ids, &entries, &facts);
        Ok(facts.reply(self.sized(reply)?, &metadata, || "product:*".to_owned()))
    }

    async fn list_products(
        &self,
        request: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let session = session(&metadata, request.read.as_ref()).map_err(|violations| errors::invalid(&violations))?;
        let mut request = parse_list(request).map_err(|violations| errors::invalid(&violations))?;
        request.read = session.freshen(request.read);
        let key = request.key.clone();
        let page = self.catalog.since(session.others(), self.catalog.list(request)).await;
        let page = errors::told(page, errors::read).await?;
        let (facts, products, next_page_token, total_size) = self.page(&page);
        let unreadable_ids = unreadable_of(&page);
        let cache = Some(facts.info());
        let reply = ListProductsResponse { products, next_page_token, total_size, cache, unreadable_ids };
        Ok(facts.reply(self.sized(reply)?, &metadata, || key.clone()))
    }

    async fn search_products(
        &self,
        request: Request<SearchProductsRequest>,
    ) -> Result<Response<SearchProductsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let session = session(&metadata, request.read.as_ref()).map_err(|violations| errors::invalid(&violations))?;
        let mut request = parse_search(request).map_err(|violations| errors::invalid(&violations))?;
        request.read = session.freshen(request.read);
        let key = request.key.clone();
        let page = self.catalog.since(session.others(), self.catalog.search(request)).await;
        let page = errors::told(page, errors::read).await?;
        let (facts, products, next_page_token, _) = self.page(&page);
        let unreadable_ids = unreadable_of(&page);
        let reply = SearchProductsResponse { products, next_page_token, cache: Some(facts.info()), unreadable_ids };
        Ok(facts.reply(self.sized(reply)?, &metadata, || key.clone()))
    }

    async fn create_product(
        &self,
        request: Request<CreateProductRequest>,
    ) -> Result<Response<CreateProductResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let mut product = take_product(request.product, &mut violations);
        let id = match std::mem::take(&mut product.id) {
            id if id.is_empty() => make_id(&request.request_id),
            id => violations.take(parse_id("product.id", id)).map_or_else(String::new, ProductId::into_string),
        };
        let data = violations.take(parse_product("product.", product, ProductMask::ALL));
        let options = violations.take(write_options(request.request_id, request.validate_only));
        let Some((data, options)) = data.zip(options) else { return Err(errors::invalid(&violations)) };
        violations.or(()).map_err(|violations| errors::invalid(&violations))?;

        let written = errors::told(self.catalog.create(id.clone(), data, options).await, errors::write).await?;
        let token = token(written.stamp());
        match written.value {
            Creation::Created(product) => {
                let product = Some(Product::from(to_message(product)));
                Ok(marked(self.reply(CreateProductResponse { product, token }), |reply| &reply.token))
            }
            Creation::Exists => Err(errors::exists(&id)),
            Creation::RequestIdReused => Err(request_id_reused()),
        }
    }

    async fn update_product(
        &self,
        request: Request<UpdateProductRequest>,
    ) -> Result<Response<UpdateProductResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let mut product = take_product(request.product, &mut violations);
        let id = violations.take(parse_id("product.id", std::mem::take(&mut product.id)));
        let version = parse_etag(&product.etag);
        let mask = violations.take(parse_mask(request.update_mask, &product));
        // An update that may create the product needs a name.
        let must_name = ProductMask { name: request.allow_missing, ..Default::default() };
        let checked = mask.map(|mask| ProductMask { name: mask.name || must_name.name, ..mask });
        let data = checked.and_then(|mask| violations.take(parse_product("product.", product, mask)));
        let options = violations.take(write_options(request.request_id, request.validate_only));
        let (Some(id), Some(mask), Some(data), Some(options)) = (id, mask, data, options) else {
            return Err(errors::invalid(&violations));
        };
        violations.or(()).map_err(|violations| errors::invalid(&violations))?;

        let id = id.into_string();
        let update = Update { id: id.clone(), data, mask, version, allow_missing: request.allow_missing };
        let written = errors::told(self.catalog.update(update, options).await, errors::write).await?;
        let token = token(written.stamp());
        match written.value {
            Updating::Updated(product) => {
                let product = Some(Product::from(to_message(product)));
                Ok(marked(self.reply(UpdateProductResponse { product, token }), |reply| &reply.token))
            }
            Updating::Missing => Err(errors::missing(&id)),
            Updating::VersionDiffers => Err(errors::changed(&id)),
            Updating::RequestIdReused => Err(request_id_reused()),
        }
    }

    async fn delete_product(
        &self,
        request: Request<DeleteProductRequest>,
    ) -> Result<Response<DeleteProductResponse>, Status> {
        let request = request.into_inner();
        let id = parse_id("id", request.id).map_err(|violations| errors::invalid(&violations))?.into_string();
        let version = parse_etag(&request.etag);
        let written = errors::told(self.catalog.delete(id.clone(), version).await, errors::write).await?;
        let token = token(written.stamp());
        match written.value {
            Deletion::Missing if !request.allow_missing => Err(errors::missing(&id)),
            Deletion::Deleted | Deletion::Missing => {
                Ok(marked(self.reply(DeleteProductResponse { token }), |reply| &reply.token))
            }
            Deletion::VersionDiffers => Err(errors::changed(&id)),
        }
    }

    type ImportProductsStream = import::Progress;

    async fn import_products(
        &self,
        request: Request<Streaming<ImportProductsRequest>>,
    ) -> Result<Response<import::Progress>, Status> {
        let share = self.imports.take(CallerKey::of(&request)).ok_or_else(errors::too_many_imports)?;
        Ok(Response::new(import::start(self.catalog.clone(), request, share)))
    }

    type WatchProductsStream = watch::Events;

    async fn watch_products(&self, request: Request<WatchProductsRequest>) -> Result<Response<watch::Events>, Status> {
        let share = self.watches.take(CallerKey::of(&request)).ok_or_else(|| errors::watch(&WatchError::TooMany))?;
        Ok(Response::new(watch::start(self.catalog.clone(), request, share).await?))
    }
}

impl CatalogService {
    /// Reads a product of which L1 has no copy that serves the request as it stands.
    async fn read_product(
        &self,
        metadata: MetadataMap,
        request: GetProductRequest,
    ) -> Result<Response<GetProductResponse>, Status> {
        let mut violations = Violations::default();
        let id = violations.take(parse_id("id", request.id));
        let session = violations.take(session(&metadata, request.read.as_ref()));
        let read = violations.take(parse_read(request.read));
        let (Some(id), Some(session), Some(read)) = (id, session, read) else {
            return Err(errors::invalid(&violations));
        };
        let found = self.catalog.product(id.clone(), session.freshen(read));
        let found = errors::told(self.catalog.since(session.others(), found).await, errors::read).await?;
        let mut facts = self.facts();
        facts.add(&found);
        self.got(facts, &found.entry, id.as_str(), &metadata)
    }

    /// The reply of a read of one product.
    fn got(
        &self,
        facts: Facts,
        entry: &Entry<Copy>,
        id: &str,
        metadata: &MetadataMap,
    ) -> Result<Response<GetProductResponse>, Status> {
        match product(entry) {
            Some(product) => {
                let reply = GetProductResponse { product: Some(product), cache: Some(facts.info()) };
                Ok(facts.reply(self.sized(reply)?, metadata, || product_name(id)))
            }
            None => {
                let mut status = if unreadable(entry).is_some() { errors::unreadable(id) } else { errors::missing(id) };
                facts.mark(status.metadata_mut(), metadata, || product_name(id));
                Err(status)
            }
        }
    }

    fn page(&self, page: &Page) -> (Facts, Vec<Product>, String, Option<i64>) {
        let mut facts = self.facts();
        facts.add(&page.page);
        page.products.iter().for_each(|found| facts.add(found));
        let products = page.products.iter().filter_map(|found| product(&found.entry)).collect();
        match &page.page.entry.value {
            Some(Copy::Page(page)) => (facts, products, page.next.as_deref().unwrap_or_default().into(), page.total),
            _ => (facts, products, String::new(), None),
        }
    }
}

impl WithProducts for GetProductResponse {
    fn take_products(&mut self) -> Vec<Product> {
        self.product.take().into_iter().collect()
    }
}

impl WithProducts for BatchGetProductsResponse {
    fn take_products(&mut self) -> Vec<Product> {
        std::mem::take(&mut self.products)
    }
}

impl WithProducts for ListProductsResponse {
    fn take_products(&mut self) -> Vec<Product> {
        std::mem::take(&mut self.products)
    }
}

impl WithProducts for SearchProductsResponse {
    fn take_products(&mut self) -> Vec<Product> {
        std::mem::take(&mut self.products)
    }
}

/// A copy, and the tier that answered with it.
type Answered = (Arc<Entry<Copy>>, Tier);

/// The reply of a batch: the products in the order of the ids, and the ids without a product.
fn batch_reply(ids: &[String], entries: &[Option<Answered>], facts: &Facts) -> BatchGetProductsResponse {
    let mut counts = CacheCounts::default();
    let mut products = Vec::with_capacity(entries.len());
    let mut missing_ids: Vec<String> = Vec::new();
    let mut missing = HashSet::new();
    let mut unreadable_ids: Vec<String> = Vec::new();
    for (id, entry) in ids.iter().zip(entries) {
        let cannot = entry.as_ref().and_then(|(entry, _)| unreadable(entry));
        if let Some(id) = cannot.filter(|&id| unreadable_ids.iter().all(|known| known != id)) {
            unreadable_ids.push(id.to_owned());
        }
        match entry.as_ref().and_then(|(entry, tier)| product(entry).zip(Some(tier))) {
            Some((product, tier)) => {
                products.push(product);
                match tier {
                    Tier::L1 => counts.l1 += 1,
                    Tier::L2 => counts.l2 += 1,
                    Tier::Database => counts.database += 1,
                }
            }
            None if missing.insert(id) => missing_ids.push(id.clone()),
            None => {}
        }
    }
    let cannot = |id: &String| unreadable_ids.contains(id);
    missing_ids.retain(|id| !cannot(id));
    BatchGetProductsResponse { products, missing_ids, cache: Some(facts.info()), counts: Some(counts), unreadable_ids }
}

/// The ids of the products on a page whose rows cannot be read.
fn unreadable_of(page: &Page) -> Vec<String> {
    page.products.iter().filter_map(|found| unreadable(&found.entry)).map(str::to_owned).collect()
}

/// Reads the product of a write.
fn take_product(product: Option<Product>, violations: &mut Violations) -> catalog::Product {
    match product.map(Product::parse) {
        Some(Ok(product)) => product,
        Some(Err(_)) => {
            violations.add("product", "is not a product");
            catalog::Product::default()
        }
        None => {
            violations.add("product", "is required");
            catalog::Product::default()
        }
    }
}

fn write_options(request_id: String, validate_only: bool) -> Result<WriteOptions, Violations> {
    let visible = request_id.bytes().all(|byte| byte.is_ascii_graphic());
    if request_id.len() > LONGEST_REQUEST_ID || !visible {
        return Err(Violations::one("request_id", "must be 1 to 128 visible ASCII characters"));
    }
    Ok(WriteOptions { request_id: (!request_id.is_empty()).then_some(request_id), validate_only })
}

fn request_id_reused() -> Status {
    errors::invalid(&Violations::one("request_id", "was used within a day for a call that asked for something else"))
}

fn token(token: Option<Stamp>) -> String {
    token.map(encode_stamp).unwrap_or_default()
}

/// An id for a product without one: 128 bits in lower-case hexadecimal digits. They are random, unless there is a request
/// id: then a repeated call names the same product.
#[expect(clippy::disallowed_methods, reason = "nothing depends on the id but that it is another one")]
fn make_id(request_id: &str) -> String {
    let bits = if request_id.is_empty() { rand::random() } else { xxh3_128(request_id.as_bytes()) };
    format!("{bits:032x}")
}
