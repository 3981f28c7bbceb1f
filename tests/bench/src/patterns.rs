//! How long patterns take that were made to take long: `larder-bench patterns`.

use std::time::Instant;

use larder_cache::Glob;

use crate::render::{Form, table};

/// Matches each pattern against 1,000 keys of 80 characters.
pub(crate) fn run() -> anyhow::Result<String> {
    let keys: Vec<String> = (0..1_000)
        .map(|number| format!("{}{number:04}", if number % 2 == 0 { "a".repeat(76) } else { "ab".repeat(38) }))
        .collect();
    let patterns =
        ["*a".repeat(128), "*a".repeat(38), format!("*{}b", "a".repeat(60)), format!("*a{}", "?".repeat(60))];
    let mut rows = vec![["pattern", "parsed in", "1,000 keys matched in"].map(str::to_owned).to_vec()];
    for pattern in patterns {
        let begun = Instant::now();
        let glob = Glob::parse(&pattern)?;
        let parsed = begun.elapsed();
        let begun = Instant::now();
        let matched = std::hint::black_box(keys.iter().filter(|key| glob.matches(key)).count());
        let took = begun.elapsed();
        rows.push(vec![format!("{pattern:.20}... ({matched} match)"), format!("{parsed:?}"), format!("{took:?}")]);
    }
    Ok(table(Form::Markdown, &rows) + "\n")
}
