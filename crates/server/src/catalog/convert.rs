//! Converts between the types of the cache and those of the database. The two crates do not know each other.

use larder_cache::{self as cache, trace::TraceContext};
use larder_storage as storage;

use crate::contract::product_name;

/// A snapshot as the cache has it.
pub(super) fn to_cache(snapshot: storage::Snapshot) -> cache::Snapshot {
    let storage::Snapshot { xmin, xmax, in_progress, salt } = snapshot;
    cache::Snapshot { xmin, xmax, in_progress, salt }
}

/// A snapshot as the database has it.
pub(super) fn to_storage(snapshot: &cache::Snapshot) -> storage::Snapshot {
    let cache::Snapshot { xmin, xmax, in_progress, salt } = snapshot.clone();
    storage::Snapshot { xmin, xmax, in_progress, salt }
}

/// The name of the copy that an invalidation of a key means. The key is either that name, as replies show it, or the id of a
/// product, which never contains a colon.
pub(super) fn key_name(key: String) -> String {
    if key.contains(':') { key } else { product_name(&key) }
}

/// The name of a category or a tag as a term.
pub(super) fn term_name(term: &storage::Term) -> String {
    match term {
        storage::Term::Category(category) => cache::Term::Category(category).to_string(),
        storage::Term::Tag(tag) => cache::Term::Tag(tag).to_string(),
    }
}

/// A change as the cache has it.
pub(super) fn change(change: storage::Change) -> cache::Change {
    let subject = match change.subject {
        storage::Subject::Put { key, version, terms } | storage::Subject::Delete { key, version, terms } => {
            cache::Subject::Entry { key: product_name(&key), version, terms: terms.iter().map(term_name).collect() }
        }
        storage::Subject::Key(key) => cache::Subject::Key(key_name(key)),
        storage::Subject::Term(term) => cache::Subject::Term(term_name(&term)),
        storage::Subject::Pattern(pattern) => cache::Subject::Pattern(pattern),
        storage::Subject::All => cache::Subject::All,
    };
    let storage::Cause { traceparent, logged_micros } = change.cause;
    let trace = traceparent.and_then(|text| TraceContext::parse(&text)).filter(|context| context.sampled);
    cache::Change { id: change.id, salt: change.salt, subject, cause: cache::Cause { trace, logged_micros } }
}
