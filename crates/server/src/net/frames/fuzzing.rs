//! Frames of HTTP/2 for fuzzing.

use super::{BURST, Frames, HEADER, Instant};

/// Follows a connection in pieces whose size is the first byte.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn http2_frames(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    let now = Instant::now();
    let (mut whole, mut cut) = (Frames::new(now), Frames::new(now));
    let fits = whole.take(stream);
    let fits_cut = stream.chunks(usize::from(size).max(1)).fold(true, |fits, piece| cut.take(piece) & fits);
    assert_eq!((whole.begun, whole.skip, whole.header_read), (cut.begun, cut.skip, cut.header_read));
    assert_eq!((whole.has_greeted(), fits), (cut.has_greeted(), fits_cut), "pieces change nothing");
    assert!(whole.begun <= (stream.len() / HEADER) as u64, "more frames than bytes");
    assert!(fits || whole.begun > BURST, "few frames are no flood");
}
