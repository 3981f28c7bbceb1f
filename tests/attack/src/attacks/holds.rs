//! What is taken and not given back.

use std::{future::pending, time::Duration};

use larder_proto::catalog::{BatchGetProductsRequest, WatchProductsRequest};
use larder_test_servers::wire::{DATA, END_HEADERS, END_STREAM, HEADERS, Wire, call, frame, literal, request};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::{sleep, timeout},
};

use super::Field;
use crate::target::LARGE;

/// Batches of one connection that reads nothing.
const BATCHES: u32 = 25;
/// How long such a connection is held.
const HELD: Duration = Duration::from_secs(3);
/// The largest message that the server accepts, but for its end.
const LARGEST: usize = (4 << 20) - 1_000;

pub(super) async fn slow_reader(field: Field) -> anyhow::Result<()> {
    let ids = vec![LARGE.0.to_owned(); 1_000];
    let batch = BatchGetProductsRequest { ids, read: None }.encode_to_vec();
    let mut wire = Wire::without_window_from(field.source, field.catalog).await?;
    // The server's own window must open before so many large messages fit.
    for number in 0..BATCHES {
        let call = call(number * 2 + 1, "BatchGetProducts", &[("grpc-timeout", "2S")], &batch);
        timeout(HELD, wire.send(&call)).await??;
    }
    sleep(HELD).await;
    Ok(())
}

pub(super) async fn silent(field: Field) -> anyhow::Result<()> {
    let mut wire = Wire::silent_from(field.source, field.catalog).await?;
    wire.send(b"P").await?;
    wire.ended().await;
    Ok(())
}

/// Begins calls and sends no message.
pub(super) async fn begun(field: Field, method: &str, streams: u32) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    let block = request(method, &[]);
    for number in 0..streams {
        wire.send(&frame(HEADERS, END_HEADERS, number * 2 + 1, &block)).await?;
    }
    wire.ended().await;
    Ok(())
}

/// Begins calls and sends their messages but for the end.
pub(super) async fn unfinished(field: Field, streams: u32) -> anyhow::Result<()> {
    let mut wires = Vec::new();
    for _ in 0..streams {
        // The window of a connection has no room for two of them.
        let mut wire = Wire::greet_from(field.source, field.catalog).await?;
        wire.send(&frame(HEADERS, END_HEADERS, 1, &request("ImportProducts", &[]))).await?;
        let length = u32::try_from(LARGEST + 500)?.to_be_bytes();
        let message = [&[0], &length[..], &vec![0; LARGEST][..]].concat();
        let send = async {
            for piece in message.chunks(16_384) {
                wire.send(&frame(DATA, 0, 1, piece)).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(HELD, send).await;
        wires.push(wire);
    }
    pending().await
}

pub(super) async fn watching(field: Field, streams: u32) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    let watch = WatchProductsRequest::default().encode_to_vec();
    for number in 0..streams {
        wire.send(&call(number * 2 + 1, "WatchProducts", &[], &watch)).await?;
    }
    wire.ended().await;
    Ok(())
}

pub(super) async fn watching_health(field: Field, streams: u32) -> anyhow::Result<()> {
    let mut wire = Wire::greet_from(field.source, field.catalog).await?;
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Watch"),
        ("content-type", "application/grpc"),
    ];
    let block: Vec<u8> = headers.iter().flat_map(|(name, value)| literal(name, value)).collect();
    for number in 0..streams {
        let stream = number * 2 + 1;
        let call = [frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, END_STREAM, stream, &[0; 5])];
        wire.send(&call.concat()).await?;
    }
    wire.ended().await;
    Ok(())
}

pub(super) async fn half_a_request(field: Field) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((field.source, 0).into())?;
    let mut socket = socket.connect(field.http).await?;
    socket.write_all(b"POST /webhooks/events HTTP/1.1\r\nhost: h\r\n").await?;
    let _ = socket.read(&mut [0; 64]).await?;
    Ok(())
}
