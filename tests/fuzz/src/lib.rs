//! The parsers of everything that comes from outside, as targets of fuzzing.
//!
//! A target takes any bytes and panics where its parser breaks a promise: that it does not panic itself, that what it read can be
//! written and read again, that limits hold, that secrets are hidden, that nothing unsigned is genuine. The targets stand in the
//! crates of the parsers, behind the feature `fuzzing`. To add one, write its function there, a line in [`TARGETS`], and inputs in
//! `corpus/NAME/`. `make test` replays the corpus, with mutations; `make fuzz` looks for new inputs.

use larder_cache::fuzzing as cache;
use larder_cli::fuzzing as cli;
use larder_server::fuzzing as server;

/// A parser of bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is also that of the folder with its inputs.
    pub name: &'static str,
    /// Panics if the parser breaks a promise.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    // From Redis.
    target("frame", cache::frame),
    target("bus_message", cache::bus_message),
    target("peer_message", cache::peer_message),
    target("lease", cache::lease),
    target("queue_entry", server::queue_entry),
    // From callers of the catalogue and of CacheAdmin.
    target("http2_frames", server::http2_frames),
    target("grpc_messages", server::grpc_messages),
    target("grpc_web", server::grpc_web),
    target("call_headers", server::call_headers),
    target("trace_headers", server::trace_headers),
    target("product", server::product),
    target("list_request", server::list_request),
    target("token", server::token),
    target("session", server::session),
    target("page_token", server::page_token),
    target("watch_position", server::watch_position),
    target("copy_key", server::copy_key),
    target("glob", cache::glob),
    target("page", server::page),
    // Credentials.
    target("authorization", server::authorization),
    target("jwt", server::jwt),
    target("jwks", server::jwks),
    target("certificate", server::certificate),
    // Events of other systems.
    target("webhook", server::webhook),
    target("event", server::event),
    // Files.
    target("import_csv", cli::import_csv),
    target("import_json", cli::import_json),
    // The configuration.
    target("config_file", server::config_file),
    target("url_mask", server::url_mask),
    target("value", server::value),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

impl Target {
    /// Finds a target.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
