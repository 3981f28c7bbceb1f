//! Frames without end.

use larder_test_servers::wire::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Wire, frame, literal, request};

use super::Field;

/// Frames of one flood, unless it is cut before.
const FRAMES: usize = 1 << 20;
/// Calls of one connection that are reset.
const RESETS: u32 = 50_000;
/// CANCEL (RFC 9113, section 7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Sends a beginning, and then the same frame again and again.
pub(super) async fn flood(field: Field, begin: Vec<u8>, frame: Vec<u8>) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    wire.send(&begin).await?;
    wire.flood(&frame, FRAMES).await;
    Ok(())
}

/// Begins calls, and resets each at once.
pub(super) async fn rapid_reset(field: Field) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    let block = request("GetProduct", &[]);
    for number in 0..RESETS {
        let stream = number * 2 + 1;
        let call = [frame(HEADERS, END_HEADERS, stream, &block), frame(RST_STREAM, 0, stream, &CANCEL)];
        wire.send(&call.concat()).await?;
    }
    Ok(())
}

/// Requests that name one header of 4 KB ten thousand times.
pub(super) async fn header_bombs(field: Field) -> anyhow::Result<()> {
    /// Names the first entry of the dynamic table (RFC 7541, section 6.1).
    const FIRST_DYNAMIC: u8 = 0xbe;
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    for number in 0..1_000 {
        let mut indexed = literal("x-bomb", &"y".repeat(3_900));
        // A literal with incremental indexing.
        indexed[0] = 0x40;
        let block = [request("GetProduct", &[]), indexed, vec![FIRST_DYNAMIC; 10_000]].concat();
        wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &block)).await?;
    }
    Ok(())
}
