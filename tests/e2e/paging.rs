//! Pages while the catalogue changes.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use larder_proto::{
    catalog::{ListProductsRequest, Product, ProductFilter},
    google_type::Money,
};
use tokio::sync::watch;

use crate::harness::{Client, Database, Server, named, on_both_databases};

on_both_databases!(no_product_is_missed_or_repeated_while_others_come_and_go);

const ORIGINALS: usize = 1_000;
const PAGE: i32 = 7;
/// Changes while the catalogue is walked. They have an end, so that walks by time, which run after what is new, have one.
const CHANGES: usize = 600;

async fn no_product_is_missed_or_repeated_while_others_come_and_go(database: &Database) {
    let server = Server::start(database).await;
    server.import((0..ORIGINALS).map(|number| item("o", number))).await;
    let (sender, changes) = watch::channel(0);
    let walks = async {
        let mut walks: Vec<_> = ["id", "name", "price", "create_time", "update_time"]
            .into_iter()
            .flat_map(|order| [order.to_owned(), format!("{order} desc")])
            .map(|order| walk(server.client(), order, None, changes.clone()))
            .collect();
        let filter = ProductFilter { category: "all".to_owned(), ..Default::default() };
        walks.push(walk(server.client(), "name".to_owned(), Some(filter), changes));
        join_all(walks).await;
    };
    tokio::join!(walks, churn(&server, sender));
    server.stop().await;
}

/// Lets products appear, vanish and stay before and behind the originals, until nobody walks any more.
async fn churn(server: &Server, sender: watch::Sender<usize>) {
    let mut changes = 0;
    while changes < CHANGES && sender.receiver_count() > 0 {
        let number = (changes * 37) % ORIGINALS;
        for kind in ["n", "p"] {
            server.create(item(kind, number)).await;
            sender.send_replace(changes + 1);
            server.delete(&item(kind, number).id).await;
            sender.send_replace(changes + 2);
            changes += 2;
        }
        server.create(Product { id: format!("{number:04}q{changes}"), ..item("q", number) }).await;
    }
    assert!(changes > 100, "the catalogue must change while it is walked");
}

/// Walks through all pages of an order, with a change between any two as long as there are changes, and looks what became
/// of the originals.
async fn walk(
    mut client: Client,
    order_by: String,
    filter: Option<ProductFilter>,
    mut changes: watch::Receiver<usize>,
) {
    let mut request = ListProductsRequest { order_by: order_by.clone(), filter, page_size: PAGE, ..Default::default() };
    let mut seen = BTreeSet::new();
    loop {
        let page = client.list_products(request.clone()).await.expect("a page").into_inner();
        assert!(page.products.len() <= 7, "{order_by}");
        for product in page.products {
            assert!(seen.insert(product.id.clone()), "{order_by}: {} comes twice", product.id);
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // An error means that there are no more.
        let _ = changes.changed().await;
    }
    let missed: Vec<_> = (0..ORIGINALS).map(|number| item("o", number).id).filter(|id| !seen.contains(id)).collect();
    assert!(missed.is_empty(), "{order_by}: {missed:?} are missed");
}

/// Products of the same number are neighbours in every order; the kind tells which comes first.
fn item(kind: &str, number: usize) -> Product {
    Product {
        price: Some(Money {
            currency_code: "EUR".to_owned(),
            units: i64::try_from(number / 3).expect("a small number"),
            nanos: 0,
        }),
        categories: vec!["all".to_owned()],
        ..named(&format!("{number:04}{kind}"), &format!("Name {:04}", number / 2))
    }
}
