//! Calls of any method with any credential.

use std::net::SocketAddr;

use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};
use tonic_prost::ProstCodec;

use super::authority::{Authority, Certified};

/// Every method that needs a role, with the role that it needs.
pub(super) const METHODS: [(&str, Needs); 21] = [
    ("larder.catalog.v1.ProductCatalog/GetProduct", Needs::Reader),
    ("larder.catalog.v1.ProductCatalog/BatchGetProducts", Needs::Reader),
    ("larder.catalog.v1.ProductCatalog/ListProducts", Needs::Reader),
    ("larder.catalog.v1.ProductCatalog/SearchProducts", Needs::Reader),
    ("larder.catalog.v1.ProductCatalog/WatchProducts", Needs::Reader),
    ("larder.catalog.v1.ProductCatalog/CreateProduct", Needs::Writer),
    ("larder.catalog.v1.ProductCatalog/UpdateProduct", Needs::Writer),
    ("larder.catalog.v1.ProductCatalog/DeleteProduct", Needs::Writer),
    ("larder.catalog.v1.ProductCatalog/ImportProducts", Needs::Writer),
    ("larder.admin.v1.CacheAdmin/GetStats", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/WatchStats", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/GetHealth", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InspectEntry", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/ListHotKeys", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InvalidateKeys", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InvalidateTags", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InvalidateCategories", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InvalidatePattern", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/InvalidateAll", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/PurgeExpired", Needs::Admin),
    ("larder.admin.v1.CacheAdmin/WarmCache", Needs::Admin),
];

/// The methods that need nothing.
pub(super) const OPEN: [&str; 2] =
    ["grpc.health.v1.Health/Check", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"];

/// The role that a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    Reader,
    Writer,
    Admin,
}

/// What came of a call, as far as the gate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service answered, with whatever it thinks of an empty message.
    Admitted,
    Unauthenticated,
    Denied,
}

/// The ports of a server as one client reaches them.
pub(super) struct Caller {
    pub(super) catalog: Channel,
    pub(super) admin: Channel,
    pub(super) token: Option<String>,
}

impl Caller {
    /// A client by TLS, which shows a certificate if it has one.
    pub(super) fn new(ports: [SocketAddr; 2], authority: &Authority, certified: Option<&Certified>) -> Self {
        let [catalog, admin] = ports.map(|port| channel(port, authority.pem(), certified));
        Self { catalog, admin, token: None }
    }

    /// The same client with a token.
    pub(super) fn with(&self, token: &str) -> Self {
        Self { catalog: self.catalog.clone(), admin: self.admin.clone(), token: Some(format!("Bearer {token}")) }
    }

    /// Calls a method with an empty message.
    pub(super) async fn call(&self, method: &str) -> Result<(), Status> {
        let channel = if method.contains("CacheAdmin") { &self.admin } else { &self.catalog };
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(());
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.parse().expect("a header"));
        }
        let path = format!("/{method}").parse().expect("a path");
        // As if the method had a stream of replies: a refusal comes before the first one.
        let replies = grpc.server_streaming(request, path, ProstCodec::<(), ()>::default()).await?;
        drop(replies);
        Ok(())
    }

    /// What the gate does with a call of a method.
    pub(super) async fn outcome(&self, method: &str) -> Outcome {
        match self.call(method).await {
            Err(status) if status.code() == Code::Unauthenticated => Outcome::Unauthenticated,
            Err(status) if status.code() == Code::PermissionDenied => Outcome::Denied,
            Err(status) if status.code() == Code::Unavailable => panic!("{method}: {status:?}"),
            Ok(()) | Err(_) => Outcome::Admitted,
        }
    }
}

/// A channel that trusts one authority. It connects when it is first used.
pub(super) fn channel(port: SocketAddr, trusted: &str, certified: Option<&Certified>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted));
    if let Some(Certified { certificate, key, .. }) = certified {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Channel::from_shared(format!("https://{port}")).expect("an address");
    endpoint.tls_config(tls).expect("a configuration").connect_lazy()
}
