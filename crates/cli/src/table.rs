//! Rows of text in columns.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// For texts.
    Left,
    /// For figures, whose last digits are compared.
    Right,
}

/// Rows with a cell for each column.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with columns, each with its alignment and its head.
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = (Side, &'a str)>) -> Self {
        let (sides, head) = columns.into_iter().map(|(side, head)| (side, head.to_owned())).unzip();
        Self { sides, rows: vec![head] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let mut widths = vec![0; self.sides.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        self.rows.iter().map(move |row| {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let padding = width - cell.width();
                let (before, after) = if *side == Side::Right { (padding, 0) } else { (0, padding) };
                line.extend(std::iter::repeat_n(' ', before));
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', after + 2));
            }
            line.truncate(line.trim_end().len());
            line
        })
    }
}

/// A text cut to at most so many columns.
pub(crate) fn cut(text: &str, widest: usize) -> String {
    if text.width() <= widest {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut width = 0;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width >= widest {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_wide_text_is_cut_to_its_column() {
        assert_eq!(cut("short", 44), "short");
        assert_eq!(cut(&"x".repeat(80), 44).width(), 44);
        assert!(cut(&"茶".repeat(80), 44).width() <= 44);
    }

    #[test]
    fn cells_stand_in_their_columns() {
        let mut table = Table::new([(Side::Left, "NAME"), (Side::Right, "N"), (Side::Left, "NOTE")]);
        table.row(["茶".into(), "1,000".into(), String::new()]);
        table.row(["coffee".into(), "7".into(), "x".into()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["NAME        N  NOTE", "茶      1,000", "coffee      7  x"]);
    }
}
