//! Products in replies.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use larder_proto::{catalog, google_type};
use larder_storage::Product;
use prost::Message as _;
use prost_types::Timestamp;

/// The encoded product, as it is sent.
pub fn encode(product: Product) -> Bytes {
    to_message(product).encode_to_vec().into()
}

/// A product as a message of the contract.
pub fn to_message(product: Product) -> catalog::Product {
    let Product { id, data, create_time, update_time, version } = product;
    catalog::Product {
        id,
        name: data.name,
        description: data.description,
        price: data.price.map(|price| google_type::Money {
            currency_code: price.currency,
            units: price.units,
            nanos: price.nanos,
        }),
        categories: data.categories,
        tags: data.tags,
        attributes: data.attributes,
        image_url: data.image_url,
        in_stock: data.in_stock,
        create_time: Some(timestamp(create_time)),
        update_time: Some(timestamp(update_time)),
        etag: format!("{version:x}"),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let (since, before) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (since, false),
        Err(error) => (error.duration(), true),
    };
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(since.subsec_nanos()).unwrap_or(0);
    match (before, nanos) {
        (false, nanos) => Timestamp { seconds, nanos },
        (true, 0) => Timestamp { seconds: -seconds, nanos: 0 },
        // The protocol counts nanoseconds forward, even before 1970.
        (true, nanos) => Timestamp { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    }
}

/// A duration as a message of the contract.
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_count_nanoseconds_forward() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!(timestamp(time), Timestamp { seconds: -2, nanos: 500_000_000 });
    }
}
