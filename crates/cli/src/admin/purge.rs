//! `larder purge`.

use clap::Args;
use larder_proto::admin::PurgeExpiredRequest;

use super::{
    super::{client::AdminArgs, output::Output, show, units::count},
    CliError,
};

/// Frees the memory of expired copies in the L1 of a replica. Expired copies are never served.
#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

impl Purge {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = self.call.connect().await?;
        let reply = server.call(server.admin().purge_expired(server.request(PurgeExpiredRequest {}))).await?;
        let mut out = Output::new();
        if self.json {
            show::message(&mut out, "larder.admin.v1.PurgeExpiredResponse", &reply)?;
        } else {
            let copies = if reply.purged == 1 { "copy" } else { "copies" };
            out.line(&format!("{} expired {copies} freed", count(reply.purged)))?;
        }
        out.flush()
    }
}
