//! `larder export`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use larder_proto::{
    catalog::{ListProductsRequest, Product, ProductFilter},
    serving,
};
use larder_storage::ProductRepository as _;
use prost::Message as _;
use tokio::time::sleep;
use tonic::Code;

use super::{
    CliError,
    client::{CallOptions, Server, timeout},
    csv, direct,
    error::Exit,
    import::Format,
    local::Sink,
    output::note,
    request::FilterArgs,
    retry::Retry,
    settings::{CallsOrOpens, SettingArgs},
    status,
};
use larder_server::{
    config::{Purpose, value::show_duration},
    contract::{parse_filter, to_message},
    json::to_json,
};

/// Products on a page.
const PAGE: i32 = 500;
/// Products read from the database at once.
const SCAN: u32 = 500;

/// Prints all products in the order of their ids, as JSON Lines or CSV; `larder import` reads both.
///
/// Every product is printed once. Products that are created or deleted meanwhile may be missing.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The format. By default the extension of --output decides, else JSON Lines.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write a file instead of standard output. The file appears under its name once it is complete.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// How long to retry while the server is away.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    retry_for: Duration,
    /// Open the database instead of calling a server.
    #[arg(long, conflicts_with = "address")]
    direct: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    settings: SettingArgs<CallsOrOpens>,
    #[command(flatten)]
    call: CallOptions,
}

impl Export {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let filter = self.filter.message()?;
        let mut writer =
            Writer { format: self.format(), sink: Sink::open(self.output.as_deref())?, count: 0, left_out: 0 };
        writer.begin()?;
        if self.direct {
            self.scan(filter, &mut writer).await?;
        } else {
            self.walk(filter, &mut writer).await?;
        }
        let (count, left_out) = (writer.count, writer.left_out);
        writer.sink.finish()?;
        if self.call.verbose {
            note(&format!("{count} products"));
        }
        match left_out {
            0 => Ok(()),
            left_out => Err(CliError::new(Exit::Data, format!("{left_out} products cannot be read and are left out"))
                .hint("the rows hold what no product may; set them right or delete them, in the database")),
        }
    }

    fn format(&self) -> Format {
        let csv = self.output.as_ref().and_then(|path| path.extension()).is_some_and(|extension| extension == "csv");
        self.format.unwrap_or(if csv { Format::Csv } else { Format::Jsonl })
    }

    /// Reads the database.
    async fn scan(&self, filter: Option<ProductFilter>, writer: &mut Writer) -> Result<(), CliError> {
        let filter = filter.map(|filter| serving::ProductFilter::decode(filter.encode_to_vec().as_slice()));
        let filter = filter.transpose().map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
        let filter = parse_filter(filter).map_err(|violations| CliError::usage(violations.to_string()))?;
        let repository = direct::open(&self.settings).await?;
        let mut after: Option<String> = None;
        loop {
            let products = repository.scan(&filter, after.as_deref(), SCAN).await;
            let products = products.map_err(|error| direct::failure("cannot export", &error))?;
            let Some(last) = products.last_id() else { break };
            after = Some(last.to_owned());
            writer.leave_out(&products.unreadable);
            for product in products.found {
                writer.product(&to_message(product))?;
            }
        }
        repository.close().await;
        Ok(())
    }

    /// Walks through the pages of a server.
    async fn walk(&self, filter: Option<ProductFilter>, writer: &mut Writer) -> Result<(), CliError> {
        let client = self.settings.resolve(Purpose::Call)?.config.client;
        let server = Server::connect(&client, self.call.clone()).await?;
        let mut catalog = server.catalog();
        let mut retry = Retry::new(self.retry_for);
        let mut page_size = PAGE;
        let mut page_token = String::new();
        loop {
            let request = server.request(ListProductsRequest {
                filter: filter.clone(),
                order_by: "id".to_owned(),
                page_size,
                page_token: page_token.clone(),
                ..ListProductsRequest::default()
            });
            let page = match server.try_call(catalog.list_products(request)).await {
                Ok(page) => page,
                // The page may exceed the largest message.
                Err(error) if too_large(error.code()) && page_size > 1 => {
                    page_size /= 2;
                    continue;
                }
                Err(error) => {
                    let again = status::passes(error.code()).then(|| retry.pause(status::retry_after(&error)));
                    let Some(pause) = again.flatten() else { return Err(status::failure(&error)) };
                    note(&format!("larder: {}; trying again in {}", status::text(&error), show_duration(pause)));
                    sleep(pause).await;
                    continue;
                }
            };
            retry.progress();
            writer.leave_out(&page.unreadable_ids);
            for product in &page.products {
                writer.product(product)?;
            }
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            page_token = page.next_page_token;
        }
    }
}

fn too_large(code: Code) -> bool {
    matches!(code, Code::ResourceExhausted | Code::OutOfRange)
}

struct Writer {
    format: Format,
    sink: Sink,
    count: u64,
    left_out: u64,
}

impl Writer {
    fn begin(&mut self) -> Result<(), CliError> {
        match self.format {
            Format::Jsonl => Ok(()),
            Format::Csv => self.sink.write(csv::header().as_bytes()),
        }
    }

    /// Reports the products that are left out because they cannot be read.
    fn leave_out(&mut self, ids: &[String]) {
        for id in ids {
            note(&format!("larder: product {id} cannot be read, it is left out"));
        }
        self.left_out += ids.len() as u64;
    }

    fn product(&mut self, product: &Product) -> Result<(), CliError> {
        self.count += 1;
        let row = match self.format {
            Format::Csv => csv::row(product),
            Format::Jsonl => {
                let mut line = to_json(product)
                    .map_err(|error| CliError::new(Exit::Internal, format!("cannot write JSON: {error}")))?;
                line.push('\n');
                line
            }
        };
        self.sink.write(row.as_bytes())
    }
}
