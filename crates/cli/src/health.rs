//! `larder health`.

use clap::Args;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    CliError, admin,
    client::{CallOptions, Server},
    error::Exit,
    output::{Output, plain},
    settings::{CallsEither, SettingArgs},
    status,
};
use larder_server::config::Purpose;

/// Asks a server whether it serves. Exits with 0 when it does and with 69 when not.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The service to ask about: liveness, readiness or larder.catalog.v1.ProductCatalog; the server as a whole when empty.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// Have a replica try every tier by a real write and read, and print what it found; at --admin-address.
    #[arg(long, conflicts_with = "service")]
    deep: bool,
    /// As JSON.
    #[arg(long, requires = "deep")]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs<CallsEither>,
    #[command(flatten)]
    call: CallOptions,
}

impl Health {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let client = self.settings.resolve(Purpose::Call)?.config.client;
        if self.deep {
            let server = Server::connect_admin(&client, self.call).await?;
            return admin::check_deeply(&server, self.json).await;
        }
        let server = Server::connect(&client, self.call).await?;
        let mut health = HealthClient::new(server.channel.clone());
        let request = server.request(HealthCheckRequest { service: self.service.clone() });
        let serving = match server.try_call(health.check(request)).await {
            Ok(reply) => reply.status(),
            Err(error) if error.code() == Code::NotFound => ServingStatus::ServiceUnknown,
            Err(error) => return Err(status::failure(&error)),
        };
        let mut out = Output::new();
        out.line(serving.as_str_name())?;
        out.flush()?;
        let what = match self.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("the service {}", plain(service)),
        };
        match serving {
            ServingStatus::Serving => Ok(()),
            ServingStatus::ServiceUnknown => {
                Err(CliError::new(Exit::Unavailable, format!("the server does not know {what}"))
                    .hint("larder.catalog.v1.ProductCatalog, liveness and readiness are names of services"))
            }
            _ => Err(CliError::new(Exit::Unavailable, format!("{what} does not serve"))),
        }
    }
}
