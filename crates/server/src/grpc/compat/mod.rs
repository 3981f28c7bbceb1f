//! The contracts of other shops, answered from the same cache: `ProductCatalogService` of Online Boutique and of the OpenTelemetry
//! demo. docs/compat.md says what they answer.

mod product;

use larder_proto::{
    hipstershop::{
        Empty, GetProductRequest, ListProductsResponse, Product, SearchProductsRequest, SearchProductsResponse,
        product_catalog_service_server::ProductCatalogService as Hipstershop,
    },
    oteldemo::product_catalog_service_server::ProductCatalogService as Oteldemo,
    serving::ListProductsRequest,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use self::product::{Query, read};
use super::{
    MessageLimits,
    catalog::{
        replies::{Facts, unreadable},
        session::session,
    },
    errors, reply,
};
use crate::{
    catalog::{Catalog, Copy, Page},
    config::{Compression, Contract},
    contract::{ListRequest, MAX_PAGE, Read, parse_id, parse_list, product_name},
};

/// Bytes of a whole catalogue. By default gRPC clients receive no larger message.
const MOST_BYTES: usize = 4 << 20;

/// The service of one contract.
#[derive(Clone)]
pub(crate) struct CompatService {
    catalog: Catalog,
    contract: Contract,
    most_bytes: usize,
    /// Whether replies are compressed for some clients.
    compresses: bool,
}

/// Every product, in the order of the contract.
struct Everything {
    products: Vec<Product>,
    facts: Facts,
    /// The key of the list's copy.
    key: String,
}

impl CompatService {
    pub(super) fn new(catalog: Catalog, contract: Contract, messages: MessageLimits) -> Self {
        let MessageLimits { max_response, compression, .. } = messages;
        let most_bytes = MOST_BYTES.min(max_response);
        Self { catalog, contract, most_bytes, compresses: compression != Compression::default() }
    }

    async fn list(&self, metadata: &MetadataMap) -> Result<Response<ListProductsResponse>, Status> {
        let Everything { products, facts, key } = self.everything(metadata).await?;
        let reply = reply(ListProductsResponse { products }, self.compresses);
        Ok(facts.reply(reply, metadata, || key.clone()))
    }

    async fn search(&self, metadata: &MetadataMap, query: &str) -> Result<Response<SearchProductsResponse>, Status> {
        let Everything { mut products, facts, key } = self.everything(metadata).await?;
        let query = Query::new(query);
        products.retain(|product| query.matches(product));
        let reply = reply(SearchProductsResponse { results: products }, self.compresses);
        Ok(facts.reply(reply, metadata, || key.clone()))
    }

    async fn get(&self, metadata: &MetadataMap, id: String) -> Result<Response<Product>, Status> {
        // The contracts know no ids that are wrong, only such that no product has.
        let Ok(id) = parse_id("id", id.clone()) else { return Err(errors::absent(self.contract, &id)) };
        let session = session(metadata, None).map_err(|violations| errors::invalid(&violations))?;
        let found = self.catalog.product(id.clone(), session.freshen(Read::default()));
        let found = errors::told(self.catalog.since(session.others(), found).await, errors::read).await?;
        let mut facts = self.facts();
        facts.add(&found);
        let product = match &found.entry.value {
            Some(Copy::Product(bytes)) => Ok(reply(read(bytes).map_err(errors::internal)?, self.compresses)),
            _ if unreadable(&found.entry).is_some() => Err(errors::unreadable(id.as_str())),
            _ => Err(errors::absent(self.contract, id.as_str())),
        };
        let key = || product_name(id.as_str());
        match product {
            Ok(reply) => Ok(facts.reply(reply, metadata, key)),
            Err(mut status) => {
                facts.mark(status.metadata_mut(), metadata, key);
                Err(status)
            }
        }
    }

    /// Reads every product: one page of a list, so one copy, and the copies of its products.
    async fn everything(&self, metadata: &MetadataMap) -> Result<Everything, Status> {
        let session = session(metadata, None).map_err(|violations| errors::invalid(&violations))?;
        let mut request = self.request()?;
        request.read = session.freshen(request.read);
        let key = request.key.clone();
        let page = self.catalog.since(session.others(), self.catalog.list(request)).await;
        let Page { page, products } = errors::told(page, errors::read).await?;
        let mut facts = self.facts();
        facts.add(&page);
        for found in &products {
            facts.add(found);
        }
        let copies: Vec<_> = products
            .iter()
            .filter_map(|found| match &found.entry.value {
                Some(Copy::Product(bytes)) => Some(bytes),
                _ => None,
            })
            .collect();
        let goes_on = matches!(&page.entry.value, Some(Copy::Page(page)) if page.next.is_some());
        if goes_on || copies.iter().map(|bytes| bytes.len()).sum::<usize>() > self.most_bytes {
            return Err(errors::catalogue_too_large(MAX_PAGE, self.most_bytes));
        }
        let products = copies.into_iter().map(read).collect::<Result<_, _>>().map_err(errors::internal)?;
        Ok(Everything { products, facts, key })
    }

    fn request(&self) -> Result<ListRequest, Status> {
        let order_by = match self.contract {
            Contract::Hipstershop => "create_time",
            Contract::Oteldemo => "id",
        };
        let page_size = i32::try_from(MAX_PAGE).map_err(errors::internal)?;
        let request = ListProductsRequest { order_by: order_by.to_owned(), page_size, ..Default::default() };
        parse_list(request).map_err(|violations| errors::invalid(&violations))
    }

    fn facts(&self) -> Facts {
        Facts::new(self.catalog.cache().clock().now())
    }
}

/// Implements the service of a contract. Both have the same methods and messages.
macro_rules! served {
    ($contract:ident) => {
        #[tonic::async_trait]
        impl $contract for CompatService {
            async fn list_products(&self, request: Request<Empty>) -> Result<Response<ListProductsResponse>, Status> {
                self.list(request.metadata()).await
            }

            async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<Product>, Status> {
                let (metadata, _, request) = request.into_parts();
                self.get(&metadata, request.id).await
            }

            async fn search_products(
                &self,
                request: Request<SearchProductsRequest>,
            ) -> Result<Response<SearchProductsResponse>, Status> {
                let (metadata, _, request) = request.into_parts();
                self.search(&metadata, &request.query).await
            }
        }
    };
}

served!(Hipstershop);
served!(Oteldemo);
