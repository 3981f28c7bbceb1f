//! The runtime arrangement that both servers share: one listener, whose connections are dealt out to one single-thread runtime
//! per core.

use std::{future::Future, net::SocketAddr, num::NonZero, thread};

use anyhow::Context as _;
use larder_server::net::{Listener, Workers};
use tokio::{net::TcpStream, runtime};

/// Serves every connection to a port of the loopback with the future that `serve` makes of it, once `bound` has been told the
/// address. Returns when that fails, or a worker does.
pub(crate) fn run<F>(
    bound: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    serve: impl Fn(TcpStream) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = Workers::start(cores, move |stream, ()| serve(stream))?;
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        bound(listener.address())?;
        loop {
            let (stream, _) = listener.accept().await;
            workers.deal(stream, ()).await.context("a worker has ended")?;
        }
    })
}
