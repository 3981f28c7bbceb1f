//! The parts of requests that several commands share.

use std::time::Duration;

use clap::Args;
use larder_proto::catalog::{PriceRange, ProductFilter, ReadOptions, read_options::Consistency};

use super::{CliError, amount, client::time_or_zero};

/// Which products.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which products")]
pub(crate) struct FilterArgs {
    /// Only products of exactly this category.
    #[arg(long)]
    category: Option<String>,
    /// Only products with exactly this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only products that are (or, with =false, are not) in stock.
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    in_stock: Option<bool>,
    /// Only products with a price in this currency: three letters of ISO 4217.
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Only products that cost at least this, such as 12.50.
    #[arg(long, value_name = "AMOUNT", requires = "currency", allow_hyphen_values = true)]
    min_price: Option<String>,
    /// Only products that cost at most this.
    #[arg(long, value_name = "AMOUNT", requires = "currency", allow_hyphen_values = true)]
    max_price: Option<String>,
}

impl FilterArgs {
    /// The filter; `None` without any flag.
    pub(crate) fn message(&self) -> Result<Option<ProductFilter>, CliError> {
        let price = match &self.currency {
            None => None,
            Some(currency) => {
                let end = |flag: &str, text: &Option<String>| match text {
                    None => Ok(None),
                    Some(text) => amount::read(text, currency)
                        .map(Some)
                        .map_err(|reason| CliError::usage(format!("{flag}: {reason}"))),
                };
                Some(PriceRange {
                    currency_code: currency.clone(),
                    min: end("--min-price", &self.min_price)?,
                    max: end("--max-price", &self.max_price)?,
                })
            }
        };
        let filter = ProductFilter {
            category: self.category.clone().unwrap_or_default(),
            tag: self.tag.clone().unwrap_or_default(),
            in_stock: self.in_stock,
            price,
        };
        Ok((filter != ProductFilter::default()).then_some(filter))
    }
}

/// How fresh replies must be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Freshness")]
pub(crate) struct ReadArgs {
    /// Read the state of the commit that this token names, or a later one.
    #[arg(long, value_name = "TOKEN", conflicts_with = "consistent", allow_hyphen_values = true)]
    fresh: Option<String>,
    /// Read every write that was acknowledged before the request.
    #[arg(long)]
    consistent: bool,
    /// How stale a reply may be while the database is away; 0s means an error instead.
    #[arg(long, value_name = "DURATION", value_parser = time_or_zero)]
    max_stale: Option<Duration>,
    /// Read from the caches or fail.
    #[arg(long)]
    cache_only: bool,
    /// Read all products from one database snapshot.
    #[arg(long)]
    same_snapshot: bool,
}

impl ReadArgs {
    /// The options; `None` without any flag.
    pub(crate) fn message(&self) -> Option<ReadOptions> {
        let consistency = match &self.fresh {
            Some(token) => Some(Consistency::AtLeastAsFresh(token.clone())),
            None => self.consistent.then_some(Consistency::FullyConsistent(true)),
        };
        let max_stale = self.max_stale.and_then(|max| prost_types::Duration::try_from(max).ok());
        let options =
            ReadOptions { consistency, max_stale, cache_only: self.cache_only, same_snapshot: self.same_snapshot };
        (options != ReadOptions::default()).then_some(options)
    }
}

/// One page, or all of them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pages")]
pub(crate) struct PageArgs {
    /// Products on a page, at most 1,000; 0 means 50.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    pub(crate) page_size: i32,
    /// The page that a token of an earlier reply names.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub(crate) page_token: String,
    /// Print every page, from this one to the last.
    #[arg(long)]
    pub(crate) all: bool,
}
