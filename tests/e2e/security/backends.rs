//! Redis and PostgreSQL by TLS, and the fewest rights that Larder needs in Redis.

use std::path::Path;

use larder_cache::SharedConfig;
use larder_server::config::Config;
use larder_test_servers::{Postgres, PostgresOptions, Redis, RedisOptions, free_port};

use super::authority::{Authority, Files};
use crate::harness::{Database, Server, eventually, product};

/// The rules of Redis that docs/security.md recommends.
const ACL: &str = include_str!("../../../docs/security.md");

/// The words of the rule for a user, as the documentation has them.
fn documented(user: &str) -> Vec<String> {
    let begin = format!("ACL SETUSER {user} ");
    let line = ACL.lines().find(|line| line.starts_with(&begin)).expect("the rule in docs/security.md");
    line.split_whitespace().map(str::to_owned).collect()
}

fn shared(config: &mut Config, url: String, ca: Option<&Path>) {
    config.cache.shared = Some(SharedConfig { url, ca: ca.map(Path::to_owned), ..SharedConfig::default() });
}

/// Shows that two servers share copies and changes through Redis.
async fn replicas_share(database: &Database, change: impl Fn(&mut Config)) {
    let one = Server::start_with(database, &change).await;
    let other = Server::start_with(database, &change).await;
    for server in [&one, &other] {
        let cache = server.running().catalog().cache();
        eventually("Redis", async || cache.shared_tier_up() == Some(true)).await;
    }
    one.create(product("a")).await;
    eventually("a copy from Redis and a change over the bus", async || {
        one.update(product("a"), &["name"]).await;
        other.get("a").await;
        other.stats().l2_hits > 0 && other.stats().bus_messages > 0
    })
    .await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn redis_is_reached_by_tls_with_the_fewest_rights() {
    let (files, authority) = (Files::new(), Authority::new("redis"));
    let certified = authority.server();
    let certificate = files.write("redis.pem", &certified.certificate);
    let key = files.write("redis.key", &certified.key);
    let ca = files.write("ca.pem", authority.pem());
    let port = free_port();
    let settings = [
        ("tls-port", port.to_string()),
        ("tls-cert-file", certificate.display().to_string()),
        ("tls-key-file", key.display().to_string()),
        ("tls-ca-cert-file", ca.display().to_string()),
        ("tls-auth-clients", "no".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let redis = Redis::start(RedisOptions { settings, ..RedisOptions::default() }).await;
    let rule = documented("larder");
    let words: Vec<&str> = rule.iter().map(String::as_str).collect();
    assert_eq!(redis.cli(&words).await.trim(), "OK");

    let url = format!("rediss://larder:PASSWORD@127.0.0.1:{port}/0");
    let database = Database::postgres().await;
    replicas_share(&database, |config| shared(config, url.clone(), Some(&ca))).await;
    let denied = redis.cli(&["ACL", "LOG"]).await;
    let lines: Vec<&str> = denied.lines().collect();
    let objects = lines.windows(2).filter(|pair| pair[0] == "object").map(|pair| pair[1]);
    // The client library names itself, and does without if it may not.
    let missed: Vec<&str> = objects.filter(|object| !object.starts_with("client")).collect();
    assert!(missed.is_empty(), "what Larder may not do: {missed:?}");

    // Another authority vouches for nobody: Redis counts as away, and reads go on.
    let other = files.write("other.pem", Authority::new("other").pem());
    let server = Server::start_with(&database, |config| shared(config, url.clone(), Some(&other))).await;
    server.get("a").await;
    assert_eq!(server.running().catalog().cache().shared_tier_up(), Some(false));
    server.stop().await;
}

#[tokio::test]
async fn postgres_is_reached_by_a_verified_certificate() {
    let (files, authority) = (Files::new(), Authority::new("postgres"));
    let certified = authority.server();
    let server = Postgres::start(PostgresOptions::default()).await;
    // The server writes the files itself: it refuses a key of another user.
    for (name, pem) in [("server.crt", &certified.certificate), ("server.key", &certified.key)] {
        let program = format!("cat > {name} && chmod 600 {name}");
        let lines = format!("SELECT regexp_split_to_table($${}$$, E'\\n')", pem.trim_end());
        server.psql("postgres", &format!("COPY ({lines}) TO PROGRAM '{program}'")).await;
    }
    server.psql("postgres", "ALTER SYSTEM SET ssl = on").await;
    server.psql("postgres", "SELECT pg_reload_conf()").await;
    eventually("TLS", async || server.psql("postgres", "SHOW ssl").await == "on").await;
    let plain = server.create_database().await;
    let verified = |ca: &Path| format!("{plain}?sslmode=verify-full&sslrootcert={}", ca.display());

    let url = verified(&files.write("ca.pem", authority.pem()));
    let larder = Server::start_with(&Database::sqlite(), |config| config.storage.url = url.clone()).await;
    larder.create(product("a")).await;
    let sessions = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let secured = server.psql(&plain, sessions).await;
    assert_eq!(secured, "t", "every session is secured");
    larder.stop().await;

    let url = verified(&files.write("other.pem", Authority::new("other").pem()));
    let config = larder_storage::StorageConfig::new(&url);
    assert!(larder_storage::Repository::connect(&config).await.is_err(), "another authority vouches for nobody");
}
