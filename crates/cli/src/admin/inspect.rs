//! `larder inspect`.

use clap::Args;
use larder_proto::admin::{EntryKind, InspectEntryRequest, InspectEntryResponse, TierEntry};

use super::{
    super::{
        client::AdminArgs,
        error::Exit,
        output::{Output, plain},
        show,
        table::{Side, Table, cut},
        units::{NONE, bytes, show_time},
    },
    CliError, tier_name,
};

/// The widest list of categories, and of tags, in columns; a longer list is cut.
const WIDEST_TERMS: usize = 24;

/// Prints the copy of a key in each tier, and why it is valid or not. Exits with 66 when no tier has a copy.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Keys as replies show them (x-cache-key), or ids of products.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    call: AdminArgs,
}

impl Inspect {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), CliError> {
        let server = self.call.connect().await?;
        let mut out = Output::new();
        let mut missing = Vec::new();
        for (number, key) in self.keys.into_iter().enumerate() {
            let request = server.request(InspectEntryRequest { key });
            let reply = server.call(server.admin().inspect_entry(request)).await?;
            if self.json {
                show::message(&mut out, "larder.admin.v1.InspectEntryResponse", &reply)?;
            } else {
                if number > 0 {
                    out.line("")?;
                }
                out.text(&render(&reply))?;
            }
            out.flush()?;
            if !reply.tiers.iter().any(|tier| tier.present) {
                missing.push(reply.key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(CliError::new(Exit::NoInput, format!("no tier has these: {}", plain(&missing.join(", ")))))
    }
}

fn render(entry: &InspectEntryResponse) -> String {
    let mut table = Table::new([
        (Side::Left, "TIER"),
        (Side::Left, "HAS"),
        (Side::Left, "VALID"),
        (Side::Left, "ETAG"),
        (Side::Right, "AGE"),
        (Side::Right, "TTL"),
        (Side::Right, "BYTES"),
        (Side::Left, "CATEGORIES"),
        (Side::Left, "TAGS"),
        (Side::Left, "WHY"),
    ]);
    for tier in &entry.tiers {
        table.row(cells(tier));
    }
    let mut text = format!("{}\n", plain(&entry.key));
    for line in table.lines() {
        text.push_str(&line);
        text.push('\n');
    }
    if !entry.changed_by_trace_id.is_empty() {
        for part in ["last changed by trace ", &plain(&entry.changed_by_trace_id), "\n"] {
            text.push_str(part);
        }
    }
    text
}

fn cells(tier: &TierEntry) -> [String; 10] {
    let none = || NONE.to_owned();
    let or_none = |text: &str| if text.is_empty() { none() } else { plain(text).into_owned() };
    let terms = |terms: &[String]| or_none(&cut(&plain(&terms.join(", ")), WIDEST_TERMS));
    let has = match tier.kind() {
        _ if !tier.present => "nothing",
        EntryKind::Product => "product",
        EntryKind::NotFound => "that there is none",
        EntryKind::Page => "page",
        EntryKind::Unspecified => "something",
    };
    let valid = match (tier.present, tier.valid) {
        (false, _) => NONE,
        (true, true) => "yes",
        (true, false) => "no",
    };
    [
        tier_name(tier.tier()).to_owned(),
        has.to_owned(),
        valid.to_owned(),
        or_none(&tier.etag),
        show_time(tier.age.as_ref()),
        show_time(tier.ttl.as_ref()),
        if tier.present { bytes(tier.bytes) } else { none() },
        terms(&tier.categories),
        terms(&tier.tags),
        or_none(&tier.reason),
    ]
}

#[cfg(test)]
mod tests {
    use larder_proto::catalog::CacheTier;

    use super::*;

    #[test]
    fn every_tier_has_a_row_and_a_reason() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let l1 = TierEntry {
            tier: CacheTier::L1.into(),
            present: true,
            kind: EntryKind::Product.into(),
            etag: "1f".into(),
            age: seconds(2),
            ttl: seconds(3_600),
            bytes: 511,
            categories: vec!["drinks".into()],
            tags: vec!["tea".into(), "new".into()],
            reason: "its time has passed".into(),
            ..TierEntry::default()
        };
        let l2 = TierEntry { tier: CacheTier::L2.into(), reason: "it is not there".into(), ..TierEntry::default() };
        let text = render(&InspectEntryResponse {
            key: "product:\u{1b}a".into(),
            tiers: vec![l1, l2],
            changed_by_trace_id: "0af7".into(),
        });
        let expected = "\
product:\\u{1b}a
TIER  HAS      VALID  ETAG     AGE  TTL  BYTES  CATEGORIES  TAGS      WHY
L1    product  no     1f    2.00 s   1h  511 B  drinks      tea, new  its time has passed
L2    nothing  -      -          -    -      -  -           -         it is not there
last changed by trace 0af7
";
        assert_eq!(text, expected);
    }
}
