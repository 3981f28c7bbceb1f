//! Puts the subject of a change, which names a product, in terms of the copies that it touches.

use larder_cache as cache;
use larder_storage as storage;

use crate::contract::product_name;

/// The name of the copy that an invalidation of a key means. The key is either that name, as replies show it, or the id of a
/// product, which never contains a colon.
pub(super) fn key_name(key: String) -> String {
    if key.contains(':') { key } else { product_name(&key) }
}

/// The copies that a change touches. A deleted product touches the same copies as a written one.
pub(super) fn of_copies(subject: storage::Subject) -> cache::Subject {
    match subject {
        storage::Subject::Put { key, version, terms } | storage::Subject::Delete { key, version, terms } => {
            let terms = terms.iter().map(ToString::to_string).collect();
            cache::Subject::Entry { key: product_name(&key), version, terms }
        }
        storage::Subject::Key(key) => cache::Subject::Key(key_name(key)),
        storage::Subject::Term(term) => cache::Subject::Term(term.to_string()),
        storage::Subject::Pattern(pattern) => cache::Subject::Pattern(pattern),
        storage::Subject::All => cache::Subject::All,
    }
}
