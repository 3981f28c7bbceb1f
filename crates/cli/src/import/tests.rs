//! Files as people have them, read record by record.

mod memory;
mod random;

use std::fmt::Write as _;

use larder_proto::{catalog::Product, google_type::Money};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    super::{CliError, csv},
    args::CsvArgs,
    encoding,
    lines::LONGEST,
    records::{Format, Passed, Record, Records},
};

/// What a file holds: the records, and what was passed over.
fn read_with(text: &[u8], format: Format, args: &CsvArgs, from_line: u64) -> Result<(Vec<Record>, Passed), String> {
    let failed = |error| match error {
        CliError::Failed(failure) => failure.message,
        CliError::BrokenPipe => "broken pipe".to_owned(),
    };
    let text = encoding::text(text).map_err(failed)?;
    let mut records = Records::open(text, format, from_line, args).map_err(failed)?;
    let all = std::iter::from_fn(|| records.next().unwrap()).collect();
    Ok((all, records.passed()))
}

/// Lines, ids and reasons.
fn told(records: Vec<Record>) -> Vec<(u64, Result<String, String>)> {
    records.into_iter().map(|record| (record.line, record.product.map(|product| product.id))).collect()
}

fn csv(text: impl AsRef<[u8]>) -> Vec<(u64, Result<String, String>)> {
    told(read_with(text.as_ref(), Format::Csv, &CsvArgs::default(), 1).unwrap().0)
}

fn json(text: impl AsRef<[u8]>) -> Vec<(u64, Result<String, String>)> {
    told(read_with(text.as_ref(), Format::Jsonl, &CsvArgs::default(), 1).unwrap().0)
}

fn products(text: &str, format: Format, args: &CsvArgs) -> Vec<Product> {
    let records = read_with(text.as_bytes(), format, args, 1).unwrap().0;
    records.into_iter().map(|record| record.product.unwrap()).collect()
}

fn header_error(text: impl AsRef<[u8]>, args: &CsvArgs) -> String {
    read_with(text.as_ref(), Format::Csv, args, 1).unwrap_err()
}

fn ok(line: u64, id: &str) -> (u64, Result<String, String>) {
    (line, Ok(id.to_owned()))
}

fn bad(line: u64, reason: &str) -> (u64, Result<String, String>) {
    (line, Err(reason.to_owned()))
}

fn euros() -> CsvArgs {
    CsvArgs { currency: Some("EUR".to_owned()), ..CsvArgs::default() }
}

mod tables {
    use super::*;

    #[test]
    fn a_stray_quote_costs_its_row() {
        let mut text = "id,name,description\na,\"A,5\n".to_owned();
        for number in 0..2_000 {
            writeln!(text, "p{number},P,").unwrap();
        }
        // The quote of the last row would close the first one's.
        for last in ["z,\"Z, the last\",9\n", "z,Z 5\",9\n", "z,Z,\"9\"\n", "\"z\",Z,9\n", "z,Z,9\n"] {
            let read = csv(format!("{text}{last}"));
            assert_eq!(read.len(), 2_002, "{last}");
            let reason = read[0].1.as_ref().unwrap_err();
            assert!(reason.starts_with("name: ") && reason.contains("quote"), "{reason}");
            assert_eq!(read[0].0, 2);
            assert!(read[1..].iter().zip(3..).all(|(read, line)| read.1.is_ok() && read.0 == line), "{last}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_one_row() {
        let mut text = b"id,name\na,\"A\n".to_vec();
        for number in 0..200_000 {
            text.extend_from_slice(format!("p{number},P\n").as_bytes());
        }
        let read = csv(&text);
        assert_eq!(read.len(), 200_001);
        assert_eq!(read[0], bad(2, "name: a quote is opened and not closed"));
        assert!(read[1..].iter().all(|record| record.1.is_ok()));
    }

    #[test]
    fn broken_rows_cost_themselves() {
        let text =
            "id,name,in_stock\na,\"A\" and more,1\nb,\"B \"x\" y\",1\nc,C\nd,D,,1\ne,\"E\nE2\",perhaps\nf,F,yes,,\n";
        let after_quote = "name: text follows the closing quote (within a field, a quote is written \"\")";
        assert_eq!(
            csv(text),
            [
                bad(2, after_quote),
                bad(3, after_quote),
                bad(4, "the row has 2 fields, the header has 3"),
                bad(5, "the row has 4 fields, the header has 3"),
                bad(
                    6,
                    "in_stock: \"perhaps\" is neither true nor false, nor a number of pieces; the row ends on line 7"
                ),
                ok(8, "f"),
            ]
        );
    }

    #[test]
    fn a_broken_row_of_several_lines_is_one() {
        let text = "id,name,description,tags\na,A,\"<p class=\"x\">\none\ntwo, and three\n</p>\",t\n\
                    b,B,\"1\n2\n3\n4\n5\",t\nc,C,,t\nd,D,\"1\n\n2,3,4\n,\",t\n";
        let read = csv(text);
        assert_eq!(read[0].0, 2);
        assert!(read[0].1.as_ref().unwrap_err().ends_with("; the row ends on line 5"), "{read:?}");
        assert_eq!(read[1..], [ok(6, "b"), ok(11, "c"), ok(12, "d")]);
    }

    #[test]
    fn a_row_of_many_lines_is_warned_about() {
        let long = |lines: usize| format!("id,name,description\na,A,\"{}\"\nb,B,\n", "text\n".repeat(lines - 1));
        let (records, _) = read_with(long(101).as_bytes(), Format::Csv, &CsvArgs::default(), 1).unwrap();
        let warning = "line 2: the row has 101 lines; is a quote missing that closes a field?";
        assert_eq!(records[0].warning.as_deref(), Some(warning));
        assert!(records[0].product.is_ok() && records[1].warning.is_none());
        let (records, _) = read_with(long(100).as_bytes(), Format::Csv, &CsvArgs::default(), 1).unwrap();
        assert_eq!(records[0].warning, None);
    }

    #[test]
    fn separators_and_line_ends_are_found_out() {
        for text in [
            "id;name;price_amount;price_currency\na;A, a;12,50;EUR\n",
            "sep=;\nid;name;price_amount;price_currency\na;A, a; 12.50;EUR\n",
            "\"sep=;\"\r\n\r\nid;name;price_amount;price_currency\r\na;A, a;12.5;EUR",
            "id\tname\tprice_amount\tprice_currency\na\tA, a\t12.50\tEUR\n",
            "id,name,price_amount,price_currency,,\ra,\"A, a\",12.50,EUR,,\r",
            "\u{feff}ID, Name ,Price,,Currency\r\n a ,\"A, a\",12.50,,EUR\r\n,,,,\r\n",
        ] {
            let product = products(text, Format::Csv, &CsvArgs::default()).remove(0);
            let price = Money { currency_code: "EUR".into(), units: 12, nanos: 500_000_000 };
            assert_eq!((product.id.as_str(), product.name.as_str()), ("a", "A, a"), "{text}");
            assert_eq!(product.price, Some(price), "{text}");
        }
        let args = CsvArgs { separator: Some(b'|'), list_separator: Some(','), ..CsvArgs::default() };
        assert_eq!(products("id|name|tags\na|A|x, y,,x\n", Format::Csv, &args)[0].tags, ["x", "y"]);
        let lines = "id,name\r\r\ra,A\r\rb,B\r";
        assert_eq!(csv(lines), [ok(4, "a"), ok(6, "b")]);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let header = csv::COLUMNS.join(",");
        for (row, reason) in [
            ("a,b,,EUR,,,,,,", "price_amount: is empty, but there is a price_currency"),
            ("a,b,,,1.00,,,,,", "price_currency: is empty, but there is a price_amount"),
            ("a,b,,EUR,\"1,000\",,,,,", "price_amount: \"1,000\" is not an amount such as 12.50"),
            ("a,b,,,,,,,,perhaps", "in_stock: \"perhaps\" is neither true nor false, nor a number of pieces"),
            ("a,b,,,,,,\"{\"\"a\"\":1}\",,", "attributes: not a JSON object of texts (column 6)"),
        ] {
            assert_eq!(csv(format!("{header}\n{row}\n")), [bad(2, reason)], "{row}");
        }
        assert_eq!(csv(b"id,name\na,\xe4\n"), [bad(2, "name: not UTF-8 text, from byte 1 on")]);
        let long = format!("id,name\na,{}\nb,B\n", "x".repeat(LONGEST));
        assert_eq!(csv(long), [bad(2, "the row is longer than 1048576 bytes"), ok(3, "b")]);
    }

    #[test]
    fn a_bad_header_is_said_shortly() {
        let none = CsvArgs::default();
        for (text, reason) in [
            ("", "there is none: the file is empty"),
            ("{\"id\":1}\n", "the header has only one column, \"{\\\"id\\\":1}\""),
            ("id,name,id\n", "the column id stands there twice"),
            ("id,name,colour\n", "unknown columns: \"colour\""),
            ("sku,title\n", "required columns are missing: id, name; there is \"sku\", \"title\""),
            ("id,name,price\n", "the amounts of \"price\" have no currency"),
            ("id,\"name\n", "field 2: a quote is opened and not closed"),
        ] {
            assert_eq!(header_error(text, &none), format!("the header: {reason}"), "{text}");
        }
        let many: Vec<String> = (0..10_000).map(|number| format!("column {number}")).collect();
        let error = header_error(format!("id,name,{}\n", many.join(",")), &none);
        assert!(error.ends_with("\"column 4\" and 9995 more") && error.len() < 120, "{error}");
        let map = CsvArgs { map: vec![(super::super::args::Field::Column(1), "Titel".to_owned())], ..none };
        assert_eq!(
            header_error("id,Title,x\n", &map),
            "the header: --map names the column \"Titel\", which is not there"
        );
    }

    #[test]
    fn products_come_back_as_they_went() {
        let mut rng = SmallRng::seed_from_u64(7);
        let piece = |rng: &mut SmallRng, least: usize| -> String {
            let pieces =
                ["a", "Z", "\"", ",", "\n", "\r\n", "\r", "\\", "|", "\\|", " ", "ß", "茶", "🍵", "{", ";", "\t"];
            (0..rng.random_range(least..8)).map(|_| pieces[rng.random_range(0..pieces.len())]).collect()
        };
        for number in 0..3_000 {
            let product = Product {
                id: format!("p{number}"),
                name: piece(&mut rng, 0),
                description: piece(&mut rng, 0),
                price: rng.random_bool(0.7).then(|| Money {
                    currency_code: "EUR".into(),
                    units: rng.random_range(0..=i64::MAX),
                    nanos: rng.random_range(0..=999_999_999),
                }),
                categories: (0..rng.random_range(0..4)).map(|_| piece(&mut rng, 1)).collect(),
                tags: (0..rng.random_range(0..4)).map(|_| piece(&mut rng, 1)).collect(),
                attributes: (0..rng.random_range(0..4)).map(|_| (piece(&mut rng, 0), piece(&mut rng, 0))).collect(),
                image_url: piece(&mut rng, 0),
                in_stock: rng.random_bool(0.5),
                ..Product::default()
            };
            let text = csv::header() + &csv::row(&product);
            assert_eq!(products(&text, Format::Csv, &CsvArgs::default()), [product], "{text}");
        }
    }

    #[test]
    fn records_before_a_line_are_skipped() {
        let text = b"id,name\na,\"A\nA\"\nb,B\nc,C\n";
        let (records, passed) = read_with(text, Format::Csv, &CsvArgs::default(), 4).unwrap();
        assert_eq!(told(records), [ok(4, "b"), ok(5, "c")]);
        assert_eq!(passed.skipped, 1);
    }
}

mod shops {
    use super::*;

    const SHOPIFY: &str = "\u{feff}Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Variant SKU,Variant Inventory Qty,\
        Variant Price,Image Src,SEO Title,Status\r\n\
        kettle,Kettle,\"<p class=\"\"x\"\">Boils.</p>\r\n<ul>\r\n<li>1 l</li>\r\n</ul>\",Maker,Kitchen,\"steel, new\",true,K-1,0,19.90,\
        https://shop.test/k.jpg,,active\r\n\
        kettle,,,,,,,K-2,3,24.90,,,\r\nkettle,,,,,,,,,,https://shop.test/k2.jpg,,\r\n\
        draft,Draft,,Maker,Kitchen,,false,D-1,1,1.00,,,draft\r\ndraft,,,,,,,D-2,1,1.00,,,\r\n\
        cup,Cup,,Maker,Kitchen,,true,C-1,5,.99,,,active\r\n\
        mug,Mug,,Maker,Kitchen,,true,M-1,5,n/a,,,active\r\nmug,,,,,,,M-2,5,1.00,,,\r\n\
        lost,,,,,,,L-1,5,1.00,,,\r\n";

    #[test]
    fn a_shopify_export_becomes_products() {
        let (records, passed) = read_with(SHOPIFY.as_bytes(), Format::Csv, &euros(), 1).unwrap();
        let price = |units, nanos| Some(Money { currency_code: "EUR".into(), units, nanos });
        let kettle = Product {
            id: "kettle".into(),
            name: "Kettle".into(),
            description: "<p class=\"x\">Boils.</p>\r\n<ul>\r\n<li>1 l</li>\r\n</ul>".into(),
            price: price(19, 900_000_000),
            categories: vec!["Kitchen".into()],
            tags: vec!["steel".into(), "new".into()],
            attributes: [("vendor".into(), "Maker".into()), ("sku".into(), "K-1".into())].into(),
            image_url: "https://shop.test/k.jpg".into(),
            in_stock: true,
            ..Product::default()
        };
        assert_eq!(records[0].product, Ok(kettle));
        assert_eq!((records[0].line, records[0].last_line), (2, 7));
        assert_eq!(records[1].product.as_ref().unwrap().price, price(0, 990_000_000));
        assert_eq!((records[2].line, records[2].id.as_str()), (11, "mug"));
        assert_eq!(records[2].product, Err("Variant Price: \"n/a\" is not an amount such as 12.50".to_owned()));
        let lost = "Title: is required, but for further rows of the product above";
        assert_eq!((records[3].line, &records[3].product), (13, &Err(lost.to_owned())));
        assert_eq!(records.len(), 4);
        // Nine rows: four records, and these.
        assert_eq!(passed, Passed { skipped: 0, further: 4, unpublished: 1 });
        assert_eq!(
            header_error(SHOPIFY, &CsvArgs::default()),
            "the header: the amounts of \"Variant Price\" have no currency"
        );
    }

    #[test]
    fn an_import_of_variants_goes_on_between_products() {
        let (records, passed) = read_with(SHOPIFY.as_bytes(), Format::Csv, &euros(), 8).unwrap();
        assert_eq!(records[0].id, "cup");
        assert_eq!((passed.skipped, passed.unpublished), (1, 1));
    }

    #[test]
    fn a_woocommerce_export_becomes_products() {
        let text = "ID;Type;SKU;Name;Published;\"Short description\";Description;\"In stock?\";\"Regular price\";Categories;Tags;\
            Images;Parent\n\
            11;simple;T-1;\"Tea, green\";1;Short;;1;12,5;\"Drinks > Tea, Gifts\\, small\";\"a, b\";\
            \"https://shop.test/a.jpg, https://shop.test/b.jpg\";\n\
            12;variable;;Shirt;1;;Long;backorder;;Clothing;;;\n13;variation;;Shirt - Blue;1;;;7;9;;;;id:12\n\
            14;simple;;Hidden;-1;;;1;1;;;;\n;simple;only-sku;Cap;1;;;0;5;;;;\n";
        let (records, passed) = read_with(text.as_bytes(), Format::Csv, &euros(), 1).unwrap();
        let tea = Product {
            id: "11".into(),
            name: "Tea, green".into(),
            description: "Short".into(),
            price: Some(Money { currency_code: "EUR".into(), units: 12, nanos: 500_000_000 }),
            categories: vec!["Drinks > Tea".into(), "Gifts, small".into()],
            tags: vec!["a".into(), "b".into()],
            attributes: [("sku".into(), "T-1".into()), ("type".into(), "simple".into())].into(),
            image_url: "https://shop.test/a.jpg".into(),
            in_stock: true,
            ..Product::default()
        };
        assert_eq!(records[0].product, Ok(tea));
        let ids: Vec<(&str, bool)> =
            records.iter().map(|record| (record.id.as_str(), record.product.as_ref().unwrap().in_stock)).collect();
        assert_eq!(ids, [("11", true), ("12", false), ("13", true), ("only-sku", false)]);
        assert_eq!(passed, Passed { skipped: 0, further: 0, unpublished: 1 });
    }

    #[test]
    fn open_food_facts_becomes_products_whatever_its_quotes() {
        let more: Vec<String> = (0..200).map(|number| format!("nutrient{number}_100g")).collect();
        let mut text = format!(
            "code\turl\tproduct_name\tgeneric_name\tquantity\tbrands\tcategories_tags\tlabels_tags\timage_url\t{}\n",
            more.join("\t")
        );
        let empty = "\t".repeat(200);
        for (code, name) in
            [("1", "Plain"), ("2", "\"Best\" tea"), ("3", "\"Open"), ("4", "12\" pizza"), ("5", ""), ("6", "Last")]
        {
            writeln!(text, "{code}\thttp://x.test\t{name}\t\t1 l\tBrand\ten:teas,en:teas,en:drinks\t\t{empty}")
                .unwrap();
        }
        let (records, _) = read_with(text.as_bytes(), Format::Csv, &CsvArgs::default(), 1).unwrap();
        let names: Vec<&str> = records.iter().map(|record| record.product.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(names, ["Plain", "\"Best\" tea", "\"Open", "12\" pizza", "", "Last"]);
        let first = records[0].product.as_ref().unwrap();
        assert_eq!(first.categories, ["en:teas", "en:drinks"]);
        assert_eq!(first.attributes["brands"], "Brand");
    }
}

mod documents {
    use super::*;

    #[test]
    fn what_is_no_product_does_not_end_the_file() {
        let mut text = b"{\"id\":\"a\"}\n\n{\"id\":\nnonsense\n{\"id\":\"\xFF\"}\n".to_vec();
        text.extend_from_slice(format!("{{\"id\":\"{}\"}}", "x".repeat(LONGEST)).as_bytes());
        text.extend_from_slice(b"\r\n {\"id\":\"b\"} {\"id\":\"c\"}");
        let read = json(&text);
        assert_eq!(read[0], ok(1, "a"));
        assert_eq!(read[1].0, 3);
        assert_eq!(read[2], bad(4, "not a product, which is a JSON object in braces"));
        assert_eq!(read[3], bad(5, "not UTF-8 text, from byte 8 on"));
        assert_eq!(read[4], bad(6, "the product is longer than 1048576 bytes"));
        assert_eq!(read[5..], [ok(7, "b"), ok(7, "c")]);
    }

    #[test]
    fn every_layout_is_read() {
        for text in [
            "{\"id\":\"a\"}\n{\"id\":\"b\"}\n",
            "{\"id\":\"a\"}\r{\"id\":\"b\"}",
            "\u{feff}[{\"id\":\"a\"},{\"id\":\"b\"}]",
            "[\n  {\n    \"id\": \"a\"\n  },\n  {\n    \"id\": \"b\"\n  }\n]\n",
            "[\n  {\n    \"id\": \"a\"\n  }, {\n    \"id\": \"b\"\n  }\n]\n",
            "{\n  \"id\": \"a\"\n}\n{\n  \"id\": \"b\"\n}\n",
            "{\"products\": [{\"id\":\"a\"}, {\"id\":\"b\"}], \"nextPageToken\": \"]}\"}",
            "{\n  \"products\": [\n{\"id\":\"a\"}\n]\n}\n{\"id\":\"b\"}",
            "[{\"id\":\"a\"}]\n[]\n[{\"id\":\"b\"},]\n",
        ] {
            let ids: Vec<_> = json(text).into_iter().map(|read| read.1).collect();
            assert_eq!(ids, [Ok("a".to_owned()), Ok("b".to_owned())], "{text}");
        }
        assert!(json("").is_empty() && json("[]").is_empty() && json("{\"products\":[]}").is_empty());
    }

    #[test]
    fn a_broken_product_of_an_array_costs_itself() {
        let element = |id: &str, name: &str| format!("  {{\n    \"id\": \"{id}\",\n    \"name\": \"{name}\"\n  }}");
        let array = |broken: &str| format!("[\n{},\n{broken},\n{}\n]\n", element("a", "A"), element("c", "C"));
        for broken in [
            element("b", "B").replace("\"B\"", "\"B"),
            element("b", "5\" pipe"),
            element("b", "B").replace("  }", ""),
            element("b", "B").replace("  }", "  ]"),
            element("b", "B").replace(',', ""),
            element("b", "B").replace("\"B\"", "12"),
            element("b", "B").replace("\"name\"", "\"title\""),
            "  17".to_owned(),
            "  [{\"id\": \"b\"}]".to_owned(),
        ] {
            let read = json(array(&broken));
            assert_eq!(read.len(), 3, "{broken}: {read:?}");
            assert_eq!((&read[0], read[1].0, &read[2].1), (&ok(2, "a"), 6, &Ok("c".to_owned())), "{broken}");
            let reason = read[1].1.as_ref().unwrap_err();
            assert!(reason.len() < 120, "{reason}");
        }
        let flat = r#"[{"id":"a"},{"id":"b","tags":["x"},{"id":"c"},{"id":"d","name":"5" "},{"id":"e"}]"#;
        let flat: Vec<_> = json(flat).into_iter().map(|read| read.1.ok()).collect();
        assert_eq!(flat, [Some("a".to_owned()), None, Some("c".to_owned()), None, Some("e".to_owned())]);
        assert_eq!(
            json("[\n  {\"id\": \"a\"},\n  {\"id\""),
            [
                ok(2, "a"),
                bad(3, "the file ends within the product"),
                bad(3, "the file ends before its list of products does: is it whole?"),
            ]
        );
    }

    #[test]
    fn errors_name_the_line_of_the_file() {
        let text = "[\n  {\n    \"id\": \"a\",\n    \"colour\": 1\n  }\n]";
        assert_eq!(json(text), [bad(2, "unrecognized field name 'colour' (line 4, column 12)")]);
        let args = CsvArgs { ignore_unknown: true, ..CsvArgs::default() };
        assert_eq!(products(text, Format::Jsonl, &args)[0].id, "a");
    }

    #[test]
    fn the_catalogue_of_online_boutique_is_read() {
        let text = r#"{
            "products": [
                {
                    "id": "KETTLE01",
                    "name": "Kettle",
                    "description": "Boils a litre.",
                    "picture": "/static/img/products/kettle.jpg",
                    "priceUsd": { "currencyCode": "USD", "units": 19, "nanos": 990000000 },
                    "categories": ["kitchen", "tea"]
                },
                { "id": "FREE", "name": "Sticker", "priceUsd": { "currencyCode": "USD" }, "categories": [] }
            ]
        }"#;
        let read = products(text, Format::Jsonl, &CsvArgs::default());
        let kettle = Product {
            id: "KETTLE01".into(),
            name: "Kettle".into(),
            description: "Boils a litre.".into(),
            image_url: "/static/img/products/kettle.jpg".into(),
            price: Some(Money { currency_code: "USD".into(), units: 19, nanos: 990_000_000 }),
            categories: vec!["kitchen".into(), "tea".into()],
            ..Product::default()
        };
        assert_eq!(read[0], kettle);
        assert_eq!(read[1].price, Some(Money { currency_code: "USD".into(), units: 0, nanos: 0 }));
    }

    /// The rows of a script.
    fn script(text: &str) -> Result<Vec<Record>, String> {
        let failed = |error| match error {
            CliError::Failed(failure) => failure.message,
            CliError::BrokenPipe => "broken pipe".to_owned(),
        };
        let text = encoding::text(text.as_bytes()).map_err(failed)?;
        let mut records = Records::of_script(text, 1, &CsvArgs::default()).map_err(failed)?;
        Ok(std::iter::from_fn(|| records.next().unwrap()).collect())
    }

    const COLUMNS: &str = "id, name, description, picture, price_currency_code, price_units, price_nanos, categories";

    #[test]
    fn the_catalogue_of_the_opentelemetry_demo_is_read() {
        let text = format!(
            "-- It's a script; INSERT INTO products (id) VALUES ('no');\n\\connect shop's\nCREATE TABLE catalog.products (id TEXT);\n\
             /* VALUES ('no') */ INSERT INTO other (id) VALUES ('no');\nINSERT INTO catalog.products ({COLUMNS})\nVALUES\n    \
             ('A1', 'It''s; a\n(lamp)', NULL, 'lamp.jpg', 'USD', 101, 960000000, 'lights, gifts,lights'),\n    \
             ('A2', 'Book', '', '', 'USD', 0, 0, ''), -- the last\n    ('A3', 'Gift', '', '', '', NULL, NULL, NULL);\nGRANT SELECT;\n\
             INSERT INTO \"products\" ({COLUMNS}) VALUES ('A4', 'Pen', '', '', 'USD', -1, 0, '') ON CONFLICT DO NOTHING;\n"
        );
        let records = script(&text).unwrap();
        let lines: Vec<_> = records.iter().map(|record| (record.line, record.last_line)).collect();
        assert_eq!(lines, [(7, 8), (9, 8), (10, 9), (12, 11)]);
        let read: Vec<_> = records.into_iter().map(|record| record.product.expect("a product")).collect();
        let lamp = Product {
            id: "A1".into(),
            name: "It's; a\n(lamp)".into(),
            image_url: "lamp.jpg".into(),
            price: Some(Money { currency_code: "USD".into(), units: 101, nanos: 960_000_000 }),
            categories: vec!["lights".into(), "gifts".into()],
            ..Product::default()
        };
        assert_eq!(read[0], lamp);
        assert_eq!(read[1].price, Some(Money { currency_code: "USD".into(), units: 0, nanos: 0 }));
        assert_eq!((&read[2].price, read[3].price.as_ref().map(|price| price.units)), (&None, Some(-1)));
    }

    #[test]
    fn a_broken_row_of_a_script_costs_itself_alone() {
        let row = |id: &str| format!("('{id}', 'N', '', '', 'USD', 1, 0, '')");
        let text = format!(
            "INSERT INTO products ({COLUMNS}) VALUES\n{},\n('b', now(), (1), ''),\n('c', 'N'),\n('d', 'N', '', '', 'USD', 1.5, 0, ''),\n\
             {};\nINSERT INTO products (name, id) VALUES ('N', 'f');\nINSERT INTO products ({COLUMNS}) VALUES {}, ('h', 'N\n",
            row("a"),
            row("e"),
            row("g"),
        );
        let told = told(script(&text).unwrap());
        let reason = |at: usize| told[at].1.clone().expect_err("a broken row");
        assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 8]);
        let ids: Vec<_> = told.iter().filter_map(|(_, id)| id.as_ref().ok()).collect();
        assert_eq!(ids, ["a", "e", "g"]);
        assert_eq!(reason(1), "name: is neither a text in quotes, nor a number, nor NULL");
        assert_eq!(reason(2), "the row has 2 fields, the statement has 8 columns");
        assert_eq!(reason(3), "price_units: \"1.5\" is not a whole number");
        assert!(reason(5).starts_with("the statement has other columns than the first: id, name"), "{}", reason(5));
        assert_eq!(reason(7), "name: a quote is opened and not closed");
        for without in ["", "SELECT 1;", "INSERT INTO products VALUES ('a');", "INSERT INTO products (id)", "'"] {
            let error = script(without).expect_err(without);
            assert!(error.starts_with("the script has no INSERT INTO products"), "{without}: {error}");
        }
    }

    #[test]
    fn nothing_is_committed_before_its_line_is_over() {
        let through = |text: &str| -> Vec<(u64, u64)> {
            let records = read_with(text.as_bytes(), Format::Jsonl, &CsvArgs::default(), 1).unwrap().0;
            records.iter().map(|record| (record.line, record.last_line)).collect()
        };
        assert_eq!(through("{\"id\":\"a\"}\n{\"id\":\"b\"}\n"), [(1, 1), (2, 2)]);
        assert_eq!(through("[{\"id\":\"a\"},\n{\"id\":\"b\"},{\"id\":\"c\"}]\n"), [(1, 1), (2, 1), (2, 1)]);
        assert_eq!(through("[\n{\n},{\n},\n{}]"), [(2, 2), (3, 4), (5, 4)]);
    }
}
