//! Terms: the names of categories and tags, which changes and invalidations touch beyond one key.

use std::fmt;

/// The term of every list that depends on more than one category or tag.
pub const ANY: &str = "any";

/// A category or a tag: items have terms, and lists depend on them. [`Display`](fmt::Display) writes the name of the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term<S = String> {
    /// Named `category:` followed by the category.
    Category(S),
    /// Named `tag:` followed by the tag.
    Tag(S),
}

impl<'a> Term<&'a str> {
    /// Parses the name of a term; `None` if the name is neither a category nor a tag.
    pub fn parse(name: &'a str) -> Option<Self> {
        let category = name.strip_prefix("category:").map(Self::Category);
        category.or_else(|| name.strip_prefix("tag:").map(Self::Tag))
    }
}

impl<S: fmt::Display> fmt::Display for Term<S> {
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
