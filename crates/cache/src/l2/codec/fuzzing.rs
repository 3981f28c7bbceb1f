//! Frames for fuzzing.

use super::{Frame, MAGIC, Seal, Sizes};
use crate::FrameKey;

const KEY: &str = "product:a";
const MOST: usize = 64 << 10;

/// Reads bytes as a frame: as they are, and closed as only a replica would, without which nothing is looked at.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn frame(input: &[u8]) {
    let key = FrameKey::new(vec![7; 32]).expect("32 bytes are a key");
    let (plain, keyed) = (Seal::new(&[]), Seal::new(&[key]));
    assert!(Frame::decode(KEY, input.to_vec(), MOST, &keyed).is_err(), "nobody closed this");
    check(input, &plain);
    for seal in [&plain, &keyed] {
        let mut closed = [&MAGIC[..], &[seal.format()], input].concat();
        seal.close(KEY, &mut closed);
        check(&closed, seal);
    }
}

fn check(stored: &[u8], seal: &Seal) {
    let Ok(frame) = Frame::decode(KEY, stored.to_vec(), MOST, seal) else { return };
    assert!(frame.payload.as_ref().is_none_or(|payload| payload.len() <= MOST), "a payload above the limit");
    assert!(frame.terms.iter().map(String::len).sum::<usize>() <= stored.len(), "more terms than bytes");
    assert!(Frame::decode("product:b", stored.to_vec(), MOST, seal).is_err(), "the frame of another key");
    for compress_from in [0, usize::MAX] {
        let again = frame.encode(KEY, Sizes { compress_from, most: MOST }, seal).expect("what was read can be written");
        assert_eq!(Frame::decode(KEY, again, MOST, seal).as_ref(), Ok(&frame));
    }
}
