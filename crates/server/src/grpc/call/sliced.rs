//! Large replies, made piece by piece of the copies that they consist of.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use larder_proto::Product;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::Status;

/// Replies of this many bytes are made piece by piece.
pub(in crate::grpc) const SLICED_FROM: usize = 32 << 10;
/// Products of this many bytes become pieces without being copied.
const LARGE: usize = 16 << 10;
/// Bytes of a piece that is put together of smaller products.
const PIECE: usize = 32 << 10;
/// The field of the products in every reply that has some.
const PRODUCTS: u32 = 1;

/// The body of a successful reply: the products as the cache has them, then the other fields. While its client does not read, the
/// reply costs one piece.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Sliced {
    /// Put in front of the next piece.
    before: BytesMut,
    products: vec::IntoIter<Bytes>,
    /// A product whose key has been written.
    large: Option<Bytes>,
    /// The other fields; `None` when they have been written.
    rest: Option<Bytes>,
    ended: bool,
}

/// A reply with products in field 1.
pub(in crate::grpc) trait WithProducts: Message {
    /// Takes the products out of the reply.
    fn take_products(&mut self) -> Vec<Product>;
}

impl Sliced {
    /// The body of a reply without compression.
    pub(in crate::grpc) fn new(reply: &mut impl WithProducts) -> Self {
        let mut before = BytesMut::with_capacity(PIECE);
        before.put_u8(0);
        // A longer reply is refused before.
        before.put_u32(u32::try_from(reply.encoded_len()).unwrap_or(u32::MAX));
        let products: Vec<Bytes> = reply.take_products().into_iter().map(encoded).collect();
        let rest = Some(reply.encode_to_vec().into());
        Self { before, products: products.into_iter(), large: None, rest, ended: false }
    }

    /// The next piece; `None` when the message is complete.
    fn piece(&mut self) -> Option<Bytes> {
        let mut piece = std::mem::take(&mut self.before);
        while piece.len() < PIECE {
            if let Some(large) = self.large.take() {
                if piece.is_empty() {
                    return Some(large);
                }
                self.large = Some(large);
                break;
            }
            if let Some(product) = self.products.next() {
                encode_key(PRODUCTS, WireType::LengthDelimited, &mut piece);
                encode_varint(product.len() as u64, &mut piece);
                if product.len() < LARGE {
                    piece.put_slice(&product);
                } else {
                    self.large = Some(product);
                }
            } else if let Some(rest) = self.rest.take() {
                piece.put_slice(&rest);
            } else {
                break;
            }
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }

    fn frame(&mut self) -> Option<Frame<Bytes>> {
        if let Some(piece) = self.piece() {
            return Some(Frame::data(piece));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Some(Frame::trailers(trailers))
    }
}

fn encoded(product: Product) -> Bytes {
    match product {
        Product::Ready(bytes) => bytes,
        Product::Parsed(product) => product.encode_to_vec().into(),
    }
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frame().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use larder_proto::{catalog, serving};
    use prost::Message as _;

    use super::*;

    fn product(number: usize, bytes: usize) -> catalog::Product {
        catalog::Product { id: format!("p{number}"), description: "x".repeat(bytes), ..Default::default() }
    }

    #[test]
    fn a_reply_in_pieces_is_the_reply() {
        let products: Vec<_> = [0, 100, 20_000, 5, 40_000, 40_000, 100]
            .iter()
            .enumerate()
            .map(|(at, bytes)| product(at, *bytes))
            .collect();
        let expected = catalog::ListProductsResponse {
            products: products.clone(),
            next_page_token: "next".to_owned(),
            ..Default::default()
        };
        let large = Bytes::from(products[2].encode_to_vec());
        let ready = products.iter().enumerate().map(|(at, product)| match at {
            2 => Product::Ready(large.clone()),
            _ => Product::Ready(product.encode_to_vec().into()),
        });
        let mut reply = serving::ListProductsResponse {
            products: ready.collect(),
            next_page_token: "next".to_owned(),
            ..Default::default()
        };
        let mut body = Sliced::new(&mut reply);
        let pieces: Vec<Bytes> = std::iter::from_fn(|| body.piece()).collect();
        assert!(pieces.iter().any(|piece| piece.as_ptr() == large.as_ptr()), "a slice of the cache");
        assert!(pieces.iter().all(|piece| piece.len() < PIECE + LARGE + 32 || piece.len() > 40_000));
        let whole = pieces.concat();
        assert_eq!(whole[0], 0);
        assert_eq!(u32::from_be_bytes(whole[1..5].try_into().unwrap()) as usize, whole.len() - 5);
        assert_eq!(catalog::ListProductsResponse::decode(&whole[5..]).unwrap(), expected);
        assert!(body.frame().is_some_and(|frame| frame.is_trailers()));
        assert!(body.frame().is_none());
    }
}
