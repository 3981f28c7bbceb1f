//! Settings of how many calls are admitted. Only the file has them, and the variables that override its keys.

use std::num::NonZero;

use super::super::{
    Invalid, Rate,
    setting::{Default, Setting},
    value,
};

const LIMIT: Setting = Setting { flag: false, ..Setting::BASE };
/// The most calls at once.
const MOST: u64 = 10_000_000;

pub(super) const ADMISSION: &[Setting] = &[
    Setting {
        key: "limits.calls",
        env: "LARDER_LIMITS__CALLS",
        default: Default::Text("4096"),
        shape: "NUMBER",
        help: "Calls of ProductCatalog at once that wait for something: their message, Redis, the database. The server refuses \
               further ones with RESOURCE_EXHAUSTED. Calls that memory answers do not count.",
        set: |config, text| {
            config.server.admission.calls = value::count(text, 1..=MOST)?;
            Ok(())
        },
        ..LIMIT
    },
    Setting {
        key: "limits.caller-share",
        env: "LARDER_LIMITS__CALLER_SHARE",
        default: Default::Text("75%"),
        shape: "SHARE",
        help: "The share of these calls that one caller may have. A caller is whoever has a credential, or else an address.",
        set: |config, text| {
            let admission = &mut config.server.admission;
            admission.calls_per_caller = part(value::share(text)?, admission.calls);
            Ok(())
        },
        ..LIMIT
    },
    Setting {
        key: "limits.rate",
        env: "LARDER_LIMITS__RATE",
        shape: "NUMBER",
        help: "Calls of ProductCatalog a second that one caller may begin. The server refuses further ones with RESOURCE_EXHAUSTED \
               and says when to try again. none: any number.",
        set: |config, text| {
            config.server.admission.rate =
                value::optional(text, rate)?.map(|per_second| Rate { per_second, burst: per_second });
            Ok(())
        },
        ..LIMIT
    },
    Setting {
        key: "limits.burst",
        env: "LARDER_LIMITS__BURST",
        shape: "NUMBER",
        help: "Calls that a caller may begin at once after a pause. none: those of one second.",
        set: |config, text| {
            let Some(burst) = value::optional(text, rate)? else { return Ok(()) };
            let Some(rate) = &mut config.server.admission.rate else {
                return Err(Invalid::new("a burst without a rate", "set limits.rate, or write none"));
            };
            rate.burst = burst;
            Ok(())
        },
        ..LIMIT
    },
];

fn rate(text: &str) -> Result<NonZero<u32>, Invalid> {
    value::count(text, 1..=1_000_000_000).map(|calls: u32| NonZero::new(calls).unwrap_or(NonZero::<u32>::MIN))
}

/// A share of so many places; one at least.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of at most ten million"
)]
fn part(share: f64, of: usize) -> usize {
    ((of as f64 * share).ceil() as usize).clamp(1, of.max(1))
}
