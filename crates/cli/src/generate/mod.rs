//! A generator of any number of sample products.

mod description;
mod draw;
mod phrases;
mod product;
mod words;

pub use product::generate;
