//! The copy of a key in each tier, and why it is valid or not.

use larder_cache::{CopyState, Inspected};
use larder_change::Term;
use larder_proto::{
    admin::{EntryKind, InspectEntryResponse, TierEntry},
    catalog::{CacheTier, Product},
};
use larder_storage::ProductRepository as _;
use prost::Message as _;
use tonic::Status;

use crate::{
    catalog::Catalog,
    contract::{CopyKey, duration, to_message},
    grpc::errors,
};

/// Inspects every tier.
pub(super) async fn inspect(catalog: &Catalog, key: &CopyKey) -> Result<InspectEntryResponse, Status> {
    let cache = catalog.cache();
    let looked_for = key.key();
    let page = matches!(key, CopyKey::Page(_));
    let mut tiers = vec![copy(CacheTier::L1, page, cache.inspect_l1(&looked_for.name))];
    if cache.shared_tier_up().is_some() {
        tiers.push(match cache.inspect_l2(&looked_for).await {
            Ok(found) => copy(CacheTier::L2, page, found),
            Err(error) => nothing(CacheTier::L2, error.to_string()),
        });
    }
    if let CopyKey::Product(id) = key {
        let ids = [id.as_str().to_owned()];
        let mut loaded = catalog.repository().get(&ids).await.map_err(|error| errors::storage(&error))?;
        tiers.push(match loaded.value.found.pop() {
            Some(product) => row(&to_message(product)),
            None if !loaded.value.unreadable.is_empty() => TierEntry {
                present: true,
                ..nothing(CacheTier::Database, "its row holds what cannot be read".to_owned())
            },
            None => nothing(CacheTier::Database, "there is no product of this id".to_owned()),
        });
    }
    let changed_by = cache.last_trace(&looked_for, &terms(&tiers));
    let changed_by_trace_id = changed_by.map_or_else(String::new, |trace_id| format!("{trace_id:032x}"));
    Ok(InspectEntryResponse { key: looked_for.name.into(), tiers, changed_by_trace_id })
}

/// The categories and tags that some tier knows.
fn terms(tiers: &[TierEntry]) -> Vec<String> {
    let categories = tiers.iter().flat_map(|tier| &tier.categories).map(|name| Term::Category(name).to_string());
    let tags = tiers.iter().flat_map(|tier| &tier.tags).map(|name| Term::Tag(name).to_string());
    categories.chain(tags).collect()
}

fn copy(tier: CacheTier, page: bool, found: Option<Inspected>) -> TierEntry {
    let Some(found) = found else { return nothing(tier, "it is not there".to_owned()) };
    let kind = match (found.exists, page) {
        (false, _) => EntryKind::NotFound,
        (true, true) => EntryKind::Page,
        (true, false) => EntryKind::Product,
    };
    let damaged = found.state == CopyState::Damaged;
    let terms = |of: fn(Term<&str>) -> Option<&str>| {
        found.facts.terms.iter().filter_map(|name| Term::parse(name).and_then(of).map(str::to_owned)).collect()
    };
    TierEntry {
        tier: tier.into(),
        present: true,
        valid: found.state == CopyState::Valid,
        reason: reason(found.state).to_owned(),
        kind: if damaged { EntryKind::Unspecified } else { kind }.into(),
        etag: if kind == EntryKind::Product && !damaged { format!("{:x}", found.facts.version) } else { String::new() },
        age: found.age.map(duration),
        ttl: Some(duration(found.ttl)),
        bytes: found.bytes as u64,
        categories: terms(|term| if let Term::Category(category) = term { Some(category) } else { None }),
        tags: terms(|term| if let Term::Tag(tag) = term { Some(tag) } else { None }),
        horizon: found.horizon.unwrap_or(0),
    }
}

fn row(product: &Product) -> TierEntry {
    TierEntry {
        tier: CacheTier::Database.into(),
        present: true,
        valid: true,
        reason: "it is the row itself".to_owned(),
        kind: EntryKind::Product.into(),
        etag: product.etag.clone(),
        bytes: product.encoded_len() as u64,
        categories: product.categories.clone(),
        tags: product.tags.clone(),
        ..TierEntry::default()
    }
}

fn nothing(tier: CacheTier, reason: String) -> TierEntry {
    TierEntry { tier: tier.into(), reason, ..TierEntry::default() }
}

fn reason(state: CopyState) -> &'static str {
    match state {
        CopyState::Valid => "nothing that touches it has changed since it was read",
        CopyState::Expired => "its time has passed",
        CopyState::Invalidated => "a change or an invalidation that touches it was learned since it was read",
        CopyState::Unproven => "the change log has not been read within the staleness bound",
        CopyState::TooOld => {
            "it was read before what this replica remembers of changes begins, or from another database"
        }
        CopyState::Damaged => "it does not check out, or another release wrote it",
    }
}
