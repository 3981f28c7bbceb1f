//! `larder hot`.

use clap::Args;
use larder_proto::admin::{HotKey, ListHotKeysRequest};

use super::{
    super::{
        client::AdminArgs,
        output::{Output, plain},
        show,
        table::{Side, Table},
        units::{count, rate},
    },
    CliError,
};

/// Prints the keys that a replica reads most at present.
#[derive(Debug, Args)]
pub(crate) struct Hot {
    /// How many keys.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    top: i32,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

impl Hot {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = self.call.connect().await?;
        let request = server.request(ListHotKeysRequest { page_size: self.top });
        let keys = server.call(server.admin().list_hot_keys(request)).await?.keys;
        let mut out = Output::new();
        if self.json {
            for key in &keys {
                show::message(&mut out, "larder.admin.v1.HotKey", key)?;
            }
        } else if !keys.is_empty() {
            for line in table(&keys).lines() {
                out.line(&line)?;
            }
        }
        out.flush()
    }
}

fn table(keys: &[HotKey]) -> Table {
    let mut table = Table::new([(Side::Right, "READS/S"), (Side::Right, "READS"), (Side::Left, "KEY")]);
    for hot in keys {
        table.row([rate(hot.rate), count(hot.reads), plain(&hot.key).into_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_behind_their_figures() {
        let hot = |key: &str, rate, reads| HotKey { key: key.into(), rate, reads };
        let table = table(&[hot("product:a", 1_234.5, 99_999), hot("list:\n", 0.25, 7)]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["READS/S   READS  KEY", "  1,235  99,999  product:a", "    0.2       7  list:\\n"]);
    }
}
