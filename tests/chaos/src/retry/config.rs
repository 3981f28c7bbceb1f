//! What the service config says (gRFC A6).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde_json::Value;
use tonic::Code;

/// The service config that Larder ships for its clients.
const SHIPPED: &str = include_str!("../../../../clients/service_config.json");

/// How calls are retried.
#[derive(Debug)]
pub(super) struct ServiceConfig {
    /// By path.
    policies: HashMap<String, RetryPolicy>,
    pub(super) throttling: Throttling,
}

/// How calls of some methods are retried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RetryPolicy {
    pub(super) attempts: u32,
    initial: Duration,
    most: Duration,
    multiplier: f64,
    codes: Vec<String>,
}

/// The budget of retries: there are none once too many calls fail.
#[derive(Debug)]
pub(super) struct Throttling {
    most: f64,
    ratio: f64,
    tokens: Mutex<f64>,
}

impl ServiceConfig {
    /// The one that Larder ships.
    pub(super) fn shipped() -> anyhow::Result<Self> {
        Self::parse(SHIPPED).context("the shipped service config")
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Value = serde_json::from_str(text)?;
        let mut policies = HashMap::new();
        for methods in config["methodConfig"].as_array().context("no methodConfig")? {
            let Some(policy) = methods.get("retryPolicy") else { continue };
            let policy = RetryPolicy::parse(policy)?;
            for name in methods["name"].as_array().context("no name")? {
                let [service, method] = [&name["service"], &name["method"]].map(|part| part.as_str().unwrap_or("*"));
                policies.insert(format!("/{service}/{method}"), policy.clone());
            }
        }
        let number = |name: &str| config["retryThrottling"][name].as_f64().context("no retryThrottling");
        let most = number("maxTokens")?;
        let throttling = Throttling { most, ratio: number("tokenRatio")?, tokens: Mutex::new(most) };
        Ok(Self { policies, throttling })
    }

    /// How calls of a path are retried; `None` if they are not.
    pub(super) fn policy(&self, path: &str) -> Option<&RetryPolicy> {
        self.policies.get(path)
    }
}

impl RetryPolicy {
    fn parse(policy: &Value) -> anyhow::Result<Self> {
        let codes = policy["retryableStatusCodes"].as_array().context("no retryableStatusCodes")?;
        Ok(Self {
            attempts: u32::try_from(policy["maxAttempts"].as_u64().context("no maxAttempts")?)?,
            initial: seconds(&policy["initialBackoff"])?,
            most: seconds(&policy["maxBackoff"])?,
            multiplier: policy["backoffMultiplier"].as_f64().context("no backoffMultiplier")?,
            codes: codes.iter().filter_map(|code| Some(code.as_str()?.replace('_', "").to_lowercase())).collect(),
        })
    }

    /// Whether calls that end with a code are retried.
    pub(super) fn retries(&self, code: Code) -> bool {
        self.codes.contains(&format!("{code:?}").to_lowercase())
    }

    /// The longest wait after an attempt; the wait is drawn from nothing to this.
    pub(super) fn back_off(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        self.initial.mul_f64(self.multiplier.powi(exponent)).min(self.most)
    }
}

impl Throttling {
    /// Counts a call that need not be retried.
    pub(super) fn succeeded(&self) {
        self.add(self.ratio);
    }

    /// Counts an attempt that failed. Returns whether it may be retried.
    pub(super) fn failed(&self) -> bool {
        self.add(-1.0) > self.most / 2.0
    }

    fn add(&self, tokens: f64) -> f64 {
        let mut left = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + tokens).clamp(0.0, self.most);
        *left
    }
}

/// A duration of JSON's form of protobuf, such as `0.05s`.
fn seconds(text: &Value) -> anyhow::Result<Duration> {
    let number = text.as_str().and_then(|text| text.strip_suffix('s')).and_then(|number| number.parse().ok());
    number.map(Duration::from_secs_f64).ok_or_else(|| anyhow!("{text} is no duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_config_retries_what_has_no_effect_twice() {
        let config = ServiceConfig::shipped().unwrap();
        let policy = |method: &str| config.policy(&format!("/larder.catalog.v1.ProductCatalog/{method}"));
        let get = policy("GetProduct").unwrap();
        assert!(get.retries(Code::Unavailable) && !get.retries(Code::DeadlineExceeded) && !get.retries(Code::Internal));
        let waits: Vec<_> = (1..=5).map(|attempt| get.back_off(attempt).as_millis()).collect();
        assert_eq!(waits, [50, 150, 450, 1_000, 1_000]);
        assert!(policy("UpdateProduct").is_some() && policy("DeleteProduct").is_none());
    }

    #[test]
    fn there_are_no_retries_once_too_many_calls_fail() {
        let throttling = ServiceConfig::shipped().unwrap().throttling;
        assert_eq!((0..1_000).filter(|_| throttling.failed()).count(), 49);
        (0..505).for_each(|_| throttling.succeeded());
        assert!(!throttling.failed());
        (0..20).for_each(|_| throttling.succeeded());
        assert!(throttling.failed());
    }
}
