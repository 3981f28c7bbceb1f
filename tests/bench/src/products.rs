//! The products to measure with: as many as wanted, always the same, all of about one size.

use std::collections::BTreeMap;

use larder_proto::{catalog::Product, google_type::Money};
use prost::Message as _;

/// Bytes of a stored product on the wire.
pub(crate) const SIZE: usize = 500;
/// Bytes of that for what the server adds: two times and an etag.
const ADDED_BY_SERVER: usize = 50;

const WORDS: [&str; 24] = [
    "oak", "linen", "brass", "glass", "wool", "steel", "slate", "cedar", "cotton", "copper", "felt", "stone", "round",
    "small", "tall", "quiet", "sturdy", "folding", "painted", "woven", "polished", "plain", "heavy", "light",
];
pub(crate) const CATEGORIES: [&str; 6] = ["kitchen", "garden", "office", "bath", "travel", "lighting"];

/// The id of the product at a place.
pub(crate) fn id(index: usize) -> String {
    format!("bench-{index:010}")
}

/// The product at a place.
pub(crate) fn product(index: usize) -> Product {
    let mut random = Random(index as u64);
    let category = CATEGORIES[random.below(CATEGORIES.len())];
    let mut product = Product {
        id: id(index),
        name: format!("{} {} {index}", random.word(), random.word()),
        price: Some(Money {
            currency_code: "EUR".to_owned(),
            units: 1 + i64::try_from(random.below(120)).expect("a small price"),
            nanos: 990_000_000,
        }),
        categories: vec![category.to_owned()],
        tags: vec![random.word().to_owned(), format!("shelf-{}", random.below(1000))],
        attributes: BTreeMap::from([
            ("colour".to_owned(), random.word().to_owned()),
            ("material".to_owned(), random.word().to_owned()),
        ]),
        image_url: format!("https://img.example.com/p/{index:010}.jpg"),
        in_stock: true,
        ..Product::default()
    };
    let mut description = String::new();
    // The field's tag and its length take three bytes.
    let wanted = (SIZE - ADDED_BY_SERVER).saturating_sub(product.encoded_len() + 3);
    while description.len() < wanted {
        description.push_str(random.word());
        description.push(' ');
    }
    description.truncate(wanted.saturating_sub(1));
    description.push('.');
    product.description = description;
    product
}

/// The `SplitMix64` generator (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero; its bias is below `limit` in 2⁶⁴.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_distinct_repeatable_and_of_one_size() {
        for index in [0, 1, 7, 99_999, 10_000_000] {
            let product = product(index);
            assert_eq!(product, super::product(index));
            assert_eq!(product.encoded_len(), SIZE - ADDED_BY_SERVER, "{product:?}");
        }
        assert_ne!(product(1).description, product(2).description);
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
