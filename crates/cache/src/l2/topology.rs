//! Where Redis is: one server, the master that Sentinels name, or a cluster.
//!
//! Protocols: <https://redis.io/docs/latest/develop/reference/sentinel-clients/> and
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, TlsCertificates,
    aio::{MultiplexedConnection, PubSub},
    cluster::{ClusterClient, ClusterClientBuilder},
};

use super::link::Link;
use crate::config::SharedConfig;

/// The schemes of a URL, each with whether it stands for TLS.
const SINGLE: [(&str, bool); 2] = [("redis://", false), ("rediss://", true)];
const SENTINEL: [(&str, bool); 2] = [("redis-sentinel://", false), ("rediss-sentinel://", true)];
const CLUSTER: [(&str, bool); 2] = [("redis-cluster://", false), ("rediss-cluster://", true)];
const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6_379;
/// Hosts of one URL.
const MOST_HOSTS: usize = 64;

/// Where Redis is.
pub(crate) enum Topology {
    /// One server.
    Single(Client),
    /// Whichever server the Sentinels call the master.
    Sentinel(Sentinel),
    /// A cluster, of which any node tells the others.
    Cluster(Box<Cluster>),
}

/// The Sentinels and the master that they watch.
pub(crate) struct Sentinel {
    /// Without and with the credentials of the master: a Sentinel that has none refuses any.
    sentinels: Vec<[Client; 2]>,
    service: String,
    /// The URL of a master, without its host.
    master: Url,
    /// The Sentinel that answered last.
    next: AtomicUsize,
}

/// A cluster.
pub(crate) struct Cluster {
    client: ClusterClient,
    /// The nodes of the URL, for subscriptions: a message that any node is given reaches the subscribers of all.
    nodes: Vec<Client>,
    next: AtomicUsize,
}

/// The parts of a URL that one host does not make.
struct Url {
    scheme: &'static str,
    /// `user:password@`, as it is written.
    credentials: String,
    /// `/db`, or what follows the hosts.
    path: String,
    /// The certificates of authorities that servers may have besides those of the system, in PEM.
    authorities: Option<Vec<u8>>,
}

/// Checks the URL of a shared tier without connecting.
pub fn check_shared_url(url: &str) -> Result<(), String> {
    Topology::parse(url, None, Limits::default()).map(drop)
}

/// A client of a shared tier of one server, which is not connected yet. The error names what cannot be used.
pub fn shared_client(config: &SharedConfig) -> Result<Client, String> {
    open(&config.url, authorities(config.ca.as_deref())?.as_ref())
}

/// How long the parts of a connection may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) command: Duration,
}

impl Topology {
    /// Reads `redis://`, `redis-sentinel://` and `redis-cluster://` URLs, and the same with `rediss` for TLS.
    /// `ca` is a file with the certificates of authorities.
    pub(crate) fn parse(text: &str, ca: Option<&Path>, limits: Limits) -> Result<Self, String> {
        let authorities = authorities(ca)?;
        if let Some((tls, rest)) = strip(text, SENTINEL) {
            return Sentinel::parse(tls, rest, authorities).map(Self::Sentinel);
        }
        if let Some((tls, rest)) = strip(text, CLUSTER) {
            return Cluster::parse((tls, rest), authorities, limits).map(|cluster| Self::Cluster(Box::new(cluster)));
        }
        open(text, authorities.as_ref()).map(Self::Single)
    }

    /// Opens a connection for commands.
    pub(crate) async fn connect(&self, limits: Limits) -> RedisResult<Link> {
        match self {
            Self::Single(client) => connect(client, limits).await.map(Link::Single),
            Self::Sentinel(sentinel) => {
                let mut connection = connect(&sentinel.master(limits).await?, limits).await?;
                must_be_master(&mut connection).await?;
                Ok(Link::Master(connection))
            }
            Self::Cluster(cluster) => cluster.client.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// Opens a connection for subscriptions.
    pub(crate) async fn subscriber(&self, limits: Limits) -> RedisResult<PubSub> {
        match self {
            Self::Single(client) => client.get_async_pubsub().await,
            Self::Sentinel(sentinel) => sentinel.master(limits).await?.get_async_pubsub().await,
            Self::Cluster(cluster) => cluster.node().get_async_pubsub().await,
        }
    }
}

impl Sentinel {
    fn parse(tls: bool, rest: &str, authorities: Option<Vec<u8>>) -> Result<Self, String> {
        let (credentials, hosts, path) = parts(rest)?;
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() || service.contains(['?', '#']) {
            return Err("the name of the master is missing behind the hosts".to_owned());
        }
        let scheme = SINGLE[usize::from(tls)].0;
        let path = if database.is_empty() { String::new() } else { format!("/{database}") };
        let master = Url { scheme, credentials: credentials.to_owned(), path, authorities };
        master.of("localhost:1")?;
        let sentinels = hosts
            .into_iter()
            .map(|host| {
                let host = with_port(host, SENTINEL_PORT);
                let url = |credentials: &str| Url {
                    scheme,
                    credentials: credentials.to_owned(),
                    path: String::new(),
                    authorities: master.authorities.clone(),
                };
                let (bare, own) = (url(""), url(credentials));
                Ok([bare.of(&host)?, own.of(&host)?])
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { sentinels, service: service.to_owned(), master, next: AtomicUsize::new(0) })
    }

    /// Asks one Sentinel after the other, beginning with the one that answered last, for the address of the master.
    async fn master(&self, limits: Limits) -> RedisResult<Client> {
        let first = self.next.load(Ordering::Relaxed);
        let each = Limits { connect: limits.connect / 2, ..limits };
        let mut last = RedisError::from((ErrorKind::Io, "no Sentinel knows the master"));
        for step in 0..self.sentinels.len() {
            let number = (first + step) % self.sentinels.len();
            match self.ask(&self.sentinels[number], each).await {
                Ok(master) => {
                    self.next.store(number, Ordering::Relaxed);
                    return Ok(master);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, [bare, with_credentials]: &[Client; 2], limits: Limits) -> RedisResult<Client> {
        let command = || {
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
            command
        };
        let mut connection = connect(bare, limits).await?;
        let asked: RedisResult<Option<(String, u16)>> = command().query_async(&mut connection).await;
        let address = match asked {
            Err(error) if error.code() == Some("NOAUTH") => {
                command().query_async(&mut connect(with_credentials, limits).await?).await?
            }
            asked => asked?,
        };
        let (host, port) = address.ok_or((ErrorKind::Client, "the Sentinel watches no master of this name"))?;
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        self.master.of(&host).map_err(|error| RedisError::from((ErrorKind::Client, "address of a master", error)))
    }
}

impl Cluster {
    fn parse((tls, rest): (bool, &str), authorities: Option<Vec<u8>>, limits: Limits) -> Result<Self, String> {
        let (credentials, hosts, path) = parts(rest)?;
        if !path.is_empty() && path != "0" {
            return Err("a cluster has database 0 alone".to_owned());
        }
        let scheme = SINGLE[usize::from(tls)].0;
        let url = Url { scheme, credentials: credentials.to_owned(), path: String::new(), authorities };
        let hosts: Vec<String> = hosts.into_iter().map(|host| with_port(host, REDIS_PORT)).collect();
        let nodes = hosts.iter().map(|host| url.of(host)).collect::<Result<Vec<_>, _>>()?;
        let mut builder = ClusterClientBuilder::new(hosts.iter().map(|host| url.text(host)));
        if !limits.connect.is_zero() {
            // Redirections are followed within the time that a command has in all.
            builder = builder.connection_timeout(limits.connect).response_timeout(limits.command).retries(4);
        }
        if let Some(root) = url.authorities {
            builder = builder.certs(TlsCertificates { client_tls: None, root_cert: Some(root) });
        }
        let client = builder.min_retry_wait(5).max_retry_wait(50).build().map_err(|error| error.to_string())?;
        Ok(Self { client, nodes, next: AtomicUsize::new(0) })
    }

    /// Another node each time, since the last one may be gone.
    fn node(&self) -> &Client {
        &self.nodes[self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }
}

impl Url {
    fn text(&self, host: &str) -> String {
        format!("{}{}{host}{}", self.scheme, self.credentials, self.path)
    }

    fn of(&self, host: &str) -> Result<Client, String> {
        open(&self.text(host), self.authorities.as_ref())
    }
}

fn open(url: &str, authorities: Option<&Vec<u8>>) -> Result<Client, String> {
    let client = match authorities {
        None => Client::open(url),
        Some(root) => Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert: Some(root.clone()) }),
    };
    client.map_err(|error| error.to_string())
}

fn authorities(ca: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("redis.ca = {:?}: {error}", path.display()));
    ca.map(read).transpose()
}

async fn connect(client: &Client, limits: Limits) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits.connect))
        // The caller of a command applies the timeout and interprets it.
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Sentinels may name a server that is no master yet, or no longer one.
pub(super) async fn must_be_master(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(connection).await?;
    let role = role.into_iter().next().map(redis::from_redis_value::<String>).transpose()?;
    if role.as_deref() == Some("master") {
        return Ok(());
    }
    Err((ErrorKind::Io, "the server is not the master").into())
}

fn strip<'a>(text: &'a str, schemes: [(&str, bool); 2]) -> Option<(bool, &'a str)> {
    schemes.into_iter().find_map(|(scheme, tls)| Some((tls, text.strip_prefix(scheme)?)))
}

/// Splits `user:password@host,host/path`.
fn parts(rest: &str) -> Result<(&str, Vec<&str>, &str), String> {
    let (authority, path) = match rest.rsplit_once('@') {
        // A password may hold a slash.
        Some((before, after)) => {
            let hosts = after.find('/').unwrap_or(after.len());
            (&rest[..before.len() + 1 + hosts], after.get(hosts + 1..).unwrap_or_default())
        }
        None => rest.split_once('/').unwrap_or((rest, "")),
    };
    let (credentials, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err("a host is missing".to_owned());
    }
    if hosts.len() > MOST_HOSTS {
        return Err(format!("at most {MOST_HOSTS} hosts"));
    }
    Ok((credentials, hosts, path))
}

fn with_port(host: &str, port: u16) -> String {
    let name_ends = host.rfind(']').map_or(0, |at| at + 1);
    if host[name_ends..].contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_kind_are_read() {
        for url in [
            "redis://localhost",
            "rediss://user:p%40ss@redis.example.com:6380/2",
            "redis-sentinel://a/main",
            "redis-sentinel://a:26379,b:26380,[::1]/main/3",
            "rediss-sentinel://user:pass@a,b/main",
            "redis-cluster://a:7000,b:7001,[::1]:7002",
            "redis-cluster://a/0",
            "rediss-cluster://:secret@a",
        ] {
            assert_eq!(check_shared_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, why) in [
            ("redis-sentinel://a,b", "the name of the master is missing"),
            ("redis-sentinel://a,,b/main", "a host is missing"),
            ("redis-sentinel:///main", "a host is missing"),
            ("redis-cluster://", "a host is missing"),
            ("redis-cluster://a,b/1", "a cluster has database 0 alone"),
        ] {
            let said = check_shared_url(url).expect_err(url);
            assert!(said.contains(why), "{url}: {said}");
        }
        for url in ["http://a", "redis-cluster://a:seven", "redis-sentinel://a/main/x", "redis-cluster://a:1/0/1"] {
            assert!(check_shared_url(url).is_err(), "{url}");
        }
        assert!(check_shared_url(&format!("redis-cluster://{}", vec!["a"; 65].join(","))).is_err());
    }

    #[test]
    fn hosts_and_credentials_are_told_apart() {
        assert_eq!(parts("u:p/w@a,b:1/main/2"), Ok(("u:p/w@", vec!["a", "b:1"], "main/2")));
        assert_eq!(parts("a"), Ok(("", vec!["a"], "")));
        assert_eq!(with_port("[::1]", 7), "[::1]:7");
        assert_eq!(with_port("[::1]:6", 7), "[::1]:6");
        assert_eq!(with_port("a:6", 7), "a:6");
    }
}
