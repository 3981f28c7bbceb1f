//! What is kept, for how long, and what a change takes away.

use std::time::Duration;

use larder_cache::Clock;
use larder_proto::catalog::{
    BatchGetProductsRequest, CacheInfo, CacheTier, ListProductsRequest, ListProductsResponse, PriceRange, Product,
    ProductFilter, ReadOptions, SearchProductsRequest,
};
use tonic::{Code, Response};

use crate::harness::{Database, Refusal, Server, named, on_both_databases, product, refusal};

on_both_databases!(
    a_copy_tells_its_age_and_its_time_to_live,
    a_change_takes_the_copy_away,
    an_absence_is_remembered_until_there_is_something,
    the_same_meaning_is_the_same_page,
    a_change_takes_the_pages_away_that_it_touches,
    copies_alone_may_be_asked_for,
);

async fn a_copy_tells_its_age_and_its_time_to_live(database: &Database) {
    let clock = Clock::manual();
    let server = Server::start_at(database, clock.clone(), |config| {
        for policy in config.cache.policies.each_mut() {
            policy.jitter = 0.0;
        }
    })
    .await;
    server.create(product("a")).await;
    server.settle().await;
    let cold = server.get("a").await.cache.expect("cache facts");
    assert_eq!(facts(&cold), (CacheTier::Database, false, Duration::ZERO, Duration::from_mins(10)));
    clock.advance(Duration::from_mins(2));
    let warm = server.get("a").await.cache.expect("cache facts");
    assert_eq!(facts(&warm), (CacheTier::L1, false, Duration::from_mins(2), Duration::from_mins(8)));

    // A page is as old as the oldest thing on it, and lives as long as the first that expires.
    let page = list(&server, "").await.into_inner().cache.expect("cache facts");
    assert_eq!(facts(&page), (CacheTier::Database, false, Duration::from_mins(2), Duration::from_mins(1)));

    clock.advance(Duration::from_mins(8) - Duration::from_millis(1));
    assert_eq!(server.get("a").await.cache.expect("cache facts").tier(), CacheTier::L1);
    clock.advance(Duration::from_millis(1));
    let expired = server.get("a").await.cache.expect("cache facts");
    assert_eq!(facts(&expired), (CacheTier::Database, false, Duration::ZERO, Duration::from_mins(10)));
    server.stop().await;
}

async fn a_change_takes_the_copy_away(database: &Database) {
    let server = Server::start(database).await;
    server.create(product("a")).await;
    server.create(product("b")).await;
    server.settle().await;
    for id in ["a", "b"] {
        assert_eq!(tier(&server, id).await, CacheTier::Database);
        assert_eq!(tier(&server, id).await, CacheTier::L1);
    }
    server.update(named("a", "Changed"), &["name"]).await;
    server.settle().await;
    let got = server.get("a").await;
    assert_eq!(got.product.expect("a product").name, "Changed");
    assert_eq!(got.cache.expect("cache facts").tier(), CacheTier::Database);
    assert_eq!(tier(&server, "a").await, CacheTier::L1);
    assert_eq!(tier(&server, "b").await, CacheTier::L1, "another product's copy stays");
    server.delete("b").await;
    assert_eq!(server.read("b", None).await.expect_err("it is gone").code(), Code::NotFound);
    server.import([named("a", "Imported")]).await;
    assert_eq!(server.get("a").await.product.expect("a product").name, "Imported");
    server.stop().await;
}

async fn an_absence_is_remembered_until_there_is_something(database: &Database) {
    let server = Server::start(database).await;
    for cache_status in ["MISS", "HIT", "HIT"] {
        let status = server.read("a", None).await.expect_err("there is none");
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.metadata().get("x-cache-status").expect("a header"), cache_status);
    }
    assert_eq!(server.stats().loads, 1);
    server.create(product("a")).await;
    assert_eq!(tier(&server, "a").await, CacheTier::Database);
    server.stop().await;

    let clock = Clock::manual();
    let server = Server::start_at(database, clock.clone(), |_| {}).await;
    assert!(server.read("b", None).await.is_err());
    clock.advance(Duration::from_secs(10));
    let status = server.read("b", None).await.expect_err("there is none");
    assert_eq!(status.metadata().get("x-cache-status").expect("a header"), "MISS", "an absence lives 10 seconds");
    server.stop().await;
}

async fn the_same_meaning_is_the_same_page(database: &Database) {
    let server = Server::start(database).await;
    server.import((0..3).map(|number| product(&format!("p{number}")))).await;
    server.settle().await;
    let eur = |min| ProductFilter {
        price: Some(PriceRange { currency_code: "EUR".to_owned(), min, max: None }),
        ..Default::default()
    };
    let money = |currency: &str| {
        Some(larder_proto::google_type::Money { currency_code: currency.to_owned(), units: 1, nanos: 0 })
    };
    let base = ListProductsRequest::default;
    let same: [(&str, [ListProductsRequest; 2]); 4] = [
        ("no filter, an empty one", [base(), ListProductsRequest { filter: Some(ProductFilter::default()), ..base() }]),
        ("page sizes at the limit", [1_000, i32::MAX].map(|page_size| ListProductsRequest { page_size, ..base() })),
        (
            "orders",
            ["name desc", "  name   desc "].map(|order| ListProductsRequest { order_by: order.to_owned(), ..base() }),
        ),
        (
            "currencies of an end",
            ["EUR", ""].map(|currency| ListProductsRequest { filter: Some(eur(money(currency))), ..base() }),
        ),
    ];
    for (what, [one, other]) in same {
        assert_eq!(listed(&server, one).await, ("MISS".to_owned(), 3), "{what}");
        assert_eq!(listed(&server, other).await, ("HIT".to_owned(), 3), "{what}");
    }
    for spelled in [
        ListProductsRequest { order_by: "id".to_owned(), ..base() },
        ListProductsRequest { page_size: 50, ..base() },
        ListProductsRequest { read: Some(ReadOptions::default()), ..base() },
    ] {
        assert_eq!(listed(&server, spelled.clone()).await.0, "HIT", "a default, spelled out: {spelled:?}");
    }
    let in_stock = |in_stock| Some(ProductFilter { in_stock: Some(in_stock), ..Default::default() });
    let others = [
        ListProductsRequest { filter: in_stock(true), ..base() },
        ListProductsRequest { filter: in_stock(false), ..base() },
        ListProductsRequest { include_total_size: true, ..base() },
        ListProductsRequest { order_by: "id desc".to_owned(), ..base() },
        ListProductsRequest { page_size: 2, ..base() },
        ListProductsRequest { filter: Some(eur(None)), ..base() },
        ListProductsRequest { filter: Some(ProductFilter { tag: "pans".to_owned(), ..Default::default() }), ..base() },
        ListProductsRequest {
            filter: Some(ProductFilter { category: "pans".to_owned(), ..Default::default() }),
            ..base()
        },
    ];
    for other in others {
        assert_eq!(listed(&server, other.clone()).await.0, "MISS", "another meaning: {other:?}");
        assert_eq!(listed(&server, other.clone()).await.0, "HIT", "{other:?}");
    }
    for (query, cache_status) in [("Name of", "MISS"), ("  of  name ", "MISS"), ("NAME, of!", "HIT"), ("name", "MISS")]
    {
        let request = SearchProductsRequest { query: query.to_owned(), ..Default::default() };
        let reply = server.client().search_products(request).await.expect("a search");
        assert_eq!(cache_status_of(&reply), cache_status, "{query:?}");
    }
    server.stop().await;
}

async fn a_change_takes_the_pages_away_that_it_touches(database: &Database) {
    let server = Server::start(database).await;
    let of = |id: &str, category: &str| Product { categories: vec![category.to_owned()], ..named(id, "Name") };
    server.import([of("a", "old"), of("b", "new"), of("c", "other")]).await;
    server.settle().await;
    let categories = ["old", "new", "other", ""];
    for category in categories {
        list(&server, category).await;
        assert_eq!(cache_status_of(&list(&server, category).await), "HIT", "{category:?}");
    }

    server.update(of("a", "new"), &["categories"]).await;
    let pages = [("old", "MISS", vec![]), ("new", "MISS", vec!["a", "b"]), ("", "MISS", vec!["a", "b", "c"])];
    // The product itself is read again for whichever page comes first.
    server.get("a").await;
    for (category, cache_status, ids) in pages {
        let page = list(&server, category).await;
        assert_eq!(cache_status_of(&page), cache_status, "{category:?}");
        assert_eq!(page_ids(&page), ids, "{category:?}");
    }
    assert_eq!(cache_status_of(&list(&server, "other").await), "HIT", "a category that nothing happened in");

    server.delete("b").await;
    assert_eq!(page_ids(&list(&server, "new").await), ["a"]);
    server.create(of("d", "old")).await;
    assert_eq!(page_ids(&list(&server, "old").await), ["d"]);
    assert_eq!(page_ids(&list(&server, "").await), ["a", "c", "d"]);
    assert_eq!(cache_status_of(&list(&server, "other").await), "HIT");
    server.stop().await;
}

async fn copies_alone_may_be_asked_for(database: &Database) {
    let server = Server::start(database).await;
    server.import([product("a"), product("b")]).await;
    server.settle().await;
    let read = || Some(ReadOptions { cache_only: true, ..Default::default() });
    let not_cached = Refusal::of(Code::NotFound, "NOT_CACHED");
    let cached_list = || ListProductsRequest { read: read(), ..Default::default() };
    let cached_search = || SearchProductsRequest { query: "name".to_owned(), read: read(), ..Default::default() };
    let mut client = server.client();
    assert_eq!(refusal(&server.read("a", read()).await.expect_err("no copy")), not_cached);
    assert_eq!(refusal(&client.list_products(cached_list()).await.expect_err("no copy")), not_cached);
    assert_eq!(refusal(&client.search_products(cached_search()).await.expect_err("no copy")), not_cached);

    server.get("a").await;
    let got = server.read("a", read()).await.expect("a copy");
    assert_eq!(got.cache.expect("cache facts").tier(), CacheTier::L1);
    let ids = ["a", "b", "none"].map(str::to_owned).to_vec();
    let batch = BatchGetProductsRequest { ids, read: read() };
    let batch = client.batch_get_products(batch).await.expect("a batch").into_inner();
    assert_eq!(batch.products.iter().map(|product| &product.id).collect::<Vec<_>>(), ["a"]);
    assert_eq!(batch.missing_ids, ["b", "none"]);
    assert_eq!(server.stats().loads, 1, "the database was asked once, for the product");

    list(&server, "").await;
    assert_eq!(page_ids(&client.list_products(cached_list()).await.expect("a copy")), ["a", "b"]);
    // A page is there with all of its products or not at all.
    server.update(named("b", "Changed"), &["name"]).await;
    assert_eq!(refusal(&client.list_products(cached_list()).await.expect_err("no copy")), not_cached);
    server.stop().await;
}

fn facts(cache: &CacheInfo) -> (CacheTier, bool, Duration, Duration) {
    let duration = |duration: Option<prost_types::Duration>| {
        Duration::try_from(duration.expect("a duration")).expect("a duration that is not negative")
    };
    (cache.tier(), cache.stale, duration(cache.age), duration(cache.ttl))
}

async fn tier(server: &Server, id: &str) -> CacheTier {
    server.get(id).await.cache.expect("cache facts").tier()
}

async fn list(server: &Server, category: &str) -> Response<ListProductsResponse> {
    let filter = Some(ProductFilter { category: category.to_owned(), ..Default::default() });
    let request = ListProductsRequest { filter, ..Default::default() };
    server.client().list_products(request).await.expect("a page")
}

async fn listed(server: &Server, request: ListProductsRequest) -> (String, usize) {
    let reply = server.client().list_products(request).await.expect("a page");
    (cache_status_of(&reply), reply.into_inner().products.len())
}

fn page_ids(reply: &Response<ListProductsResponse>) -> Vec<&str> {
    reply.get_ref().products.iter().map(|product| product.id.as_str()).collect()
}

fn cache_status_of<T>(reply: &Response<T>) -> String {
    let value = reply.metadata().get("x-cache-status").expect("a header");
    value.to_str().expect("text").to_owned()
}
