//! The frame of L2: a copy with the facts needed to judge it.
//!
//! Little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 2 | magic, `0x4C 0xAD` |
//! | 1 | version of the format, 2 |
//! | 1 | flags: 1 not found, 2 list, 4 compressed with zstd, 8 with a witness |
//! | 8 | incarnation |
//! | 8 | horizon |
//! | 8 | version |
//! | 16 | the id and salt of the witness, if flag 8 is set |
//! | 2 | number of terms; each term follows as 2 bytes of length and the text |
//! | 4 | length of the payload before compression |
//! | … | payload |
//! | 8 | XXH3 of the key and of all preceding bytes |
//!
//! The checksum covers the key, so that a frame stored under another key is rejected. The checksum guards against damage, not
//! against an attacker who can write to Redis.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::cell::RefCell;

use bytes::{Buf, BufMut, Bytes};
use larder_change::{Incarnation, Witness};
use xxhash_rust::xxh3::Xxh3;
use zstd::bulk::{Compressor, Decompressor};

use crate::validity::Origin;

const MAGIC: [u8; 2] = [0x4C, 0xAD];
const FORMAT: u8 = 2;
const NOT_FOUND: u8 = 1;
const LIST: u8 = 2;
const COMPRESSED: u8 = 4;
const WITNESS: u8 = 8;
const CHECKSUM: usize = 8;
/// The zstd level: the fastest of the usual ones.
const LEVEL: i32 = 1;
/// The most terms of a frame. A copy with more terms, or with longer ones, is not stored.
const MOST_TERMS: usize = u16::MAX as usize;

/// A stored copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) origin: Origin,
    pub(crate) list: bool,
    pub(crate) terms: Vec<String>,
    /// `None` stands for "not found".
    pub(crate) payload: Option<Bytes>,
}

/// Why bytes cannot be used as a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Another release wrote the frame.
    Format,
    /// The frame is damaged, or belongs to another key.
    Damaged,
    /// The payload exceeds the limit.
    TooLarge,
}

/// The limits of a frame, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// The smallest payload that is compressed.
    pub(crate) compress_from: usize,
    /// The largest payload.
    pub(crate) most: usize,
}

impl Frame {
    /// Encodes the frame for a key; `None` if the frame is too large.
    pub(crate) fn encode(&self, key: &str, sizes: Sizes) -> Option<Vec<u8>> {
        let payload = self.payload.as_deref().unwrap_or_default();
        if payload.len() > sizes.most || self.terms.len() > MOST_TERMS {
            return None;
        }
        let compressed = (payload.len() >= sizes.compress_from)
            .then(|| compress(payload))
            .flatten()
            .filter(|compressed| compressed.len() < payload.len());
        let mut flags = 0;
        let set = [
            (self.payload.is_none(), NOT_FOUND),
            (self.list, LIST),
            (compressed.is_some(), COMPRESSED),
            (self.origin.witness.is_some(), WITNESS),
        ];
        for (set, flag) in set {
            flags |= if set { flag } else { 0 };
        }
        let terms: usize = self.terms.iter().map(|term| 2 + term.len()).sum();
        let stored = compressed.as_deref().unwrap_or(payload);
        let mut out = Vec::with_capacity(50 + terms + stored.len() + CHECKSUM);
        out.put_slice(&MAGIC);
        out.put_slice(&[FORMAT, flags]);
        out.put_u64_le(self.origin.incarnation.0);
        out.put_u64_le(self.origin.horizon);
        out.put_i64_le(self.origin.version);
        if let Some(Witness { id, salt }) = self.origin.witness {
            out.put_u64_le(id);
            out.put_u64_le(salt);
        }
        out.put_u16_le(u16::try_from(self.terms.len()).ok()?);
        for term in &self.terms {
            out.put_u16_le(u16::try_from(term.len()).ok()?);
            out.put_slice(term.as_bytes());
        }
        out.put_u32_le(u32::try_from(payload.len()).ok()?);
        out.put_slice(stored);
        let checksum = checksum(key, &out);
        out.put_u64_le(checksum);
        Some(out)
    }

    /// Decodes the bytes stored under a key.
    pub(crate) fn decode(key: &str, stored: Vec<u8>, most: usize) -> Result<Self, FrameError> {
        let mut bytes = Bytes::from(stored);
        if bytes.len() < 4 + CHECKSUM || bytes[..2] != MAGIC {
            return Err(FrameError::Damaged);
        }
        if bytes[2] != FORMAT {
            return Err(FrameError::Format);
        }
        let mut sum = bytes.split_off(bytes.len() - CHECKSUM);
        if sum.get_u64_le() != checksum(key, &bytes) {
            return Err(FrameError::Damaged);
        }
        let flags = bytes[3];
        bytes.advance(4);
        read(&mut bytes, flags, most)
    }
}

/// Decodes the part after the flags. A replica wrote every frame with a correct checksum, but a defect there must not cause a
/// panic here.
fn read(bytes: &mut Bytes, flags: u8, most: usize) -> Result<Frame, FrameError> {
    let short = |_| FrameError::Damaged;
    let mut origin = Origin {
        incarnation: Incarnation(bytes.try_get_u64_le().map_err(short)?),
        horizon: bytes.try_get_u64_le().map_err(short)?,
        version: bytes.try_get_i64_le().map_err(short)?,
        witness: None,
    };
    if flags & WITNESS != 0 {
        let (id, salt) = (bytes.try_get_u64_le().map_err(short)?, bytes.try_get_u64_le().map_err(short)?);
        origin.witness = Some(Witness { id, salt });
    }
    let count = bytes.try_get_u16_le().map_err(short)?;
    let mut terms = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let length = usize::from(bytes.try_get_u16_le().map_err(short)?);
        if bytes.len() < length {
            return Err(FrameError::Damaged);
        }
        let term = bytes.split_to(length);
        terms.push(std::str::from_utf8(&term).map_err(|_| FrameError::Damaged)?.to_owned());
    }
    let raw = bytes.try_get_u32_le().map_err(short)? as usize;
    if raw > most {
        return Err(FrameError::TooLarge);
    }
    let payload = if flags & COMPRESSED == 0 {
        std::mem::take(bytes)
    } else {
        decompress(bytes, raw).ok_or(FrameError::Damaged)?.into()
    };
    if payload.len() != raw {
        return Err(FrameError::Damaged);
    }
    let payload = (flags & NOT_FOUND == 0).then_some(payload);
    Ok(Frame { origin, list: flags & LIST != 0, terms, payload })
}

thread_local! {
    // Creating one costs more than compressing a product.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Compressor::new(LEVEL).ok();
        }
        kept.as_mut()?.compress(payload).ok()
    })
}

/// Never returns more than `raw` bytes.
fn decompress(stored: &[u8], raw: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress(stored, raw).ok()
    })
}

fn checksum(key: &str, frame: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key.as_bytes());
    hash.update(frame);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { compress_from: 100, most: 10_000 };

    fn frame(payload: Option<&[u8]>) -> Frame {
        Frame {
            origin: Origin {
                incarnation: Incarnation(7),
                horizon: 8,
                version: -9,
                witness: payload.map(|_| Witness { id: 5, salt: u64::MAX }),
            },
            list: false,
            terms: vec!["tag:summer".to_owned(), "category:größe".to_owned()],
            payload: payload.map(Bytes::copy_from_slice),
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let long = b"the same again and again, ".repeat(100);
        for payload in [None, Some(&b""[..]), Some(b"short"), Some(&long)] {
            for list in [false, true] {
                let frame = Frame { list, ..frame(payload) };
                let stored = frame.encode("product:a", SIZES).unwrap();
                assert_eq!(Frame::decode("product:a", stored, SIZES.most), Ok(frame));
            }
        }
        assert!(frame(Some(&long)).encode("k", SIZES).unwrap().len() < long.len() / 2, "compressed");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let stored = frame(Some(&b"payload ".repeat(20))).encode("product:a", SIZES).unwrap();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode("product:a", damaged, SIZES.most).is_err(), "bit {bit}");
        }
        for length in 0..stored.len() {
            assert!(Frame::decode("product:a", stored[..length].to_vec(), SIZES.most).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_key_does_not_check_out() {
        let stored = frame(Some(b"a")).encode("product:a", SIZES).unwrap();
        assert_eq!(Frame::decode("product:b", stored, SIZES.most), Err(FrameError::Damaged));
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut stored = frame(Some(b"a")).encode("product:a", SIZES).unwrap();
        stored[2] = FORMAT + 1;
        assert_eq!(Frame::decode("product:a", stored, SIZES.most), Err(FrameError::Format));
    }

    #[test]
    fn sizes_are_limited_before_anything_is_unpacked() {
        let bomb = frame(Some(&vec![0; 9_000])).encode("k", SIZES).unwrap();
        assert!(bomb.len() < 200);
        let small = Sizes { most: 8_000, ..SIZES };
        assert_eq!(Frame::decode("k", bomb, small.most), Err(FrameError::TooLarge));
        assert_eq!(frame(Some(&vec![0; 10_001])).encode("k", SIZES), None);
    }
}
