//! The catalogue that an empty database begins with.

use std::{io, path::Path};

use larder_storage::{ProductData, ProductRepository as _, Repository, StorageError};
use serde_json::Value;

use crate::{
    config::SampleCatalogue,
    contract::parse_import,
    error::ServeError,
    json::{Unknown, from_json_at},
};

/// A small shop's catalogue: some 280 products, each a line in the Protobuf JSON mapping of `Product`.
///
/// It is what an empty database starts with in embedded mode.
pub const SAMPLE: &str = include_str!("../data/sample.jsonl");

/// Products written in one transaction.
const BATCH: usize = 500;
/// Bytes of a file. It is read whole; a larger catalogue is for `larder import`.
const MOST_BYTES: u64 = 64 << 20;

/// Loads a catalogue, unless the database has a product already. One that breaks a rule is not loaded at all.
pub(crate) async fn load(repository: &Repository, catalogue: SampleCatalogue) -> Result<(), ServeError> {
    let told = |error: StorageError| ServeError::Sample(error.to_string());
    if catalogue == SampleCatalogue::None || !repository.is_empty().await.map_err(told)? {
        return Ok(());
    }
    let products = match catalogue {
        SampleCatalogue::None => return Ok(()),
        SampleCatalogue::BuiltIn => parse(SAMPLE).map_err(ServeError::Sample)?,
        SampleCatalogue::File(path) => {
            let read = read(&path).await.map_err(|error| error.to_string());
            read.and_then(|text| parse(&text)).map_err(|reason| ServeError::Catalogue { path, reason })?
        }
    };
    for batch in products.chunks(BATCH) {
        repository.import(batch).await.map_err(told)?;
    }
    tracing::info!(products = products.len(), "sample catalogue loaded into the empty database");
    Ok(())
}

async fn read(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    let read = move || {
        let bytes = std::fs::metadata(&path)?.len();
        if bytes > MOST_BYTES {
            return Err(io::Error::other(format!("has {bytes} bytes, more than {MOST_BYTES}: use larder import")));
        }
        std::fs::read_to_string(&path)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

/// Reads products in JSON: one object after the other, an array, or an object that holds an array under `products`.
fn parse(text: &str) -> Result<Vec<(String, ProductData)>, String> {
    let mut products = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match document.map_err(|error| error.to_string())? {
            Value::Array(list) => products.extend(list),
            Value::Object(mut fields) => match fields.remove("products") {
                Some(Value::Array(list)) => products.extend(list),
                Some(_) => return Err("products is not a list".to_owned()),
                None => products.push(Value::Object(fields)),
            },
            other => products.push(other),
        }
    }
    let product = |(number, product): (usize, Value)| {
        let parsed = from_json_at(&product.to_string(), 1, 0, Unknown::Refused);
        let parsed = parsed.and_then(|product| parse_import(product).map_err(|violations| violations.to_string()));
        parsed.map_err(|reason| format!("product {}: {reason}", number + 1))
    };
    products.into_iter().enumerate().map(product).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::json::from_json;

    #[test]
    fn files_hold_products_in_every_layout_of_json() {
        let ids = |text: &str| parse(text).map(|products| products.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        let a = r#"{"id": "a", "name": "A", "picture": "/a.jpg", "priceUsd": {"currencyCode": "USD", "units": 1}}"#;
        let b = r#"{"id": "b", "name": "B"}"#;
        for text in [format!("{a}\n{b}\n"), format!("[{a}, {b}]"), format!("{{\"products\": [{a}, {b}]}}")] {
            assert_eq!(ids(&text), Ok(vec!["a".to_owned(), "b".to_owned()]), "{text}");
        }
        assert_eq!(ids(""), Ok(Vec::new()));
        let (_, data) = parse(a).expect("a product").remove(0);
        assert_eq!((data.image_url.as_str(), data.price.map(|price| price.units)), ("/a.jpg", Some(1)));
        for (wrong, reason) in [
            ("[1]", "product 1: "),
            (r#"{"products": 1}"#, "products is not a list"),
            (r#"[{"id": "a", "name": "A"}, {"id": "b"}]"#, "product 2: name: is required"),
            (r#"{"id": "a", "nam": "A"}"#, "unrecognized field name 'nam'"),
            (r#"{"id": "a""#, "EOF"),
        ] {
            let told = ids(wrong).expect_err(wrong);
            assert!(told.contains(reason), "{wrong}: {told}");
        }
    }

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
