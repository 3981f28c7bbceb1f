//! Products that tell which write made them.

use larder_proto::catalog::Product;

use crate::history::{Seen, Write};

/// Keys that the load reads and writes.
pub(crate) const LOADED: usize = 200;
/// All keys: behind those of the load are some that scenarios write by themselves.
pub(crate) const KEYS: usize = 380;
/// Keys that share a category and a word.
pub(crate) const GROUP: usize = 20;

/// The id of a key.
pub(crate) fn id(key: usize) -> String {
    format!("chaos-{key:04}")
}

/// The category of a group.
pub(crate) fn category(group: usize) -> String {
    format!("group-{group}")
}

/// The word by which a group is found.
pub(crate) fn word(group: usize) -> String {
    format!("wordofgroup{group}")
}

/// The keys of a group.
pub(crate) fn group(number: usize) -> Vec<usize> {
    (number * GROUP..(number + 1) * GROUP).collect()
}

/// The name that a write gives.
pub(crate) fn name(write: Write) -> String {
    format!("{}|{}|{}", id(write.key), write.writer, write.sequence)
}

/// The whole product that a write makes.
pub(crate) fn made(write: Write) -> Product {
    let group = write.key / GROUP;
    Product {
        id: id(write.key),
        name: name(write),
        description: format!("{} {}", word(group), "of no other use ".repeat(20)),
        categories: vec![category(group)],
        attributes: [("made_by".to_owned(), name(write))].into(),
        ..Product::default()
    }
}

/// The SQL that does what a write does to a product that is there.
pub(crate) fn update(write: Write) -> String {
    let (name, id) = (name(write), id(write.key));
    format!(
        "UPDATE products SET name = '{name}', attributes = jsonb_build_object('made_by', '{name}') WHERE id = '{id}'"
    )
}

/// What a product tells of itself. One that no write can have made belongs to no key.
pub(crate) fn seen(product: Option<&Product>) -> Seen {
    let Some(product) = product else {
        return Seen::Absent;
    };
    let whole = product.attributes.get("made_by") == Some(&product.name);
    let write = write_of(&product.name).filter(|write| whole && id(write.key) == product.id);
    Seen::Present(write.unwrap_or(Write { key: usize::MAX, sequence: 0, writer: 0 }))
}

/// The write that gave a name.
pub(crate) fn write_of(name: &str) -> Option<Write> {
    let mut parts = name.split('|');
    let (id, writer, sequence) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Write { key: key_of(id)?, sequence, writer })
}

/// The key of an id.
pub(crate) fn key_of(id: &str) -> Option<usize> {
    id.strip_prefix("chaos-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_tells_its_write_and_a_torn_one_none() {
        let write = Write { key: 7, sequence: 3, writer: 2 };
        assert_eq!(seen(Some(&made(write))), Seen::Present(write));
        assert_eq!(seen(None), Seen::Absent);
        let other = made(Write { sequence: 4, ..write });
        let torn = Product { attributes: other.attributes, ..made(write) };
        let moved = Product { id: id(8), ..made(write) };
        for product in [torn, moved, Product { id: id(7), ..Product::default() }] {
            assert!(matches!(seen(Some(&product)), Seen::Present(write) if write.key == usize::MAX), "{product:?}");
        }
    }
}
