//! Calls to a running server.

use std::{error::Error, path::PathBuf, time::Duration};

use clap::Args;
use larder_proto::{
    admin::cache_admin_client::CacheAdminClient, catalog::product_catalog_client::ProductCatalogClient,
};
use tonic::{
    Request, Response, Status, Streaming,
    codec::CompressionEncoding,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::{Channel, Endpoint},
};

use super::{
    CliError, credentials,
    error::Exit,
    output::{note, plain},
    settings::{Calls, CallsAdmin, SettingArgs},
    status,
};
use larder_server::config::{ClientConfig, Purpose, value};

/// A server that cannot be reached within this time counts as away.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection is pinged this often,
const KEEPALIVE: Duration = Duration::from_secs(10);
/// and closed when the server does not answer within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest reply that is read, above the largest one that a server sends.
pub(super) const MAX_REPLY: usize = 256 << 20;

const NO_SERVER: &str =
    "is it running? start it with `larder serve`, or name another one with --address or LARDER_ADDRESS";
const NO_ADMIN: &str = "is a server running? start one with `larder serve`, or name another one's CacheAdmin with \
    --admin-address or LARDER_ADMIN_ADDRESS; from another machine it is reached through a tunnel";

/// How to call a server.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    settings: SettingArgs<Calls>,
    #[command(flatten)]
    call: CallOptions,
}

/// How to call the `CacheAdmin` of a replica.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    settings: SettingArgs<CallsAdmin>,
    #[command(flatten)]
    call: CallOptions,
}

/// How to call a server, without its address.
#[derive(Debug, Clone, Args)]
pub(crate) struct CallOptions {
    /// How long one call may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout, help_heading = "Call")]
    pub(crate) timeout: Duration,
    /// Print the tier of each reply and the id of each request to standard error.
    #[arg(short, long, help_heading = "Call")]
    pub(crate) verbose: bool,
    /// The file with the token to send. It overrides token-file in [client] of the settings.
    #[arg(long, value_name = "PATH", help_heading = "Call")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A server that has been reached.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) channel: Channel,
    options: CallOptions,
    /// What `authorization` says, if there is a token.
    token: Option<AsciiMetadataValue>,
}

impl CallArgs {
    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<Server, CliError> {
        let config = self.settings.resolve(Purpose::Call)?.config;
        Server::connect(&config.client, self.call.clone()).await
    }

    /// Whether to print the tier of each reply.
    pub(crate) fn verbose(&self) -> bool {
        self.call.verbose
    }

    /// How long one call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.call.timeout
    }
}

impl AdminArgs {
    /// The address of the `CacheAdmin`, and the credentials for it.
    pub(crate) fn client(&self) -> Result<ClientConfig, CliError> {
        Ok(self.settings.resolve(Purpose::Call)?.config.client)
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> Result<Server, CliError> {
        Server::connect_admin(&self.client()?, self.call.clone()).await
    }

    /// How to call it.
    pub(crate) fn options(&self) -> &CallOptions {
        &self.call
    }
}

impl Server {
    /// Connects to a server.
    pub(crate) async fn connect(client: &ClientConfig, options: CallOptions) -> Result<Self, CliError> {
        Self::reach(&client.address, client, options).await.map_err(|error| error.or_hint(NO_SERVER))
    }

    /// Connects to the `CacheAdmin` of a replica.
    pub(crate) async fn connect_admin(client: &ClientConfig, options: CallOptions) -> Result<Self, CliError> {
        Self::reach(&client.admin_address, client, options).await.map_err(|error| error.or_hint(NO_ADMIN))
    }

    async fn reach(address: &http::Uri, client: &ClientConfig, options: CallOptions) -> Result<Self, CliError> {
        let token = options.token_file.as_ref().or(client.token_file.as_ref());
        let token = token.map(|path| credentials::token(path)).transpose()?;
        if token.is_some() {
            credentials::warn_in_the_clear(address);
        }
        let endpoint = Endpoint::from_shared(address.to_string())
            .and_then(|endpoint| endpoint.user_agent(concat!("larder/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| CliError::new(Exit::Config, format!("address {address}: {error}")))?
            .connect_timeout(CONNECT.min(options.timeout))
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let endpoint = credentials::secure(endpoint, address, client)?;
        let channel = endpoint.connect().await.map_err(|error| unreachable(address, &error))?;
        Ok(Self { channel, options, token })
    }

    /// The catalogue.
    pub(crate) fn catalog(&self) -> ProductCatalogClient<Channel> {
        ProductCatalogClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_REPLY)
            .accept_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Gzip)
    }

    /// The `CacheAdmin`.
    pub(crate) fn admin(&self) -> CacheAdminClient<Channel> {
        CacheAdminClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_REPLY)
            .accept_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Gzip)
    }

    /// A request with its deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.open_request(message);
        request.set_timeout(self.options.timeout);
        if self.options.verbose {
            request.metadata_mut().insert("x-cache-debug", tonic::metadata::MetadataValue::from_static("1"));
        }
        request
    }

    /// A request without a deadline, for streams.
    pub(crate) fn open_request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    /// Makes a call. The call ends at its deadline even if the server vanished.
    pub(crate) async fn call<T>(
        &self,
        reply: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        let reply = self.try_call(reply).await.map_err(|error| status::failure(&error))?;
        Ok(reply)
    }

    /// Begins a stream. The stream has no deadline: the caller bounds each wait for a message.
    pub(crate) async fn open<T>(
        &self,
        reply: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Streaming<T>, Status> {
        let reply = tokio::time::timeout(self.options.timeout, reply).await.unwrap_or_else(|_| Err(silent()))?;
        if self.options.verbose {
            show_metadata(reply.metadata());
        }
        Ok(reply.into_inner())
    }

    /// The next message of a stream; `None` at its end.
    pub(crate) async fn next<T>(messages: &mut Streaming<T>, within: Duration) -> Result<Option<T>, Status> {
        tokio::time::timeout(within, messages.message()).await.unwrap_or_else(|_| Err(silent()))
    }

    /// How long one call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// Makes a call whose error the caller handles.
    pub(crate) async fn try_call<T>(
        &self,
        reply: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        // The server has the same deadline; its answer gets the time to arrive.
        let limit = self.options.timeout + Duration::from_millis(500);
        let reply = tokio::time::timeout(limit, reply)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the server did not answer in time")))?;
        if self.options.verbose {
            show_metadata(reply.metadata());
        }
        Ok(reply.into_inner())
    }
}

fn unreachable(address: &http::Uri, error: &tonic::transport::Error) -> CliError {
    let mut cause: &(dyn Error + 'static) = error;
    let mut hint = credentials::hint(cause);
    while let Some(source) = cause.source() {
        cause = source;
        hint = hint.or_else(|| credentials::hint(cause));
    }
    let address = address.to_string();
    let address = address.trim_end_matches('/');
    let error = CliError::new(Exit::Unavailable, format!("cannot reach {address}: {}", plain(&cause.to_string())));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn silent() -> Status {
    Status::unavailable("the server does not answer")
}

fn show_metadata(metadata: &MetadataMap) {
    for name in ["x-request-id", "x-cache-status", "x-cache-tier", "x-cache-ttl", "x-cache-key"] {
        if let Some(value) = metadata.get(name) {
            note(&format!("{name}: {}", plain(&String::from_utf8_lossy(value.as_bytes()))));
        }
    }
}

/// Reads a length of time from the command line, which may be zero.
pub(super) fn time_or_zero(text: &str) -> Result<Duration, String> {
    if text.trim() == "0s" { Ok(Duration::ZERO) } else { timeout(text) }
}

/// Reads a length of time from the command line.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_millis(1)..=Duration::from_hours(24);
    value::duration_in(text, limits).map_err(|invalid| format!("{}; {}", invalid.reason, invalid.hint))
}
