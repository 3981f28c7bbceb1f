//! How fresh a reply must be.

use std::{ops::RangeInclusive, time::Duration};

use larder_cache::{Freshness, ReadOptions};
use larder_proto::serving::{self, read_options::Consistency};

use super::{Violations, decode_token};

/// How fresh a reply must be, and which tiers may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The state that the reply must show.
    pub freshness: Freshness,
    /// Which tiers may answer.
    pub options: ReadOptions,
    /// Whether everything in the reply is of one snapshot of the database.
    pub same_snapshot: bool,
}

impl Default for Read {
    fn default() -> Self {
        Self { freshness: Freshness::MinimizeLatency, options: ReadOptions::default(), same_snapshot: false }
    }
}

/// Parses a duration within limits.
pub fn parse_duration(
    field: &str,
    asked: Option<prost_types::Duration>,
    limits: RangeInclusive<Duration>,
) -> Result<Option<Duration>, Violations> {
    let Some(asked) = asked else { return Ok(None) };
    let parsed = u64::try_from(asked.seconds).ok().zip(u32::try_from(asked.nanos).ok());
    let parsed =
        parsed.filter(|(_, nanos)| *nanos < 1_000_000_000).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    parsed.filter(|parsed| limits.contains(parsed)).map(Some).ok_or_else(|| {
        let (least, most) = limits.into_inner();
        let rule = if most == Duration::MAX {
            "must be a duration of zero or more".to_owned()
        } else {
            format!("must be a duration of {least:?} to {most:?}")
        };
        Violations::one(field, rule)
    })
}

/// Parses the options of a read.
pub fn parse_read(read: Option<serving::ReadOptions>) -> Result<Read, Violations> {
    let Some(read) = read else { return Ok(Read::default()) };
    let mut violations = Violations::default();
    let freshness = match read.consistency {
        None | Some(Consistency::MinimizeLatency(_) | Consistency::FullyConsistent(false)) => {
            Freshness::MinimizeLatency
        }
        Some(Consistency::FullyConsistent(true)) => Freshness::FullyConsistent,
        Some(Consistency::AtLeastAsFresh(token)) => match decode_token(&token) {
            Some(token) => Freshness::AtLeast(token),
            None => {
                violations.add("read.at_least_as_fresh", "is not a token of this service");
                Freshness::MinimizeLatency
            }
        },
    };
    let max_stale = violations.take(parse_duration("read.max_stale", read.max_stale, Duration::ZERO..=Duration::MAX));
    if read.cache_only && freshness == Freshness::FullyConsistent {
        violations.add("read.cache_only", "cannot be combined with fully_consistent");
    }
    let options = ReadOptions { max_stale: max_stale.flatten(), cache_only: read.cache_only };
    violations.or(Read { freshness, options, same_snapshot: read.same_snapshot })
}
