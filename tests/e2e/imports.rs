//! Imports by stream.

use larder_proto::catalog::{
    ImportProductsRequest, ImportProductsResponse, ListProductsRequest, Product, ReadOptions, RejectedProduct,
    read_options::Consistency,
};
use tokio::{runtime::Runtime, sync::oneshot};
use tonic::Code;

use crate::harness::{
    Client, Database, Raw, Refusal, Server, connect, framed, named, on_both_databases, product, refusal, user_fields,
};

on_both_databases!(
    an_import_counts_what_it_did,
    a_broken_stream_keeps_what_came_before,
    an_abandoned_stream_keeps_what_was_reported,
    twenty_thousand_products_are_imported,
);

async fn an_import_counts_what_it_did(database: &Database) {
    let server = Server::start(database).await;
    for id in ["same", "old"] {
        server.create(product(id)).await;
    }
    // Copies of what the import changes.
    for id in ["same", "old"] {
        server.get(id).await;
    }
    let new = named("new", "New");
    let requests = [
        (10, product("same")),
        (11, Product { name: "Replaced".to_owned(), ..product("old") }),
        (12, new.clone()),
        (13, Product { name: String::new(), tags: vec!["t".to_owned(), "t".to_owned()], ..product("bad") }),
        (0, named("", "Without an id")),
        (15, named("twice", "First")),
        (16, named("twice", "Second")),
        (17, named("not an id", "Bad id")),
        (18, named("last", "Last")),
    ];
    let reports = import(&server, requests).await;
    let last = reports.last().expect("a report");
    let counts = (last.created, last.updated, last.unchanged, last.rejected);
    assert_eq!(counts, (3, 2, 1, 3), "the second of the two `twice` replaces the first");
    assert_eq!(last.through_line, 18);
    let rejections: Vec<_> = reports.iter().flat_map(|report| &report.rejections).collect();
    let lines: Vec<_> = rejections.iter().map(|rejected| (rejected.line, rejected.id.as_str())).collect();
    assert_eq!(
        lines,
        [(13, "bad"), (14, ""), (17, "not an id")],
        "each once, with the line it has or is counted to have"
    );
    for (rejected, fields) in rejections.iter().zip([&["name", "tags[1]"][..], &["id"], &["id"]]) {
        for field in fields {
            assert!(rejected.reason.contains(&format!("{field}: ")), "{rejected:?}");
        }
    }
    for pair in reports.windows(2) {
        assert!(pair[0].through_line <= pair[1].through_line, "{reports:?}");
    }

    assert_eq!(server.get("old").await.product.expect("a product").name, "Replaced");
    assert_eq!(user_fields(server.get("new").await.product.expect("a product")), new);
    assert_eq!(server.get("twice").await.product.expect("a product").name, "Second");
    let read = ReadOptions { consistency: Some(Consistency::AtLeastAsFresh(last.token.clone())), ..Default::default() };
    server.read("last", Some(read)).await.expect("the token is good for reads");

    let empty = import(&server, []).await;
    assert_eq!(empty, [ImportProductsResponse::default()], "an empty stream is reported, too");
    server.stop().await;
}

async fn a_broken_stream_keeps_what_came_before(database: &Database) {
    let server = Server::start(database).await;
    let mut raw = Raw::connect(server.address()).await;
    let mut body = Vec::new();
    for id in ["a", "b", "c"] {
        let request = ImportProductsRequest { product: Some(product(id)), line: 0 };
        body.extend_from_slice(&framed(prost::Message::encode_to_vec(&request)));
    }
    body.extend_from_slice(&framed(b"\xff\xff\xff\xff"));
    let reply = raw.send(raw.method("ImportProducts"), body).await;
    assert_eq!(refusal(&reply.status()), Refusal::of(Code::InvalidArgument, "MALFORMED_MESSAGE"));
    let report: ImportProductsResponse = prost::Message::decode(&reply.body[5..]).expect("one report");
    assert_eq!((report.created, report.through_line), (3, 3), "what came before is committed and reported");
    for id in ["a", "b", "c"] {
        server.get(id).await;
    }
    server.stop().await;
}

async fn an_abandoned_stream_keeps_what_was_reported(database: &Database) {
    let server = Server::start(database).await;
    let (address, (sender, reported)) = (server.address(), oneshot::channel());
    // A client that goes with its connection: its runtime is taken from under it.
    let runtime = Runtime::new().expect("a runtime for the client");
    runtime.spawn(async move {
        let endless =
            (1..).map(|line| ImportProductsRequest { product: Some(named(&format!("p{line:05}"), "Product")), line });
        let mut client = Client::new(connect(address).await);
        let stream = client.import_products(tokio_stream::iter(endless)).await.expect("an import");
        let mut stream = stream.into_inner();
        let mut through_line = 0;
        while through_line < 1_000 {
            through_line = stream.message().await.expect("a report").expect("a report").through_line;
        }
        sender.send(through_line).expect("the test to wait");
        std::future::pending::<()>().await;
    });
    let reported = reported.await.expect("a report");
    runtime.shutdown_background();
    for number in [1, reported / 2, reported] {
        server.get(&format!("p{number:05}")).await;
    }
    let request = ListProductsRequest { include_total_size: true, page_size: 1, ..Default::default() };
    let listed = server.client().list_products(request).await.expect("a page").into_inner();
    assert!(listed.total_size.is_some_and(|total| total >= i64::try_from(reported).expect("a small number")));
    server.stop().await;
}

async fn twenty_thousand_products_are_imported(database: &Database) {
    const COUNT: u64 = 20_000;
    let server = Server::start(database).await;
    let generated = || larder_cli::generate::generate(7, COUNT);
    let first = server.import(generated()).await;
    assert_eq!((first.created, first.updated, first.unchanged, first.rejected), (COUNT, 0, 0, 0), "{first:?}");
    assert_eq!(first.through_line, COUNT);
    let request = ListProductsRequest { include_total_size: true, ..Default::default() };
    let listed = server.client().list_products(request).await.expect("a page").into_inner();
    assert_eq!(listed.total_size, i64::try_from(COUNT).ok());
    for product in generated().step_by(997) {
        let stored = server.get(&product.id).await.product.expect("a product");
        assert_eq!(user_fields(stored), user_fields(product));
    }
    let second = server.import(generated()).await;
    assert_eq!((second.created, second.updated, second.unchanged), (0, 0, COUNT), "{second:?}");
    server.stop().await;
}

async fn import(server: &Server, products: impl IntoIterator<Item = (u64, Product)>) -> Vec<ImportProductsResponse> {
    let requests: Vec<_> =
        products.into_iter().map(|(line, product)| ImportProductsRequest { product: Some(product), line }).collect();
    let mut client = server.client();
    let mut stream = client.import_products(tokio_stream::iter(requests)).await.expect("an import").into_inner();
    let mut reports = Vec::new();
    while let Some(report) = stream.message().await.expect("the import to go on") {
        let told: Vec<&RejectedProduct> = report.rejections.iter().collect();
        assert!(told.iter().all(|rejected| rejected.line <= report.through_line), "{report:?}");
        reports.push(report);
    }
    reports
}
