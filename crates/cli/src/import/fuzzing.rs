//! Files of products for fuzzing.

use larder_server::{contract::parse_import, json::to_json};

use super::{CsvArgs, Format, Product, Record, Records, encoding};
use crate::csv;

/// Reads bytes as a CSV file.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn import_csv(input: &[u8]) {
    let euros = CsvArgs { currency: Some("EUR".to_owned()), ignore_unknown: true, ..CsvArgs::default() };
    for args in [CsvArgs::default(), euros] {
        check(input, Format::Csv, &args);
    }
}

/// Reads bytes as a file of JSON.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn import_json(input: &[u8]) {
    check(input, Format::Jsonl, &CsvArgs::default());
}

/// Every byte belongs to at most one record, in their order; and what is imported is exported such that it is imported again.
fn check(input: &[u8], format: Format, args: &CsvArgs) {
    let (mut line, mut end) = (0, 0);
    for record in records(input, format, args) {
        // An array that is not closed is told of at its end, where its last product ends too.
        let lines = format == Format::Jsonl;
        assert!(record.line > line || lines && record.line >= line, "line {} again", record.line);
        assert!(record.end > end || lines && record.end >= end, "byte {} again", record.end);
        assert!(record.end <= input.len() as u64);
        assert!(record.last_line + 1 >= record.line);
        (line, end) = (record.line.max(record.last_line), record.end);
        let Ok(product) = record.product else { continue };
        if parse_import(product.clone()).is_ok() {
            returns(&product, Format::Jsonl, &to_json(&product).expect("what was imported can be exported"));
            returns(&product, Format::Csv, &(csv::header() + &csv::row(&product)));
        }
    }
}

fn returns(product: &Product, format: Format, text: &str) {
    let mut read = records(text.as_bytes(), format, &CsvArgs::default());
    let record = read.next().expect("an export is no empty file");
    let mut read_back = record.product.unwrap_or_else(|reason| panic!("{reason}: {text}"));
    if format == Format::Csv {
        // They have no column.
        read_back.create_time = product.create_time;
        read_back.update_time = product.update_time;
        read_back.etag.clone_from(&product.etag);
    }
    assert_eq!(&read_back, product, "{text}");
    assert!(read.next().is_none(), "one product: {text}");
}

fn records<'a>(input: &'a [u8], format: Format, args: &CsvArgs) -> impl Iterator<Item = Record> + use<'a> {
    let text = encoding::text(input).ok();
    let mut records = text.and_then(|text| Records::open(text, format, 1, args).ok());
    std::iter::from_fn(move || records.as_mut()?.next().expect("memory can be read"))
}
