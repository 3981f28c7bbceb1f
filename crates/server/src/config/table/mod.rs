//! The table of all settings, from which everything about them is made.

mod cache;
mod client;
mod compat;
mod database;
mod events;
mod limits;
mod policy;
mod redis;
mod security;
mod server;
mod web;

use super::Setting;

pub use redis::RedisParts;

/// Settings that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What they have in common.
    pub title: &'static str,
    /// The settings, in the order in which they are read: a computed default may depend on earlier settings.
    pub settings: &'static [Setting],
}

/// How copies are kept, by what they are. On SIGHUP a running server reads these again.
pub(super) const POLICIES: [Section; 4] = [
    Section { title: "Policy: copies of products", settings: policy::ITEM },
    Section { title: "Policy: pages of lists", settings: policy::LIST },
    Section { title: "Policy: pages of searches", settings: policy::SEARCH },
    Section { title: "Policy: absent products", settings: policy::NOT_FOUND },
];

/// Every setting of this release. Those with sections of the file stand last, because in TOML sections follow the top level.
pub const SECTIONS: &[Section] = &[
    Section { title: "The file with the settings", settings: client::FILE },
    Section { title: "Server", settings: server::SERVER },
    Section { title: "Database", settings: database::DATABASE },
    Section { title: "Freshness", settings: cache::FRESHNESS },
    Section { title: "Cache in memory", settings: cache::MEMORY },
    Section { title: "Redis, shared by replicas", settings: redis::REDIS },
    Section { title: "Events of other systems", settings: events::EVENTS },
    Section { title: "Limits", settings: server::LIMITS },
    Section { title: "Deadlines and connections", settings: server::TIMES },
    Section { title: "Logs", settings: server::LOGS },
    Section { title: "Slow calls and traces", settings: server::CALLS },
    Section { title: "Commands that call a server", settings: client::CLIENT },
    POLICIES[0],
    POLICIES[1],
    POLICIES[2],
    POLICIES[3],
    Section { title: "Calls at once, and their rate", settings: limits::ADMISSION },
    Section { title: "gRPC-Web, for pages in browsers", settings: web::WEB },
    Section { title: "Contracts of other shops", settings: compat::COMPAT },
    Section { title: "TLS, for every listener", settings: security::TLS },
    Section { title: "Audit records", settings: security::AUDIT },
    Section { title: "JSON Web Tokens", settings: security::JWT },
    Section { title: "TLS to Redis", settings: security::REDIS },
    Section { title: "Keys of copies in Redis", settings: security::FRAMES },
    Section { title: "TLS and tokens of the commands that call a server", settings: security::CLIENT },
];

/// Every setting of this release, in order.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The setting of a name, with its sections written with dots or run together.
pub fn setting(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.is_named(name))
}
