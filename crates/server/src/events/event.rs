//! Events, in the one form that webhook and queue share.

use larder_cache::{Glob, Key};
use larder_change::Term;
use serde_json::{Map, Value};

use crate::{
    catalog::Invalidation,
    contract::{Violations, parse_id, parse_key, parse_term, product_name},
};

/// A parsed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub kind: &'static str,
    /// The invalidations: at least one, at most 1,000.
    pub drops: Vec<Invalidation>,
}

/// The longest event, in bytes.
pub(super) const LONGEST: usize = 256 << 10;
/// The most ids, keys or terms of one event.
pub(super) const MOST_ENTRIES: usize = 1_000;
const TYPES: &str = "must be product.created, product.changed, product.deleted, key.invalidated, category.invalidated, \
                     tag.invalidated, pattern.invalidated or all.invalidated";

/// Reads an event from JSON. Unknown fields are ignored; an unknown type is refused.
///
/// An event about a product drops only the copies of the product and of its absence. Pages hold ids and not products, so a valid
/// page stays valid and shows the reloaded product. When the row of the product has changed, the trigger of the database has
/// already reported every list that had or has the product.
pub(crate) fn parse_event(json: &[u8]) -> Result<Event, Violations> {
    let event: Value = serde_json::from_slice(json)
        .map_err(|error| Violations::one("event", format!("must be a JSON object, is none: {error}")))?;
    let Value::Object(event) = event else {
        return Err(Violations::one("event", "must be a JSON object"));
    };
    let kind = match event.get("type") {
        None => return Err(Violations::one("type", "is required")),
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => return Err(Violations::one("type", "must be a string")),
    };
    let products = || {
        each(&event, "ids", |field, text| {
            parse_id(field, text.to_owned()).map(|id| Invalidation::Key(product_name(id.as_str())))
        })
    };
    let (kind, drops) = match kind {
        "product.created" => ("product.created", products()?),
        "product.changed" => ("product.changed", products()?),
        "product.deleted" => ("product.deleted", products()?),
        "key.invalidated" => ("key.invalidated", each(&event, "keys", key)?),
        "category.invalidated" => ("category.invalidated", each(&event, "categories", term(Term::Category))?),
        "tag.invalidated" => ("tag.invalidated", each(&event, "tags", term(Term::Tag))?),
        "pattern.invalidated" => ("pattern.invalidated", vec![pattern(&event)?]),
        "all.invalidated" => ("all.invalidated", vec![Invalidation::All]),
        _ => return Err(Violations::one("type", TYPES)),
    };
    Ok(Event { kind, drops })
}

fn key(field: &str, text: &str) -> Result<Invalidation, Violations> {
    if text.contains('\0') {
        return Err(Violations::one(field, "must not hold a NUL"));
    }
    let Key { name, .. } = parse_key(field, text)?.key();
    Ok(Invalidation::Key(name.into()))
}

fn term(of: fn(String) -> Term) -> impl Fn(&str, &str) -> Result<Invalidation, Violations> {
    move |field, text| parse_term(field, text).map(|()| Invalidation::Term(of(text.to_owned())))
}

fn pattern(event: &Map<String, Value>) -> Result<Invalidation, Violations> {
    let Some(Value::String(text)) = data(event)?.get("pattern") else {
        return Err(Violations::one("data.pattern", "is required, as a string"));
    };
    let glob = Glob::parse(text).map_err(|error| Violations::one("data.pattern", error.to_string()))?;
    Ok(Invalidation::Pattern(glob))
}

/// Reads a list of strings in `data`.
fn each(
    event: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str, &str) -> Result<Invalidation, Violations>,
) -> Result<Vec<Invalidation>, Violations> {
    let list = format!("data.{name}");
    let Some(Value::Array(entries)) = data(event)?.get(name) else {
        return Err(Violations::one(list, "is required, as a list of strings"));
    };
    if entries.is_empty() || entries.len() > MOST_ENTRIES {
        let rule = format!("must hold at least one entry and at most {MOST_ENTRIES}, holds {}", entries.len());
        return Err(Violations::one(list, rule));
    }
    let mut violations = Violations::default();
    let mut drops = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        let field = format!("{list}[{number}]");
        let parsed = match entry {
            Value::String(text) => parse(&field, text),
            _ => Err(Violations::one(field, "must be a string")),
        };
        drops.extend(violations.take(parsed));
    }
    violations.or(drops)
}

fn data(event: &Map<String, Value>) -> Result<&Map<String, Value>, Violations> {
    match event.get("data") {
        Some(Value::Object(data)) => Ok(data),
        Some(_) => Err(Violations::one("data", "must be an object")),
        None => Err(Violations::one("data", "is required")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(json: &str) -> Vec<Invalidation> {
        parse_event(json.as_bytes()).unwrap_or_else(|broken| panic!("{json}: {broken}")).drops
    }

    fn keys(names: &[&str]) -> Vec<Invalidation> {
        names.iter().map(|&name| Invalidation::Key(name.to_owned())).collect()
    }

    #[test]
    fn each_type_says_what_is_to_be_dropped() {
        for kind in ["product.created", "product.changed", "product.deleted"] {
            let json = format!(r#"{{"type":"{kind}","data":{{"ids":["a","b-1"]}}}}"#);
            assert_eq!(drops(&json), keys(&["product:a", "product:b-1"]));
            assert_eq!(parse_event(json.as_bytes()).map(|event| event.kind), Ok(kind));
        }
        let json = r#"{"type":"tag.invalidated","data":{"tags":["K\u00e4se, frisch"]}}"#;
        assert_eq!(drops(json), [Invalidation::Term(Term::Tag("Käse, frisch".to_owned()))]);
        let json = r#"{"type":"category.invalidated","data":{"categories":["tea"]}}"#;
        assert_eq!(drops(json), [Invalidation::Term(Term::Category("tea".to_owned()))]);
        let json = r#"{"type":"key.invalidated","data":{"keys":["a","product:b","list:x"]}}"#;
        assert_eq!(drops(json), keys(&["product:a", "product:b", "list:x"]));
        let json = r#"{"type":"pattern.invalidated","data":{"pattern":"list:*"}}"#;
        assert_eq!(drops(json), [Invalidation::Pattern(Glob::parse("list:*").unwrap())]);
        assert_eq!(drops(r#"{"type":"all.invalidated"}"#), [Invalidation::All]);
        assert_eq!(drops(r#"{"type":"all.invalidated","data":{}}"#), [Invalidation::All]);
    }

    #[test]
    fn fields_that_are_not_known_are_ignored() {
        let json = r#" {"id":7,"timestamp":"2026-01-01T00:00:00Z","type":"product.changed",
                        "data":{"ids":["a"],"tags":3,"by":{"x":[]}},"more":null} "#;
        assert_eq!(drops(json), keys(&["product:a"]));
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let many = format!(r#"{{"type":"product.changed","data":{{"ids":[{}"a"]}}}}"#, r#""a","#.repeat(MOST_ENTRIES));
        let deep = format!(r#"{{"type":"all.invalidated","x":{}"#, "[".repeat(10_000));
        for (json, broken) in [
            ("", "event: must be a JSON object"),
            ("{", "event: must be a JSON object"),
            ("[]", "event: must be a JSON object"),
            ("null", "event: must be a JSON object"),
            (r#"{"type":"all.invalidated"} x"#, "event: must be a JSON object"),
            (deep.as_str(), "event: must be a JSON object"),
            ("{}", "type: is required"),
            (r#"{"type":1}"#, "type: must be a string"),
            (r#"{"type":"order.placed","data":{}}"#, "type: must be product.created, "),
            (r#"{"type":"product.changed"}"#, "data: is required"),
            (r#"{"type":"product.changed","data":[]}"#, "data: must be an object"),
            (r#"{"type":"product.changed","data":{}}"#, "data.ids: is required"),
            (r#"{"type":"product.changed","data":{"ids":"a"}}"#, "data.ids: is required, as a list"),
            (r#"{"type":"product.changed","data":{"ids":[]}}"#, "data.ids: must hold at least one"),
            (many.as_str(), "data.ids: must hold at least one entry and at most 1000, holds 1001"),
            (r#"{"type":"product.changed","data":{"ids":["a",2]}}"#, "data.ids[1]: must be a string"),
            (r#"{"type":"product.changed","data":{"ids":["a b","","c"]}}"#, "data.ids[0]: must be 1 to 64 characters"),
            (r#"{"type":"product.changed","data":{"ids":["a b","","c"]}}"#, "; data.ids[1]: is required"),
            (r#"{"type":"tag.invalidated","data":{"tags":[""]}}"#, "data.tags[0]: must not be empty"),
            (r#"{"type":"tag.invalidated","data":{"tags":["a\u0000"]}}"#, "data.tags[0]: "),
            (r#"{"type":"category.invalidated","data":{"tags":["a"]}}"#, "data.categories: is required"),
            (r#"{"type":"category.invalidated","data":{"categories":["a",""]}}"#, "data.categories[1]: must not be "),
            (r#"{"type":"key.invalidated","data":{"keys":["other:a"]}}"#, "data.keys[0]: must be product:ID"),
            (r#"{"type":"key.invalidated","data":{"keys":["list:\u0000"]}}"#, "data.keys[0]: must not hold a NUL"),
            (r#"{"type":"pattern.invalidated","data":{}}"#, "data.pattern: is required"),
            (r#"{"type":"pattern.invalidated","data":{"pattern":""}}"#, "data.pattern: "),
            (r#"{"type":"pattern.invalidated","data":{"pattern":"[a"}}"#, "data.pattern: "),
        ] {
            let found = parse_event(json.as_bytes()).expect_err(json).to_string();
            assert!(found.contains(broken), "{json}: {found}");
        }
        assert!(parse_event(b"{\"type\":\"\xff\"}").is_err(), "not UTF-8");
    }
}
