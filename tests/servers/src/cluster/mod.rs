//! Several replicas of Larder over one database and one Redis, as people and tests want to see them.

mod replica;

use std::{net::SocketAddr, path::PathBuf};

pub use replica::Replica;

use crate::{
    guardian::dead,
    postgres::{Postgres, PostgresOptions},
    proxy::Proxy,
    redis::{Redis, RedisOptions},
};

/// Where the replicas listen, unless somebody else does. Their `CacheAdmin` is at the next port: that of the first is where the
/// commands look for it.
const PORTS: [u16; 3] = [50_051, 50_061, 50_071];
/// Where the first replica serves HTTP, unless somebody else does; the others at the next ports.
const HTTP_PORT: u16 = 9_464;
const DATABASE: &str = "larder";

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The ports of the replicas.
    pub ports: Ports,
    /// The binary `larder`.
    pub program: PathBuf,
    /// Whether there is a Redis; without one every replica loads for itself.
    pub redis: bool,
    /// Whether the replicas reach Redis through a [`Proxy`], which can break the connections.
    pub proxy: bool,
    /// Environment variables of the replicas, besides those that make them a cluster.
    pub variables: Vec<(&'static str, String)>,
}

/// Where replicas listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Where people expect them; at a free port where that is taken.
    Usual,
    /// At any free port.
    Free,
}

/// Three replicas, PostgreSQL with the sample catalogue, and Redis. All of them end when this is dropped, and also when
/// the process panics or is killed.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they end.
    replicas: Vec<Replica>,
    admin_addresses: Vec<SocketAddr>,
    http_addresses: Vec<SocketAddr>,
    proxy: Option<Proxy>,
    redis: Option<Redis>,
    postgres: Postgres,
}

/// A part of a cluster that has ended by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// PostgreSQL.
    Postgres,
    /// Redis. The others go on.
    Redis,
    /// The replica at this place.
    Replica(usize),
}

impl Cluster {
    /// Starts everything, and waits until all replicas are ready. The error is about a replica that did not become so, and
    /// holds what it logged.
    ///
    /// # Panics
    /// When PostgreSQL or Redis is missing or does not start.
    pub async fn start(options: ClusterOptions) -> Result<Self, String> {
        let postgres = Postgres::start(PostgresOptions::default()).await;
        postgres.psql("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
        let redis = if options.redis { Some(Redis::start(RedisOptions::default()).await) } else { None };
        let proxy = redis.as_ref().filter(|_| options.proxy).map(|redis| Proxy::start(redis.address()));
        let redis_url = proxy.as_ref().map(Proxy::url).or_else(|| redis.as_ref().map(Redis::url));
        let (mut replicas, mut admin_addresses, mut http_addresses) = (Vec::new(), Vec::new(), Vec::new());
        for ((number, port), http_port) in PORTS.into_iter().enumerate().zip(HTTP_PORT..) {
            let [port, admin, http] = match options.ports {
                Ports::Usual => [port, port + 1, http_port].map(replica::near),
                Ports::Free => [(); 3].map(|()| replica::free()),
            };
            let mut variables = vec![
                ("LARDER_ADMIN_LISTEN", admin.to_string()),
                ("LARDER_HTTP_LISTEN", http.to_string()),
                ("DATABASE_URL", postgres.url(DATABASE)),
                // Loading it twice at once would be of no use.
                ("LARDER_SAMPLE_CATALOGUE", (number == 0).to_string()),
            ];
            variables.extend(redis_url.clone().map(|url| ("REDIS_URL", url)));
            variables.extend(options.variables.iter().cloned());
            match Replica::start(&options.program, port.port(), &variables).await {
                Ok(replica) => {
                    replicas.push(replica);
                    admin_addresses.push(admin);
                    http_addresses.push(http);
                }
                Err(log) => return Err(format!("replica {} did not become ready:\n{log}", number + 1)),
            }
        }
        Ok(Self { replicas, admin_addresses, http_addresses, proxy, redis, postgres })
    }

    /// The replicas.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where the `CacheAdmin` of each replica is.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Where each replica serves HTTP.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Redis.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// What stands between the replicas and Redis.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// PostgreSQL.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The URL of the database.
    pub fn database_url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// The first part that is not there any more. Asks `ps`.
    pub fn ended(&self) -> Option<Ended> {
        let replicas =
            self.replicas.iter().enumerate().map(|(number, replica)| (Ended::Replica(number), replica.pid()));
        let mut parts = vec![(Ended::Postgres, self.postgres.pid())];
        parts.extend(replicas);
        parts.extend(self.redis.as_ref().map(|redis| (Ended::Redis, redis.pid())));
        let pids: Vec<u32> = parts.iter().filter_map(|(_, pid)| *pid).collect();
        let dead = dead(&pids);
        parts.into_iter().find(|(_, pid)| pid.is_none_or(|pid| dead.contains(&pid))).map(|(part, _)| part)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once rather than one after the other.
        for replica in &self.replicas {
            replica.terminate();
        }
    }
}
