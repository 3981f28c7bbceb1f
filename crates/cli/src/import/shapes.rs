//! The files that other programs export, and what of them becomes a product. `larder import --help` and docs/import.md tell
//! the same.

/// What is known of a program's files.
#[derive(Debug)]
pub(super) struct Shape {
    /// Whose files they are.
    pub(super) name: &'static str,
    /// A header with all of these columns is one of theirs.
    pub(super) signature: &'static [&'static str],
    /// Fields of a product, and the columns that may hold them: the first that is not empty counts.
    pub(super) fields: &'static [(&'static str, &'static [&'static str])],
    /// The columns that hold the units of a price and its billionths, where no column holds an amount.
    pub(super) price_parts: Option<[&'static str; 2]>,
    /// Attributes of a product, and the columns that hold them.
    pub(super) attributes: &'static [(&'static str, &'static str)],
    /// What separates categories, and tags.
    pub(super) list_separator: char,
    /// Columns by which a row is left out unless they are empty or say one of these.
    pub(super) published: &'static [(&'static str, &'static [&'static str])],
    /// Whether rows may follow a product that repeat its id without a name: its other variants and images.
    pub(super) further_rows: bool,
}

/// All that are known.
pub(super) const SHAPES: [Shape; 4] = [SHOPIFY, WOOCOMMERCE, OPEN_FOOD_FACTS, OPENTELEMETRY_DEMO];

const SHOPIFY: Shape = Shape {
    name: "Shopify",
    signature: &["Handle", "Title", "Variant Price"],
    fields: &[
        ("id", &["Handle"]),
        ("name", &["Title"]),
        ("description", &["Body (HTML)"]),
        ("price_amount", &["Variant Price"]),
        ("categories", &["Type"]),
        ("tags", &["Tags"]),
        ("image_url", &["Image Src"]),
        ("in_stock", &["Variant Inventory Qty"]),
    ],
    price_parts: None,
    attributes: &[("vendor", "Vendor"), ("sku", "Variant SKU")],
    list_separator: ',',
    published: &[("Status", &["active"]), ("Published", &["true"])],
    further_rows: true,
};

const WOOCOMMERCE: Shape = Shape {
    name: "WooCommerce",
    signature: &["ID", "SKU", "Name", "Regular price"],
    fields: &[
        ("id", &["ID", "SKU"]),
        ("name", &["Name"]),
        ("description", &["Description", "Short description"]),
        ("price_amount", &["Regular price"]),
        ("categories", &["Categories"]),
        ("tags", &["Tags"]),
        ("image_url", &["Images"]),
        ("in_stock", &["In stock?"]),
    ],
    price_parts: None,
    attributes: &[("sku", "SKU"), ("type", "Type"), ("parent", "Parent")],
    list_separator: ',',
    published: &[("Published", &["1"])],
    further_rows: false,
};

const OPEN_FOOD_FACTS: Shape = Shape {
    name: "Open Food Facts",
    signature: &["code", "product_name", "categories_tags"],
    fields: &[
        ("id", &["code"]),
        ("name", &["product_name"]),
        ("description", &["generic_name"]),
        ("categories", &["categories_tags"]),
        ("tags", &["labels_tags"]),
        ("image_url", &["image_url"]),
    ],
    price_parts: None,
    attributes: &[("brands", "brands"), ("quantity", "quantity")],
    list_separator: ',',
    published: &[],
    further_rows: false,
};

const OPENTELEMETRY_DEMO: Shape = Shape {
    name: "the OpenTelemetry demo",
    signature: &["id", "name", "picture", "price_currency_code", "price_units", "price_nanos"],
    fields: &[
        ("id", &["id"]),
        ("name", &["name"]),
        ("description", &["description"]),
        ("price_currency", &["price_currency_code"]),
        ("categories", &["categories"]),
        ("image_url", &["picture"]),
    ],
    price_parts: Some(["price_units", "price_nanos"]),
    attributes: &[],
    list_separator: ',',
    published: &[],
    further_rows: false,
};
