//! Questions between replicas.

use std::time::Duration;

use bytes::Bytes;
use larder_proto::admin::{Replica, ReplicaStats};
use prost::Message as _;

use super::{Identity, other, stats};
use crate::catalog::Catalog;

/// The only question so far.
const STATS: &[u8] = b"stats";

/// Makes this replica answer questions of others.
pub(super) fn answer(catalog: &Catalog, identity: &Identity) {
    let (cache, identity) = (catalog.cache().downgrade(), identity.clone());
    catalog.cache().on_question(move |question| {
        let (cache, identity) = (cache.clone(), identity.clone());
        async move {
            match (&question[..], cache.upgrade()) {
                (STATS, Some(cache)) => stats::of_replica(&identity, &cache).encode_to_vec().into(),
                // A later release may ask a question that this one does not know.
                _ => Bytes::new(),
            }
        }
    });
}

/// The statistics of this replica and, if others are asked, those of every replica that answers within `wait`; also the
/// replicas that do not answer.
pub(super) async fn stats(
    catalog: &Catalog,
    identity: &Identity,
    wait: Option<Duration>,
) -> (Vec<ReplicaStats>, Vec<Replica>) {
    let cache = catalog.cache();
    let ask = async {
        match wait {
            Some(wait) => cache.ask(Bytes::from_static(STATS), wait).await,
            None => larder_cache::Answers::default(),
        }
    };
    let (infos, told) = tokio::join!(cache.shared_tier_info(), ask);
    let mut own = stats::of_replica(identity, cache);
    if let Some(infos) = infos {
        stats::add_redis(&mut own, &infos);
    }
    let mut silent: Vec<Replica> = told.silent.iter().map(other).collect();
    let mut all = vec![own];
    for (replica, answer) in told.answers {
        match ReplicaStats::decode(answer) {
            Ok(stats) if stats.replica.is_some() => all.push(stats),
            _ => silent.push(other(&replica)),
        }
    }
    (all, silent)
}
