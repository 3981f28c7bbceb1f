//! The manifests in `k8s/` against the running program: every number and name that both sides know is the same, and every
//! probe answers what Kubernetes must see.

mod manifest;
mod pod;

use std::{sync::Arc, time::Duration};

use larder_proto::{
    catalog::{CreateProductRequest, GetProductRequest},
    hipstershop::{Empty, product_catalog_service_client::ProductCatalogServiceClient},
};
use larder_server::config::value;
use larder_test_servers::{Gate, Passage, Postgres, PostgresOptions, Redis, RedisOptions};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use self::{
    manifest::{Manifest, Probe, list, port, text},
    pod::Pod,
};
use crate::{
    harness::{Database, TableLock, connect, eventually, product},
    http::get_at,
};

const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];
const OVERLAYS: [&str; 3] = ["embedded", "shared", "demo"];
/// What the program may take, after its time to drain, to close the database and to export its last spans.
const CLOSING: Duration = Duration::from_secs(5);

/// Larder's pod over servers of its own.
struct Installation {
    manifest: Manifest,
    postgres: Arc<Postgres>,
    database: Database,
    redis: Redis,
}

impl Installation {
    /// The overlay `shared`. `None` without kustomize.
    async fn new() -> Option<Self> {
        let manifest = Manifest::render("shared").await?;
        let postgres = Arc::new(Postgres::start(PostgresOptions::default()).await);
        let database = Database::on(Arc::clone(&postgres)).await;
        let redis = Redis::start(RedisOptions::default()).await;
        Some(Self { manifest, postgres, database, redis })
    }

    /// Starts the pod and waits until every probe finds it healthy.
    async fn ready(&self, changed: &[(&str, &str)]) -> Pod {
        let urls = [("database-url", &*self.database.url()), ("redis-url", &*self.redis.url())];
        let pod = Pod::start(&self.manifest, &urls, changed).await;
        for key in PROBES {
            self.finds(&pod, key, true).await;
        }
        pod
    }

    /// Waits until every caller of a probe agrees.
    async fn finds(&self, pod: &Pod, key: &str, healthy: bool) {
        let probe = self.manifest.probe(key);
        eventually(&format!("{key}: {healthy}"), async || pod.healthy(&probe).await == Some(healthy)).await;
    }
}

#[tokio::test]
async fn every_number_agrees_with_the_program() {
    for overlay in OVERLAYS {
        let Some(manifest) = Manifest::render(overlay).await else { return };
        assert_eq!(manifest.arguments(), ["serve"]);
        let calls = manifest.port_of("LARDER_LISTEN");
        assert_eq!(manifest.named_port("grpc"), calls, "{overlay}");
        assert_eq!(manifest.named_port("http"), manifest.port_of("LARDER_HTTP_LISTEN"), "{overlay}");
        for key in PROBES {
            assert_eq!(manifest.probe(key).port, calls, "{overlay} {key}");
        }
        for name in ["larder", "larder-headless"] {
            for target in list(&manifest.service(name)["spec"]["ports"]) {
                let named = manifest.named_port(text(&target["targetPort"]));
                assert_eq!(port(&target["port"]), named, "{overlay} {name}: clients learn one number");
            }
        }
        assert!(manifest.variable("LARDER_ADMIN_LISTEN").starts_with("127.0.0.1:"), "{overlay}: on loopback");
        assert!(manifest.mounts().contains(&&*manifest.variable("LARDER_DATA_DIR")), "{overlay}: on a volume");
        let drain = value::duration(&manifest.variable("LARDER_DRAIN_DEADLINE")).expect("a time");
        let (before, whole) = manifest.grace();
        assert!(before + drain + CLOSING <= whole, "{overlay}: SIGKILL comes before the end of the time to drain");
        assert!(!before.is_zero(), "{overlay}: calls still come in while nodes learn that the pod goes");
    }
}

#[tokio::test]
async fn a_pod_without_its_database_does_not_start_and_one_with_it_does() {
    let Some(installation) = Installation::new().await else { return };
    let gate = Gate::start(([127, 0, 0, 1], installation.postgres.port()).into());
    let through = installation
        .database
        .url()
        .replace(&format!(":{}/", installation.postgres.port()), &format!(":{}/", gate.address().port()));
    let urls = [("database-url", &*through), ("redis-url", &*installation.redis.url())];

    gate.set(Passage::Closed);
    let mut pod = Pod::start(&installation.manifest, &urls, &[]).await;
    for key in PROBES {
        installation.finds(&pod, key, false).await;
    }
    assert_eq!(pod.ended().await.code(), Some(69), "Kubernetes starts it again:\n{}", pod.log());

    gate.set(Passage::Open);
    let mut pod = Pod::start(&installation.manifest, &urls, &[]).await;
    for key in PROBES {
        installation.finds(&pod, key, true).await;
    }
    assert!(!pod.log().contains("no setting has this name"), "{}", pod.log());
    let page = get_at(pod.address(installation.manifest.named_port("http")), "/metrics", None).await;
    assert!(page.status.is_success() && page.body.contains("larder_cache_capacity_bytes"), "{}", page.body);
    pod.terminate().await;
    assert_eq!(pod.ended().await.code(), Some(0), "{}", pod.log());
}

#[tokio::test]
async fn probes_do_not_depend_on_redis() {
    let Some(installation) = Installation::new().await else { return };
    let pod = installation.ready(&[]).await;
    installation.redis.kill();
    let http = pod.address(installation.manifest.named_port("http"));
    let mut client = pod.client(installation.manifest.named_port("grpc")).await;
    eventually("an open breaker", async || {
        let _ = client.get_product(GetProductRequest { id: "none".to_owned(), read: None }).await;
        get_at(http, "/metrics", None).await.body.contains("larder_l2_breaker_open 1")
    })
    .await;
    for key in PROBES {
        installation.finds(&pod, key, true).await;
    }
}

#[tokio::test]
async fn without_the_database_a_pod_stays_ready_while_it_may_serve_copies() {
    let Some(installation) = Installation::new().await else { return };
    let pod = installation.ready(&[]).await;
    let mut client = pod.client(installation.manifest.named_port("grpc")).await;
    let created = CreateProductRequest { product: Some(product("a")), ..Default::default() };
    client.create_product(created).await.expect("a product");
    let mut get = async || client.get_product(GetProductRequest { id: "a".to_owned(), read: None }).await;
    get().await.expect("a copy");
    installation.postgres.stop();
    eventually("a stale reply", async || {
        get().await.is_ok_and(|got| got.get_ref().cache.is_some_and(|cache| cache.stale))
    })
    .await;
    for key in PROBES {
        installation.finds(&pod, key, true).await;
    }
}

#[tokio::test]
async fn a_pod_that_may_serve_nothing_is_alive_and_not_ready() {
    let Some(installation) = Installation::new().await else { return };
    let pod = installation.ready(&[("LARDER_MAX_STALE", "1s")]).await;
    installation.postgres.stop();
    installation.finds(&pod, "readinessProbe", false).await;
    installation.finds(&pod, "livenessProbe", true).await;
    installation.postgres.restart().await;
    installation.finds(&pod, "readinessProbe", true).await;
}

#[tokio::test]
async fn a_pod_that_drains_is_not_ready_and_answers_what_is_under_way() {
    let Some(installation) = Installation::new().await else { return };
    // The limits are those of a busy machine; what they mean stays the same.
    let limits =
        [("LARDER_DRAIN_DEADLINE", "2m"), ("LARDER_LOAD_TIMEOUT", "2m"), ("LARDER_DATABASE_STATEMENT_TIMEOUT", "2m")];
    let mut pod = installation.ready(&limits).await;
    let grpc = installation.manifest.named_port("grpc");
    let mut client = pod.client(grpc).await;
    let created = CreateProductRequest { product: Some(product("a")), ..Default::default() };
    client.create_product(created).await.expect("a product");
    let lock = TableLock::take(&installation.database).await;
    // A page has no copy yet.
    let under_way =
        tokio::spawn(async move { client.list_products(larder_proto::catalog::ListProductsRequest::default()).await });
    eventually("a call under way", async || lock.waiting().await >= 1).await;
    let mut health = HealthClient::new(connect(pod.address(grpc)).await);
    let request = HealthCheckRequest { service: installation.manifest.probe("livenessProbe").service };
    let mut alive = health.watch(request).await.expect("a stream").into_inner();

    pod.terminate().await;
    installation.finds(&pod, "readinessProbe", false).await;
    while let Some(news) = alive.message().await.expect("a stream that is not cut") {
        assert_eq!(news.status(), ServingStatus::Serving, "a pod that drains is alive");
    }
    assert!(!under_way.is_finished());
    lock.release().await;
    let page = under_way.await.expect("no panic").expect("a reply").into_inner();
    assert_eq!(page.products.len(), 1);
    assert_eq!(pod.ended().await.code(), Some(0), "{}", pod.log());
}

#[tokio::test]
async fn the_embedded_pod_serves_the_sample_from_its_volume() {
    let Some(manifest) = Manifest::render("embedded").await else { return };
    let mut pod = Pod::start(&manifest, &[], &[]).await;
    for key in PROBES {
        let probe = manifest.probe(key);
        eventually("a healthy pod", async || pod.healthy(&probe).await == Some(true)).await;
    }
    let request = GetProductRequest { id: "copper-saucepan-18cm".to_owned(), read: None };
    pod.client(manifest.named_port("grpc")).await.get_product(request).await.expect("a product of the sample");
    pod.terminate().await;
    assert_eq!(pod.ended().await.code(), Some(0), "{}", pod.log());
}

/// Online Boutique's own manifest has these names and numbers, and the other services of the shop know them.
#[tokio::test]
async fn the_drop_in_has_the_place_of_the_service_that_it_stands_in_for() {
    let Some(manifest) = Manifest::render("online-boutique").await else { return };
    let label = ("app", "productcatalogservice");
    assert_eq!(manifest.deployment()["spec"]["selector"]["matchLabels"][label.0], label.1);
    let service = manifest.service("productcatalogservice");
    assert_eq!(service["spec"]["selector"][label.0], label.1);
    assert_eq!(port(&service["spec"]["ports"][0]["port"]), 3550);
    assert_eq!(manifest.port_of("LARDER_LISTEN"), 3550);
    assert_eq!(manifest.named_port(text(&service["spec"]["ports"][0]["targetPort"])), 3550);
    assert_eq!(manifest.named_port("http"), manifest.port_of("LARDER_HTTP_LISTEN"));
    assert_eq!(manifest.variable("LARDER_COMPAT"), "hipstershop");
    let drain = value::duration(&manifest.variable("LARDER_DRAIN_DEADLINE")).expect("a time");
    let (before, whole) = manifest.grace();
    assert!(before + drain + CLOSING <= whole, "SIGKILL comes before the end of the time to drain");

    let mut pod = Pod::start(&manifest, &[], &[]).await;
    let mut probes = PROBES.map(|key| manifest.probe(key)).to_vec();
    // That of the shop's own manifest.
    probes.push(Probe { port: 3550, service: String::new() });
    for probe in probes {
        eventually("a healthy pod", async || pod.healthy(&probe).await == Some(true)).await;
    }
    let mut shop = ProductCatalogServiceClient::new(connect(pod.address(3550)).await);
    let products = shop.list_products(Empty {}).await.expect("the catalogue").into_inner().products;
    let (_, file) = manifest.files().remove(0);
    let file: serde_json::Value = serde_json::from_str(file).expect("the file of the ConfigMap");
    let ids: Vec<_> = products.iter().map(|product| product.id.as_str()).collect();
    let expected: Vec<_> =
        file["products"].as_array().expect("products").iter().map(|product| &product["id"]).collect();
    assert_eq!(ids, expected);
    pod.terminate().await;
    assert_eq!(pod.ended().await.code(), Some(0), "{}", pod.log());
}
