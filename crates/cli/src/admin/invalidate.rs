//! `larder invalidate`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::{Args, Subcommand};
use larder_proto::admin::{
    InvalidateAllRequest, InvalidateCategoriesRequest, InvalidateKeysRequest, InvalidatePatternRequest,
    InvalidateTagsRequest, Invalidation,
};

use super::{
    super::{
        client::{AdminArgs, time_or_zero},
        error::Exit,
        output::{Output, plain},
        show,
        units::count,
    },
    CliError, silent,
};
use larder_server::contract::duration;

/// Drops copies on every replica and in Redis. The catalogue does not change: the next read loads from the database.
#[derive(Debug, Args)]
pub(crate) struct Invalidate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Drop every copy of some keys.
    Keys {
        /// Keys as replies show them (x-cache-key), or ids of products: at most 1,000.
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Drop the copies of all products in some categories, of all lists and searches, and of absent products.
    Categories {
        /// Categories as products have them: at most 100.
        #[arg(required = true, value_name = "CATEGORY")]
        categories: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Drop the copies of all products with some tags, of all lists and searches, and of absent products.
    Tags {
        /// Tags as products have them: at most 100.
        #[arg(required = true, value_name = "TAG")]
        tags: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Drop every copy whose key matches a glob: * ? [a-c] [!a] {x,y}; a \ makes the next character literal.
    Pattern {
        /// The glob, which must match whole keys. Quote it, or the shell expands it to file names.
        #[arg(value_name = "GLOB")]
        pattern: String,
        #[command(flatten)]
        how: How,
    },
    /// Drop every copy, after a confirmation.
    All {
        /// Drop without a confirmation.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Only show the copies that the answering replica would drop.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the other replicas to confirm: at most 10s; 0s means no wait.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = time_or_zero)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

impl Invalidate {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let how = self.what.how();
        if let What::All { yes: false, .. } = self.what
            && !how.dry_run
        {
            confirm(&how.call.client()?.admin_address)?;
        }
        let (dry_run, wait) = (how.dry_run, Some(duration(how.wait)));
        let server = how.call.connect().await?;
        let mut admin = server.admin();
        let invalidation = match &self.what {
            What::Keys { keys, .. } => {
                let message = InvalidateKeysRequest { keys: keys.clone(), dry_run, wait };
                server.call(admin.invalidate_keys(server.request(message))).await?.invalidation
            }
            What::Categories { categories, .. } => {
                let message = InvalidateCategoriesRequest { categories: categories.clone(), dry_run, wait };
                server.call(admin.invalidate_categories(server.request(message))).await?.invalidation
            }
            What::Tags { tags, .. } => {
                let message = InvalidateTagsRequest { tags: tags.clone(), dry_run, wait };
                server.call(admin.invalidate_tags(server.request(message))).await?.invalidation
            }
            What::Pattern { pattern, .. } => {
                let message = InvalidatePatternRequest { pattern: pattern.clone(), dry_run, wait };
                server.call(admin.invalidate_pattern(server.request(message))).await?.invalidation
            }
            What::All { .. } => {
                let message = InvalidateAllRequest { dry_run, wait };
                server.call(admin.invalidate_all(server.request(message))).await?.invalidation
            }
        };
        how.print(invalidation)
    }
}

impl What {
    fn how(&self) -> &How {
        match self {
            Self::Keys { how, .. }
            | Self::Categories { how, .. }
            | Self::Tags { how, .. }
            | Self::Pattern { how, .. }
            | Self::All { how, .. } => how,
        }
    }
}

impl How {
    fn print(&self, done: Option<Invalidation>) -> Result<(), CliError> {
        let done = done.ok_or_else(|| CliError::new(Exit::Internal, "the server does not say what it did"))?;
        let mut out = Output::new();
        if self.json {
            show::message(&mut out, "larder.admin.v1.Invalidation", &done)?;
        } else {
            out.text(&if self.dry_run { would(&done) } else { did(&done) })?;
        }
        out.flush()
    }
}

/// Asks for a confirmation on the terminal. Without a terminal the command is refused.
fn confirm(address: &http::Uri) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("this would drop every copy of every replica, and there is no terminal to ask on")
            .hint("say --yes, or look first with --dry-run"));
    }
    let address = address.to_string();
    let question = format!(
        "This drops every copy on all replicas of the cluster of {} and in Redis;\n\
         until they are loaded anew, reads go to the database. Type yes to go on: ",
        address.trim_end_matches('/')
    );
    let asked = io::stderr().write_all(question.as_bytes()).and_then(|()| io::stderr().flush());
    asked.map_err(|error| CliError::io("cannot ask", &error))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| CliError::io("cannot read the answer", &error))?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(CliError::usage("the answer was not yes: nothing is dropped"))
}

fn would(told: &Invalidation) -> String {
    let copies = if told.count == 1 { "copy" } else { "copies" };
    let mut lines = vec![format!("would drop {} {copies} in the memory of this replica", count(told.count))];
    lines.extend(told.sample.iter().map(|key| format!("  {}", plain(key))));
    let more = told.count.saturating_sub(told.sample.len() as u64);
    if more > 0 {
        lines.push(format!("  and {} more", count(more)));
    }
    lines.join("\n") + "\n"
}

fn did(told: &Invalidation) -> String {
    let replicas = if told.confirmed == 1 { "replica" } else { "replicas" };
    let missing = match told.silent.len() {
        0 => String::new(),
        silent => {
            format!(
                "; {silent} did not confirm in time: within the staleness bound they learn of it from the change log"
            )
        }
    };
    let mut lines = vec![format!("confirmed by {} {replicas}{missing}", told.confirmed)];
    lines.extend(silent(&told.silent));
    lines.push(format!("token: {}", plain(&told.token)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use larder_proto::admin::Replica;

    use super::*;

    #[test]
    fn a_dry_run_tells_how_many_and_some() {
        let told = |count, sample: &[&str]| {
            let sample = sample.iter().map(|&key| key.to_owned()).collect();
            would(&Invalidation { count, sample, ..Invalidation::default() })
        };
        assert_eq!(told(0, &[]), "would drop 0 copies in the memory of this replica\n");
        let one = "would drop 1 copy in the memory of this replica\n  product:a\\u{7}\n";
        assert_eq!(told(1, &["product:a\u{7}"]), one);
        let many = "would drop 1,200 copies in the memory of this replica\n  a\n  b\n  and 1,198 more\n";
        assert_eq!(told(1_200, &["a", "b"]), many);
    }

    #[test]
    fn who_confirmed_and_who_did_not_is_told() {
        let done = Invalidation { confirmed: 1, token: "T".into(), ..Invalidation::default() };
        assert_eq!(did(&done), "confirmed by 1 replica\ntoken: T\n");
        let uptime = Some(prost_types::Duration { seconds: 5, nanos: 0 });
        let silent = Replica { id: "ab".into(), name: "h:1".into(), version: "0.1.0".into(), uptime };
        let unnamed = Replica { name: String::new(), version: String::new(), ..silent.clone() };
        let text = did(&Invalidation { confirmed: 2, silent: vec![silent, unnamed], ..done });
        let expected = "confirmed by 2 replicas; 2 did not confirm in time: within the staleness bound they learn of it \
                        from the change log\nsilent: h:1  0.1.0, up 5.00 s, id ab\nsilent: (no name yet)  up 5.00 s, id ab\n\
                        token: T\n";
        assert_eq!(text, expected);
    }
}
