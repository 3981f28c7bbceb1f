//! Terms: the names of what changes and invalidations touch beyond one key.

use std::fmt;

/// The term of every list that depends on more than one category or tag.
pub const ANY: &str = "any";

/// What entries may have in common, and lists depend on. Its text is its name among the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term<'a> {
    /// `category:` and the category.
    Category(&'a str),
    /// `tag:` and the tag.
    Tag(&'a str),
}

impl<'a> Term<'a> {
    /// Reads a name; `None` for what is neither of the two.
    pub fn parse(name: &'a str) -> Option<Self> {
        let category = name.strip_prefix("category:").map(Self::Category);
        category.or_else(|| name.strip_prefix("tag:").map(Self::Tag))
    }
}

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Category(category) => write!(f, "category:{category}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_read_from_its_name() {
        for term in [Term::Category("a"), Term::Tag("a"), Term::Tag("category:a"), Term::Category("")] {
            assert_eq!(Term::parse(&term.to_string()), Some(term));
        }
        for other in [ANY, "", "tag", "tags:a", "Tag:a"] {
            assert_eq!(Term::parse(other), None, "{other}");
        }
    }
}
