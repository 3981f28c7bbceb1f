//! Full text.

use larder_proto::catalog::{Product, ProductFilter, SearchProductsRequest, SearchProductsResponse};

use crate::harness::{Database, Server, named, on_both_databases};

on_both_databases!(
    words_match_from_their_beginning,
    words_of_other_scripts_and_with_accents_match,
    a_pasted_title_finds_its_product,
    the_best_match_comes_first,
    a_filter_narrows_a_search,
    pages_of_a_search_hold_each_match_once,
);

async fn words_match_from_their_beginning(database: &Database) {
    let server = Server::start(database).await;
    let products = [
        named("pan", "Copper Saucepan, 18 cm"),
        Product { description: "A small, hand-made copper kettle.".to_owned(), ..named("kettle", "Kettle") },
        Product { categories: vec!["Größe M".to_owned()], ..named("shirt", "Shirt") },
        Product { tags: vec!["USB-C".to_owned()], ..named("cable", "Cable") },
    ];
    server.import(products).await;
    let cases: [(&str, &[&str]); 12] = [
        ("copper", &["kettle", "pan"]),
        ("COPP", &["kettle", "pan"]),
        ("opper", &[]),
        ("copper sauce", &["pan"]),
        ("sauce copper", &["pan"]),
        ("copper nothing", &[]),
        ("hand made", &["kettle"]),
        ("hand-made", &["kettle"]),
        ("usb-c", &["cable"]),
        ("größe", &["shirt"]),
        ("18", &["pan"]),
        ("'; -- \"copper\" & | ! * ( ) :", &["kettle", "pan"]),
    ];
    for (query, expected) in cases {
        let mut ids = ids(&search(&server, query, ProductFilter::default()).await);
        ids.sort_unstable();
        assert_eq!(ids, expected, "{query:?}");
    }
    // What was written a moment ago is found, what was deleted is not.
    server.create(named("new", "Copper Lid")).await;
    server.delete("pan").await;
    let mut found = ids(&search(&server, "copper", ProductFilter::default()).await);
    found.sort_unstable();
    assert_eq!(found, ["kettle", "new"]);
    server.stop().await;
}

async fn words_of_other_scripts_and_with_accents_match(database: &Database) {
    let server = Server::start(database).await;
    let products = [
        ("french", "Crème brûlée"),
        ("decomposed", "Cre\u{300}me bru\u{302}le\u{301}e"),
        ("german", "Straßenkreide"),
        ("greek", "Κούπα ΟΔΟΣ"),
        ("turkish", "İstanbul IŞIKLI"),
        ("hindi", "हिन्दी केतली"),
        ("thai", "กาต้มน้ำชาทองแดง"),
        ("khmer", "កំសៀវតែទង់ដែង"),
        ("chinese", "四杯装铜制茶壶"),
        ("japanese", "ガス火対応ケトル"),
        ("korean", "구리 주전자"),
    ];
    server.import(products.map(|(id, name)| named(id, name))).await;
    let cases: [(&str, &[&str]); 16] = [
        ("creme brulee", &["decomposed", "french"]),
        ("BRÛL", &["decomposed", "french"]),
        ("bru\u{302}", &["decomposed", "french"]),
        ("STRASSEN", &["german"]),
        ("οδος", &["greek"]),
        ("οδό", &["greek"]),
        ("istanbul ışıklı", &["turkish"]),
        ("İST işi", &["turkish"]),
        ("हिन", &["hindi"]),
        ("केतली", &["hindi"]),
        ("น้ำชา", &["thai"]),
        ("តែ", &["khmer"]),
        ("茶壶", &["chinese"]),
        ("ケトル", &["japanese"]),
        ("カ\u{3099}ス", &["japanese"]),
        ("주전", &["korean"]),
    ];
    for (query, expected) in cases {
        let mut ids = ids(&search(&server, query, ProductFilter::default()).await);
        ids.sort_unstable();
        assert_eq!(ids, expected, "{query:?}");
    }
    server.stop().await;
}

async fn a_pasted_title_finds_its_product(database: &Database) {
    let server = Server::start(database).await;
    let title = "Hand-Hammered Copper Tea Kettle, 2.5 Litre, for Gas, Electric & Induction Hobs, with Wooden Handle, \
                 Whistling Spout, Tin-Lined Interior and Lid, Includes Matching Trivet, Gift-Boxed, Polished, Dishwasher-Unsafe";
    server
        .import([named("wanted", title), named("pan", "Copper pan for gas and electric hobs"), named("lid", "Lid")])
        .await;
    assert_eq!(ids(&search(&server, title, ProductFilter::default()).await), ["wanted"]);
    let other = format!("{} | from the best of shops", title.replace("Whistling", "Singing"));
    assert_eq!(ids(&search(&server, &other, ProductFilter::default()).await)[0], "wanted");
    server.stop().await;
}

async fn the_best_match_comes_first(database: &Database) {
    let server = Server::start(database).await;
    let filler = "Words that nobody looks for stand here in some number, so that all have some length.";
    let products = [
        Product { description: format!("Its lid is of copper. {filler}"), ..named("a-text", "Pot") },
        Product { description: filler.to_owned(), tags: vec!["copper".to_owned()], ..named("b-tag", "Pot") },
        Product { description: filler.to_owned(), ..named("c-name", "Copper pot") },
    ];
    server.import(products).await;
    let found = ids(&search(&server, "copper", ProductFilter::default()).await);
    assert_eq!(found, ["c-name", "b-tag", "a-text"], "the name counts most, then tags, then the description");
    server.stop().await;
}

async fn a_filter_narrows_a_search(database: &Database) {
    let server = Server::start(database).await;
    let products = [("a", true), ("b", false)].map(|(id, in_stock)| Product {
        in_stock,
        categories: vec!["pans".to_owned()],
        ..named(id, "Copper pan")
    });
    server.import(products.into_iter().chain([named("c", "Copper wire")])).await;
    let pans = ProductFilter { category: "pans".to_owned(), ..Default::default() };
    let mut found = ids(&search(&server, "copper", pans.clone()).await);
    found.sort_unstable();
    assert_eq!(found, ["a", "b"]);
    let in_stock = ProductFilter { in_stock: Some(true), ..pans };
    assert_eq!(ids(&search(&server, "copper", in_stock).await), ["a"]);
    server.stop().await;
}

async fn pages_of_a_search_hold_each_match_once(database: &Database) {
    let server = Server::start(database).await;
    // Many of the same rank, and some better ones.
    let products = (0..60).map(|number| {
        let name = if number % 10 == 0 { "Copper copper copper" } else { "Copper pan" };
        named(&format!("p{number:02}"), name)
    });
    server.import(products.chain([named("x", "Iron pan")])).await;
    let whole = ids(&page(&server, 1_000, "").await);
    assert_eq!(whole.len(), 60);
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&server, 7, &token).await;
        assert!(page.products.len() <= 7);
        paged.extend(ids(&page));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    assert_eq!(paged, whole);
    server.stop().await;
}

async fn search(server: &Server, query: &str, filter: ProductFilter) -> SearchProductsResponse {
    let request = SearchProductsRequest { query: query.to_owned(), filter: Some(filter), ..Default::default() };
    server.client().search_products(request).await.expect("a search").into_inner()
}

async fn page(server: &Server, page_size: i32, page_token: &str) -> SearchProductsResponse {
    let request = SearchProductsRequest {
        query: "copper".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    server.client().search_products(request).await.expect("a page").into_inner()
}

fn ids(reply: &SearchProductsResponse) -> Vec<String> {
    reply.products.iter().map(|product| product.id.clone()).collect()
}
