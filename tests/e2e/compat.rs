//! The contracts of other shops. What they answer is written down here once more ([`Shop`]), as plainly as possible, and compared with
//! what Larder answers, on a catalogue in their formats.

mod encodings;

use std::path::Path;

use larder_proto::{
    google_type::Money,
    hipstershop::{
        self, Empty, SearchProductsRequest, product_catalog_service_client::ProductCatalogServiceClient as Hipstershop,
    },
    oteldemo::product_catalog_service_client::ProductCatalogServiceClient as Oteldemo,
};
use larder_server::config::{Contract, Role, TokenHash, TokenRule};
use larder_test_servers::TempDir;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use serde_json::{Value, json};
use tokio::process::Command;
use tonic::{Code, Request, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    harness::{Database, Process, Ran, Refusal, Server, grpcurl, named, on_both_databases, product, refusal},
    metrics::scrape,
};

on_both_databases!(every_call_of_the_shops_gets_the_reply_of_the_contract);

/// A catalogue in the format of Online Boutique.
const CATALOGUE: &str = include_str!("../../k8s/overlays/online-boutique/products.json");

const PACKAGES: [&str; 2] = ["hipstershop", "oteldemo"];

/// The service of a package.
fn service(package: &str) -> String {
    format!("{package}.ProductCatalogService")
}

/// The service that Larder stands in for: a list of products in memory.
struct Shop {
    package: &'static str,
    products: Vec<Value>,
}

impl Shop {
    fn new(package: &'static str) -> Self {
        let catalogue: Value = serde_json::from_str(CATALOGUE).expect("JSON");
        let mut products = catalogue["products"].as_array().expect("products").clone();
        if package == "oteldemo" {
            products.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
        }
        for product in &mut products {
            // Protobuf's mapping writes 64 bits as a text.
            product["priceUsd"]["units"] = product["priceUsd"]["units"].to_string().into();
        }
        Self { package, products }
    }

    fn answer(&self, method: &str, request: &Value) -> Result<Value, String> {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let lower = |value: &Value| value.as_str().expect("a text").to_lowercase();
        match method {
            "ListProducts" => Ok(json!({ "products": self.products })),
            "SearchProducts" => {
                let query = text("query").to_lowercase();
                let matches = |product: &&Value| {
                    ["name", "description"].iter().any(|field| lower(&product[*field]).contains(&query))
                };
                Ok(json!({ "results": self.products.iter().filter(matches).collect::<Vec<_>>() }))
            }
            _ => match (self.products.iter().find(|product| product["id"] == text("id")), self.package) {
                (Some(product), _) => Ok(product.clone()),
                (None, "hipstershop") => Err(format!("no product with ID {}", text("id"))),
                (None, _) => Err(format!("Product Not Found: {}", text("id"))),
            },
        }
    }
}

/// A call as `docs/compat.md` lists it.
struct Call {
    package: &'static str,
    method: String,
    request: Value,
}

/// The calls that the page lists.
fn calls() -> Vec<Call> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compat.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, table) = page.split_once("## The calls of both shops").expect("the table of calls");
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2).map(cells);
    rows.map(|row| {
        let (service, method) = row[4].split_once('/').expect("a method");
        let package = PACKAGES.into_iter().find(|package| self::service(package) == service).expect("a package");
        Call { package, method: method.to_owned(), request: serde_json::from_str(&row[5]).expect("JSON") }
    })
    .collect()
}

/// What grpcurl prints of a call, by the messages in `proto/compat`: the reply, or the message of `NOT_FOUND`.
async fn grpcurl_by_proto(process: &Process, call: &Call) -> Option<Result<Value, String>> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/compat");
    let output = Command::new(grpcurl()?)
        .args(["-plaintext", "-format-error", "-import-path"])
        .arg(protos)
        .args(["-proto", &format!("{}.proto", call.package), "-d", &call.request.to_string()])
        .args([process.address().to_string(), format!("{}/{}", service(call.package), call.method)])
        .output()
        .await
        .expect("grpcurl to start");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Some(Ok(serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))));
    }
    let error: Value = serde_json::from_str(&err).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!(error["code"], json!(Code::NotFound as i32), "{err}");
    Some(Err(error["message"].as_str().expect("a message").to_owned()))
}

/// Imports a file, and returns what the command did.
async fn import(process: &Process, name: &str, text: &str) -> Ran {
    let directory = TempDir::new("compat");
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    process.larder(&["import", path.to_str().expect("a path")]).await
}

async fn every_call_of_the_shops_gets_the_reply_of_the_contract(database: &Database) {
    let process = Process::start_in(&[("LARDER_COMPAT", "hipstershop,oteldemo")], database).await;
    let Ran { code, out, err } = import(&process, "products.json", CATALOGUE).await;
    assert!(code == Some(0) && out.starts_with("9 lines: 9 created"), "{out}{err}");
    let calls = calls();
    for package in PACKAGES {
        for method in ["ListProducts", "GetProduct", "SearchProducts"] {
            assert!(calls.iter().any(|call| (call.package, &*call.method) == (package, method)), "{package} {method}");
        }
    }
    // From the database, and from memory.
    for _ in 0..2 {
        for call in &calls {
            let expected = Shop::new(call.package).answer(&call.method, &call.request);
            let Some(given) = grpcurl_by_proto(&process, call).await else { return };
            assert_eq!(given, expected, "{} {} {}", call.package, call.method, call.request);
        }
    }
    assert_eq!(process.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_script_of_the_opentelemetry_demo_gives_the_same_catalogue() {
    let quoted = |value: &Value| format!("'{}'", value.as_str().expect("a text").replace('\'', "''"));
    let rows = Shop::new("oteldemo").products.into_iter().map(|product| {
        let categories: Vec<_> =
            product["categories"].as_array().expect("categories").iter().filter_map(Value::as_str).collect();
        let texts: Vec<_> =
            ["id", "name", "description", "picture"].iter().map(|field| quoted(&product[*field])).collect();
        let price = &product["priceUsd"];
        let units = price["units"].as_str().expect("units");
        format!(
            "({}, {}, {units}, {}, '{}')",
            texts.join(", "),
            quoted(&price["currencyCode"]),
            price["nanos"],
            categories.join(",")
        )
    });
    let rows: Vec<_> = rows.collect();
    let script = format!(
        "CREATE SCHEMA catalog;\nINSERT INTO catalog.products (id, name, description, picture, price_currency_code, price_units, \
         price_nanos, categories)\nVALUES\n    {};\n",
        rows.join(",\n    ")
    );
    let database = Database::sqlite();
    let process = Process::start_in(&[("LARDER_COMPAT", "oteldemo")], &database).await;
    let Ran { code, out, err } = import(&process, "init.sql", &script).await;
    assert!(code == Some(0) && out.starts_with("9 lines: 9 created"), "{out}{err}");
    assert!(err.contains("a file of the OpenTelemetry demo; takes"), "{err}");
    let call = Call { package: "oteldemo", method: "ListProducts".to_owned(), request: json!({}) };
    let Some(given) = grpcurl_by_proto(&process, &call).await else { return };
    assert_eq!(given, Shop::new("oteldemo").answer("ListProducts", &json!({})));

    let Ran { code, err, .. } = import(&process, "init.sql", &script.replace("'Mug'", "mug()")).await;
    assert_eq!(code, Some(65), "{err}");
    assert!(err.contains(" rejected: name: is neither a text in quotes, nor a number, nor NULL"), "{err}");
    assert_eq!(process.stop().await.code(), Some(0));
}

/// A server with both contracts.
async fn shops(database: &Database) -> Server {
    Server::start_with(database, |config| config.server.compat = Contract::ALL.to_vec()).await
}

#[tokio::test]
async fn names_and_numbers_are_those_of_the_contracts() {
    const MESSAGES: [(&str, &[(&str, i32, Type)]); 7] = [
        ("Empty", &[]),
        (
            "Product",
            &[
                ("id", 1, Type::String),
                ("name", 2, Type::String),
                ("description", 3, Type::String),
                ("picture", 4, Type::String),
                ("price_usd", 5, Type::Message),
                ("categories", 6, Type::String),
            ],
        ),
        ("Money", &[("currency_code", 1, Type::String), ("units", 2, Type::Int64), ("nanos", 3, Type::Int32)]),
        ("ListProductsResponse", &[("products", 1, Type::Message)]),
        ("GetProductRequest", &[("id", 1, Type::String)]),
        ("SearchProductsRequest", &[("query", 1, Type::String)]),
        ("SearchProductsResponse", &[("results", 1, Type::Message)]),
    ];
    const METHODS: [[&str; 3]; 3] = [
        ["ListProducts", "Empty", "ListProductsResponse"],
        ["GetProduct", "GetProductRequest", "Product"],
        ["SearchProducts", "SearchProductsRequest", "SearchProductsResponse"],
    ];
    let sets = [larder_proto::hipstershop::DESCRIPTOR_SET, larder_proto::oteldemo::DESCRIPTOR_SET];
    for (package, set) in PACKAGES.into_iter().zip(sets) {
        let set = FileDescriptorSet::decode(set).expect("a descriptor set");
        let [file] = &set.file[..] else { panic!("{} files", set.file.len()) };
        assert_eq!(file.package(), package);
        let messages: Vec<_> = file.message_type.iter().map(DescriptorProto::name).collect();
        assert_eq!(messages, MESSAGES.map(|(name, _)| name));
        for (message, (name, fields)) in file.message_type.iter().zip(MESSAGES) {
            let found: Vec<_> =
                message.field.iter().map(|field| (field.name(), field.number(), field.r#type())).collect();
            assert_eq!(found, fields, "{package}.{name}");
        }
        let [service] = &file.service[..] else { panic!("{} services", file.service.len()) };
        assert_eq!(service.name(), "ProductCatalogService");
        let short = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        for (method, expected) in service.method.iter().zip(METHODS) {
            let found = [method.name().to_owned(), short(method.input_type()), short(method.output_type())];
            assert_eq!(found, expected);
            assert!(!method.client_streaming() && !method.server_streaming());
        }
    }
}

#[tokio::test]
async fn the_contracts_are_answered_from_the_same_cache() {
    let database = Database::sqlite();
    let server = shops(&database).await;
    let mut shop = Hipstershop::new(server.channel());
    let get = |id: &str| hipstershop::GetProductRequest { id: id.to_owned() };
    let key = "rpc_server_call_duration_seconds_count{rpc_system_name=\"grpc\",\
               rpc_method=\"hipstershop.ProductCatalogService/GetProduct\",rpc_response_status_code=\"OK\"}";
    assert!(
        !scrape(&server).await.keys().any(|series| series.contains("hipstershop")),
        "no series before the first call"
    );

    let written = server.create(product("kettle")).await;
    let mut request = Request::new(get("kettle"));
    request.metadata_mut().insert("x-larder-token", MetadataValue::try_from(&written.token).expect("a token"));
    request.metadata_mut().insert("x-cache-debug", MetadataValue::from_static("1"));
    let reply = shop.get_product(request).await.expect("the product");
    let header = |name: &str| reply.metadata().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(header("x-cache-key").as_deref(), Some("product:kettle"));
    assert!(header("x-cache-status").is_some() && header("x-request-id").is_some());
    let found = reply.into_inner();
    let Money { currency_code, units, nanos } = product("kettle").price.expect("a price");
    let expected = hipstershop::Product {
        id: "kettle".to_owned(),
        name: product("kettle").name,
        description: product("kettle").description,
        picture: product("kettle").image_url,
        price_usd: Some(hipstershop::Money { currency_code, units, nanos }),
        categories: product("kettle").categories,
    };
    assert_eq!(found, expected);
    let again = shop.get_product(get("kettle")).await.expect("the product");
    assert_eq!(again.metadata().get("x-cache-status").map(MetadataValue::as_bytes), Some(b"HIT".as_slice()));
    let series = scrape(&server).await;
    assert_eq!(
        series.get(key),
        Some(&2.0),
        "{:?}",
        series.keys().filter(|series| series.contains("hipster")).collect::<Vec<_>>()
    );

    // A change by the other contract is seen by this one, in lists and searches too.
    let mut other = Oteldemo::new(server.channel());
    let search = |query: &str| SearchProductsRequest { query: query.to_owned() };
    assert_eq!(other.list_products(Empty {}).await.expect("the list").into_inner().products, [expected]);
    let token = server.update(named("kettle", "Samovar"), &["name"]).await.token;
    let mut request = Request::new(search("SAMO"));
    request.metadata_mut().insert("x-larder-token", MetadataValue::try_from(&token).expect("a token"));
    let results = other.search_products(request).await.expect("the search").into_inner().results;
    assert_eq!(results.iter().map(|product| &*product.name).collect::<Vec<_>>(), ["Samovar"]);
    server.update(named("kettle", "Kettle"), &["price"]).await;
    assert_eq!(shop.get_product(get("kettle")).await.expect("the product").into_inner().price_usd, None);
    server.stop().await;
}

#[tokio::test]
async fn an_id_that_no_product_has_is_not_found_whatever_it_is() {
    let database = Database::sqlite();
    let server = shops(&database).await;
    let (mut shop, mut other) = (Hipstershop::new(server.channel()), Oteldemo::new(server.channel()));
    for id in ["", "NOT-THERE", "a b", "é", &"x".repeat(100)] {
        let request = hipstershop::GetProductRequest { id: id.to_owned() };
        let status = shop.get_product(request.clone()).await.expect_err("no product");
        assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND"), "{id}");
        assert_eq!(status.message(), format!("no product with ID {id}"));
        let status = other.get_product(request).await.expect_err("no product");
        assert_eq!(refusal(&status), Refusal::of(Code::NotFound, "PRODUCT_NOT_FOUND"), "{id}");
        assert_eq!(status.message(), format!("Product Not Found: {id}"));
    }
    assert!(shop.list_products(Empty {}).await.expect("a list").into_inner().products.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_catalogue_that_fits_into_no_reply_is_refused() {
    let too_large = Refusal::of(Code::ResourceExhausted, "CATALOGUE_TOO_LARGE");
    let many = (0..1_001).map(|number| named(&format!("p{number:04}"), "P"));
    let large = (0..80).map(|number| larder_proto::catalog::Product {
        description: "x".repeat(60_000),
        ..named(&format!("p{number:04}"), "P")
    });
    // One product less fits the first time, and is still too much the second time.
    for (products, after) in [(many.collect::<Vec<_>>(), Some(1_000)), (large.collect(), None)] {
        let database = Database::sqlite();
        let server = shops(&database).await;
        server.import(products).await;
        let mut shop = Hipstershop::new(server.channel());
        let search = SearchProductsRequest { query: "p".to_owned() };
        assert_eq!(refusal(&shop.search_products(search).await.expect_err("too much")), too_large);
        let status = shop.list_products(Empty {}).await.expect_err("too much");
        assert_eq!(refusal(&status), too_large);
        assert!(status.message().contains("1000 products or 4194304 bytes"), "{}", status.message());
        let one = hipstershop::GetProductRequest { id: "p0000".to_owned() };
        assert_eq!(shop.get_product(one).await.expect("the product").into_inner().id, "p0000");
        server.delete("p0001").await;
        let whole = shop.list_products(Empty {}).await.map(|reply| reply.into_inner().products.len());
        assert_eq!(whole.ok(), after);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_product_that_cannot_be_read_is_left_out_of_lists() {
    let database = Database::sqlite();
    let server = shops(&database).await;
    server.import([named("good", "Good"), named("bad", "Bad")]).await;
    database.shell("DROP TRIGGER refuse_unreadable_update").await;
    database.shell("UPDATE products SET tags = '[\"\\ud83d\"]' WHERE id = 'bad'").await;
    server.settle().await;
    let mut shop = Oteldemo::new(server.channel());
    let list = shop.list_products(Empty {}).await.expect("a list").into_inner();
    assert_eq!(list.products.iter().map(|product| &*product.id).collect::<Vec<_>>(), ["good"]);
    let request = hipstershop::GetProductRequest { id: "bad".to_owned() };
    let status = shop.get_product(request).await.expect_err("a row that cannot be read");
    assert_eq!(refusal(&status), Refusal::of(Code::DataLoss, "PRODUCT_UNREADABLE"));
    server.stop().await;
}

#[tokio::test]
async fn only_the_contracts_that_are_named_are_served() {
    let database = Database::sqlite();
    for contracts in [vec![], vec![Contract::Oteldemo], Contract::ALL.to_vec()] {
        let on: Vec<_> = contracts.iter().map(|contract| contract.name()).collect();
        let server = Server::start_with(&database, |config| config.server.compat = contracts).await;
        let mut health = HealthClient::new(server.channel());
        let listed = list(&server).await;
        for package in PACKAGES {
            let served = on.contains(&package);
            let asked = health.check(HealthCheckRequest { service: service(package) }).await;
            match asked {
                Ok(reply) => assert!(served && reply.into_inner().status() == ServingStatus::Serving, "{package}"),
                Err(status) => assert!(!served && status.code() == Code::NotFound, "{package}: {status}"),
            }
            let code = match package {
                "hipstershop" => Hipstershop::new(server.channel()).list_products(Empty {}).await.err(),
                _ => Oteldemo::new(server.channel()).list_products(Empty {}).await.err(),
            };
            assert_eq!(code.map(|status| status.code()), (!served).then_some(Code::Unimplemented), "{package}");
            if let Some(listed) = &listed {
                assert_eq!(listed.contains(&service(package)), served, "{package}: {listed:?}");
            }
        }
        server.stop().await;
    }
}

/// The services that grpcurl lists, by reflection.
async fn list(server: &Server) -> Option<Vec<String>> {
    let output = Command::new(grpcurl()?).args(["-plaintext", &server.address().to_string(), "list"]).output().await;
    let output = output.expect("grpcurl to start");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn a_reader_may_call_the_contracts_and_nobody_else() {
    const TOKEN: &str = "token-of-the-shop-0123";
    let database = Database::sqlite();
    let server = Server::start_with(&database, |config| {
        config.server.compat = Contract::ALL.to_vec();
        let sha256 = TokenHash::of(TOKEN.as_bytes());
        config.security.auth.tokens = vec![TokenRule { name: "shop".to_owned(), sha256, role: Role::Reader }];
    })
    .await;
    let bearer: MetadataValue<_> = format!("Bearer {TOKEN}").parse().expect("a header");
    let mut shop = Hipstershop::with_interceptor(server.channel(), move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });
    shop.list_products(Empty {}).await.expect("a list for a reader");
    shop.search_products(SearchProductsRequest::default()).await.expect("a search for a reader");
    let missing = hipstershop::GetProductRequest { id: "a".to_owned() };
    assert_eq!(shop.get_product(missing.clone()).await.expect_err("no product").code(), Code::NotFound);
    let mut stranger = Oteldemo::new(server.channel());
    for status in [
        stranger.list_products(Empty {}).await.expect_err("no credential"),
        stranger.get_product(missing).await.expect_err("no credential"),
        stranger.search_products(SearchProductsRequest::default()).await.expect_err("no credential"),
    ] {
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    server.stop().await;
}
