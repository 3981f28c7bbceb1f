//! Products to try Larder with: a written catalogue that is part of the program, and a generator of any number more.

mod description;
mod draw;
mod generate;
mod phrases;
mod words;

pub use generate::generate;

/// A small shop's catalogue: some 280 products, each a line in the Protobuf JSON mapping of `Product`.
///
/// It is what an empty database starts with in embedded mode.
pub const SAMPLE: &str = include_str!("../../data/sample.jsonl");

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::SAMPLE;

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
