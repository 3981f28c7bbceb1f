//! Invalidations and their outcome.

use std::time::Duration;

use larder_cache::{Confirmed, Glob, Key};
use larder_change::Term;
use larder_proto::admin;
use tonic::Status;

use super::{other, wait};
use crate::{
    catalog::{Catalog, Invalidation},
    contract::{Violations, encode_stamp, parse_key, parse_term},
    grpc::errors,
};

/// The most keys or terms that one call may name.
const MOST_KEYS: usize = 1_000;
const MOST_TERMS: usize = 100;
/// Keys of a dry run that the reply lists.
const SAMPLE: usize = 100;

/// The request of a call.
pub(super) struct Asked {
    what: Vec<Invalidation>,
    dry_run: bool,
    wait: Duration,
}

pub(super) fn keys(request: &admin::InvalidateKeysRequest) -> Result<Asked, Violations> {
    let parse = |number: usize, text: &String| {
        let Key { name, .. } = parse_key(&format!("keys[{number}]"), text)?.key();
        Ok(Invalidation::Key(name.into()))
    };
    let what = several("keys", &request.keys, MOST_KEYS, parse);
    asked(what, request.dry_run, request.wait)
}

pub(super) fn categories(request: &admin::InvalidateCategoriesRequest) -> Result<Asked, Violations> {
    asked(terms("categories", &request.categories, Term::Category), request.dry_run, request.wait)
}

pub(super) fn tags(request: &admin::InvalidateTagsRequest) -> Result<Asked, Violations> {
    asked(terms("tags", &request.tags, Term::Tag), request.dry_run, request.wait)
}

fn terms(field: &str, texts: &[String], of: fn(String) -> Term) -> Result<Vec<Invalidation>, Violations> {
    let parse = |number: usize, text: &String| {
        parse_term(&format!("{field}[{number}]"), text).map(|()| Invalidation::Term(of(text.clone())))
    };
    several(field, texts, MOST_TERMS, parse)
}

pub(super) fn pattern(request: &admin::InvalidatePatternRequest) -> Result<Asked, Violations> {
    let glob = Glob::parse(&request.pattern).map_err(|error| Violations::one("pattern", error.to_string()));
    asked(glob.map(|glob| vec![Invalidation::Pattern(glob)]), request.dry_run, request.wait)
}

pub(super) fn all(request: &admin::InvalidateAllRequest) -> Result<Asked, Violations> {
    asked(Ok(vec![Invalidation::All]), request.dry_run, request.wait)
}

fn asked(
    what: Result<Vec<Invalidation>, Violations>,
    dry_run: bool,
    asked_wait: Option<prost_types::Duration>,
) -> Result<Asked, Violations> {
    let mut violations = Violations::default();
    let what = violations.take(what);
    let wait = violations.take(wait("wait", asked_wait));
    match (what, wait) {
        (Some(what), Some(wait)) => Ok(Asked { what, dry_run, wait }),
        _ => Err(violations),
    }
}

fn several(
    field: &str,
    texts: &[String],
    most: usize,
    parse: impl Fn(usize, &String) -> Result<Invalidation, Violations>,
) -> Result<Vec<Invalidation>, Violations> {
    if texts.is_empty() || texts.len() > most {
        let rule = format!("must hold at least one entry and at most {most}, holds {}", texts.len());
        return Err(Violations::one(field, rule));
    }
    let mut violations = Violations::default();
    let parsed = texts.iter().enumerate().filter_map(|(number, text)| violations.take(parse(number, text))).collect();
    violations.or(parsed)
}

/// Invalidates, or counts what an invalidation would drop.
pub(super) async fn invalidate(catalog: &Catalog, asked: Asked) -> Result<admin::Invalidation, Status> {
    let Asked { what, dry_run, wait } = asked;
    if dry_run {
        return Ok(would(catalog, what).await);
    }
    let done = catalog.invalidate(what).await.map_err(|error| errors::write(&error))?;
    let Confirmed { applied, silent } = catalog.confirmed(done.token, wait).await;
    Ok(admin::Invalidation {
        token: encode_stamp(done.stamp()),
        confirmed: i32::try_from(applied.len() + 1).unwrap_or(i32::MAX),
        silent: silent.iter().map(other).collect(),
        ..admin::Invalidation::default()
    })
}

/// A copy that several categories or tags would drop counts once for each.
async fn would(catalog: &Catalog, what: Vec<Invalidation>) -> admin::Invalidation {
    let mut told = admin::Invalidation::default();
    for invalidation in what {
        let matching = catalog.would_invalidate(invalidation, SAMPLE - told.sample.len()).await;
        told.count += matching.count;
        told.sample.extend(matching.sample.into_iter().map(String::from));
    }
    told
}
