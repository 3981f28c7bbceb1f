//! The tables of `docs/metrics.md`.

use std::fmt::Write as _;

use larder_cache::{Kind, Metric};

use super::table::SECTIONS;

/// Every metric, by section.
fn tables() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let _ = writeln!(text, "\n## {}\n", section.title);
        text.push_str("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
        for metric in section.metrics {
            row(&mut text, metric);
        }
    }
    text
}

fn row(text: &mut String, metric: &Metric) {
    let (kind, suffix) = match metric.kind {
        Kind::Counter => ("counter", "_total"),
        Kind::Gauge => ("gauge", ""),
        Kind::Histogram => ("histogram", ""),
    };
    let labels = metric.labels.iter().map(|label| {
        let values: Vec<_> = label.values.iter().map(|value| format!("`{value}`")).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
        format!("`{}`{values}", label.name)
    });
    let (family, labels) = (metric.family(), labels.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "| `{family}{suffix}` | {kind} | {labels} | {}. |", metric.help);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in `docs/metrics.md` above the tables.
    const MARK: &str = "<!-- The table of metrics in the code makes everything below this line. -->\n";

    #[test]
    fn the_page_has_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (head, below) = page.split_once(MARK).expect("the mark above the tables");
        if std::env::var_os("LARDER_UPDATE_PAGES").is_some_and(|value| value == "1") {
            std::fs::write(path, format!("{head}{MARK}{}", tables())).unwrap();
        } else {
            assert!(below == tables(), "write it again: LARDER_UPDATE_PAGES=1 cargo test -p larder-server metrics");
        }
    }
}
