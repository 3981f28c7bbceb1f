//! Patterns of keys.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use regex::bytes::{Regex, RegexBuilder};

/// A pattern for whole names of keys.
///
/// `*` matches any text, including `/` and `:`; `?` matches one character; `[a-c]` one character of a class and `[!a]` one
/// outside it; `{x,y}` one of the alternatives; `\` makes the next character literal. Patterns come from outside, so they are
/// compiled to regular expressions that match in linear time.
#[derive(Clone)]
pub struct Glob {
    text: Box<str>,
    regex: Regex,
}

/// Why a pattern cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// The pattern is empty, and no key is.
    #[error("a pattern cannot be empty")]
    Empty,
    /// The pattern is too long.
    #[error("a pattern has at most {} bytes", Glob::MOST_BYTES)]
    TooLong,
    /// The pattern holds a NUL, which the databases cannot store.
    #[error("a pattern cannot hold a NUL character")]
    Nul,
    /// Nothing follows the last backslash.
    #[error("a pattern cannot end with a backslash: there is nothing for it to escape")]
    Escape,
    /// A class has no closing `]`.
    #[error("a class that begins with [ must end with ]")]
    OpenClass,
    /// A range in a class is descending.
    #[error("a range in a class must rise, as in [a-z]")]
    FallingRange,
    /// Alternatives have no closing `}`.
    #[error("alternatives that begin with {{ must end with }}")]
    OpenAlternatives,
    /// A `}` has no opening `{`.
    #[error("there is a }} without a {{; a brace that is meant as such is written \\}}")]
    StrayBrace,
    /// Alternatives are nested.
    #[error("alternatives cannot hold other alternatives")]
    Nested,
    /// There are too many alternatives.
    #[error("a pattern has at most {} alternatives", Glob::MOST_ALTERNATIVES)]
    TooMany,
    /// The compiled pattern would take too much memory.
    #[error("the pattern is too complex")]
    TooComplex,
}

impl Glob {
    /// The longest pattern, in bytes.
    pub const MOST_BYTES: usize = 256;
    /// The most alternatives of one pattern, over all braces.
    pub(crate) const MOST_ALTERNATIVES: usize = 32;

    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > Self::MOST_BYTES {
            return Err(GlobError::TooLong);
        }
        if text.contains('\0') {
            return Err(GlobError::Nul);
        }
        let regex = RegexBuilder::new(&Translation::of(text)?)
            .dot_matches_new_line(true)
            .size_limit(1 << 20)
            .dfa_size_limit(1 << 16)
            .build()
            .map_err(|_| GlobError::TooComplex)?;
        Ok(Self { text: text.into(), regex })
    }

    /// Whether the pattern matches a whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name.as_bytes())
    }

    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        Self::parse(text)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glob").field(&self.text).finish()
    }
}

/// The translation of a pattern into a regular expression.
struct Translation<'a> {
    rest: std::str::Chars<'a>,
    expression: String,
}

impl<'a> Translation<'a> {
    fn of(text: &'a str) -> Result<String, GlobError> {
        let mut this = Self { rest: text.chars(), expression: String::from("^") };
        let (mut inside, mut alternatives) = (false, 0);
        while let Some(character) = this.rest.next() {
            match character {
                // Bytes need fewer states than characters, and the next element begins on a character boundary.
                '*' => this.expression.push_str("(?-u:.)*"),
                '?' => this.expression.push('.'),
                '[' => this.class()?,
                '{' if inside => return Err(GlobError::Nested),
                '{' => {
                    (inside, alternatives) = (true, alternatives + 1);
                    this.expression.push_str("(?:");
                }
                ',' if inside => {
                    alternatives += 1;
                    this.expression.push('|');
                }
                '}' if inside => {
                    inside = false;
                    this.expression.push(')');
                }
                '}' => return Err(GlobError::StrayBrace),
                '\\' => {
                    let escaped = this.rest.next().ok_or(GlobError::Escape)?;
                    this.literal(escaped);
                }
                other => this.literal(other),
            }
            if alternatives > Glob::MOST_ALTERNATIVES {
                return Err(GlobError::TooMany);
            }
        }
        if inside {
            return Err(GlobError::OpenAlternatives);
        }
        this.expression.push('$');
        Ok(this.expression)
    }

    /// Translates a class after its `[`. A leading `]` is a member of the class, as in a shell.
    fn class(&mut self) -> Result<(), GlobError> {
        self.expression.push('[');
        if self.rest.as_str().starts_with(['!', '^']) {
            self.rest.next();
            self.expression.push('^');
        }
        let mut first = true;
        loop {
            let from = match self.rest.next().ok_or(GlobError::OpenClass)? {
                ']' if !first => break,
                '\\' => self.rest.next().ok_or(GlobError::OpenClass)?,
                other => other,
            };
            first = false;
            self.literal(from);
            let rest = self.rest.as_str();
            if !rest.starts_with('-') || rest.starts_with("-]") {
                continue;
            }
            self.rest.next();
            let to = match self.rest.next().ok_or(GlobError::OpenClass)? {
                '\\' => self.rest.next().ok_or(GlobError::OpenClass)?,
                other => other,
            };
            if to < from {
                return Err(GlobError::FallingRange);
            }
            self.expression.push('-');
            self.literal(to);
        }
        self.expression.push(']');
        Ok(())
    }

    /// Writes a character as its code point, so that none is special to the regular expression.
    fn literal(&mut self, character: char) {
        if character.is_ascii_alphanumeric() {
            self.expression.push(character);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.expression, "\\x{{{:X}}}", u32::from(character));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_means_what_it_says() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("product:1", &["product:1"], &["product:12", "aproduct:1", ""]),
            ("product:*", &["product:", "product:a", "product:a/b:c\n"], &["list:product:a", "Product:a"]),
            ("*", &["", "x", "list:category=a/b"], &[]),
            ("a**b", &["ab", "axb"], &["a"]),
            ("a/**/b", &["a/x/b", "a//b"], &["a/b"]),
            ("?", &["a", "ä", "\u{1F600}"], &["", "ab", "e\u{301}"]),
            ("*?x", &["äx", "ääx"], &["x"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "-x"]),
            ("[!a]", &["b", "ä", "\u{1F600}", "!"], &["a", "bb"]),
            ("[^a]", &["b", "^"], &["a"]),
            ("[ä-ü]", &["ö"], &["a", "z"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[!]a]", &["b"], &["]", "a"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[\\]-a]", &["]", "^", "a"], &["b", "\\"]),
            ("[*?{}&~[,]", &["*", "?", "{", "}", "&", "~", "[", ","], &["a"]),
            ("\\*\\?\\[\\{\\}\\\\", &["*?[{}\\"], &["a?[{}\\"]),
            ("a]b,c", &["a]b,c"], &["ab"]),
            (".+(|)^$#", &[".+(|)^$#"], &["a+(|)^$#"]),
            ("{x,y}", &["x", "y"], &["", "xy", "x,y"]),
            ("{product,list}:{a*,?}", &["product:abc", "list:b"], &["search:a", "list:bc"]),
            ("a{,b}", &["a", "ab"], &["a,b"]),
            ("{[a,],\\,}", &["a", ","], &["[a"]),
        ];
        for (pattern, matching, others) in cases {
            let glob = Glob::parse(pattern).unwrap();
            for name in *matching {
                assert!(glob.matches(name), "{pattern} matches {name}");
            }
            for name in *others {
                assert!(!glob.matches(name), "{pattern} does not match {name}");
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_is_told_which() {
        let cases = [
            ("", GlobError::Empty),
            ("a\0", GlobError::Nul),
            ("a\\", GlobError::Escape),
            ("[a", GlobError::OpenClass),
            ("[]", GlobError::OpenClass),
            ("[a\\", GlobError::OpenClass),
            ("[a-", GlobError::OpenClass),
            ("[c-a]", GlobError::FallingRange),
            ("{a", GlobError::OpenAlternatives),
            ("a}", GlobError::StrayBrace),
            ("{a,{b,c}}", GlobError::Nested),
        ];
        for (pattern, error) in cases {
            assert_eq!(Glob::parse(pattern), Err(error), "{pattern}");
        }
        assert_eq!(Glob::parse(&"ä".repeat(129)), Err(GlobError::TooLong));
        assert!(Glob::parse(&"ä".repeat(128)).is_ok());
        let alternatives = |count: usize| format!("{{{}}}", vec!["a"; count].join(","));
        assert!(Glob::parse(&alternatives(32)).is_ok());
        assert_eq!(Glob::parse(&alternatives(33)), Err(GlobError::TooMany));
        assert_eq!(Glob::parse(&"{a}".repeat(33)), Err(GlobError::TooMany));
    }

    #[test]
    fn the_text_of_an_error_names_the_rule() {
        assert_eq!(GlobError::TooLong.to_string(), "a pattern has at most 256 bytes");
        assert_eq!(GlobError::OpenAlternatives.to_string(), "alternatives that begin with { must end with }");
        assert!(GlobError::StrayBrace.to_string().contains("written \\}"));
    }

    #[test]
    fn no_pattern_is_too_complex() {
        for unit in ["*a", "?", "*?", "[!a]", "[ä-ü]", "{*,?}"] {
            let most = Glob::MOST_BYTES / unit.len();
            let times = if unit.contains('{') { most.min(Glob::MOST_ALTERNATIVES / 2) } else { most };
            let glob = Glob::parse(&unit.repeat(times)).unwrap();
            glob.matches(&"a".repeat(1_000));
        }
    }
}
