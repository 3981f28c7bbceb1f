//! The figures on the screen.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{LineGauge, Paragraph, Sparkline},
};

use super::{
    super::{
        super::{
            output::plain,
            table::cut,
            units::{NONE, bytes, count, percent, rate, time, whole},
        },
        tier_name,
    },
    figures::{BusFigures, Connection, Figures, ReplicaFigures, TierFigures},
};

/// The columns of a tier: its name, requests, hit rate, a gap, the past, p50, p99, errors.
const TIER_COLUMNS: [Constraint; 8] = [
    Constraint::Length(8),
    Constraint::Length(11),
    Constraint::Length(9),
    Constraint::Length(2),
    Constraint::Fill(1),
    Constraint::Length(9),
    Constraint::Length(9),
    Constraint::Length(10),
];
const TIER_HEADS: [&str; 8] = ["TIER", "REQUESTS/S", "HITS", "", "HITS, LAST 4 MIN", "P50", "P99", "ERRORS/S"];
/// Which of them stand on the left side.
const TEXTS: [usize; 2] = [0, 4];

/// The columns of a replica: its name, requests, missed share, lag.
const REPLICA_COLUMNS: [Constraint; 4] =
    [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(8), Constraint::Length(9)];
const REPLICA_HEADS: [&str; 4] = ["REPLICA", "REQ/S", "MISSED", "BUS LAG"];

/// The lowest bar that is one, in percent: no hit at all is not the same as no request.
const LOWEST: u64 = 13;

const HEAD: Style = Style::new().add_modifier(Modifier::DIM);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const DOUBTFUL: Style = Style::new().fg(Color::Yellow);

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, figures: &Figures) {
    let tiers: u16 = figures.tiers.iter().map(lines_of).sum();
    let [title, state, head, tier_area, _, rates, _, lists, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(tiers),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_title(frame, title, figures);
    draw_state(frame, state, &figures.connection);
    draw_row(frame, head, TIER_COLUMNS, TIER_HEADS.map(Line::from), &TEXTS, HEAD);
    let mut rest = tier_area;
    for tier in &figures.tiers {
        let [area, below] = Layout::vertical([Constraint::Length(lines_of(tier)), Constraint::Fill(1)]).areas(rest);
        draw_tier(frame, area, tier);
        rest = below;
    }
    draw_rates(frame, rates, figures);
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(6), Constraint::Length(2), Constraint::Fill(7)]).areas(lists);
    draw_hot(frame, left, figures);
    draw_replicas(frame, right, &figures.replicas);
    frame.render_widget(Paragraph::new("q, Esc or Ctrl-C ends").style(HEAD), foot);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let answered = figures.replicas.iter().filter(|replica| replica.answered).count();
    let silent = figures.replicas.len() - answered;
    let mut title = Line::from(vec!["larder top".bold(), Span::raw(format!("  {}", plain(&figures.address)))]);
    if !figures.replicas.is_empty() {
        let replicas = if answered == 1 { "replica" } else { "replicas" };
        title.push_span(format!("  {answered} {replicas}"));
    }
    if silent > 0 {
        title.push_span(Span::styled(format!(", {silent} silent"), DOUBTFUL));
    }
    frame.render_widget(Paragraph::new(title), area);
}

fn draw_state(frame: &mut Frame<'_>, area: Rect, connection: &Connection) {
    let state = match connection {
        Connection::Up => return,
        Connection::Connecting => Line::from("connecting"),
        Connection::Lost(why) => Line::styled(format!("old figures, trying again: {}", plain(why)), BAD),
    };
    frame.render_widget(Paragraph::new(state), area);
}

/// A tier has a line for what it does, and one for what it holds if it holds anything.
fn lines_of(tier: &TierFigures) -> u16 {
    if holds(tier) { 2 } else { 1 }
}

fn holds(tier: &TierFigures) -> bool {
    tier.capacity > 0 || tier.bytes > 0
}

fn draw_tier(frame: &mut Frame<'_>, area: Rect, tier: &TierFigures) {
    let [first, second] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let shown = |value: Option<f64>, show: fn(f64) -> String| Line::from(value.map_or_else(|| NONE.to_owned(), show));
    let latency = |value: Option<std::time::Duration>| Line::from(value.map_or_else(|| NONE.to_owned(), time));
    let errors = shown(tier.errors, rate);
    let cells = [
        Line::from(tier_name(tier.tier)).bold(),
        shown(tier.requests, rate),
        shown(tier.hit_rate, percent),
        Line::default(),
        Line::default(),
        latency(tier.p50),
        latency(tier.p99),
        if tier.errors.is_some_and(|errors| errors > 0.0) { errors.style(BAD) } else { errors },
    ];
    draw_row(frame, first, TIER_COLUMNS, cells, &TEXTS, Style::new());
    let columns: [Rect; 8] = Layout::horizontal(TIER_COLUMNS).areas(first);
    draw_past(frame, columns[4], &tier.past);
    if holds(tier) {
        draw_contents(frame, second, tier);
    }
}

/// The newest column stands at the right end.
fn draw_past(frame: &mut Frame<'_>, area: Rect, past: &[Option<f64>]) {
    let width = usize::from(area.width);
    let newest = &past[past.len().saturating_sub(width)..];
    let bars = newest.iter().map(|share| share.map(|share| whole(share * 100.0).max(LOWEST)));
    let bars = std::iter::repeat_n(None, width - newest.len()).chain(bars);
    let line = Sparkline::default().data(bars.collect::<Vec<_>>()).max(100).absent_value_symbol("·").style(HEAD);
    frame.render_widget(line, area);
}

fn draw_contents(frame: &mut Frame<'_>, area: Rect, tier: &TierFigures) {
    let [_, entries, _, gauge] =
        Layout::horizontal([Constraint::Length(8), Constraint::Length(19), Constraint::Length(3), Constraint::Fill(1)])
            .areas(area);
    let text = format!("{} entries", count(tier.entries));
    frame.render_widget(Paragraph::new(text).alignment(Alignment::Right), entries);
    if tier.capacity == 0 {
        frame.render_widget(Paragraph::new(format!("{}, no limit", bytes(tier.bytes))), gauge);
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of a bar")]
    let ratio = (tier.bytes as f64 / tier.capacity as f64).clamp(0.0, 1.0);
    let label = format!("{} of {}", bytes(tier.bytes), bytes(tier.capacity));
    let style = if ratio > 0.95 { DOUBTFUL } else { Style::new() };
    let line = LineGauge::default().ratio(ratio).label(label).filled_style(style).unfilled_style(HEAD);
    frame.render_widget(line.filled_symbol("━").unfilled_symbol("─"), gauge);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    fn row<const N: usize>(label: &str, names: [&str; N], rates: Option<[f64; N]>) -> Line<'static> {
        let mut line = Line::from(vec![Span::styled(format!("{label:<18}"), HEAD)]);
        for (number, name) in names.into_iter().enumerate() {
            let value = rates.map_or_else(|| NONE.to_owned(), |rates| rate(rates[number]));
            line.push_span(format!("{name} {value}  "));
        }
        line
    }
    let lines = vec![
        row("LOADS/S", ["begun", "joined", "refused"], figures.loads),
        row("CHANGES/S, BY", ["own writes", "bus", "change log"], figures.changes),
        row("INVALIDATIONS/S", ["keys", "categories", "tags", "patterns", "all"], figures.invalidations),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_hot(frame: &mut Frame<'_>, area: Rect, figures: &Figures) {
    let mut lines = vec![Line::styled(" READS/S  HOTTEST KEYS HERE", HEAD)];
    let width = usize::from(area.width).saturating_sub(10);
    lines.extend(figures.hot.iter().take(usize::from(area.height)).map(|hot| {
        let key = cut(&plain(&hot.key), width);
        Line::from(format!("{:>8}  {key}", rate(hot.rate)))
    }));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_replicas(frame: &mut Frame<'_>, area: Rect, replicas: &[ReplicaFigures]) {
    let rows = area.rows().take(replicas.len() + 1);
    for (number, row) in rows.enumerate() {
        let Some(replica) = number.checked_sub(1).and_then(|number| replicas.get(number)) else {
            draw_row(frame, row, REPLICA_COLUMNS, REPLICA_HEADS.map(Line::from), &[0], HEAD);
            continue;
        };
        let [name, ..]: [Rect; 4] = Layout::horizontal(REPLICA_COLUMNS).areas(row);
        let none = || Line::from(NONE);
        let [missed, lag] = match replica.bus {
            _ if !replica.answered => [none(), Line::styled("silent", DOUBTFUL)],
            None => [none(), none()],
            Some(BusFigures { connected: false, missed, .. }) => {
                [Line::from(percent(missed)), Line::styled("bus lost", BAD)]
            }
            Some(BusFigures { missed, lag, .. }) => [Line::from(percent(missed)), Line::from(time(lag))],
        };
        let cells = [
            Line::from(cut(&plain(&replica.name), usize::from(name.width))),
            Line::from(replica.requests.map_or_else(|| NONE.to_owned(), rate)),
            missed,
            lag,
        ];
        draw_row(frame, row, REPLICA_COLUMNS, cells, &[0], Style::new());
    }
}

/// One line of cells; those in the columns `texts` stand on the left side, figures on the right.
fn draw_row<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: [Constraint; N],
    cells: [Line<'_>; N],
    texts: &[usize],
    style: Style,
) {
    let areas: [Rect; N] = Layout::horizontal(columns).areas(area);
    for (number, (cell, area)) in cells.into_iter().zip(areas).enumerate() {
        let side = if texts.contains(&number) { Alignment::Left } else { Alignment::Right };
        frame.render_widget(Paragraph::new(cell).alignment(side).style(style), area);
    }
}
