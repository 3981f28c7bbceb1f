//! What the catalogue must hold, by what was acknowledged.

use std::collections::BTreeMap;

use larder_proto::{catalog::Product, google_type::Money};

use crate::harness::user_fields;

/// What is known of each product that one writer writes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    products: BTreeMap<String, Fact>,
}

/// What is known of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// It is this.
    Known(State),
    /// It is the first or, if the write with the unknown outcome was made, the second.
    Either(State, State),
}

/// What a product is: what the write of this number made of it, or nothing.
pub(super) type State = Option<u64>;

/// How a call ended that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Acknowledged,
    /// It was refused with the assurance that nothing was written.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Ledger {
    /// Notes the outcome of a write.
    pub(super) fn note(&mut self, id: &str, made: State, outcome: Outcome) {
        let before = match self.products.get(id) {
            None => None,
            Some(Fact::Known(state)) => *state,
            Some(Fact::Either(..)) => panic!("{id} is written again before its state is known"),
        };
        let fact = match outcome {
            Outcome::Acknowledged => Fact::Known(made),
            Outcome::Refused => Fact::Known(before),
            Outcome::Unknown => Fact::Either(before, made),
        };
        self.products.insert(id.to_owned(), fact);
    }

    /// A write with an unknown outcome was repeated and acknowledged.
    pub(super) fn settle(&mut self, id: &str, made: State) {
        self.products.insert(id.to_owned(), Fact::Known(made));
    }

    /// Every product there has been.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.products.keys()
    }

    /// Those that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = &String> {
        self.products.iter().filter(|(_, fact)| matches!(fact, Fact::Known(Some(_)))).map(|(id, _)| id)
    }

    /// Checks what was read of a product: nothing is lost, nothing torn, nothing there that nobody wrote.
    pub(super) fn check(&self, id: &str, found: Option<&Product>) {
        let fact = self.products.get(id).copied().unwrap_or(Fact::Known(None));
        let is = |state: State| found.cloned().map(user_fields) == state.map(|write| product(id, write));
        let holds = match fact {
            Fact::Known(state) => is(state),
            Fact::Either(before, made) => is(before) || is(made),
        };
        assert!(holds, "{id}: {fact:?} was to be found, and was this: {found:?}");
    }
}

/// What a write makes of a product: every field tells the write, so that no mixture of two goes unnoticed.
pub(super) fn product(id: &str, write: u64) -> Product {
    Product {
        id: id.to_owned(),
        name: format!("{id} by {write}"),
        description: format!("write {write} of {id}; ").repeat(40),
        price: Some(Money {
            currency_code: "EUR".to_owned(),
            units: i64::try_from(write).expect("far fewer writes"),
            nanos: 0,
        }),
        categories: vec![writer_of(id).to_owned(), format!("write-{write}")],
        tags: vec![format!("tag-{write}")],
        attributes: [("write".to_owned(), write.to_string())].into(),
        image_url: format!("https://example.org/{id}/{write}.jpg"),
        in_stock: write.is_multiple_of(2),
        ..Product::default()
    }
}

/// The writer of a product; its category has this name.
fn writer_of(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}
