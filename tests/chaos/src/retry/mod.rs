//! A client of all replicas that does what the shipped service config says: calls go round, and those that fail are tried again.
//!
//! gRPC's own clients also retry, without limit, calls that never left them. This one counts these as attempts: it asks more of the
//! replicas than they do.

mod balanced;
mod config;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{Request, Response},
    },
    transport::{Channel, Error},
};

pub(crate) use balanced::{Balanced, Counts};

/// Where calls go.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// To one replica, once.
    Direct(Channel),
    /// To all replicas in turn, again where the service config says so.
    Balanced(Arc<Balanced>),
}

impl Service<Request<Body>> for Way {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Direct(channel) => channel.poll_ready(cx),
            Self::Balanced(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Direct(channel) => Box::pin(channel.call(request)),
            Self::Balanced(balanced) => {
                let balanced = Arc::clone(balanced);
                Box::pin(async move { Ok(balanced.call(request).await) })
            }
        }
    }
}
