//! Remembered requests: what makes a call with the same request id the same call, and what the first one returned.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{Invalidation, Money, Product, ProductData, ProductMask, StorageError, Update, hash::fnv128};

/// What a request id was used for.
#[derive(Debug)]
pub(crate) enum Remembered {
    /// Nothing before.
    Nothing,
    /// The same call, which returned this.
    Reply(String),
    /// Another call.
    OtherCall,
}

impl Remembered {
    /// Judges what is stored under a request id.
    pub(crate) fn judge(stored: &str, reply: String, fingerprint: &str) -> Self {
        if stored == fingerprint { Self::Reply(reply) } else { Self::OtherCall }
    }
}

/// What stands before the ids of events among the remembered ones, and before those of calls that could be taken for others.
const EVENT: &str = "webhook:";
const CALL: &str = "call:";

/// The name under which the request id of a call is remembered: the id itself, as releases before this one have it, unless it looks
/// like another name.
pub(crate) fn call_name(id: &str) -> Cow<'_, str> {
    if id.starts_with(EVENT) || id.starts_with(CALL) { format!("{CALL}{id}").into() } else { id.into() }
}

/// The name under which the id of an event is remembered.
pub(crate) fn event_name(id: &str) -> String {
    format!("{EVENT}{id}")
}

/// Reads a product from a remembered reply.
pub(crate) fn stored_product(reply: &str) -> Result<Product, StorageError> {
    let stored: StoredProduct =
        serde_json::from_str(reply).map_err(|error| StorageError::UnreadableReply(error.to_string()))?;
    Ok(stored.into())
}

/// Identifies a creation.
pub(crate) fn creation_fingerprint(id: &str, data: &ProductData) -> String {
    fingerprint(&("create", id, StoredData::from(data)))
}

/// Identifies an update.
pub(crate) fn update_fingerprint(update: &Update) -> String {
    let ProductMask { name, description, price, categories, tags, attributes, image_url, in_stock } = update.mask;
    fingerprint(&(
        "update",
        &update.id,
        StoredData::from(&update.data),
        [name, description, price, categories, tags, attributes, image_url, in_stock],
        update.version,
        update.allow_missing,
    ))
}

/// Identifies a request of invalidations.
pub(crate) fn invalidation_fingerprint(invalidations: &[Invalidation]) -> String {
    let rows: Vec<_> = invalidations.iter().map(Invalidation::row).collect();
    fingerprint(&("invalidate", rows))
}

/// A product as a remembered reply holds it.
pub(crate) fn reply(product: &Product) -> String {
    json(&StoredProduct::from(product))
}

fn fingerprint(request: &impl Serialize) -> String {
    format!("{:032x}", fnv128(json(request).as_bytes()))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps of strings are always JSON")
}

#[derive(Serialize, Deserialize)]
struct StoredProduct {
    id: String,
    data: StoredData,
    create_micros: i64,
    update_micros: i64,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredData {
    name: String,
    description: String,
    price: Option<(String, i64, i32)>,
    categories: Vec<String>,
    tags: Vec<String>,
    attributes: BTreeMap<String, String>,
    image_url: String,
    in_stock: bool,
}

impl From<&ProductData> for StoredData {
    fn from(data: &ProductData) -> Self {
        let data = data.clone();
        Self {
            name: data.name,
            description: data.description,
            price: data.price.map(|price| (price.currency, price.units, price.nanos)),
            categories: data.categories,
            tags: data.tags,
            attributes: data.attributes,
            image_url: data.image_url,
            in_stock: data.in_stock,
        }
    }
}

impl From<&Product> for StoredProduct {
    fn from(product: &Product) -> Self {
        Self {
            id: product.id.clone(),
            data: (&product.data).into(),
            create_micros: to_micros(product.create_time),
            update_micros: to_micros(product.update_time),
            version: product.version,
        }
    }
}

impl From<StoredProduct> for Product {
    fn from(stored: StoredProduct) -> Self {
        let data = stored.data;
        Self {
            id: stored.id,
            data: ProductData {
                name: data.name,
                description: data.description,
                price: data.price.map(|(currency, units, nanos)| Money { currency, units, nanos }),
                categories: data.categories,
                tags: data.tags,
                attributes: data.attributes,
                image_url: data.image_url,
                in_stock: data.in_stock,
            },
            create_time: from_micros(stored.create_micros),
            update_time: from_micros(stored.update_micros),
            version: stored.version,
        }
    }
}

/// Microseconds since 1970; times outside of what a database holds are cut off.
pub(crate) fn to_micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// The time that is so many microseconds after 1970.
pub(crate) fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_and_no_event_share_a_name() {
        let ids = ["a", "webhook:a", "call:a", "call:webhook:a", "webhook:call:a"];
        let names: Vec<String> = ids.iter().flat_map(|id| [call_name(id).into_owned(), event_name(id)]).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert_eq!((&*call_name("a"), &*event_name("a")), ("a", "webhook:a"), "as releases before this one have them");
    }

    #[test]
    fn a_reply_comes_back_as_it_was() {
        let product = Product {
            id: "a".to_owned(),
            data: ProductData {
                name: "Ä \"quoted\" \u{1F600}".to_owned(),
                price: Some(Money { currency: "EUR".to_owned(), units: i64::MAX, nanos: 999_999_999 }),
                attributes: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                ..ProductData::default()
            },
            create_time: from_micros(-1),
            update_time: from_micros(1_700_000_000_123_456),
            version: i64::MAX,
        };
        let fingerprint = creation_fingerprint(&product.id, &product.data);
        let judged = Remembered::judge(&fingerprint, reply(&product), &fingerprint);
        assert!(matches!(judged, Remembered::Reply(again) if stored_product(&again).unwrap() == product));
        assert!(matches!(Remembered::judge(&fingerprint, String::new(), "other"), Remembered::OtherCall));
    }
}
