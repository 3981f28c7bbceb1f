//! Products, and waiting.

use std::time::Duration;

use larder_proto::{catalog::Product, google_type::Money};
use tokio::time::{sleep, timeout};

/// A product with every field populated, all of them made of its id.
pub(crate) fn product(id: &str) -> Product {
    Product {
        id: id.to_owned(),
        name: format!("Name of {id}"),
        description: format!("Description of {id}: nothing else has a text like it."),
        price: Some(Money { currency_code: "EUR".to_owned(), units: 12, nanos: 500_000_000 }),
        categories: vec!["kitchen".to_owned(), "pans".to_owned()],
        tags: vec!["copper".to_owned()],
        attributes: [("colour".to_owned(), "red".to_owned()), ("size".to_owned(), "18 cm".to_owned())].into(),
        image_url: format!("https://example.org/{id}.jpg"),
        in_stock: true,
        ..Product::default()
    }
}

/// A product with an id and a name only.
pub(crate) fn named(id: &str, name: &str) -> Product {
    Product { id: id.to_owned(), name: name.to_owned(), ..Product::default() }
}

/// A product without what the server adds.
pub(crate) fn user_fields(product: Product) -> Product {
    Product { create_time: None, update_time: None, etag: String::new(), ..product }
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within a minute: `what` says what was waited for.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = timeout(Duration::from_mins(1), async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited a minute in vain for this: {what}");
}
