//! A report as text: for a terminal, and as Markdown.

use crate::{
    report::{Comparison, Report, Sample},
    stats::Ratio,
    write_calls::GATHERED,
};

/// How a table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Columns aligned by spaces.
    Text,
    /// With bars, and a heading's rule.
    Markdown,
}

/// Writes a report out.
pub(crate) fn render(report: &Report, form: Form) -> String {
    let mut paragraphs = vec![report.machine.line(), settings(report)];
    paragraphs.push(table(form, &figures(&report.comparisons)));
    paragraphs.push(table(form, &ratios(&report.comparisons)));
    paragraphs.push(writes(report));
    if report.comparisons.iter().any(Comparison::exceeds) {
        paragraphs.push("! costs more than expected".to_owned());
    }
    if let Some(first) = &report.first_wrong {
        paragraphs.push(format!("FAILED: {} wrong replies, the first: {first}", report.wrong_replies));
    }
    paragraphs.join("\n\n") + "\n"
}

fn settings(report: &Report) -> String {
    let settings = &report.settings;
    let smoke = if settings.quick || cfg!(debug_assertions) {
        "A smoke run or a debug build: the figures mean nothing. "
    } else {
        ""
    };
    format!(
        "{smoke}{} rounds of {} s for each server and scenario; {} products ({} bytes in a reply), {} of them hot, imported at {} a second. Requests/s and \
         CPU: closed loop. Percentiles: open loop at 60% of the slower server's requests/s, from the moment a request was due; 1×1: \
         closed loop, corrected for coordinated omission. Medians over the rounds. 8×32: 8 connections of 32 streams. Database: \
         ids in random order over all products, of which L1 holds 1%; {:.1}% of a sample came from there.",
        settings.rounds,
        settings.seconds,
        thousands(settings.products.to_string()),
        settings.product_bytes,
        thousands(settings.hot.to_string()),
        thousands(format!("{:.0}", report.imported_per_second)),
        report.from_database * 100.0
    )
}

fn figures(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "scenario",
        "server",
        "requests/s",
        "p50",
        "p99",
        "p99.9",
        "server CPU µs/request",
        "client CPU µs/request",
    ])];
    for comparison in comparisons {
        for (side, server) in ["larder", "bare"].into_iter().enumerate() {
            let median = |figure: fn(&Sample) -> f64| comparison.median(side, figure);
            rows.push(row([
                comparison.scenario,
                server,
                &thousands(format!("{:.0}", median(|sample| sample.per_second))),
                &time(median(|sample| sample.p50)),
                &time(median(|sample| sample.p99)),
                &time(median(|sample| sample.p999)),
                &format!("{:.1}", median(|sample| sample.server_micros)),
                &format!("{:.1}", median(|sample| sample.client_micros)),
            ]));
        }
    }
    rows
}

fn ratios(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    let mut rows = vec![row(["larder ÷ bare", "server CPU per request", "expected", "requests/s", "p50"])];
    for comparison in comparisons {
        let ratio = |figure: fn(&Sample) -> f64| comparison.ratio(figure).map_or_else(|| "–".to_owned(), with_range);
        let mark = if comparison.exceeds() { " !" } else { "" };
        rows.push(row([
            comparison.scenario,
            &(ratio(|sample| sample.server_micros) + mark),
            &comparison.expected.map_or_else(String::new, |most| format!("≤ {most}")),
            &ratio(|sample| sample.per_second),
            &ratio(|sample| sample.p50),
        ]));
    }
    rows
}

fn writes(report: &Report) -> String {
    let writes = &report.writes;
    let verdict = if writes.larder > GATHERED { ": replies are NOT gathered" } else { "" };
    format!(
        "Write system calls per request, GetProduct 8×32 (counted by {}): larder {:.3}, bare {:.3}{verdict}",
        writes.counted_by.name(),
        writes.larder,
        writes.bare
    )
}

fn with_range(ratio: Ratio) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max)
}

/// Microseconds, or milliseconds from a thousand on.
fn time(micros: f64) -> String {
    if micros >= 1000.0 { format!("{:.2} ms", micros / 1e3) } else { format!("{micros:.0} µs") }
}

#[expect(clippy::needless_pass_by_value, reason = "called with what was just formatted")]
fn thousands(digits: String) -> String {
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Draws a table whose first row is its head. The first column is aligned to the left, numbers to the right.
pub(crate) fn table(form: Form, rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines: Vec<String> = rows.iter().map(|row| line(form, row, &widths)).collect();
    if form == Form::Markdown {
        let rule = (0..columns).map(|column| if column == 0 { " --- |" } else { " ---: |" });
        lines.insert(1, format!("|{}", rule.collect::<String>()));
    }
    lines.join("\n")
}

fn line(form: Form, cells: &[String], widths: &[usize]) -> String {
    if form == Form::Markdown {
        return format!("| {} |", cells.join(" | "));
    }
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width - cell.chars().count());
        match column {
            0 => line.extend([cell.as_str(), &padding]),
            _ => line.extend(["  ", &padding, cell]),
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands("7".to_owned()), "7");
        assert_eq!(thousands("123".to_owned()), "123");
        assert_eq!(thousands("1234567".to_owned()), "1,234,567");
        assert_eq!(time(999.4), "999 µs");
        assert_eq!(time(12_345.0), "12.35 ms");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [row(["a", "µ"]), row(["long", "10"])];
        assert_eq!(table(Form::Text, &rows), "a      µ\nlong  10");
        assert_eq!(table(Form::Markdown, &rows), "| a | µ |\n| --- | ---: |\n| long | 10 |");
    }

    #[test]
    fn a_report_tells_ratios_marks_and_failures() {
        let mut report = report();
        let text = render(&report, Form::Text);
        assert!(text.contains("1.10 (1.00–1.20)"), "{text}");
        assert!(text.contains("2.00 (1.00–2.00) !"), "{text}");
        assert!(text.contains("larder 0.060, bare 1.030"), "{text}");
        assert!(!text.contains("FAILED"));
        report.wrong_replies = 2;
        report.first_wrong = Some("grpc-status 5".to_owned());
        report.writes.larder = 1.0;
        let text = render(&report, Form::Markdown);
        assert!(text.contains("FAILED: 2 wrong replies, the first: grpc-status 5"), "{text}");
        assert!(text.contains("NOT gathered"), "{text}");
    }
}
