//! The frame of L2: a copy with the facts needed to judge it.
//!
//! Little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 2 | magic, `0x4C 0xAD` |
//! | 1 | version of the format: 2, or 3 with keys |
//! | 1 | flags: 1 not found, 2 list, 4 compressed with zstd, 8 with a witness |
//! | 8 | incarnation |
//! | 8 | horizon |
//! | 8 | version |
//! | 16 | the id and salt of the witness, if flag 8 is set |
//! | 2 | number of terms; each term follows as 2 bytes of length and the text |
//! | 4 | length of the payload before compression |
//! | … | payload |
//! | 8 | XXH3 of the key and of all preceding bytes; with [keys](super::seal), 16 bytes of their HMAC |
//!
//! What closes a frame covers the key, so that a frame stored under another key is rejected. XXH3 guards against damage; only keys
//! guard against an attacker who can write to Redis.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::cell::RefCell;

use bytes::{Buf, BufMut, Bytes};
use larder_change::{Incarnation, Witness};
use zstd::bulk::{Compressor, Decompressor};

use super::seal::{FORMAT, Seal};
use crate::validity::Origin;

const MAGIC: [u8; 2] = [0x4C, 0xAD];
const NOT_FOUND: u8 = 1;
const LIST: u8 = 2;
const COMPRESSED: u8 = 4;
const WITNESS: u8 = 8;
/// The most bytes that close a frame.
const CLOSING: usize = 16;
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
    /// Another release wrote the frame, or a replica with keys where this one has none.
    Format,
    /// The frame is damaged, or belongs to another key.
    Damaged,
    /// None of the keys closed the frame for its key in Redis.
    Unsigned,
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
    pub(crate) fn encode(&self, key: &str, sizes: Sizes, seal: &Seal) -> Option<Vec<u8>> {
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
        let mut out = Vec::with_capacity(50 + terms + stored.len() + CLOSING);
        out.put_slice(&MAGIC);
        out.put_slice(&[seal.format(), flags]);
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
        seal.close(key, &mut out);
        Some(out)
    }

    /// Decodes the bytes stored under a key.
    pub(crate) fn decode(key: &str, stored: Vec<u8>, most: usize, seal: &Seal) -> Result<Self, FrameError> {
        let Some(&[first, second, format, flags]) = stored.first_chunk() else { return Err(FrameError::Damaged) };
        if [first, second] != MAGIC {
            return Err(FrameError::Damaged);
        }
        if format != seal.format() {
            return Err(if format == FORMAT { FrameError::Unsigned } else { FrameError::Format });
        }
        let end = seal.check(key, &stored)?;
        let mut bytes = Bytes::from(stored);
        bytes.truncate(end);
        // A frame that is only what closes it has no flags.
        bytes.try_get_u32().map_err(|_| FrameError::Damaged)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FrameKey;

    const SIZES: Sizes = Sizes { compress_from: 100, most: 10_000 };

    fn plain() -> Seal {
        Seal::new(&[])
    }

    fn keyed(keys: &[u8]) -> Seal {
        let keys: Vec<_> = keys.iter().map(|&byte| FrameKey::new(vec![byte; 32]).unwrap()).collect();
        Seal::new(&keys)
    }

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
                let stored = frame.encode("product:a", SIZES, &plain()).unwrap();
                assert_eq!(Frame::decode("product:a", stored, SIZES.most, &plain()), Ok(frame));
            }
        }
        assert!(frame(Some(&long)).encode("k", SIZES, &plain()).unwrap().len() < long.len() / 2, "compressed");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let stored = frame(Some(&b"payload ".repeat(20))).encode("product:a", SIZES, &plain()).unwrap();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode("product:a", damaged, SIZES.most, &plain()).is_err(), "bit {bit}");
        }
        for length in 0..stored.len() {
            assert!(
                Frame::decode("product:a", stored[..length].to_vec(), SIZES.most, &plain()).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_frame_of_another_key_does_not_check_out() {
        let stored = frame(Some(b"a")).encode("product:a", SIZES, &plain()).unwrap();
        assert_eq!(Frame::decode("product:b", stored, SIZES.most, &plain()), Err(FrameError::Damaged));
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut stored = frame(Some(b"a")).encode("product:a", SIZES, &plain()).unwrap();
        stored[2] = FORMAT + 1;
        assert_eq!(Frame::decode("product:a", stored, SIZES.most, &plain()), Err(FrameError::Format));
    }

    #[test]
    fn sizes_are_limited_before_anything_is_unpacked() {
        let bomb = frame(Some(&vec![0; 9_000])).encode("k", SIZES, &plain()).unwrap();
        assert!(bomb.len() < 200);
        let small = Sizes { most: 8_000, ..SIZES };
        assert_eq!(Frame::decode("k", bomb, small.most, &plain()), Err(FrameError::TooLarge));
        assert_eq!(frame(Some(&vec![0; 10_001])).encode("k", SIZES, &plain()), None);
    }

    #[test]
    fn only_who_has_a_key_closes_a_frame() {
        let frame = frame(Some(b"a"));
        let write = |seal: &Seal| frame.encode("product:a", SIZES, seal).unwrap();
        let read = |stored: Vec<u8>, seal: &Seal| Frame::decode("product:a", stored, SIZES.most, seal);
        let one = keyed(&[1]);
        assert_eq!(read(write(&one), &one), Ok(frame.clone()));
        assert_eq!(read(write(&plain()), &one), Err(FrameError::Unsigned), "a checksum proves nothing");
        assert_eq!(read(write(&one), &plain()), Err(FrameError::Format));
        assert_eq!(read(write(&keyed(&[2])), &one), Err(FrameError::Unsigned));
        let copied = Frame::decode("product:b", write(&one), SIZES.most, &one);
        assert_eq!(copied, Err(FrameError::Unsigned), "a copy under another key");
        let stored = write(&one);
        for bit in 0..stored.len() * 8 {
            let mut forged = stored.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(forged, &one).is_err(), "bit {bit}");
        }
        for length in 0..stored.len() {
            assert!(read(stored[..length].to_vec(), &one).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_are_replaced_one_step_at_a_time() {
        let frame = frame(None);
        // Each replica has the keys of its step or of the one before.
        for [before, after] in [[&[1][..], &[1, 2]], [&[1, 2], &[2, 1]], [&[2, 1], &[2]]] {
            for [writer, reader] in [[before, after], [after, before]] {
                let stored = frame.encode("k", SIZES, &keyed(writer)).unwrap();
                let read = Frame::decode("k", stored, SIZES.most, &keyed(reader));
                assert_eq!(read.as_ref(), Ok(&frame), "{writer:?} and {reader:?}");
            }
        }
    }
}
