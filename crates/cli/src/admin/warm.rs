//! `larder warm`.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use larder_proto::admin::{WarmCacheRequest, WarmCacheResponse, WarmCategories, WarmIds, warm_cache_request};

use super::{
    super::{
        client::{AdminArgs, Server},
        error::Exit,
        output::Output,
        show, status,
        units::count,
    },
    CliError,
};

/// Loads products into the cache before they are read, and shows the progress.
#[derive(Debug, Args)]
pub(crate) struct Warm {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Load some products.
    Ids {
        /// Ids of products: at most 10,000.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Load the products of some categories.
    Categories {
        /// Categories as products have them: at most 100.
        #[arg(required = true, value_name = "CATEGORY")]
        categories: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Load the products that all replicas read most, as Redis remembers them; without Redis, those of this replica.
    Hottest {
        /// How many products.
        #[arg(value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        number: i32,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Reads of 100 products each at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=16))]
    concurrency: i32,
    /// Print JSON; the last line has the final counts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

impl Warm {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let (what, how) = match self.what {
            What::Ids { ids, how } => (warm_cache_request::What::Ids(WarmIds { ids }), how),
            What::Categories { categories, how } => {
                (warm_cache_request::What::Categories(WarmCategories { categories }), how)
            }
            What::Hottest { number, how } => (warm_cache_request::What::Hottest(number), how),
        };
        let server = how.call.connect().await?;
        let message = WarmCacheRequest { what: Some(what), concurrency: how.concurrency };
        let mut admin = server.admin();
        let opened = server.open(admin.warm_cache(server.open_request(message))).await;
        let mut messages = opened.map_err(|error| status::failure(&error))?;
        let mut out = Output::new();
        let bar = (!how.json && std::io::stderr().is_terminal()).then(bar);
        let mut last = WarmCacheResponse::default();
        let ended = loop {
            match Server::next(&mut messages, server.timeout()).await {
                Ok(Some(told)) => last = told,
                Ok(None) => break Ok(()),
                Err(error) => break Err(status::failure(&error)),
            }
            if how.json {
                show::message(&mut out, "larder.admin.v1.WarmCacheResponse", &last)?;
                out.flush()?;
            } else if let Some(bar) = &bar {
                bar.set_length(last.total.max(last.done));
                bar.set_position(last.done);
            }
        };
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        ended?;
        if !how.json {
            out.line(&summary(&last))?;
        }
        out.flush()?;
        if last.failed == 0 {
            return Ok(());
        }
        let failed = format!("{} products could not be read", count(last.failed));
        Err(CliError::new(Exit::Unavailable, failed).hint("try again in a moment"))
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {pos} of {len}  {elapsed}, {eta} to go") {
        bar.set_style(style);
    }
    bar
}

fn summary(told: &WarmCacheResponse) -> String {
    let WarmCacheResponse { done, from_l1, from_l2, from_database, not_found, failed, .. } = *told;
    let products = if done == 1 { "product" } else { "products" };
    format!(
        "{} {products}: {} were in memory, {} came from Redis, {} from the database; {} not found, {} failed",
        count(done),
        count(from_l1),
        count(from_l2),
        count(from_database),
        count(not_found),
        count(failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_products_came_from_is_told() {
        let told = WarmCacheResponse {
            total: 1_234,
            done: 1_234,
            from_l1: 1_000,
            from_l2: 200,
            from_database: 30,
            not_found: 3,
            failed: 1,
        };
        let expected = "1,234 products: 1,000 were in memory, 200 came from Redis, 30 from the database; 3 not found, \
                        1 failed";
        assert_eq!(summary(&told), expected);
    }
}
