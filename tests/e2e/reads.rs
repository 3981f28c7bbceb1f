//! Batches, filters and orders.

use std::cmp::Ordering;

use larder_proto::{
    catalog::{
        BatchGetProductsRequest, BatchGetProductsResponse, ListProductsRequest, ListProductsResponse, PriceRange,
        Product, ProductFilter,
    },
    google_type::Money,
};

use crate::harness::{Database, Server, named, on_both_databases, product};

on_both_databases!(
    a_batch_keeps_the_order_of_the_request,
    a_filter_selects,
    every_order_orders,
    the_page_size_is_clamped,
);

async fn a_batch_keeps_the_order_of_the_request(database: &Database) {
    let server = Server::start(database).await;
    for id in ["a", "b", "c"] {
        server.create(product(id)).await;
    }
    server.settle().await;
    let asked = ["b", "a", "none", "b", "nothing", "b", "none"];
    for round in ["from the database", "from memory"] {
        let reply = batch(&server, &asked).await;
        let ids: Vec<_> = reply.products.iter().map(|product| product.id.as_str()).collect();
        assert_eq!(ids, ["b", "a", "b", "b"], "{round}");
        assert_eq!(reply.missing_ids, ["none", "nothing"], "{round}");
        for product in &reply.products {
            assert_eq!(Some(product), server.get(&product.id).await.product.as_ref(), "{round}");
        }
        let counts = reply.counts.expect("counts");
        let expected = if round == "from memory" { (4, 0, 0) } else { (0, 0, 4) };
        assert_eq!((counts.l1, counts.l2, counts.database), expected, "{round}");
    }
    let loads = server.stats().loads;
    let mixed = batch(&server, &["c", "a", "c"]).await;
    let counts = mixed.counts.expect("counts");
    assert_eq!((counts.l1, counts.database), (1, 2));
    assert_eq!(server.stats().loads, loads + 1);

    let none = batch(&server, &[]).await;
    assert_eq!((none.products.len(), none.missing_ids.len()), (0, 0));
    let many: Vec<_> = (0..1_000).map(|number| format!("n{number}")).collect();
    let reply = batch(&server, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(reply.missing_ids, many);
    server.stop().await;
}

async fn a_filter_selects(database: &Database) {
    let server = Server::start(database).await;
    let products = shelf();
    server.import(products.clone()).await;
    let category = |name: &str| ProductFilter { category: name.to_owned(), ..Default::default() };
    let tag = |name: &str| ProductFilter { tag: name.to_owned(), ..Default::default() };
    let stock = |in_stock| ProductFilter { in_stock: Some(in_stock), ..Default::default() };
    let price = |currency: &str, min, max| ProductFilter {
        price: Some(PriceRange { currency_code: currency.to_owned(), min, max }),
        ..Default::default()
    };
    let filters = [
        ProductFilter::default(),
        category("red"),
        category("Red"),
        category("re"),
        category("it's & = % , { \" } \\ *"),
        tag("big"),
        tag("red"),
        stock(true),
        stock(false),
        price("EUR", None, None),
        price("EUR", Some(money("EUR", 3, 500_000_000)), None),
        price("EUR", None, Some(money("", 3, 500_000_000))),
        price("EUR", Some(money("EUR", 3, 500_000_000)), Some(money("EUR", 3, 500_000_000))),
        price("USD", Some(money("", 3, 500_000_001)), Some(money("", 9, 0))),
        price("CHF", None, None),
        ProductFilter { tag: "big".to_owned(), in_stock: Some(true), ..category("red") },
        ProductFilter { category: "red".to_owned(), in_stock: Some(false), ..price("EUR", None, None) },
    ];
    for filter in filters {
        let mut expected: Vec<_> = products.iter().filter(|product| selects(&filter, product)).collect();
        expected.sort_by(|a, b| a.id.cmp(&b.id));
        let mut request = ListProductsRequest {
            filter: Some(filter.clone()),
            include_total_size: true,
            page_size: 5,
            ..Default::default()
        };
        let mut ids = Vec::new();
        loop {
            let page = list(&server, request.clone()).await;
            assert_eq!(page.total_size, i64::try_from(expected.len()).ok(), "{filter:?}");
            ids.extend(page.products.into_iter().map(|product| product.id));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let expected: Vec<_> = expected.iter().map(|product| product.id.clone()).collect();
        assert_eq!(ids, expected, "{filter:?}");
    }
    let uncounted = list(&server, ListProductsRequest::default()).await;
    assert_eq!(uncounted.total_size, None, "nobody asked for it");
    server.stop().await;
}

type Compare = fn(&Product, &Product) -> Ordering;

async fn every_order_orders(database: &Database) {
    let server = Server::start(database).await;
    let mut products = shelf();
    // Names and times with ties; names that only bytes order.
    for (number, name) in ["b", "a", "B", "ä", "a b", "a", "~"].into_iter().enumerate() {
        products.push(named(&format!("z{number}"), name));
    }
    server.import(products).await;
    server.update(named("p07", "Changed"), &["name"]).await;
    server.create(named("p99", "Late")).await;
    let mut all = list(&server, ListProductsRequest { page_size: 1_000, ..Default::default() }).await.products;
    let orders: [(&str, Compare); 5] = [
        ("id", |_, _| Ordering::Equal),
        ("name", |a, b| a.name.as_bytes().cmp(b.name.as_bytes())),
        ("create_time", |a, b| time(a.create_time.as_ref()).cmp(&time(b.create_time.as_ref()))),
        ("update_time", |a, b| time(a.update_time.as_ref()).cmp(&time(b.update_time.as_ref()))),
        ("price", |a, b| amount(a).cmp(&amount(b))),
    ];
    for (order, compare) in orders {
        all.sort_by(|a, b| compare(a, b).then_with(|| a.id.cmp(&b.id)));
        for (order_by, reversed) in [(order.to_owned(), false), (format!("{order} desc"), true)] {
            let mut expected: Vec<_> = all.iter().map(|product| product.id.clone()).collect();
            if reversed {
                expected.reverse();
            }
            let request = ListProductsRequest { order_by: order_by.clone(), page_size: 1_000, ..Default::default() };
            let ids: Vec<_> = list(&server, request).await.products.into_iter().map(|product| product.id).collect();
            assert_eq!(ids, expected, "{order_by}");
        }
    }
    server.stop().await;
}

async fn the_page_size_is_clamped(database: &Database) {
    let server = Server::start(database).await;
    server.import((0..1_003).map(|number| named(&format!("p{number:04}"), "Product"))).await;
    for (asked, given) in [(0, 50), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
        let page = list(&server, ListProductsRequest { page_size: asked, ..Default::default() }).await;
        assert_eq!(page.products.len(), given, "page_size {asked}");
        assert!(!page.next_page_token.is_empty());
        // The size may change from page to page.
        let next = ListProductsRequest { page_size: 2, page_token: page.next_page_token, ..Default::default() };
        assert_eq!(list(&server, next).await.products[0].id, format!("p{given:04}"), "after page_size {asked}");
    }
    server.stop().await;
}

/// Products that differ in everything by which lists select and order.
fn shelf() -> Vec<Product> {
    (0..24_i32)
        .map(|number| {
            let mut categories = vec![if number % 2 == 0 { "red" } else { "blue" }.to_owned()];
            if number % 8 == 1 {
                categories.push("it's & = % , { \" } \\ *".to_owned());
            }
            let currency = match number % 3 {
                0 => "EUR",
                1 => "USD",
                _ => "",
            };
            let cents = if number % 4 == 0 { 500_000_000 } else { number * 1_000 };
            Product {
                categories,
                tags: if number % 5 == 0 { vec!["big".to_owned(), "new".to_owned()] } else { Vec::new() },
                in_stock: number % 6 < 3,
                price: (!currency.is_empty()).then(|| money(currency, i64::from(number % 5), cents)),
                ..named(&format!("p{number:02}"), &format!("Product {}", number % 7))
            }
        })
        .collect()
}

fn money(currency: &str, units: i64, nanos: i32) -> Money {
    Money { currency_code: currency.to_owned(), units, nanos }
}

fn selects(filter: &ProductFilter, product: &Product) -> bool {
    let in_range = |range: &PriceRange| {
        let Some(price) = &product.price else { return false };
        let amount = |money: &Money| (money.units, money.nanos);
        price.currency_code == range.currency_code
            && range.min.as_ref().is_none_or(|min| amount(min) <= amount(price))
            && range.max.as_ref().is_none_or(|max| amount(price) <= amount(max))
    };
    (filter.category.is_empty() || product.categories.contains(&filter.category))
        && (filter.tag.is_empty() || product.tags.contains(&filter.tag))
        && filter.in_stock.is_none_or(|in_stock| product.in_stock == in_stock)
        && filter.price.as_ref().is_none_or(in_range)
}

fn time(time: Option<&prost_types::Timestamp>) -> (i64, i32) {
    time.map(|time| (time.seconds, time.nanos)).expect("a time")
}

fn amount(product: &Product) -> (String, i64, i32) {
    product.price.clone().map(|price| (price.currency_code, price.units, price.nanos)).unwrap_or_default()
}

async fn batch(server: &Server, ids: &[&str]) -> BatchGetProductsResponse {
    let ids = ids.iter().map(|&id| id.to_owned()).collect();
    let request = BatchGetProductsRequest { ids, read: None };
    server.client().batch_get_products(request).await.expect("a batch").into_inner()
}

async fn list(server: &Server, request: ListProductsRequest) -> ListProductsResponse {
    server.client().list_products(request).await.expect("a page").into_inner()
}
