//! The server's codec.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, EncodeBuf},
};
use tonic_prost::ProstDecoder;

/// Encodes and decodes with prost, through buffers sized for a product rather than for the 8 KiB that tonic reserves for
/// every message in either direction.
#[derive(Debug, Clone, Copy)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Bytes reserved at first for a message; a larger one grows the buffer.
const INITIAL: usize = 1024;
/// Bytes gathered before a streamed reply is passed on.
const YIELD_AT: usize = 32 * 1024;

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(INITIAL, YIELD_AT))
    }
}

/// Makes room for the whole message before it writes the first byte: a page of products then grows no buffer step by step.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<T>(PhantomData<T>);

impl<T: Message> tonic::codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.encoded_len());
        item.encode_raw(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(INITIAL, YIELD_AT)
    }
}
