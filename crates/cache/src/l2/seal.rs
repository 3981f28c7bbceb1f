//! What closes a frame: a checksum against damage or, with keys, one that nobody can make who does not have a key.

use ring::hmac;
use subtle::ConstantTimeEq as _;
use xxhash_rust::xxh3::Xxh3;

use super::codec::FrameError;
use crate::config::FrameKey;

/// The version of frames that XXH3 closes.
pub(super) const FORMAT: u8 = 2;
/// The version of frames that a key closes.
pub(super) const KEYED: u8 = 3;
/// The bytes that close a frame without keys,
const CHECKSUM: usize = 8;
/// and with keys: half of an HMAC, which nobody can guess in the time that a copy lives.
const TAG: usize = 16;

/// Closes frames and checks what closes them. The first key closes, every key is accepted, so that keys can be replaced.
pub(crate) struct Seal {
    keys: Vec<hmac::Key>,
}

impl Seal {
    pub(crate) fn new(keys: &[FrameKey]) -> Self {
        Self { keys: keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.bytes())).collect() }
    }

    /// The version of the frames.
    pub(super) fn format(&self) -> u8 {
        if self.keys.is_empty() { FORMAT } else { KEYED }
    }

    /// Closes a frame.
    pub(super) fn close(&self, key: &str, frame: &mut Vec<u8>) {
        match self.keys.first() {
            None => {
                let sum = checksum(key, frame);
                frame.extend_from_slice(&sum);
            }
            Some(with) => {
                let tag = tag(with, key, frame);
                frame.extend_from_slice(&tag);
            }
        }
    }

    /// Checks a frame whose version is known. Returns how many bytes are in front of what closes it.
    pub(super) fn check(&self, key: &str, stored: &[u8]) -> Result<usize, FrameError> {
        if self.keys.is_empty() {
            let (frame, sum) = stored.split_last_chunk::<CHECKSUM>().ok_or(FrameError::Damaged)?;
            return if *sum == checksum(key, frame) { Ok(frame.len()) } else { Err(FrameError::Damaged) };
        }
        let (frame, given) = stored.split_last_chunk::<TAG>().ok_or(FrameError::Unsigned)?;
        let genuine = self.keys.iter().any(|with| bool::from(tag(with, key, frame)[..].ct_eq(given)));
        if genuine { Ok(frame.len()) } else { Err(FrameError::Unsigned) }
    }
}

/// The length of the key in Redis comes first: no other key and frame have the same bytes together.
fn parts<'a>(length: &'a [u8; 8], key: &'a str, frame: &'a [u8]) -> [&'a [u8]; 3] {
    [length, key.as_bytes(), frame]
}

fn checksum(key: &str, frame: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Xxh3::new();
    for part in parts(&(key.len() as u64).to_le_bytes(), key, frame) {
        hash.update(part);
    }
    hash.digest().to_le_bytes()
}

fn tag(with: &hmac::Key, key: &str, frame: &[u8]) -> [u8; TAG] {
    let mut context = hmac::Context::with_key(with);
    for part in parts(&(key.len() as u64).to_le_bytes(), key, frame) {
        context.update(part);
    }
    let whole = context.sign();
    std::array::from_fn(|at| whole.as_ref()[at])
}
