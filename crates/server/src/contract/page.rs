//! Pages of lists and searches.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use larder_change::{ANY, Term};
use larder_proto::serving;
use larder_storage::{Filter, ListPosition, ListQuery, Order, OrderField, SearchQuery, SearchRank, SortValue, words};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    DEFAULT_PAGE, MAX_PAGE, Read, Violations, canonical_filter,
    filter::escape,
    parse_filter, parse_order, parse_read,
    product::check_text,
    token::{seal, unseal},
};

pub(super) const LIST: u8 = 0x11;
pub(super) const SEARCH: u8 = 0x12;
/// Longer than any name, because a decomposed name is longer than a composed one.
const MAX_QUERY: usize = 2_048;

/// A valid request for a page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRequest {
    /// The query for the database.
    pub query: ListQuery,
    /// The name of the page's copy. Requests with the same meaning have the same name.
    pub key: String,
    /// The terms that the page depends on.
    pub term: String,
    /// How fresh the page must be.
    pub read: Read,
    tokens: PageToken,
}

/// A valid request for a page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The query for the database.
    pub query: SearchQuery,
    /// The name of the page's copy. Requests with the same meaning have the same name.
    pub key: String,
    /// How fresh the page must be.
    pub read: Read,
    tokens: PageToken,
}

impl ListRequest {
    /// Makes the tokens of the pages that follow.
    pub fn tokens(&self) -> PageToken {
        self.tokens
    }
}

impl SearchRequest {
    /// Makes the tokens of the pages that follow.
    pub fn tokens(&self) -> PageToken {
        self.tokens
    }
}

/// Makes and reads the page tokens of one request: a token is bound to everything in the request but the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageToken {
    kind: u8,
    request: u64,
}

/// Parses a request for a page of a list.
pub fn parse_list(request: serving::ListProductsRequest) -> Result<ListRequest, Violations> {
    let mut violations = Violations::default();
    let filter = violations.take(parse_filter(request.filter));
    let order = violations.take(parse_order(&request.order_by));
    let limit = violations.take(page_size(request.page_size));
    let read = violations.take(parse_read(request.read));
    let (Some(filter), Some(order), Some(limit), Some(read)) = (filter, order, limit, read) else {
        return Err(violations);
    };
    let meaning = format!("order={}{}", order_name(order), canonical_filter(&filter));
    let tokens = PageToken { kind: LIST, request: xxh3_64(meaning.as_bytes()) };
    let after = tokens.read(&request.page_token, |bytes| list_position(order.field, bytes))?;
    let count = request.include_total_size;
    let key = format!("list:{meaning}&size={limit}&count={count}&after={}", request.page_token);
    let term = term(&filter);
    let query = ListQuery { filter, order, after, limit, count };
    Ok(ListRequest { query, key, term, read, tokens })
}

/// Parses a request for a page of a search.
pub fn parse_search(request: serving::SearchProductsRequest) -> Result<SearchRequest, Violations> {
    let mut violations = Violations::default();
    check_text(&mut violations, "query".into(), &request.query, MAX_QUERY);
    let words = words(&request.query);
    if words.is_empty() {
        violations.add("query", "must hold at least one letter or digit");
    }
    let filter = violations.take(parse_filter(request.filter));
    let limit = violations.take(page_size(request.page_size));
    let read = violations.take(parse_read(request.read));
    let (Some(filter), Some(limit), Some(read)) = (filter, limit, read) else { return Err(violations) };
    violations.or(())?;
    let mut meaning = String::from("query=");
    escape(&mut meaning, &words.join(" "));
    meaning.push_str(&canonical_filter(&filter));
    let tokens = PageToken { kind: SEARCH, request: xxh3_64(meaning.as_bytes()) };
    let after = tokens.read(&request.page_token, |bytes| {
        let (rank, id) = bytes.split_at_checked(8)?;
        let rank = f64::from_be_bytes(rank.try_into().ok()?);
        Some((SearchRank(rank).0.is_finite().then_some(SearchRank(rank))?, String::from_utf8(id.to_vec()).ok()?))
    })?;
    let key = format!("search:{meaning}&size={limit}&after={}", request.page_token);
    let query = SearchQuery { words, filter, after, limit };
    Ok(SearchRequest { query, key, read, tokens })
}

impl PageToken {
    /// The token of the page of a list that begins after `position`.
    pub fn list(self, position: &ListPosition) -> String {
        let mut bytes = Vec::new();
        match &position.value {
            SortValue::Id => {}
            SortValue::Micros(micros) => bytes.extend_from_slice(&micros.to_be_bytes()),
            SortValue::Name(name) => text(&mut bytes, name.as_bytes()),
            SortValue::RawName(name) => text(&mut bytes, name),
            SortValue::Price { currency, units, nanos } => {
                text(&mut bytes, currency.as_bytes());
                bytes.extend_from_slice(&units.to_be_bytes());
                bytes.extend_from_slice(&nanos.to_be_bytes());
            }
        }
        bytes.extend_from_slice(position.id.as_bytes());
        self.write(&bytes)
    }

    /// The token of the page of a search that begins after a product.
    pub fn search(self, rank: SearchRank, id: &str) -> String {
        let mut bytes = rank.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(id.as_bytes());
        self.write(&bytes)
    }

    fn write(self, position: &[u8]) -> String {
        let mut bytes = self.request.to_be_bytes().to_vec();
        bytes.extend_from_slice(position);
        seal(self.kind, &bytes)
    }

    fn read<T>(self, token: &str, position: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>, Violations> {
        if token.is_empty() {
            return Ok(None);
        }
        let broken = || Violations::one("page_token", "is not a token of this service");
        let bytes = unseal(self.kind, token).ok_or_else(broken)?;
        let (request, rest) = bytes.split_at_checked(8).ok_or_else(broken)?;
        if request != self.request.to_be_bytes() {
            let rule = "belongs to a request with another filter, order or query";
            return Err(Violations::one("page_token", rule));
        }
        position(rest).map(Some).ok_or_else(broken)
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    // Names and currencies are far shorter than 64 KiB.
    bytes.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(text);
}

fn list_position(field: OrderField, bytes: &[u8]) -> Option<ListPosition> {
    let mut rest = Rest(bytes);
    let value = match field {
        OrderField::Id => SortValue::Id,
        OrderField::CreateTime | OrderField::UpdateTime => SortValue::Micros(i64::from_be_bytes(rest.take()?)),
        OrderField::Name => match String::from_utf8(rest.bytes()?) {
            Ok(name) => SortValue::Name(name),
            Err(raw) => SortValue::RawName(raw.into_bytes()),
        },
        OrderField::Price => SortValue::Price {
            currency: rest.text()?,
            units: i64::from_be_bytes(rest.take()?),
            nanos: i32::from_be_bytes(rest.take()?),
        },
    };
    Some(ListPosition { value, id: String::from_utf8(rest.0.to_vec()).ok()? })
}

/// The rest of a position.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, left) = self.0.split_first_chunk()?;
        self.0 = left;
        Some(*taken)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (text, left) = self.0.split_at_checked(len)?;
        self.0 = left;
        Some(text.to_vec())
    }
}

fn page_size(size: i32) -> Result<u32, Violations> {
    match u32::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Violations::one("page_size", "must not be negative")),
    }
}

/// A page depends on the one category or tag that it is filtered by, or on any change at all.
///
/// That stays right with an order or a further filter: every change that moves a product in or out of the category, or changes a
/// product inside it, touches the term of the category.
pub(super) fn term(filter: &Filter) -> String {
    match filter {
        Filter { category: Some(category), .. } => Term::Category(category).to_string(),
        Filter { tag: Some(tag), .. } => Term::Tag(tag).to_string(),
        _ => ANY.to_owned(),
    }
}

fn order_name(order: Order) -> &'static str {
    match (order.field, order.descending) {
        (OrderField::Id, false) => "id",
        (OrderField::Id, true) => "id desc",
        (OrderField::CreateTime, false) => "create_time",
        (OrderField::CreateTime, true) => "create_time desc",
        (OrderField::UpdateTime, false) => "update_time",
        (OrderField::UpdateTime, true) => "update_time desc",
        (OrderField::Name, false) => "name",
        (OrderField::Name, true) => "name desc",
        (OrderField::Price, false) => "price",
        (OrderField::Price, true) => "price desc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(order_by: &str, page_token: &str) -> Result<ListRequest, Violations> {
        let request = serving::ListProductsRequest {
            order_by: order_by.into(),
            page_token: page_token.into(),
            ..Default::default()
        };
        parse_list(request)
    }

    #[test]
    fn positions_come_back() {
        let price = SortValue::Price { currency: "EUR".into(), units: i64::MAX, nanos: 5 };
        let values = [
            ("id", SortValue::Id),
            ("update_time desc", SortValue::Micros(-5)),
            ("name", SortValue::Name("Größe&=%".into())),
            ("price", price),
        ];
        for (order, value) in values {
            let position = ListPosition { value, id: "an-id".into() };
            let token = list(order, "").unwrap().tokens().list(&position);
            assert_eq!(list(order, &token).unwrap().query.after, Some(position), "{order}");
            assert!(list("create_time", &token).is_err(), "another order");
        }
    }

    #[test]
    fn the_page_size_is_clamped_and_never_negative() {
        assert_eq!(page_size(0), Ok(DEFAULT_PAGE));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(MAX_PAGE));
        assert!(page_size(-1).is_err());
    }

    #[test]
    fn a_query_of_the_same_words_is_the_same_search() {
        let search =
            |query: &str| parse_search(serving::SearchProductsRequest { query: query.into(), ..Default::default() });
        assert_eq!(search("Copper  pan").unwrap().key, search("copper, PAN!").unwrap().key);
        assert_eq!(search("CRÈME brûlée").unwrap().key, search("cre\u{300}me brulee").unwrap().key);
        assert_ne!(search("copper pan").unwrap().key, search("copperpan").unwrap().key);
        for bad in ["", " -- ", "\u{301}", &"a".repeat(2_049)] {
            assert!(search(bad).is_err(), "{bad}");
        }
    }
}
