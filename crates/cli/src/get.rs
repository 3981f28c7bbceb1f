//! `larder get`.

use clap::Args;
use larder_proto::catalog::{BatchGetProductsRequest, GetProductRequest, Product};

use super::{
    CliError,
    client::CallArgs,
    error::Exit,
    output::{Output, plain},
    request::ReadArgs,
    show,
};

/// Ids in one request.
const BATCH: usize = 1_000;

/// Prints products by their ids.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Ids of products.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    call: CallArgs,
}

impl Get {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = self.call.connect().await?;
        let verbose = self.call.verbose();
        let mut out = Output::new();
        let mut missing = Vec::new();
        let mut first = true;
        let mut print = |out: &mut Output, product: &Product| {
            if self.json {
                return show::json(out, product);
            }
            if !std::mem::take(&mut first) {
                out.line("")?;
            }
            show::block(out, product)
        };
        if let [id] = self.ids.as_slice() {
            let request = server.request(GetProductRequest { id: id.clone(), read: self.read.message() });
            let mut catalog = server.catalog();
            let reply = server.call(catalog.get_product(request)).await?;
            if let Some(product) = &reply.product {
                print(&mut out, product)?;
            }
            if verbose {
                show::cache(reply.cache.as_ref(), None);
            }
            return out.flush();
        }
        for ids in self.ids.chunks(BATCH) {
            let message = BatchGetProductsRequest { ids: ids.to_vec(), read: self.read.message() };
            let mut catalog = server.catalog();
            let reply = server.call(catalog.batch_get_products(server.request(message))).await?;
            for product in &reply.products {
                print(&mut out, product)?;
            }
            out.flush()?;
            if verbose {
                show::cache(reply.cache.as_ref(), reply.counts.as_ref());
            }
            missing.extend(reply.missing_ids);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let ids = missing.join(", ");
        Err(CliError::new(Exit::NoInput, format!("NOT_FOUND: no product of these ids: {}", plain(&ids))))
    }
}
