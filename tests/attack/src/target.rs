//! The replica that is attacked.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, anyhow};
use larder_proto::catalog::{ImportProductsRequest, Product, product_catalog_client::ProductCatalogClient};
use larder_test_servers::{Replica, free_port};
use tonic::transport::Endpoint;

/// Products in the catalogue.
pub(crate) const PRODUCTS: usize = 1_000;
/// A product of this many bytes is among them.
pub(crate) const LARGE: (&str, usize) = ("large", 65_000);

/// A replica over an SQLite file of its own.
#[derive(Debug)]
pub(crate) struct Target {
    replica: Replica,
    pub(crate) admin: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// What the process uses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// File descriptors.
    pub(crate) descriptors: usize,
    /// The time on processors so far.
    pub(crate) processor: Duration,
}

impl Target {
    /// Starts a replica with further variables, and imports the products.
    pub(crate) async fn start(program: &Path, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let [admin, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut all = vec![
            ("LARDER_ADMIN_LISTEN", admin.to_string()),
            ("LARDER_HTTP_LISTEN", http.to_string()),
            ("LARDER_SAMPLE_CATALOGUE", "false".to_owned()),
            ("LARDER_LOG", "warn".to_owned()),
        ];
        all.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let replica = Replica::start(program, free_port(), &all).await;
        let replica = replica.map_err(|log| anyhow!("the replica did not become ready:\n{log}"))?;
        let target = Self { replica, admin, http };
        target.fill().await.context("the products cannot be imported")?;
        Ok(target)
    }

    /// Where the catalogue listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.replica.address()
    }

    /// What the process uses now.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        const PAGE: u64 = 4_096;
        let pid = self.replica.pid().with_context(|| format!("the replica ended:\n{}", self.replica.last_lines()))?;
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).context("the replica has ended")?;
        let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the replica has ended")?;
        let processor = processor_time(&stat).context("no time on processors")?;
        Ok(Usage { memory: resident.context("no resident memory")? * PAGE, descriptors, processor })
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let channel = Endpoint::from_shared(format!("http://{}", self.address()))?.connect().await?;
        let mut client = ProductCatalogClient::new(channel);
        let small = (0..PRODUCTS).map(|number| (id(number), 400));
        let products = small.chain([(LARGE.0.to_owned(), LARGE.1)]).map(|(id, length)| {
            let product =
                Product { name: format!("Product {id}"), id, description: "x".repeat(length), ..Product::default() };
            ImportProductsRequest { product: Some(product), line: 0 }
        });
        let products: Vec<_> = products.collect();
        let mut reports = client.import_products(futures_util::stream::iter(products)).await?.into_inner();
        while reports.message().await?.is_some() {}
        Ok(())
    }
}

/// The time on processors of a process, in user mode and in the kernel (`proc_pid_stat(5)`).
fn processor_time(stat: &str) -> Option<Duration> {
    /// Of a second.
    const TICK: Duration = Duration::from_millis(10);
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|ticks| ticks.parse::<u32>().ok());
    Some(TICK * (times.next()?? + times.next()??))
}

/// The id of a product.
pub(crate) fn id(number: usize) -> String {
    format!("product-{number:04}")
}
