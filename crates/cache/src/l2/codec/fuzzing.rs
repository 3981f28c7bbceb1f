//! Frames for fuzzing.

use super::{BufMut as _, FORMAT, Frame, MAGIC, Sizes, checksum};

const KEY: &str = "product:a";
const MOST: usize = 64 << 10;

/// Reads bytes as a frame: as they are, and behind a right head and before a right checksum, without which nothing is looked at.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn frame(input: &[u8]) {
    check(input);
    let mut sealed = [&MAGIC[..], &[FORMAT], input].concat();
    let sum = checksum(KEY, &sealed);
    sealed.put_u64_le(sum);
    check(&sealed);
}

fn check(stored: &[u8]) {
    let Ok(frame) = Frame::decode(KEY, stored.to_vec(), MOST) else { return };
    assert!(frame.payload.as_ref().is_none_or(|payload| payload.len() <= MOST), "a payload above the limit");
    assert!(frame.terms.iter().map(String::len).sum::<usize>() <= stored.len(), "more terms than bytes");
    assert!(Frame::decode("product:b", stored.to_vec(), MOST).is_err(), "the frame of another key");
    for compress_from in [0, usize::MAX] {
        let again = frame.encode(KEY, Sizes { compress_from, most: MOST }).expect("what was read can be written");
        assert_eq!(Frame::decode(KEY, again, MOST).as_ref(), Ok(&frame));
    }
}
