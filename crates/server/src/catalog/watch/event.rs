//! The events that a change makes for a watcher.

use bytes::Bytes;
use larder_change::Term;
use larder_proto::catalog::Product;
use larder_storage::{Change, Filter, Subject};
use prost::Message as _;

use crate::contract::parse_etag;

/// An event for a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The product's id; empty in a resync.
    pub id: String,
    /// The version that the change gave to the product; 0 in a resync.
    pub version: i64,
    /// The product as it is now.
    pub product: Option<Bytes>,
}

/// What happened to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The product was created or changed.
    Put,
    /// The product was deleted.
    Delete,
    /// The product changed and no longer matches the filter.
    Left,
    /// Anything may have changed.
    Resync,
}

impl Event {
    /// Anything may have changed.
    pub(super) fn resync() -> Self {
        Self { kind: EventKind::Resync, id: String::new(), version: 0, product: None }
    }
}

/// The id of the product that a change is about, if the change may concern a watcher with this filter. It does not if the product
/// neither had nor has the category or tag of the filter; the previous price is unknown, so a price never rules a change out.
pub(super) fn concerns<'a>(change: &'a Change, filter: &Filter) -> Option<&'a str> {
    let (Subject::Put { key, terms, .. } | Subject::Delete { key, terms, .. }) = &change.subject else { return None };
    let among = |wanted: Option<Term>| wanted.is_none_or(|wanted| terms.contains(&wanted));
    let concerned = among(filter.category.clone().map(Term::Category)) && among(filter.tag.clone().map(Term::Tag));
    concerned.then_some(key)
}

/// The event of a change, given the product as it is now; `None` for a change of something other than a product.
pub(super) fn event(change: &Change, filter: &Filter, now: Option<&Bytes>) -> Option<Event> {
    let (id, version, deleted) = match &change.subject {
        Subject::Put { key, version, .. } => (key, *version, false),
        Subject::Delete { key, version, .. } => (key, *version, true),
        Subject::Key(_) | Subject::Term(_) | Subject::Pattern(_) | Subject::All => return None,
    };
    let product = now.and_then(|bytes| Product::decode(bytes.clone()).ok());
    let kind = match &product {
        // A product that was created while its predecessor was deleted may have the lower version of the two, because it drew its
        // version before it had to wait. The product exists all the same.
        Some(product) if deleted && parse_etag(&product.etag).is_some_and(|now| now < version) => {
            if matches(filter, product) { EventKind::Put } else { EventKind::Left }
        }
        _ if deleted => EventKind::Delete,
        Some(product) if matches(filter, product) => EventKind::Put,
        None if *filter == Filter::default() => EventKind::Put,
        Some(_) | None => EventKind::Left,
    };
    let product = now.filter(|_| kind != EventKind::Delete).cloned();
    Some(Event { kind, id: id.clone(), version, product })
}

/// Whether a product matches a filter, by the rules of the database.
fn matches(filter: &Filter, product: &Product) -> bool {
    let among = |wanted: &Option<String>, have: &[String]| wanted.as_ref().is_none_or(|wanted| have.contains(wanted));
    let in_range = filter.price.as_ref().is_none_or(|range| {
        product.price.as_ref().is_some_and(|price| {
            let amount = (price.units, price.nanos);
            price.currency_code == range.currency
                && range.min.is_none_or(|min| min <= amount)
                && range.max.is_none_or(|max| amount <= max)
        })
    });
    among(&filter.category, &product.categories)
        && among(&filter.tag, &product.tags)
        && filter.in_stock.is_none_or(|wanted| wanted == product.in_stock)
        && in_range
}

#[cfg(test)]
mod tests {
    use larder_proto::google_type::Money;
    use larder_storage::PriceRange;

    use super::*;

    fn product() -> Product {
        Product {
            price: Some(Money { currency_code: "EUR".to_owned(), units: 5, nanos: 5 }),
            categories: vec!["pans".to_owned()],
            tags: vec!["iron".to_owned()],
            in_stock: true,
            etag: "a".to_owned(),
            ..Product::default()
        }
    }

    fn bytes(product: &Product) -> Bytes {
        product.encode_to_vec().into()
    }

    fn category(name: &str) -> Filter {
        Filter { category: Some(name.to_owned()), ..Filter::default() }
    }

    fn put(version: i64) -> Change {
        let terms = vec![Term::Category("pans".to_owned()), Term::Tag("iron".to_owned())];
        Change {
            id: 1,
            salt: 0,
            subject: Subject::Put { key: "a".to_owned(), version, terms },
            cause: larder_change::Cause::default(),
        }
    }

    fn delete(version: i64) -> Change {
        let Subject::Put { key, version, terms } = put(version).subject else { panic!("a put") };
        Change {
            id: 1,
            salt: 0,
            subject: Subject::Delete { key, version, terms },
            cause: larder_change::Cause::default(),
        }
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let range = |currency: &str, min, max| Filter {
            price: Some(PriceRange { currency: currency.to_owned(), min, max }),
            ..Filter::default()
        };
        let cases = [
            (Filter::default(), true),
            (category("pans"), true),
            (category("pots"), false),
            (Filter { tag: Some("iron".to_owned()), ..category("pans") }, true),
            (Filter { tag: Some("copper".to_owned()), ..category("pans") }, false),
            (Filter { in_stock: Some(true), ..Filter::default() }, true),
            (Filter { in_stock: Some(false), ..Filter::default() }, false),
            (range("EUR", None, None), true),
            (range("USD", None, None), false),
            (range("EUR", Some((5, 5)), Some((5, 5))), true),
            (range("EUR", Some((5, 6)), None), false),
            (range("EUR", None, Some((5, 4))), false),
        ];
        for (filter, expected) in cases {
            assert_eq!(matches(&filter, &product()), expected, "{filter:?}");
        }
        assert!(!matches(&range("EUR", None, None), &Product::default()), "no price is in no range");
    }

    #[test]
    fn only_terms_it_had_or_has_concern_a_filter() {
        assert_eq!(concerns(&put(1), &Filter::default()), Some("a"));
        assert_eq!(concerns(&delete(1), &category("pans")), Some("a"));
        assert_eq!(concerns(&put(1), &category("pots")), None);
        assert_eq!(concerns(&put(1), &Filter { tag: Some("copper".to_owned()), ..category("pans") }), None);
        assert_eq!(
            concerns(
                &Change {
                    id: 1,
                    salt: 0,
                    subject: Subject::Key("a".to_owned()),
                    cause: larder_change::Cause::default()
                },
                &Filter::default()
            ),
            None
        );
    }

    #[test]
    fn the_kind_depends_on_what_there_is_now() {
        let now = bytes(&product());
        let kind = |change: &Change, filter: &Filter, now| event(change, filter, now).unwrap().kind;
        assert_eq!(kind(&put(10), &Filter::default(), Some(&now)), EventKind::Put);
        assert_eq!(kind(&put(10), &category("pots"), Some(&now)), EventKind::Left);
        assert_eq!(kind(&put(10), &category("pans"), None), EventKind::Left, "a deletion follows");
        assert_eq!(kind(&put(10), &Filter::default(), None), EventKind::Put, "a deletion follows");
        assert_eq!(kind(&delete(9), &Filter::default(), Some(&now)), EventKind::Delete, "created again since");
        assert_eq!(kind(&delete(11), &Filter::default(), None), EventKind::Delete);
        assert_eq!(kind(&delete(11), &Filter::default(), Some(&now)), EventKind::Put, "it drew its version first");
    }
}
