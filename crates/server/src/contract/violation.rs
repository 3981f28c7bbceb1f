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

/// Every rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// One broken rule.
    pub fn one(field: impl Into<String>, rule: impl Into<String>) -> Self {
        let mut violations = Self::default();
        violations.add(field, rule);
        violations
    }

    /// Notes a broken rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Violation { field: field.into(), rule: rule.into() });
    }

    /// Notes the broken rules of a part, and returns the part if there are none.
    pub fn take<T>(&mut self, part: Result<T, Self>) -> Option<T> {
        match part {
            Ok(part) => Some(part),
            Err(violations) => {
                self.0.extend(violations.0);
                None
            }
        }
    }

    /// Returns `value` if no rule is broken.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The broken rules.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, violation) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.rule)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
