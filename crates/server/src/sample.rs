//! The sample catalogue, and how an empty database gets it.

use larder_storage::{ProductRepository as _, Repository};

use crate::{contract::parse_import, json::from_json};

/// A small shop's catalogue: some 280 products, each a line in the Protobuf JSON mapping of `Product`.
///
/// It is what an empty database starts with in embedded mode.
pub const SAMPLE: &str = include_str!("../data/sample.jsonl");

/// Products written in one transaction.
const BATCH: usize = 500;

/// Loads a sample, one product a line, unless the database has a product already.
pub(crate) async fn load(repository: &Repository, sample: &str) -> Result<(), String> {
    if !repository.is_empty().await.map_err(|error| error.to_string())? {
        return Ok(());
    }
    let parse = |line: &str| parse_import(from_json(line)?).map_err(|violations| violations.to_string());
    let products = sample.lines().map(parse).collect::<Result<Vec<_>, String>>()?;
    for batch in products.chunks(BATCH) {
        repository.import(batch).await.map_err(|error| error.to_string())?;
    }
    tracing::info!(products = products.len(), "sample catalogue loaded into the empty database");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;

    #[test]
    fn sample_is_a_shop_of_some_size() {
        let products = products();
        assert!(products.len() >= 260, "{} products", products.len());
        assert!((200_000..500_000).contains(&SAMPLE.len()), "{} bytes", SAMPLE.len());

        let mut departments = BTreeMap::<&str, usize>::new();
        for product in &products {
            *departments.entry(product["categories"][0].as_str().unwrap()).or_default() += 1;
        }
        assert!(departments.len() >= 14, "{departments:?}");
        assert!(departments.values().all(|&products| products >= 12), "{departments:?}");
    }

    #[test]
    fn sample_keeps_to_the_contract() {
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for product in products() {
            let id = text(&product, "id");
            let name = text(&product, "name");
            assert!((1..=64).contains(&id.len()), "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)), "{id}");
            assert!((1..=512).contains(&name.len()), "{id}");
            assert!((300..=1_500).contains(&text(&product, "description").len()), "{id}");
            assert_eq!(text(&product, "imageUrl"), format!("https://images.example.com/{id}.jpg"));
            assert!(product["inStock"].is_boolean(), "{id}");
            assert!((1..=4).contains(&distinct(&product["categories"])), "{id}");
            assert!((2..=6).contains(&distinct(&product["tags"])), "{id}");
            assert!((3..=8).contains(&product["attributes"].as_object().unwrap().len()), "{id}");

            let price = &product["price"];
            assert_eq!(text(price, "currencyCode").len(), 3, "{id}");
            assert!(text(price, "units").parse::<u32>().is_ok(), "{id}");
            assert!(price.get("nanos").is_none_or(|nanos| nanos.as_u64().unwrap() < 1_000_000_000), "{id}");

            assert!(ids.insert(id), "an id stands twice");
            assert!(names.insert(name), "a name stands twice");
        }
    }

    #[test]
    fn every_sample_product_keeps_to_the_contract() {
        for line in SAMPLE.lines() {
            assert_eq!(from_json(line).map(|product| parse_import(product).err()), Ok(None), "{line}");
        }
    }

    fn products() -> Vec<Value> {
        SAMPLE.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn text(object: &Value, field: &str) -> String {
        object[field].as_str().unwrap().to_owned()
    }

    /// How many there are, none of which stands twice.
    fn distinct(list: &Value) -> usize {
        let list = list.as_array().unwrap();
        let set: BTreeSet<_> = list.iter().map(|item| item.as_str().unwrap()).collect();
        assert_eq!(set.len(), list.len(), "{list:?}");
        set.len()
    }
}
