//! The runtime arrangement that both servers share: one listener, whose connections are dealt out to one single-thread runtime
//! per core.

use std::{future::Future, net::TcpListener, num::NonZero, thread};

use anyhow::Context as _;
use tokio::{net::TcpStream, runtime, sync::mpsc};

/// Serves every connection of a listener with the future that `serve` makes of it. Returns when accepting fails.
pub(crate) fn run<F>(
    listener: &TcpListener,
    serve: impl Fn(TcpStream) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut lanes = Vec::with_capacity(cores);
    for core in 0..cores {
        let (lane, mut dealt) = mpsc::unbounded_channel::<std::net::TcpStream>();
        let serve = serve.clone();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async move {
            while let Some(stream) = dealt.recv().await {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    tokio::spawn(serve(stream));
                }
            }
        };
        thread::Builder::new().name(format!("bare-{core}")).spawn(move || runtime.block_on(work))?;
        lanes.push(lane);
    }
    for lane in lanes.iter().cycle() {
        let (stream, _) = listener.accept().context("cannot accept connections")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        lane.send(stream).context("a runtime has ended")?;
    }
    Ok(())
}
