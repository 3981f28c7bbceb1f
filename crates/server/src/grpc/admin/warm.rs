//! Requests to warm the cache.

use larder_proto::admin::{WarmCacheRequest, WarmCacheResponse, warm_cache_request::What};

use crate::{
    catalog::{Warmed, Warmth},
    contract::{Violations, parse_id, parse_term},
};

const MOST_IDS: usize = 10_000;
const MOST_CATEGORIES: usize = 100;
const MOST_HOTTEST: i32 = 10_000;
const AT_ONCE: usize = 4;
const MOST_AT_ONCE: usize = 16;

/// The products to load, and how many batches at once.
pub(super) fn parse(request: WarmCacheRequest) -> Result<(Warmth, usize), Violations> {
    let mut violations = Violations::default();
    let at_once = match usize::try_from(request.concurrency) {
        Ok(0) => AT_ONCE,
        Ok(asked) => asked.min(MOST_AT_ONCE),
        Err(_) => {
            violations.add("concurrency", "must be zero or more");
            AT_ONCE
        }
    };
    let what = match request.what {
        None => {
            violations.add("what", "is required: ids, categories or hottest");
            None
        }
        Some(What::Ids(ids)) => violations.take(
            several("ids.ids", ids.ids, MOST_IDS, |field, id| parse_id(field, id.to_owned()).map(drop))
                .map(Warmth::Ids),
        ),
        Some(What::Categories(of)) => violations
            .take(several("categories.categories", of.categories, MOST_CATEGORIES, parse_term).map(Warmth::Categories)),
        Some(What::Hottest(most)) if (1..=MOST_HOTTEST).contains(&most) => {
            Some(Warmth::Hottest(usize::try_from(most).unwrap_or(0)))
        }
        Some(What::Hottest(_)) => {
            violations.add("hottest", format!("must be from 1 to {MOST_HOTTEST}"));
            None
        }
    };
    match what {
        Some(what) => violations.or((what, at_once)),
        None => Err(violations),
    }
}

fn several(
    field: &str,
    texts: Vec<String>,
    most: usize,
    check: impl Fn(&str, &str) -> Result<(), Violations>,
) -> Result<Vec<String>, Violations> {
    if texts.is_empty() || texts.len() > most {
        let rule = format!("must hold at least one entry and at most {most}, holds {}", texts.len());
        return Err(Violations::one(field, rule));
    }
    let mut violations = Violations::default();
    for (number, text) in texts.iter().enumerate() {
        violations.take(check(&format!("{field}[{number}]"), text));
    }
    violations.or(texts)
}

pub(super) fn to_message(warmed: Warmed) -> WarmCacheResponse {
    let Warmed { total, done, from_l1, from_l2, from_database, not_found, failed } = warmed;
    WarmCacheResponse { total, done, from_l1, from_l2, from_database, not_found, failed }
}
