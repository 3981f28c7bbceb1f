//! Reads that break rules, and tokens that are none.

use larder_cache::{Incarnation, Token};
use larder_proto::{
    catalog::{
        BatchGetProductsRequest, ListProductsRequest, ListProductsResponse, PriceRange, ProductFilter, ReadOptions,
        SearchProductsRequest, WatchProductsRequest, read_options::Consistency,
    },
    google_type::Money,
};
use larder_server::contract::{decode_token, encode_token};
use prost_types::Duration;
use tonic::{Response, Status};

use super::Table;
use crate::harness::{Refusal, Server, product};

/// Batches and the options of reads.
pub(super) async fn reads(server: &Server, table: &mut Table) {
    let mut client = server.client();
    let batch = |ids: Vec<String>| BatchGetProductsRequest { ids, read: None };
    let many = (0..1_001).map(|number| format!("p{number}")).collect();
    table.invalid("batch, too many", client.batch_get_products(batch(many)).await, &["ids"]);
    let bad = ["p0", "", "a b", "p1", "a b"].map(str::to_owned).to_vec();
    let outcome = client.batch_get_products(batch(bad)).await;
    table.invalid("batch, bad ids", outcome, &["ids[1]", "ids[2]", "ids[4]"]);

    for limit in [max_stale(-1, 0), max_stale(0, -1), max_stale(0, 1_000_000_000), max_stale(1, -1)] {
        table.invalid(&format!("{limit:?}"), server.read("p0", Some(limit)).await, &["read.max_stale"]);
    }
    let both =
        ReadOptions { consistency: Some(Consistency::FullyConsistent(true)), cache_only: true, ..Default::default() };
    table.invalid("cache_only and fully_consistent", server.read("p0", Some(both)).await, &["read.cache_only"]);
    let several = ReadOptions {
        consistency: Some(Consistency::AtLeastAsFresh("none".to_owned())),
        same_snapshot: true,
        ..max_stale(-1, 0)
    };
    let outcome = server.read("a b", Some(several)).await;
    table.invalid("get, everything at once", outcome, &["id", "read.at_least_as_fresh", "read.max_stale"]);
}

/// Filters, orders and page sizes.
pub(super) async fn lists(server: &Server, table: &mut Table) {
    let mut client = server.client();
    for order_by in
        ["price asc", "desc", "name desc desc", "name,price", "NAME", "-id", "etag", "id; DROP TABLE products"]
    {
        let outcome = list(server, ListProductsRequest { order_by: order_by.to_owned(), ..Default::default() }).await;
        table.invalid(&format!("list, order_by {order_by:?}"), outcome, &["order_by"]);
    }
    for page_size in [-1, i32::MIN] {
        let outcome = list(server, ListProductsRequest { page_size, ..Default::default() }).await;
        table.invalid(&format!("list, page_size {page_size}"), outcome, &["page_size"]);
        let request = SearchProductsRequest { query: "name".to_owned(), page_size, ..Default::default() };
        table.invalid(&format!("search, page_size {page_size}"), client.search_products(request).await, &["page_size"]);
    }
    let filters: [(ProductFilter, &[&str]); 9] = [
        (ProductFilter { category: "x".repeat(129), ..Default::default() }, &["filter.category"]),
        (ProductFilter { tag: "a\0".to_owned(), ..Default::default() }, &["filter.tag"]),
        (range("", None, None), &["filter.price.currency_code"]),
        (range("euro", None, None), &["filter.price.currency_code"]),
        (
            range("EUR", money("USD", 1, 0), money("CHF", 1, 0)),
            &["filter.price.min.currency_code", "filter.price.max.currency_code"],
        ),
        (range("EUR", money("", -1, 0), None), &["filter.price.min.units"]),
        (range("EUR", None, money("", 1, 1_000_000_000)), &["filter.price.max.nanos"]),
        (range("EUR", money("", 2, 0), money("EUR", 1, 999_999_999)), &["filter.price.min"]),
        (
            ProductFilter { tag: "x".repeat(129), ..range("x", None, None) },
            &["filter.tag", "filter.price.currency_code"],
        ),
    ];
    for (filter, fields) in filters {
        let case = format!("{filter:?}");
        let request = ListProductsRequest { filter: Some(filter.clone()), ..Default::default() };
        table.invalid(&format!("list, {case}"), list(server, request).await, fields);
        let request = SearchProductsRequest { query: "name".to_owned(), filter: Some(filter), ..Default::default() };
        table.invalid(&format!("search, {case}"), client.search_products(request).await, fields);
    }
    let request = WatchProductsRequest {
        start_token: "x".to_owned(),
        filter: Some(ProductFilter { tag: "\0".to_owned(), ..Default::default() }),
    };
    let outcome = client.watch_products(request).await;
    table.invalid("watch, everything at once", outcome, &["start_token", "filter.tag"]);
    let request = ListProductsRequest {
        filter: Some(ProductFilter { tag: "\0".to_owned(), ..Default::default() }),
        order_by: "x".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
        include_total_size: true,
        read: Some(ReadOptions { same_snapshot: true, ..max_stale(-1, 0) }),
    };
    let fields = ["filter.tag", "order_by", "page_size", "read.max_stale"];
    table.invalid("list, everything at once", list(server, request).await, &fields);
}

/// Queries.
pub(super) async fn searches(server: &Server, table: &mut Table) {
    let long = "x".repeat(2_049);
    for query in ["", " ", "-- '\" *", "\u{1F600}", "\u{301}", "a\0b", &long] {
        let request = SearchProductsRequest { query: query.to_owned(), ..Default::default() };
        table.invalid(&format!("search, query {query:?}"), server.client().search_products(request).await, &["query"]);
    }
}

/// Page tokens: altered in any place, cut, of another request, of another method.
pub(super) async fn page_tokens(server: &Server, table: &mut Table) {
    let search = |query: &str, page_token: &str| SearchProductsRequest {
        query: query.to_owned(),
        page_size: 2,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let first = server.client().search_products(search("name", "")).await.expect("a page").into_inner();
    let of_search = first.next_page_token;
    for (case, altered) in alterations(&of_search) {
        let outcome = server.client().search_products(search("name", &altered)).await;
        table.invalid(&format!("search, {case}"), outcome, &["page_token"]);
    }
    let outcome = server.client().search_products(search("description", &of_search)).await;
    table.invalid("search, the token of another query", outcome, &["page_token"]);
    let mut filtered = search("name", &of_search);
    filtered.filter = Some(ProductFilter { in_stock: Some(true), ..Default::default() });
    let outcome = server.client().search_products(filtered).await;
    table.invalid("search, the token of another filter", outcome, &["page_token"]);

    for order_by in ["id", "name desc", "price", "update_time", "create_time desc"] {
        let page = |order_by: &str, page_token: &str, filter: Option<ProductFilter>| ListProductsRequest {
            order_by: order_by.to_owned(),
            page_token: page_token.to_owned(),
            page_size: 2,
            filter,
            ..Default::default()
        };
        let first = list(server, page(order_by, "", None)).await.expect("a page").into_inner();
        let token = first.next_page_token;
        assert!(list(server, page(order_by, &token, None)).await.is_ok(), "{order_by}");
        for (case, altered) in alterations(&token) {
            let outcome = list(server, page(order_by, &altered, None)).await;
            table.invalid(&format!("list by {order_by}, {case}"), outcome, &["page_token"]);
        }
        for other in ["id desc", "name", "price desc", "update_time desc", "create_time"] {
            let outcome = list(server, page(other, &token, None)).await;
            table.invalid(&format!("list by {other}, the token of {order_by}"), outcome, &["page_token"]);
        }
        let filter = ProductFilter { category: "pans".to_owned(), ..Default::default() };
        let outcome = list(server, page(order_by, &token, Some(filter))).await;
        table.invalid(&format!("list by {order_by}, the token of another filter"), outcome, &["page_token"]);
        table.invalid(
            "list, the token of a search",
            list(server, page(order_by, &of_search, None)).await,
            &["page_token"],
        );
        let outcome = server.client().search_products(search("name", &token)).await;
        table.invalid("search, the token of a list", outcome, &["page_token"]);
    }
}

/// Tokens of commits: altered in any place, foreign, of another database, of the future.
pub(super) async fn tokens(server: &Server, table: &mut Table) {
    let token = server.update(product("p0"), &["name"]).await.token;
    let read = |token: &str| {
        let consistency = Some(Consistency::AtLeastAsFresh(token.to_owned()));
        Some(ReadOptions { consistency, ..Default::default() })
    };
    assert!(server.read("p0", read(&token)).await.is_ok());
    let fields = ["read.at_least_as_fresh"];
    let page_token = list(server, ListProductsRequest { page_size: 2, ..Default::default() }).await;
    let page_token = page_token.expect("a page").into_inner().next_page_token;
    let mut cases = alterations(&token);
    cases.push(("no token".to_owned(), String::new()));
    cases.push(("a page token".to_owned(), page_token));
    let Token { incarnation: Incarnation(incarnation), id, salt } = decode_token(&token).expect("a token");
    let made = |incarnation, id, salt| encode_token(Token { incarnation: Incarnation(incarnation), id, salt });
    for (case, token, reason) in [
        ("the token of another database", made(incarnation ^ 1, id, salt ^ 1), "TOKEN_LOST"),
        ("the token of a commit to come", made(incarnation, id + 1_000_000, salt), "TOKEN_UNKNOWN"),
        ("the token of the last commit there can be", made(incarnation, u64::MAX, salt), "TOKEN_UNKNOWN"),
    ] {
        table.refused(&format!("get, {case}"), server.read("p0", read(&token)).await, &Refusal::token(reason));
    }
    for (case, token) in cases {
        table.invalid(&format!("get, {case}"), server.read("p0", read(&token)).await, &fields);
        let request = ListProductsRequest { read: read(&token), ..Default::default() };
        table.invalid(&format!("list, {case}"), list(server, request).await, &fields);
    }
}

/// Every byte flipped in one bit and in another character of the alphabet, a byte more and a byte less at either end.
fn alterations(token: &str) -> Vec<(String, String)> {
    let mut altered = Vec::new();
    for at in 0..token.len() {
        let byte = token.as_bytes()[at];
        let other = if byte == b'A' { b'B' } else { b'A' };
        for flipped in [byte ^ 1, byte ^ 0x20, other] {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = flipped;
            let text = String::from_utf8(bytes).expect("bits of ASCII");
            altered.push((format!("byte {at} is {:?}", char::from(flipped)), text));
        }
    }
    for text in [&token[1..], &token[..token.len() - 1], &format!("{token}A"), &format!("A{token}"), "x", "=", "ä"] {
        altered.push((format!("{text:?}"), text.to_owned()));
    }
    altered.push(("twice".to_owned(), token.repeat(2)));
    altered.push(("padded".to_owned(), format!("{token}=")));
    altered.push(("a long text".to_owned(), "A".repeat(100_000)));
    altered
}

fn range(currency: &str, min: Option<Money>, max: Option<Money>) -> ProductFilter {
    let price = Some(PriceRange { currency_code: currency.to_owned(), min, max });
    ProductFilter { price, ..Default::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "an end of a range may be absent")]
fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.to_owned(), units, nanos })
}

async fn list(server: &Server, request: ListProductsRequest) -> Result<Response<ListProductsResponse>, Status> {
    server.client().list_products(request).await
}

fn max_stale(seconds: i64, nanos: i32) -> ReadOptions {
    ReadOptions { max_stale: Some(Duration { seconds, nanos }), ..Default::default() }
}
