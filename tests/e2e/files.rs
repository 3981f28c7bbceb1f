//! `larder import` of files as people have them, against a server.

use std::fmt::Write as _;

use larder_proto::google_type::Money;
use larder_test_servers::TempDir;

use crate::harness::{Database, Process, Ran};

/// A server, and a place for files.
struct Place {
    process: Process,
    /// Its files are there as long as this is.
    _database: Database,
    directory: TempDir,
}

impl Place {
    async fn new() -> Self {
        let database = Database::sqlite();
        Self { process: Process::start(&database).await, _database: database, directory: TempDir::new("files") }
    }

    async fn import(&self, name: &str, bytes: impl AsRef<[u8]>, flags: &[&str]) -> Ran {
        let path = self.directory.join(name);
        std::fs::write(&path, bytes).expect("a file");
        self.process.larder(&[&["import", path.to_str().expect("a path")], flags].concat()).await
    }

    /// Imports a file that is refused, and returns the exit code and what was told.
    async fn refused(&self, name: &str, bytes: impl AsRef<[u8]>, flags: &[&str]) -> (Option<i32>, String) {
        let Ran { code, out, err } = self.import(name, bytes, flags).await;
        assert_eq!(out, "", "{err}");
        (code, err)
    }

    async fn name(&self, id: &str) -> String {
        self.product(id).await.name
    }

    async fn product(&self, id: &str) -> larder_proto::catalog::Product {
        let request = larder_proto::catalog::GetProductRequest { id: id.to_owned(), read: None };
        let reply = self.process.client().get_product(request).await.expect("the product");
        reply.into_inner().product.expect("a product")
    }
}

/// What was printed, without the time it took.
fn counts(out: &str) -> &str {
    out.rsplit_once(", in ").map_or(out, |(counts, _)| counts)
}

#[tokio::test]
async fn the_screen_shows_the_first_rejections_and_the_file_all() {
    let place = Place::new().await;
    let rejects = place.directory.join("rejects.jsonl");
    let lines: Vec<String> = (0..2_000).map(|number| format!("{{\"id\": \"p{number}\"}}")).collect();
    let ran = place.import("bad.jsonl", lines.join("\n"), &["--rejects", rejects.to_str().expect("a path")]).await;
    assert_eq!(ran.code, Some(65), "{}", ran.err);
    assert_eq!(ran.err.matches(" rejected: ").count(), 20, "{}", ran.err);
    assert!(ran.err.contains("larder: 1980 further rejections are not shown\n"), "{}", ran.err);
    assert!(ran.out.contains("2000 rejected"), "{}", ran.out);
    let lines: Vec<u64> = std::fs::read_to_string(&rejects)
        .expect("a file of rejections")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["line"].as_u64().expect("a line"))
        .collect();
    assert_eq!(lines, (1..=2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn tables_are_imported_as_far_as_they_are_whole() {
    let place = Place::new().await;
    let mut text = "sep=;\r\nid;name;price;currency;;\r\nfirst;\"First;1;EUR;;\r\n".to_owned();
    for number in 0..2_000 {
        write!(text, "p{number};P {number}; 12.50;EUR;;\r\n").expect("text");
    }
    text += "last;\"Last, and \"\"least\"\"\";.99;EUR;;\r\nbad;Bad;1,234;EUR;;\r\n";
    let Ran { code, out, err } = place.import("stray.csv", &text, &[]).await;
    assert_eq!(code, Some(65), "{err}");
    assert_eq!(counts(&out), "2003 lines: 2001 created, 0 updated, 0 unchanged, 2 rejected");
    assert_eq!(
        err,
        "larder: line 3 rejected: name: text follows the closing quote (within a field, a quote is written \"\")\n\
         larder: line 2005 (bad) rejected: price: \"1,234\" is not an amount such as 12.50\n\
         larder: 2 lines were rejected\n  hint: --rejects PATH writes them to a file\n"
    );
    assert_eq!(place.name("last").await, "Last, and \"least\"");
    let amount = |units, nanos| Some(Money { currency_code: "EUR".into(), units, nanos });
    assert_eq!(place.product("last").await.price, amount(0, 990_000_000));
    assert_eq!(place.product("p1999").await.price, amount(12, 500_000_000));

    let long = format!("id\tname\tdescription\rlong\tLong\t\"{}\"\r", "x\r".repeat(150));
    let Ran { code, err, .. } = place.import("long.tsv", long, &[]).await;
    assert_eq!(code, Some(0));
    assert_eq!(err, "larder: warning: line 2: the row has 151 lines; is a quote missing that closes a field?\n");

    let utf_16: Vec<u8> = "\u{feff}id,name\na,A\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        place.refused("wide.csv", utf_16, &[]).await,
        (
            Some(65),
            "larder: the file is UTF-16, not UTF-8 text\n  hint: convert it: iconv -f UTF-16 -t UTF-8 FILE > utf-8.csv \
             (a spreadsheet saves it as \"CSV UTF-8\")\n"
                .to_owned()
        )
    );
    let columns: Vec<String> = (0..3_000).map(|number| format!("c{number}")).collect();
    assert_eq!(
        place.refused("other.csv", format!("id,name,{}\na,A\n", columns.join(",")), &[]).await,
        (
            Some(65),
            "larder: the header: unknown columns: \"c0\", \"c1\", \"c2\", \"c3\", \"c4\" and 2995 more\n  hint: --map \
             FIELD=COLUMN takes one for a field, --ignore-unknown leaves all of them out\n"
                .to_owned()
        )
    );
    let mapped = ["--map", "id=Nr", "--map", "name=Titel", "--map", "price=Preis", "--currency", "EUR"];
    let Ran { code, out, err } = place.import("own.csv", "Nr;Titel;Preis;Rest\nm1;Tee;3,50;x\n", &mapped).await;
    assert_eq!((code, counts(&out)), (Some(0), "1 line: 1 created, 0 updated, 0 unchanged, 0 rejected"));
    assert_eq!(
        err,
        "larder: a file; takes id from Nr, name from Titel, price_amount from Preis; leaves out \"Rest\"\n"
    );
    assert_eq!(place.product("m1").await.price, amount(3, 500_000_000));
}

#[tokio::test]
async fn the_exports_of_shops_are_imported() {
    let place = Place::new().await;
    let shopify = "\u{feff}Handle,Title,Body (HTML),Vendor,Type,Tags,Variant Inventory Qty,Variant Price,Image Src,Status\n\
        kettle,Kettle,\"<p>Boils.</p>\n<p>1 l</p>\",Maker,Kitchen,\"steel, new\",0,19.90,https://shop.test/k.jpg,active\n\
        kettle,,,,,,3,24.90,,\ndraft,Draft,,,,,1,1,,draft\nbroken,\"5\" pipe\",,,,,1,1,,active\ncup,Cup,,,,,5,.99,,active\n";
    let Ran { code, out, err } = place.import("shopify.csv", shopify, &["--currency", "EUR"]).await;
    assert_eq!(code, Some(65), "{err}");
    assert_eq!(
        counts(&out),
        "3 lines (1 more of variants and images, 1 unpublished and left out): 2 created, 0 updated, 0 unchanged, 1 rejected"
    );
    assert!(err.starts_with("larder: a file of Shopify; takes id from Handle, name from Title, "), "{err}");
    assert!(err.contains("larder: line 6 rejected: Title: text follows the closing quote"), "{err}");
    assert!(place.product("kettle").await.in_stock);
    assert_eq!(
        place.refused("shopify.csv", shopify, &[]).await,
        (
            Some(65),
            "larder: the header: the amounts of \"Variant Price\" have no currency\n  hint: --currency EUR says it, or --map \
             price_currency=COLUMN the column that holds it\n"
                .to_owned()
        )
    );

    let woo = "ID,Type,SKU,Name,Published,Description,\"In stock?\",\"Regular price\",Categories,Tags,Images\n\
        11,simple,T-1,Tea,1,\"A\nB\",1,12.5,\"Drinks > Tea, Gifts\",,\"https://s.test/a.jpg, https://s.test/b.jpg\"\n";
    let Ran { code, err, .. } = place.import("woo.csv", woo, &["--currency", "EUR"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(place.product("11").await.categories, ["Drinks > Tea", "Gifts"]);

    let more: Vec<String> = (0..200).map(|number| format!("n{number}_100g")).collect();
    let food = format!(
        "code\tproduct_name\tcategories_tags\t{}\n301\t\"Best\" tea\ten:teas{empty}\n302\t\"Open\ten:teas{empty}\n303\t\ten:x{empty}\n",
        more.join("\t"),
        empty = "\t".repeat(200),
    );
    let Ran { code, out, err } = place.import("food.tsv", food, &[]).await;
    assert_eq!((code, counts(&out)), (Some(65), "3 lines: 2 created, 0 updated, 0 unchanged, 1 rejected"), "{err}");
    assert!(err.contains("larder: line 4 (303) rejected: name: is required"), "{err}");
    assert!(err.lines().all(|line| line.len() < 400), "{err}");
    assert_eq!((place.name("301").await, place.name("302").await), ("\"Best\" tea".to_owned(), "\"Open".to_owned()));
}

#[tokio::test]
async fn json_is_imported_in_every_layout() {
    let place = Place::new().await;
    let boutique = r#"{
    "products": [
        {
            "id": "KETTLE01",
            "name": "Kettle",
            "picture": "/static/img/products/kettle.jpg",
            "priceUsd": { "currencyCode": "USD", "units": 19, "nanos": 990000000 },
            "categories": ["kitchen"]
        },
        {
            "id": "MUG01",
            "nam": "Mug"
        }
    ]
}"#;
    let Ran { code, out, err } = place.import("products.json", boutique, &[]).await;
    assert_eq!((code, counts(&out)), (Some(65), "2 lines: 1 created, 0 updated, 0 unchanged, 1 rejected"), "{err}");
    assert!(err.starts_with("larder: line 10 rejected: unrecognized field name 'nam' (line 12, column 17)\n"), "{err}");
    let kettle = place.product("KETTLE01").await;
    assert_eq!(kettle.image_url, "/static/img/products/kettle.jpg");
    assert_eq!(kettle.price, Some(Money { currency_code: "USD".into(), units: 19, nanos: 990_000_000 }));

    // Several products on one line, each rejected or stored for itself.
    let flat = r#"[{"id":"a","name":"A"},{"id":"b c","name":"B"},{"id":"c","name":"C"},{"id":"d","name":""}]"#;
    let Ran { code, out, err } = place.import("flat.json", flat, &["--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&out).expect("the counts");
    assert_eq!(
        (code, &told["created"], &told["rejected"], &told["through_line"]),
        (Some(65), &2.into(), &2.into(), &1.into())
    );
    assert!(err.contains("larder: line 1 (b c) rejected: id: must be"), "{err}");
    assert!(err.contains("larder: line 1 (d) rejected: name: is required"), "{err}");
    assert_eq!(place.name("c").await, "C");
}
