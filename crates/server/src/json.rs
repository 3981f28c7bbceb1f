//! Products and other messages as JSON: the mapping of Protobuf (<https://protobuf.dev/programming-guides/json/>), one object
//! a line.

use std::sync::LazyLock;

use larder_proto::{DESCRIPTOR_SET, catalog};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

/// The shapes of all messages, from the descriptor set that this program was built with.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptor set is written by build.rs"));

/// The shape of a product.
static PRODUCT: LazyLock<MessageDescriptor> =
    LazyLock::new(|| POOL.get_message_by_name("larder.catalog.v1.Product").expect("the contract has products"));

/// How to treat fields that a message does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Report an error.
    Refused,
    /// Ignore them.
    Ignored,
}

/// Reads a product. Fields may be named in camel or snake case; an unknown field is an error. The last of several fields with the
/// same name counts.
pub fn from_json(text: &str) -> Result<catalog::Product, String> {
    read(text, Unknown::Refused).map_err(|error| error.reason(1, 0))
}

/// Reads a product of a file, where it begins on `line` behind `column` bytes. It also accepts the field names of Online Boutique.
pub fn from_json_at(text: &str, line: u64, column: u64, unknown: Unknown) -> Result<catalog::Product, String> {
    let boutique = BOUTIQUE.iter().any(|(name, _)| text.contains(name)).then(|| renamed(text)).flatten();
    read(boutique.as_deref().unwrap_or(text), unknown).map_err(|error| error.reason(line, column))
}

/// Fields of the catalogue of Online Boutique (github.com/GoogleCloudPlatform/microservices-demo), and our names for them.
const BOUTIQUE: [(&str, &str); 2] = [("priceUsd", "price"), ("picture", "imageUrl")];

/// A product of Online Boutique with our field names, if the text is one.
fn renamed(text: &str) -> Option<String> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let mut found = false;
    for (theirs, ours) in BOUTIQUE {
        if !fields.contains_key(ours)
            && let Some(value) = fields.remove(theirs)
        {
            fields.insert(ours.to_owned(), value);
            found = true;
        }
    }
    found.then(|| serde_json::Value::Object(fields).to_string())
}

fn read(text: &str, unknown: Unknown) -> Result<catalog::Product, Wrong> {
    let mut json = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(unknown == Unknown::Refused);
    let message = DynamicMessage::deserialize_with_options(PRODUCT.clone(), &mut json, &options)?;
    json.end()?;
    message.transcode_to().map_err(|error| Wrong::Shape(error.to_string()))
}

/// Writes a product as one line, without the line's end.
pub fn to_json(product: &catalog::Product) -> Result<String, String> {
    write(PRODUCT.clone(), product)
}

/// Writes a message of the contract, which is named in full, as one line, without the line's end.
pub fn message_to_json(name: &str, message: &impl Message) -> Result<String, String> {
    write(shape_of(name)?, message)
}

/// A message of the contract, which is named in full, as a JSON value.
pub(crate) fn message_to_value(name: &str, message: &impl Message) -> Result<serde_json::Value, String> {
    serde_json::to_value(dynamic(shape_of(name)?, message)?).map_err(|error| error.to_string())
}

/// Reads a message of the contract, which is named in full. An unknown field is an error.
pub(crate) fn message_from_json<M: Message + Default>(name: &str, text: &str) -> Result<M, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(shape_of(name)?, &mut json, &options);
    let message = message.map_err(|error| Wrong::Json(error).reason(1, 0))?;
    json.end().map_err(|error| Wrong::Json(error).reason(1, 0))?;
    message.transcode_to().map_err(|error| error.to_string())
}

fn shape_of(name: &str) -> Result<MessageDescriptor, String> {
    POOL.get_message_by_name(name).ok_or_else(|| format!("the contract has no {name}"))
}

fn write(shape: MessageDescriptor, message: &impl Message) -> Result<String, String> {
    serde_json::to_string(&dynamic(shape, message)?).map_err(|error| error.to_string())
}

fn dynamic(shape: MessageDescriptor, message: &impl Message) -> Result<DynamicMessage, String> {
    let mut dynamic = DynamicMessage::new(shape);
    dynamic.transcode_from(message).map_err(|error| error.to_string())?;
    Ok(dynamic)
}

/// Why a text is not a product.
enum Wrong {
    Json(serde_json::Error),
    Shape(String),
}

impl From<serde_json::Error> for Wrong {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl Wrong {
    /// The fault and its place in a file, where the text begins on `line` behind `column` bytes.
    fn reason(&self, line: u64, column: u64) -> String {
        let error = match self {
            Self::Json(error) => error,
            Self::Shape(text) => return text.clone(),
        };
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let what = match what.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => format!("{}…", &what[..end]),
            None => what.to_owned(),
        };
        match (error.line() as u64, error.column() as u64) {
            (_, 0) => what,
            (0 | 1, at) => format!("{what} (column {})", column + at),
            (lines, at) => format!("{what} (line {}, column {at})", line + lines - 1),
        }
    }
}

/// Characters of a fault, which may repeat a part of the text.
const LONGEST_REASON: usize = 160;

#[cfg(test)]
mod tests {
    use larder_proto::google_type::Money;
    use prost_types::Timestamp;

    use super::*;

    fn product() -> catalog::Product {
        catalog::Product {
            id: "a-1".into(),
            name: "Tea \"Nº 5\"\n, 茶 \u{1F375}\u{7f}\u{1}".into(),
            description: "first\r\nsecond\tthird \\ / \u{2028}".into(),
            price: Some(Money { currency_code: "EUR".into(), units: 9_007_199_254_740_993, nanos: 1 }),
            categories: vec!["tea".into(), "a,b|c".into()],
            tags: vec!["new".into()],
            attributes: [("colour, \"x\"".into(), "green\n".into()), ("empty".into(), String::new())].into(),
            image_url: "https://example.com/?a=b&c".into(),
            in_stock: true,
            create_time: Some(Timestamp { seconds: 1, nanos: 5_000 }),
            update_time: Some(Timestamp { seconds: -1, nanos: 0 }),
            etag: "1f".into(),
        }
    }

    #[test]
    fn products_come_back_as_they_went() {
        for product in
            [product(), catalog::Product::default(), catalog::Product { price: Some(Money::default()), ..product() }]
        {
            let line = to_json(&product).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(from_json(&line), Ok(product), "{line}");
        }
    }

    #[test]
    fn the_mapping_is_that_of_protobuf() {
        let line = to_json(&product()).unwrap();
        assert!(line.contains(r#""price":{"currencyCode":"EUR","units":"9007199254740993","nanos":1}"#), "{line}");
        assert!(line.contains(r#""inStock":true"#), "{line}");
        assert!(line.contains(r#""createTime":"1970-01-01T00:00:01.000005Z""#), "{line}");
        let read = from_json(r#" {"id":"a","in_stock":true,"imageUrl":null,"price":{"units":3}} "#).unwrap();
        assert!(read.in_stock);
        assert_eq!(read.price.unwrap().units, 3);
    }

    #[test]
    fn other_messages_are_written_by_name() {
        let hot = larder_proto::admin::HotKey { key: "product:a".into(), rate: 1.5, reads: 3 };
        let line = message_to_json("larder.admin.v1.HotKey", &hot).unwrap();
        assert_eq!(line, r#"{"key":"product:a","rate":1.5,"reads":"3"}"#);
        assert_eq!(message_to_json("larder.v9.Nothing", &hot), Err("the contract has no larder.v9.Nothing".to_owned()));
    }

    #[test]
    fn other_messages_are_read_by_name() {
        let read = |text: &str| message_from_json::<larder_proto::admin::HotKey>("larder.admin.v1.HotKey", text);
        let hot = larder_proto::admin::HotKey { key: "product:a".into(), rate: 1.5, reads: 3 };
        assert_eq!(read(r#"{"key":"product:a","rate":1.5,"reads":"3"}"#), Ok(hot.clone()));
        let value = message_to_value("larder.admin.v1.HotKey", &hot).unwrap();
        assert_eq!(read(&value.to_string()), Ok(hot));
        for wrong in [r#"{"keys":"product:a"}"#, r#"{"key":1}"#, "{} {}", "", "["] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, reason) in [
            (r#"{"id":"a","colour":"red"}"#, "unrecognized field name 'colour'"),
            (r#"{"id":1}"#, "invalid type: integer `1`, expected a string"),
            (r#"{"inStock":"yes"}"#, "expected a boolean"),
            (r#"{"price":{"units":1.5}}"#, "expected integer"),
            (r#"{"price":12.5}"#, "expected a map"),
            (r#"{"id":"a"} {"id":"b"}"#, "trailing characters"),
            (r#"{"id":"a""#, "EOF"),
            ("", "EOF"),
            ("[]", "expected a map"),
            ("null", "expected"),
            ("tea", "expected"),
        ] {
            let error = from_json(line).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
            assert!(!error.contains("line 1"), "{error}");
        }
    }
}
