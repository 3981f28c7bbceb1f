//! Patterns for fuzzing: another reading of them, which follows the definition step by step and shares nothing with the first.

use std::collections::BTreeSet;

use super::{Glob, GlobError};

/// Reads a pattern and a name, which a NUL separates, and compares what the pattern matches with the definition.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn glob(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (pattern, name) = text.split_once('\0').unwrap_or((&text, &text));
    let characters: Vec<char> = pattern.chars().collect();
    let reference = Reader { rest: &characters }.all();
    match (Glob::parse(pattern), reference) {
        (Ok(glob), Some(tokens)) => {
            let name: Vec<char> = name.chars().take(200).collect();
            let expected = ends(&tokens, &name, BTreeSet::from([0])).contains(&name.len());
            let text: String = name.iter().collect();
            assert_eq!(glob.matches(&text), expected, "{pattern:?} and {text:?}");
            assert_eq!(Glob::parse(glob.as_str()), Ok(glob.clone()));
        }
        (Ok(_), None) => panic!("{pattern:?} is no pattern"),
        (Err(GlobError::Empty), _) => assert!(pattern.is_empty()),
        (Err(GlobError::TooLong), _) => assert!(pattern.len() > Glob::MOST_BYTES),
        (Err(GlobError::TooMany | GlobError::TooComplex), _) | (Err(_), None) => {}
        (Err(error), Some(_)) => panic!("{pattern:?} is a pattern: {error}"),
    }
}

enum Token {
    Any,
    One,
    Literal(char),
    Class { outside: bool, ranges: Vec<(char, char)> },
    Alternatives(Vec<Vec<Token>>),
}

struct Reader<'a> {
    rest: &'a [char],
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn all(mut self) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        while let Some(character) = self.next() {
            tokens.push(match character {
                '{' => self.alternatives()?,
                '}' => return None,
                other => self.token(other)?,
            });
        }
        Some(tokens)
    }

    fn token(&mut self, character: char) -> Option<Token> {
        Some(match character {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => self.class()?,
            '\\' => Token::Literal(self.next()?),
            other => Token::Literal(other),
        })
    }

    fn alternatives(&mut self) -> Option<Token> {
        let mut all = vec![Vec::new()];
        loop {
            match self.next()? {
                '}' => return Some(Token::Alternatives(all)),
                '{' => return None,
                ',' => all.push(Vec::new()),
                other => {
                    let token = self.token(other)?;
                    all.last_mut()?.push(token);
                }
            }
        }
    }

    fn class(&mut self) -> Option<Token> {
        let outside = matches!(self.rest.first(), Some('!' | '^'));
        if outside {
            self.next();
        }
        let mut ranges = Vec::new();
        loop {
            let from = match self.next()? {
                ']' if !ranges.is_empty() => return Some(Token::Class { outside, ranges }),
                '\\' => self.next()?,
                other => other,
            };
            let to = match self.rest {
                ['-', after, ..] if *after != ']' => {
                    self.next();
                    let to = self.next()?;
                    if to == '\\' { self.next()? } else { to }
                }
                _ => from,
            };
            if to < from {
                return None;
            }
            ranges.push((from, to));
        }
    }
}

/// Where in a name a match of the tokens can end, if it begins at one of `starts`.
fn ends(tokens: &[Token], name: &[char], starts: BTreeSet<usize>) -> BTreeSet<usize> {
    tokens.iter().fold(starts, |starts, token| {
        let step = |fits: &dyn Fn(char) -> bool| {
            starts.iter().filter(|&&at| name.get(at).is_some_and(|&c| fits(c))).map(|at| at + 1).collect()
        };
        match token {
            Token::Any => starts.first().map(|&first| (first..=name.len()).collect()).unwrap_or_default(),
            Token::One => step(&|_| true),
            Token::Literal(literal) => step(&|c| c == *literal),
            Token::Class { outside, ranges } => {
                step(&|c| ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != *outside)
            }
            Token::Alternatives(all) => all.iter().flat_map(|tokens| ends(tokens, name, starts.clone())).collect(),
        }
    })
}
