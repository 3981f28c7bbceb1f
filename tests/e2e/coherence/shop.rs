//! A shop so small that everything in it collides, with products that tell who wrote them.

use larder_cache::Key;
use larder_proto::{catalog, google_type, serving};
use larder_server::contract::{ListRequest, SearchRequest, parse_list, parse_search};
use larder_storage::{Money, ProductData};
use prost::Message as _;
use rand::Rng;

/// Products there may be.
pub(super) const KEYS: usize = 12;
const CATEGORIES: usize = 4;
const TAGS: usize = 3;
const WORDS: [&str; 3] = ["birch", "copper", "linen"];
/// Lists that differ in nothing but their page size depend on the same and are copies of their own.
const LEAST_PAGE: usize = 100;
const PAGES: usize = 8;

/// Names a write: no two have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Write(pub(super) u64);

/// What a write made of a product. All of it follows from the number of the write, so that a torn product is told from
/// a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    bits: u64,
}

/// The id of a product.
pub(super) fn id(key: usize) -> String {
    format!("p{key:02}")
}

/// The number of a product's id.
pub(super) fn key_of(id: &str) -> Option<usize> {
    id.strip_prefix('p')?.parse().ok().filter(|key| *key < KEYS)
}

/// The category of a number.
pub(super) fn category(number: usize) -> String {
    format!("c{number}")
}

/// The tag of a number.
pub(super) fn tag(number: usize) -> String {
    format!("t{number}")
}

impl Content {
    /// What a write makes.
    pub(super) fn of(write: Write) -> Self {
        // SplitMix64 (Steele, Lea and Flood, 2014): any mixing of the bits would do.
        let mut bits = write.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self { bits: bits ^ (bits >> 27) }
    }

    /// Whether it is in a category: in one of them at least.
    pub(super) fn in_category(self, number: usize) -> bool {
        self.bits & (1 << number) != 0 || number == ((self.bits >> 8) & 3) as usize
    }

    /// Whether it has a tag.
    pub(super) fn has_tag(self, number: usize) -> bool {
        self.bits & (1 << (16 + number)) != 0
    }

    /// Whether it is in stock.
    pub(super) fn in_stock(self) -> bool {
        self.bits & (1 << 24) != 0
    }

    /// The word by which it is found.
    pub(super) fn word(self) -> usize {
        ((self.bits >> 32) % WORDS.len() as u64) as usize
    }

    /// Its categories.
    pub(super) fn categories(self) -> Vec<String> {
        (0..CATEGORIES).filter(|&number| self.in_category(number)).map(category).collect()
    }

    /// Its tags.
    pub(super) fn tags(self) -> Vec<String> {
        (0..TAGS).filter(|&number| self.has_tag(number)).map(tag).collect()
    }
}

/// The whole product that a write makes.
pub(super) fn data(key: usize, write: Write) -> ProductData {
    let content = Content::of(write);
    let units = i64::try_from(write.0).expect("far fewer writes");
    ProductData {
        name: format!("{} {}", WORDS[content.word()], id(key)),
        description: format!("{} by write {}. ", id(key), write.0).repeat(12),
        price: Some(Money { currency: "EUR".to_owned(), units, nanos: 0 }),
        categories: content.categories(),
        tags: content.tags(),
        attributes: [("write".to_owned(), write.0.to_string())].into(),
        image_url: format!("https://example.org/{}/{}", id(key), write.0),
        in_stock: content.in_stock(),
    }
}

/// Which write made a product; the error says how it differs from what any write would make.
pub(super) fn write_of(key: usize, encoded: &[u8]) -> Result<Write, String> {
    let product = catalog::Product::decode(encoded).map_err(|error| format!("not a product: {error}"))?;
    let number = product.attributes.get("write").and_then(|text| text.parse().ok());
    let write = Write(number.ok_or_else(|| format!("made by nobody: {product:?}"))?);
    let made = data(key, write);
    let expected = catalog::Product {
        id: id(key),
        name: made.name,
        description: made.description,
        price: made.price.map(|price| google_type::Money {
            currency_code: price.currency,
            units: price.units,
            nanos: price.nanos,
        }),
        categories: made.categories,
        tags: made.tags,
        attributes: made.attributes,
        image_url: made.image_url,
        in_stock: made.in_stock,
        create_time: product.create_time,
        update_time: product.update_time,
        etag: product.etag.clone(),
    };
    if product == expected { Ok(write) } else { Err(format!("torn: {product:?}, expected {expected:?}")) }
}

/// A question that is answered with ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Everything.
    All,
    /// A category.
    Category(usize),
    /// What of a category is in stock.
    InStock(usize),
    /// A tag.
    Tagged(usize),
    /// A word.
    Search(usize),
}

/// A question, and how large a page may be: each is a copy of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) question: Question,
    page: usize,
}

/// A question in the words of the contract.
pub(super) enum Request {
    List(ListRequest),
    Search(SearchRequest),
}

impl Question {
    /// Every question there is.
    pub(super) const ALL: [Self; 15] = [
        Self::All,
        Self::Category(0),
        Self::Category(1),
        Self::Category(2),
        Self::Category(3),
        Self::InStock(0),
        Self::InStock(1),
        Self::InStock(2),
        Self::InStock(3),
        Self::Tagged(0),
        Self::Tagged(1),
        Self::Tagged(2),
        Self::Search(0),
        Self::Search(1),
        Self::Search(2),
    ];

    /// Whether a product belongs to the answer.
    pub(super) fn matches(self, content: Content) -> bool {
        match self {
            Self::All => true,
            Self::Category(number) => content.in_category(number),
            Self::InStock(number) => content.in_category(number) && content.in_stock(),
            Self::Tagged(number) => content.has_tag(number),
            Self::Search(word) => content.word() == word,
        }
    }

    /// Whether a change from one content to another touches the term that the answer depends on.
    pub(super) fn touched_by(self, content: Content) -> bool {
        match self {
            Self::All | Self::Search(_) => true,
            Self::Category(number) | Self::InStock(number) => content.in_category(number),
            Self::Tagged(number) => content.has_tag(number),
        }
    }
}

impl Asked {
    /// A question with one of the page sizes.
    pub(super) fn any(rng: &mut impl Rng) -> Self {
        let question = Question::ALL[rng.random_range(0..Question::ALL.len())];
        Self { question, page: rng.random_range(0..PAGES) }
    }

    /// Every question with every page size.
    pub(super) fn all() -> Vec<Self> {
        Question::ALL.into_iter().flat_map(|question| (0..PAGES).map(move |page| Self { question, page })).collect()
    }

    /// The question as a request.
    pub(super) fn request(self) -> Request {
        let page_size = i32::try_from(LEAST_PAGE + self.page).expect("a small number");
        let list = |filter: Option<serving::ProductFilter>| {
            let request = serving::ListProductsRequest { filter, page_size, ..Default::default() };
            Request::List(parse_list(request).expect("a valid list"))
        };
        let everything = serving::ProductFilter::default();
        match self.question {
            Question::All => list(None),
            Question::Category(number) => {
                list(Some(serving::ProductFilter { category: category(number), ..everything }))
            }
            Question::InStock(number) => {
                let (category, in_stock) = (category(number), Some(true));
                list(Some(serving::ProductFilter { category, in_stock, ..everything }))
            }
            Question::Tagged(number) => list(Some(serving::ProductFilter { tag: tag(number), ..everything })),
            Question::Search(word) => {
                let query = WORDS[word].to_owned();
                let request = serving::SearchProductsRequest { query, page_size, ..Default::default() };
                Request::Search(parse_search(request).expect("a valid search"))
            }
        }
    }
}

impl Request {
    /// The key of its page.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::List(list) => Key::list(list.key.as_str(), list.term.as_str()),
            Self::Search(search) => Key::list(search.key.as_str(), larder_cache::ANY),
        }
    }
}
