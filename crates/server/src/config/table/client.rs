//! Settings of the commands, and the one that names the file.

use super::super::{
    setting::{Default, Scope, Setting},
    value,
};

pub(super) const FILE: &[Setting] = &[Setting {
    key: "config",
    env: "LARDER_CONFIG",
    shape: "PATH",
    help: "The TOML file with the settings. Flags override environment variables, which override the file.",
    scope: Scope::File,
    ..Setting::BASE
}];

pub(super) const CLIENT: &[Setting] = &[
    Setting {
        key: "address",
        env: "LARDER_ADDRESS",
        default: Default::Text("http://127.0.0.1:50051"),
        shape: "URL",
        help: "The server that get, list, search, watch, import, export and health call.",
        scope: Scope::Client,
        set: |config, text| {
            config.client.address = value::url(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
    Setting {
        key: "admin-address",
        env: "LARDER_ADMIN_ADDRESS",
        default: Default::Text("http://127.0.0.1:50052"),
        shape: "URL",
        help: "The CacheAdmin of the replica that stats, top, inspect, hot, invalidate, warm, purge and health --deep call.",
        scope: Scope::Client,
        set: |config, text| {
            config.client.admin_address = value::url(text)?;
            Ok(())
        },
        ..Setting::BASE
    },
];
