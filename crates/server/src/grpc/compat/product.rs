//! Products of other shops' contracts.

use bytes::Bytes;
use larder_proto::{
    catalog,
    hipstershop::{Money, Product},
};
use prost::{DecodeError, Message as _};

/// A product as the contracts have it, from the copy in the cache.
pub(super) fn read(bytes: &Bytes) -> Result<Product, DecodeError> {
    let product = catalog::Product::decode(bytes.clone())?;
    Ok(Product {
        id: product.id,
        name: product.name,
        description: product.description,
        picture: product.image_url,
        price_usd: product.price.map(|price| Money {
            currency_code: price.currency_code,
            units: price.units,
            nanos: price.nanos,
        }),
        categories: product.categories,
    })
}

/// What a search looks for.
pub(super) struct Query(String);

impl Query {
    pub(super) fn new(query: &str) -> Self {
        Self(lower(query))
    }

    /// Whether the name or the description contains the query.
    pub(super) fn matches(&self, product: &Product) -> bool {
        [&product.name, &product.description].into_iter().any(|text| lower(text).contains(&self.0))
    }
}

/// Character by character, as the services that Larder stands in for do it: a sigma at the end of a word is no exception.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_part_of_a_name_or_a_description() {
        let product = Product {
            name: "Copper Kettle".into(),
            description: "100% ΟΔΟΣ, for_tea".into(),
            categories: vec!["kitchen".into()],
            ..Product::default()
        };
        for query in ["", "kettle", "PPER K", "copper kettle", "οδοσ", "0% ", "for_"] {
            assert!(Query::new(query).matches(&product), "{query}");
        }
        for query in ["kitchen", "kettle copper", "copper  kettle", "1%0", "for.tea", "kettles"] {
            assert!(!Query::new(query).matches(&product), "{query}");
        }
    }
}
