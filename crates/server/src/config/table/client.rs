//! Settings of the commands, and the one that names the file.

use super::super::{
    setting::{Scope, Setting},
    value,
};

pub(super) const FILE: &[Setting] = &[Setting::new(
    "config",
    "LARDER_CONFIG",
    "none",
    "PATH",
    "A TOML file with settings under these names. Flags go over the environment, the environment over the file.",
    |_, _| Ok(()),
)
.scope(Scope::File)];

pub(super) const CLIENT: &[Setting] = &[
    Setting::new(
        "address",
        "LARDER_ADDRESS",
        "http://127.0.0.1:50051",
        "URL",
        "The server that get, list, search, watch, import, export and health call.",
        |config, text| {
            config.client.address = value::url(text)?;
            Ok(())
        },
    )
    .scope(Scope::Client),
    Setting::new(
        "admin-address",
        "LARDER_ADMIN_ADDRESS",
        "http://127.0.0.1:50052",
        "URL",
        "The CacheAdmin of the replica that stats, top, inspect, hot, invalidate, warm, purge and health --deep call.",
        |config, text| {
            config.client.admin_address = value::url(text)?;
            Ok(())
        },
    )
    .scope(Scope::Client),
];
