//! A product inside a message of the server.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType},
};

use crate::catalog;

/// `larder.catalog.v1.Product` as the server reads and writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Product {
    /// An encoded product, copied into a reply as it is.
    Ready(Bytes),
    /// A product taken apart, as requests bring it.
    Parsed(Box<catalog::Product>),
}

impl Product {
    /// Takes the product apart.
    pub fn parse(self) -> Result<catalog::Product, DecodeError> {
        match self {
            Self::Ready(bytes) => catalog::Product::decode(bytes),
            Self::Parsed(product) => Ok(*product),
        }
    }
}

impl Default for Product {
    /// An empty product, whose encoding has no bytes.
    fn default() -> Self {
        Self::Ready(Bytes::new())
    }
}

impl From<catalog::Product> for Product {
    fn from(product: catalog::Product) -> Self {
        Self::Parsed(Box::new(product))
    }
}

impl Message for Product {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        match self {
            Self::Ready(bytes) => buf.put_slice(bytes),
            Self::Parsed(product) => product.encode_raw(buf),
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if let Self::Ready(bytes) = self {
            *self = Self::Parsed(Box::new(catalog::Product::decode(std::mem::take(bytes))?));
        }
        match self {
            Self::Parsed(product) => product.merge_field(tag, wire_type, buf, ctx),
            Self::Ready(_) => unreachable!("taken apart above"),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Ready(bytes) => bytes.len(),
            Self::Parsed(product) => product.encoded_len(),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
