//! The columns of a CSV file, and how its rows become products.

use std::{collections::BTreeMap, str::Utf8Error};

use larder_proto::{catalog::Product, google_type::Money};

use super::{
    super::{
        CliError,
        amount::{self, shown},
        csv::{COLUMNS, entries},
        error::Exit,
    },
    args::{CsvArgs, Field},
    rows::Fields,
    shapes::{SHAPES, Shape},
};
use larder_server::config::value;

const REQUIRED: [&str; 2] = ["id", "name"];
/// Names of columns that an error or a note lists.
const LISTED: usize = 5;

/// What stands where in a file.
#[derive(Debug)]
pub(super) struct Columns {
    /// The header.
    names: Vec<String>,
    /// Where each of [`COLUMNS`] may stand; the first place that is not empty counts.
    places: [Vec<usize>; COLUMNS.len()],
    /// The columns of [`Shape::price_parts`].
    price_parts: Option<[usize; 2]>,
    /// Attributes that have a column each.
    attributes: Vec<(String, usize)>,
    /// The currency of amounts that name none.
    currency: Option<String>,
    list_separator: char,
    /// Whether lists come from another program: blanks around entries and repeated entries mean nothing.
    foreign_lists: bool,
    shape: Option<&'static Shape>,
    /// The columns of [`Shape::published`].
    published: Vec<(usize, &'static [&'static str])>,
}

/// What a row holds.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// A product.
    Product(Box<Product>),
    /// A product that its shop does not show: its id.
    Unpublished(String),
    /// Another variant or image of the product of the row before, if that has this id.
    Further {
        /// The id.
        id: String,
        /// Whether this variant is in stock.
        in_stock: bool,
    },
}

/// Why a row holds no product.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The id, as far as it is known.
    pub(super) id: String,
    /// The reason.
    pub(super) reason: String,
}

impl Refused {
    /// A row of which nothing is known.
    pub(super) fn of(reason: String) -> Self {
        Self { id: String::new(), reason }
    }
}

impl Columns {
    /// Reads the header of a file.
    pub(super) fn read(header: Fields, args: &CsvArgs) -> Result<Self, CliError> {
        let names: Result<Vec<String>, _> = header.into_iter().map(String::from_utf8).collect();
        let names = names.map_err(|_| not_utf8())?.iter().map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        let shape = SHAPES.iter().find(|shape| shape.signature.iter().all(|name| find(&names, name).is_some()));
        let mut columns = Self {
            places: Default::default(),
            price_parts: None,
            attributes: Vec::new(),
            currency: args.currency.clone(),
            list_separator: args.list_separator.or(shape.map(|shape| shape.list_separator)).unwrap_or('|'),
            foreign_lists: shape.is_some() || args.list_separator.is_some(),
            shape,
            published: Vec::new(),
            names,
        };
        match shape {
            Some(shape) => columns.take_shape(shape),
            None => columns.take_own()?,
        }
        for (field, name) in &args.map {
            columns.take_mapped(field, name)?;
        }
        columns.check(args)?;
        Ok(columns)
    }

    /// The header.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What was made of the header, unless it is plainly Larder's own.
    pub(super) fn note(&self) -> Option<String> {
        let ignored = self.ignored();
        if self.shape.is_none() && ignored.is_empty() {
            return None;
        }
        let mut taken = Vec::new();
        for (field, places) in COLUMNS.iter().zip(&self.places) {
            let names: Vec<&str> = places.iter().map(|place| self.names[*place].as_str()).collect();
            if !names.is_empty() && names != [*field] {
                taken.push(format!("{field} from {}", names.join(" or ")));
            }
        }
        if let Some([units, nanos]) = self.price_parts {
            taken.push(format!("price_amount from {} and {}", self.names[units], self.names[nanos]));
        }
        taken.extend(self.attributes.iter().map(|(key, at)| format!("attributes.{key} from {}", self.names[*at])));
        let taken = if taken.is_empty() { String::new() } else { format!("; takes {}", taken.join(", ")) };
        let ignored = if ignored.is_empty() { String::new() } else { format!("; leaves out {}", listed(&ignored)) };
        let whose = self.shape.map_or_else(String::new, |shape| format!(" of {}", shape.name));
        Some(format!("a file{whose}{taken}{ignored}"))
    }

    /// Whether several rows may belong to one product.
    pub(super) fn merges(&self) -> bool {
        self.shape.is_some_and(|shape| shape.further_rows)
    }

    /// Reads a row, which has as many fields as the header.
    pub(super) fn content(&self, fields: Fields) -> Result<Content, Refused> {
        let fields = fields.into_iter().enumerate().map(|(at, field)| {
            String::from_utf8(field).map_err(|error| format!("{}: {}", self.label(at), not_text(&error.utf8_error())))
        });
        let fields: Vec<String> = fields.collect::<Result<_, _>>().map_err(Refused::of)?;
        let id = self.text(&fields, "id").1.trim().to_owned();
        let shows = |at: usize, allowed: &[&str]| {
            let said = fields[at].trim();
            said.is_empty() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(said))
        };
        if !self.published.iter().all(|(at, allowed)| shows(*at, allowed)) {
            return Ok(Content::Unpublished(id));
        }
        if self.merges() && self.text(&fields, "name").1.trim().is_empty() {
            let in_stock = self.in_stock(&fields).unwrap_or(false);
            return Ok(Content::Further { id, in_stock });
        }
        match self.product(&id, &fields) {
            Ok(product) => Ok(Content::Product(Box::new(product))),
            Err(reason) => Err(Refused { id, reason }),
        }
    }

    fn product(&self, id: &str, fields: &[String]) -> Result<Product, String> {
        let text = |name: &'static str| self.text(fields, name).1;
        Ok(Product {
            id: id.to_owned(),
            name: text("name").to_owned(),
            description: text("description").to_owned(),
            price: self.price(fields)?,
            categories: self.list(text("categories")),
            tags: self.list(text("tags")),
            attributes: self.attributes(fields)?,
            image_url: self.image(text("image_url")),
            in_stock: self.in_stock(fields)?,
            ..Product::default()
        })
    }

    fn take_shape(&mut self, shape: &'static Shape) {
        for (field, names) in shape.fields {
            let places = names.iter().filter_map(|name| find(&self.names, name)).collect();
            self.places[index(field)] = places;
        }
        if let Some([units, nanos]) = shape.price_parts {
            self.price_parts = find(&self.names, units).zip(find(&self.names, nanos)).map(Into::into);
        }
        let attributes = shape.attributes.iter().map(|(key, name)| ((*key).to_owned(), find(&self.names, name)));
        self.attributes = attributes.filter_map(|(key, at)| Some((key, at?))).collect();
        let published = shape.published.iter().map(|(name, allowed)| (find(&self.names, name), *allowed));
        self.published = published.filter_map(|(at, allowed)| Some((at?, allowed))).collect();
    }

    fn take_own(&mut self) -> Result<(), CliError> {
        for (at, name) in self.names.iter().enumerate() {
            let name = name.to_ascii_lowercase();
            let name = match name.as_str() {
                "price" => "price_amount",
                "currency" => "price_currency",
                name => name,
            };
            let Some(field) = COLUMNS.iter().position(|column| *column == name) else { continue };
            if !self.places[field].is_empty() {
                return Err(refused(&format!("the column {name} stands there twice")));
            }
            self.places[field].push(at);
        }
        Ok(())
    }

    fn take_mapped(&mut self, field: &Field, name: &str) -> Result<(), CliError> {
        let Some(at) = find(&self.names, name) else {
            let error = refused(&format!("--map names the column {}, which is not there", shown(name)));
            let nearest = self.names.iter().filter(|name| !name.is_empty()).max_by(|a, b| {
                let near = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
                near(a).total_cmp(&near(b))
            });
            return Err(match nearest {
                Some(nearest) => error.hint(format!("the nearest is {}", shown(nearest))),
                None => error,
            });
        };
        match field {
            Field::Column(column) => self.places[*column] = vec![at],
            Field::Attribute(key) => self.attributes.push((key.clone(), at)),
        }
        Ok(())
    }

    fn check(&self, args: &CsvArgs) -> Result<(), CliError> {
        let ignored = self.ignored();
        if let [name] = self.names.as_slice() {
            let json = name.starts_with(['{', '[']);
            let hint =
                if json { "it looks like JSON: say --format json" } else { "--separator says what separates columns" };
            return Err(refused(&format!("the header has only one column, {}", shown(name))).hint(hint));
        }
        let missing: Vec<&str> = REQUIRED.into_iter().filter(|name| self.places[index(name)].is_empty()).collect();
        if !missing.is_empty() {
            let there = if ignored.is_empty() { String::new() } else { format!("; there is {}", listed(&ignored)) };
            return Err(refused(&format!("required columns are missing: {}{there}", missing.join(", ")))
                .hint(format!("--map {}=COLUMN says which column it is", missing[0])));
        }
        if self.shape.is_none() && args.map.is_empty() && !args.ignore_unknown && !ignored.is_empty() {
            return Err(refused(&format!("unknown columns: {}", listed(&ignored)))
                .hint("--map FIELD=COLUMN takes one for a field, --ignore-unknown leaves all of them out"));
        }
        let [currency, amount] = ["price_currency", "price_amount"].map(|name| &self.places[index(name)]);
        if let (Some(at), true, None) = (amount.first(), currency.is_empty(), &self.currency) {
            return Err(refused(&format!("the amounts of {} have no currency", shown(&self.names[*at])))
                .hint("--currency EUR says it, or --map price_currency=COLUMN the column that holds it"));
        }
        Ok(())
    }

    /// The columns that have a name and are not taken.
    fn ignored(&self) -> Vec<&str> {
        let taken = |at: usize| {
            self.places.iter().any(|places| places.contains(&at))
                || self.attributes.iter().any(|(_, place)| *place == at)
                || self.published.iter().any(|(place, _)| *place == at)
                || self.price_parts.is_some_and(|parts| parts.contains(&at))
        };
        let names = self.names.iter().enumerate().filter(|(at, name)| !name.is_empty() && !taken(*at));
        names.map(|(_, name)| name.as_str()).collect()
    }

    /// The name of a column in this file and what a row holds of it.
    fn text<'a>(&'a self, fields: &'a [String], field: &'static str) -> (&'a str, &'a str) {
        let places = &self.places[index(field)];
        let filled = places.iter().find(|at| !fields[**at].trim().is_empty()).or(places.first());
        filled.map_or((field, ""), |at| (self.names[*at].as_str(), fields[*at].as_str()))
    }

    /// The name of the column that holds a field.
    pub(super) fn label_of(&self, field: &'static str) -> &str {
        self.places[index(field)].first().map_or(field, |at| &self.names[*at])
    }

    fn label(&self, at: usize) -> String {
        let name = &self.names[at];
        if name.is_empty() { format!("field {}", at + 1) } else { name.clone() }
    }

    fn price(&self, fields: &[String]) -> Result<Option<Money>, String> {
        let (currency_label, currency) = self.text(fields, "price_currency");
        let (amount_label, amount) = self.text(fields, "price_amount");
        let (currency, amount) = (currency.trim(), amount.trim());
        if let (Some(parts), "") = (self.price_parts, amount) {
            return self.price_of_parts(fields, parts, currency);
        }
        let known = if currency.is_empty() { self.currency.as_deref() } else { Some(currency) };
        match (known, amount) {
            (_, "") if currency.is_empty() => Ok(None),
            (_, "") => Err(format!("{amount_label}: is empty, but there is a {currency_label}")),
            (None, _) => Err(format!("{currency_label}: is empty, but there is a {amount_label}")),
            (Some(currency), amount) => {
                amount::read(amount, currency).map(Some).map_err(|rule| format!("{amount_label}: {rule}"))
            }
        }
    }

    /// Puts a price together of its units and billionths. A row without any part has no price.
    fn price_of_parts(&self, fields: &[String], parts: [usize; 2], currency: &str) -> Result<Option<Money>, String> {
        if currency.is_empty() && parts.iter().all(|at| fields[*at].trim().is_empty()) {
            return Ok(None);
        }
        let wrong = |at: usize| format!("{}: {} is not a whole number", self.label(at), shown(&fields[at]));
        let [units, nanos] = parts;
        Ok(Some(Money {
            currency_code: currency.to_owned(),
            units: fields[units].trim().parse().map_err(|_| wrong(units))?,
            nanos: fields[nanos].trim().parse().map_err(|_| wrong(nanos))?,
        }))
    }

    /// Reads whether there is stock: a truth value or a number of pieces.
    fn in_stock(&self, fields: &[String]) -> Result<bool, String> {
        let (label, text) = self.text(fields, "in_stock");
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("backorder") {
            return Ok(false);
        }
        if let Ok(known) = value::boolean(text) {
            return Ok(known);
        }
        let pieces = text.parse::<i64>();
        pieces
            .map(|pieces| pieces > 0)
            .map_err(|_| format!("{label}: {} is neither true nor false, nor a number of pieces", shown(text)))
    }

    fn list(&self, text: &str) -> Vec<String> {
        let entries = entries(text, self.list_separator);
        if !self.foreign_lists {
            return entries;
        }
        let mut kept: Vec<String> = Vec::new();
        for entry in entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            if !kept.iter().any(|kept| kept == entry) {
                kept.push(entry.to_owned());
            }
        }
        kept
    }

    /// The first of the images.
    fn image(&self, text: &str) -> String {
        let first = if self.shape.is_some() { text.split(", ").next().unwrap_or_default() } else { text };
        first.to_owned()
    }

    fn attributes(&self, fields: &[String]) -> Result<BTreeMap<String, String>, String> {
        let (label, text) = self.text(fields, "attributes");
        let mut attributes: BTreeMap<String, String> = match text.trim() {
            "" => BTreeMap::new(),
            text => serde_json::from_str(text)
                .map_err(|error| format!("{label}: not a JSON object of texts (column {})", error.column()))?,
        };
        for (key, at) in &self.attributes {
            if !fields[*at].is_empty() {
                attributes.insert(key.clone(), fields[*at].clone());
            }
        }
        Ok(attributes)
    }
}

fn find(names: &[String], name: &str) -> Option<usize> {
    let exact = names.iter().position(|other| other == name.trim());
    exact.or_else(|| names.iter().position(|other| other.eq_ignore_ascii_case(name.trim())))
}

/// The place of a field in [`COLUMNS`].
fn index(field: &str) -> usize {
    COLUMNS.iter().position(|column| *column == field).expect("a field of COLUMNS")
}

/// Names of columns, not more than can be taken in.
fn listed(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(LISTED).map(|name| shown(name)).collect();
    match names.len().saturating_sub(LISTED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A header that is no good.
pub(super) fn refused(reason: &str) -> CliError {
    CliError::new(Exit::Data, format!("the header: {reason}"))
        .hint(format!("a header names columns, of these: {}", COLUMNS.join(",")))
}

fn not_utf8() -> CliError {
    refused("not UTF-8 text").hint("convert the file: iconv -f WINDOWS-1252 -t UTF-8 FILE > utf-8.csv")
}

/// Why bytes are no text.
pub(super) fn not_text(error: &Utf8Error) -> String {
    format!("not UTF-8 text, from byte {} on", error.valid_up_to() + 1)
}
