//! What can be asked of a repository.

/// Selects products; every part that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// Only products of exactly this category.
    pub category: Option<String>,
    /// Only products with exactly this tag.
    pub tag: Option<String>,
    /// Only products that are or are not in stock.
    pub in_stock: Option<bool>,
    /// Only products with a price in this range.
    pub price: Option<PriceRange>,
}

/// A range of prices in one currency; both ends belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PriceRange {
    /// Three capital letters of ISO 4217.
    pub currency: String,
    /// Lowest price as (units, nanos).
    pub min: Option<(i64, i32)>,
    /// Highest price as (units, nanos).
    pub max: Option<(i64, i32)>,
}

/// What a list is ordered by; ties are ordered by id in the same direction. Text is ordered by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OrderField {
    /// The id.
    #[default]
    Id,
    /// When the product was created.
    CreateTime,
    /// When the product last changed.
    UpdateTime,
    /// The name.
    Name,
    /// The price: products without one first, then by currency, then by amount.
    Price,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Order {
    /// The field.
    pub field: OrderField,
    /// From the highest to the lowest.
    pub descending: bool,
}

/// Where a page of a list begins: after the product with these values. Holds the value that the order needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPosition {
    /// The value of the ordering field.
    pub value: SortValue,
    /// The id.
    pub id: String,
}

/// The value of an ordering field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortValue {
    /// For [`OrderField::Id`], where the id says it all.
    Id,
    /// For both times: microseconds since 1970.
    Micros(i64),
    /// For the name.
    Name(String),
    /// A name that is no text, as SQLite may hold one.
    RawName(Vec<u8>),
    /// For the price; the currency is empty when there is none.
    Price {
        /// Three capital letters, or empty.
        currency: String,
        /// Whole units.
        units: i64,
        /// Billionths of a unit.
        nanos: i32,
    },
}

/// Asks for one page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Which products.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// After which product; `None` begins at the first.
    pub after: Option<ListPosition>,
    /// At most this many.
    pub limit: u32,
    /// Whether to count all that match the filter.
    pub count: bool,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The ids of the page, in order.
    pub ids: Vec<String>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<ListPosition>,
    /// How many products match the filter; `None` unless it was asked for.
    pub total: Option<i64>,
}

/// Where a page of a search begins: after this product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchRank(pub f64);

/// Asks for one page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// The words, at least one, as [`words`](crate::words) cuts and folds them. Each must occur, at least as the beginning of a longer
    /// word; of more than eight, most must, where no product has all.
    pub words: Vec<String>,
    /// Which products.
    pub filter: Filter,
    /// After which product, by its rank and id; `None` begins at the best.
    pub after: Option<(SearchRank, String)>,
    /// At most this many.
    pub limit: u32,
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage {
    /// The ids of the page, best first.
    pub ids: Vec<String>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<(SearchRank, String)>,
}
