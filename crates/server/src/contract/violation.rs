//! Broken rules.

use std::fmt;

/// A field and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request.
    pub field: String,
    /// The rule, as a sentence without a subject.
    pub rule: String,
}

impl Violation {
    /// The same violation, with texts cut to so many bytes and an ellipsis.
    #[must_use]
    pub fn cut(self, most: usize) -> Self {
        Self { field: cut(self.field, most), rule: cut(self.rule, most) }
    }
}

/// The beginning of a text, with an ellipsis when the text is longer.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// The rules that a request breaks. A request may break millions: those that no reply would name are only counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations {
    named: Vec<Violation>,
    more: usize,
}

/// Violations that are kept,
const MOST_NAMED: usize = 64;
/// and bytes of each text of one.
const LONGEST_TEXT: usize = 512;
/// Violations that a line of text names.
const MOST_TOLD: usize = 8;

impl Violations {
    /// One broken rule.
    pub fn one(field: impl Into<String>, rule: impl Into<String>) -> Self {
        let mut violations = Self::default();
        violations.add(field, rule);
        violations
    }

    /// Adds a broken rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.keep(Violation { field: field.into(), rule: rule.into() });
    }

    /// Adds the broken rules of a part, and returns the part if there are none.
    pub fn take<T>(&mut self, part: Result<T, Self>) -> Option<T> {
        match part {
            Ok(part) => Some(part),
            Err(violations) => {
                violations.named.into_iter().for_each(|violation| self.keep(violation));
                self.more += violations.more;
                None
            }
        }
    }

    /// Returns `value` if no rule is broken.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.named.is_empty() { Ok(value) } else { Err(self) }
    }

    /// How many rules are broken.
    pub fn count(&self) -> usize {
        self.named.len() + self.more
    }

    /// The first violation.
    pub fn named(&self) -> &[Violation] {
        &self.named
    }

    /// Some violations in one line, and the number of the others.
    pub fn told(named: &[Violation], more: usize) -> String {
        let named = named.iter().map(|Violation { field, rule }| format!("{field}: {rule}"));
        let more = (more > 0).then(|| format!("and {more} more"));
        named.chain(more).collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, violation: Violation) {
        if self.named.len() < MOST_NAMED {
            self.named.push(violation.cut(LONGEST_TEXT));
        } else {
            self.more += 1;
        }
    }
}

/// In one line, however many there are.
impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = &self.named[..self.named.len().min(MOST_TOLD)];
        f.write_str(&Self::told(named, self.count() - named.len()))
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_violations_are_counted() {
        let mut all = Violations::one("a", "is bad");
        for number in 0..1_000_000 {
            let part = Violations::one(format!("b[{number}]"), "is bad");
            assert_eq!(all.take(Err::<(), _>(part)), None);
        }
        assert_eq!((all.count(), all.named().len()), (1_000_001, MOST_NAMED));
        let text = all.to_string();
        assert!(text.starts_with("a: is bad; b[0]: is bad; "), "{text}");
        assert!(text.ends_with("; b[6]: is bad; and 999993 more"), "{text}");
        let mut two = Violations::one("c", "is bad");
        two.take(Err::<(), _>(all));
        assert_eq!(two.count(), 1_000_002);
        let long = Violations::one("ä".repeat(1_000), "is bad");
        assert_eq!(long.named()[0].field, format!("{}…", "ä".repeat(LONGEST_TEXT / 2)));
    }
}
