//! `larder list` and `larder search`.

use clap::Args;
use larder_proto::catalog::{CacheInfo, ListProductsRequest, Product, SearchProductsRequest};

use super::{
    CliError,
    client::CallArgs,
    output::{Output, note, plain},
    request::{FilterArgs, PageArgs, ReadArgs},
    show,
};

const ORDER_BY: &str = "The order: id, create_time, update_time, name or price, alone or followed by \" desc\"";

/// Prints products in order, page by page.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[arg(long, help = ORDER_BY, value_name = "FIELD", default_value = "", hide_default_value = true)]
    order_by: String,
    /// Print how many products match on all pages together.
    #[arg(long)]
    total: bool,
    #[command(flatten)]
    common: Common,
}

/// Prints the products whose text matches, best first.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Words; a product must have each of them, at least as the beginning of a longer word.
    #[arg(value_name = "QUERY")]
    query: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    call: CallArgs,
}

struct Page {
    products: Vec<Product>,
    next: String,
    cache: Option<CacheInfo>,
}

impl List {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let filter = self.common.filter.message()?;
        let server = self.common.call.connect().await?;
        let mut catalog = server.catalog();
        let mut count = self.total;
        self.common
            .pages(async |page_token| {
                let request = server.request(ListProductsRequest {
                    filter: filter.clone(),
                    order_by: self.order_by.clone(),
                    page_size: self.common.page.page_size,
                    page_token,
                    include_total_size: count,
                    read: self.common.read.message(),
                });
                let reply = server.call(catalog.list_products(request)).await?;
                if std::mem::take(&mut count)
                    && let Some(total) = reply.total_size
                {
                    note(&format!("{total} products match"));
                }
                Ok(Page { products: reply.products, next: reply.next_page_token, cache: reply.cache })
            })
            .await
    }
}

impl Search {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let filter = self.common.filter.message()?;
        let server = self.common.call.connect().await?;
        let mut catalog = server.catalog();
        self.common
            .pages(async |page_token| {
                let request = server.request(SearchProductsRequest {
                    query: self.query.clone(),
                    filter: filter.clone(),
                    page_size: self.common.page.page_size,
                    page_token,
                    read: self.common.read.message(),
                });
                let reply = server.call(catalog.search_products(request)).await?;
                Ok(Page { products: reply.products, next: reply.next_page_token, cache: reply.cache })
            })
            .await
    }
}

impl Common {
    /// Prints one page, or all pages from there on.
    async fn pages(&self, mut load: impl AsyncFnMut(String) -> Result<Page, CliError>) -> Result<(), CliError> {
        let mut out = Output::new();
        let mut token = self.page.page_token.clone();
        loop {
            let page = load(token).await?;
            if self.json {
                for product in &page.products {
                    show::json(&mut out, product)?;
                }
            } else if !page.products.is_empty() {
                show::table(&mut out, &page.products)?;
            }
            out.flush()?;
            if self.call.verbose() {
                show::cache(page.cache.as_ref(), None);
            }
            if page.next.is_empty() {
                return Ok(());
            }
            if !self.page.all {
                note(&format!("more: --page-token {} (or --all)", plain(&page.next)));
                return Ok(());
            }
            token = page.next;
        }
    }
}
