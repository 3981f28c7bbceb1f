//! OTLP over gRPC.

use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Status, client,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{Failure, Signal};
use crate::{config::ReceiverConfig, error::ServeError};

pub(super) struct Grpc {
    client: client::Grpc<Channel>,
    headers: MetadataMap,
}

impl Grpc {
    /// A channel that connects once it is used.
    pub(super) fn new(config: &ReceiverConfig) -> Result<Self, ServeError> {
        let ReceiverConfig { endpoint, timeout, .. } = config;
        let mut channel = Endpoint::from(endpoint.clone()).connect_timeout(*timeout).timeout(*timeout);
        if endpoint.scheme_str() == Some("https") {
            let tls = match &config.authorities {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_webpki_roots(),
            };
            channel = channel.tls_config(tls).map_err(|error| ServeError::Telemetry(error.to_string()))?;
        }
        let mut client = client::Grpc::new(channel.connect_lazy());
        if config.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { client, headers: MetadataMap::from_headers(config.headers.clone()) })
    }

    /// Sends a message once.
    pub(super) async fn send<S: Signal>(&mut self, message: S) -> Result<S::Reply, Failure> {
        self.client.ready().await.map_err(Failure::unreachable)?;
        let request = Request::from_parts(self.headers.clone(), http::Extensions::new(), message);
        let codec = ProstCodec::<S, S::Reply>::default();
        let reply = self.client.unary(request, PathAndQuery::from_static(S::METHOD), codec).await;
        reply.map(tonic::Response::into_inner).map_err(|status| failed(&status))
    }
}

fn failed(status: &Status) -> Failure {
    let passing = status.code() == Code::Unavailable;
    Failure { passing, code: format!("{:?}", status.code()), text: status.message().to_owned() }
}
