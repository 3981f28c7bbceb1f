//! A product as the database holds it.

use std::{collections::BTreeMap, time::SystemTime};

use crate::StorageError;

/// Everything of a product that a writer decides.
///
/// The caller has checked the fields against the contract; the schema checks again what it can.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProductData {
    /// What shoppers see.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The price, if there is one.
    pub price: Option<Money>,
    /// Categories in the writer's order, none twice.
    pub categories: Vec<String>,
    /// Tags in the writer's order, none twice.
    pub tags: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, String>,
    /// Where a picture is.
    pub image_url: String,
    /// Whether it can be bought now.
    pub in_stock: bool,
}

/// An exact amount of money, never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// Three capital letters of ISO 4217.
    pub currency: String,
    /// Whole units, 0 or more.
    pub units: i64,
    /// Billionths of a unit, 0 to 999,999,999.
    pub nanos: i32,
}

/// A stored product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The primary key.
    pub id: String,
    /// What the writer decided.
    pub data: ProductData,
    /// When it was created, to the microsecond.
    pub create_time: SystemTime,
    /// When it last changed, to the microsecond.
    pub update_time: SystemTime,
    /// Drawn by a trigger at every change: for one row strictly increasing while it lives, never used again.
    pub version: i64,
}

/// Bytes of text in a product that is read; the contract allows less.
const MOST_BYTES: usize = 3 << 20;

impl Product {
    /// The product, unless it is larger than anything that is read.
    pub(crate) fn bearable(self) -> Result<Self, String> {
        let ProductData { name, description, price: _, categories, tags, attributes, image_url, in_stock: _ } =
            &self.data;
        let lists: usize = categories.iter().chain(tags).map(String::len).sum();
        let pairs: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = name.len() + description.len() + lists + pairs + image_url.len();
        if bytes > MOST_BYTES { Err(format!("it has {bytes} bytes of text")) } else { Ok(self) }
    }
}

/// Products that were read, and those that could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Products {
    /// Those that were.
    pub found: Vec<Product>,
    /// The ids of those whose rows hold what the contract does not allow, as somebody may have typed it into a shell.
    pub unreadable: Vec<String>,
}

impl Products {
    /// Sorts products that were read one by one; the first other error stands for all.
    pub(crate) fn sort(rows: impl Iterator<Item = Result<Product, StorageError>>) -> Result<Self, StorageError> {
        let mut products = Self::default();
        for row in rows {
            match row {
                Ok(product) => products.found.push(product),
                Err(StorageError::Unreadable(id)) => products.unreadable.push(id),
                Err(error) => return Err(error),
            }
        }
        Ok(products)
    }

    /// The highest id of all, by which a scan goes on.
    pub fn last_id(&self) -> Option<&str> {
        self.found.iter().map(|product| product.id.as_str()).chain(self.unreadable.iter().map(String::as_str)).max()
    }
}

/// The fields that an update may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one flag for each field that a mask can name")]
pub struct ProductMask {
    /// `name`
    pub name: bool,
    /// `description`
    pub description: bool,
    /// `price`
    pub price: bool,
    /// `categories`
    pub categories: bool,
    /// `tags`
    pub tags: bool,
    /// `attributes`
    pub attributes: bool,
    /// `image_url`
    pub image_url: bool,
    /// `in_stock`
    pub in_stock: bool,
}

impl ProductMask {
    /// Every field.
    pub const ALL: Self = Self {
        name: true,
        description: true,
        price: true,
        categories: true,
        tags: true,
        attributes: true,
        image_url: true,
        in_stock: true,
    };
}

impl ProductMask {
    /// Returns the fields that the mask names; the others are empty.
    pub fn apply(self, data: &ProductData) -> ProductData {
        let mut masked = ProductData::default();
        if self.name {
            masked.name.clone_from(&data.name);
        }
        if self.description {
            masked.description.clone_from(&data.description);
        }
        if self.price {
            masked.price.clone_from(&data.price);
        }
        if self.categories {
            masked.categories.clone_from(&data.categories);
        }
        if self.tags {
            masked.tags.clone_from(&data.tags);
        }
        if self.attributes {
            masked.attributes.clone_from(&data.attributes);
        }
        if self.image_url {
            masked.image_url.clone_from(&data.image_url);
        }
        if self.in_stock {
            masked.in_stock = data.in_stock;
        }
        masked
    }
}
