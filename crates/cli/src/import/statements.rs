//! The products of a SQL script: the rows of `INSERT INTO products (column, …) VALUES (literal, …), …;`, in any schema. All other
//! statements are passed over, and none is executed.

use std::io::{self, Read};

use super::{
    input::{Input, Position},
    lines::LONGEST,
    rows::Fields,
};

/// The table whose rows are products.
const TABLE: &str = "products";

/// One row of a script.
#[derive(Debug)]
pub(super) struct Inserted {
    /// The line where it begins.
    pub(super) line: u64,
    /// The last line that nothing of the next row begins on.
    pub(super) last_line: u64,
    /// Where it ends in the file, in bytes.
    pub(super) end: u64,
    /// Its bytes.
    pub(super) raw: Vec<u8>,
    /// Its fields, or why it has none.
    pub(super) fields: Result<Fields, String>,
}

/// Reads the rows of a script.
#[derive(Debug)]
pub(super) struct Statements<R> {
    input: Input<R>,
    /// The columns of the first statement with rows, which all others must have too.
    columns: Vec<String>,
    /// Whether the next token is one between rows.
    in_rows: bool,
    /// The bytes of the row that is being read.
    raw: Vec<u8>,
}

/// A part of a script.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A name, a keyword or a number.
    Word(String),
    /// A text in single quotes.
    Text(Vec<u8>),
    /// Any other character.
    Mark(u8),
    /// A text that is not closed, or longer than a row may be.
    Endless,
    /// The end of the script.
    End,
}

impl<R: Read> Statements<R> {
    /// Begins to read: finds the first statement with rows. Without one there are no columns.
    pub(super) fn open(reader: R) -> io::Result<Self> {
        let mut statements = Self { input: Input::new(reader), columns: Vec::new(), in_rows: false, raw: Vec::new() };
        while let Some(columns) = statements.find()? {
            if !columns.is_empty() {
                statements.columns = columns;
                statements.in_rows = true;
                break;
            }
        }
        Ok(statements)
    }

    /// The columns of the rows.
    pub(super) fn columns(&self) -> Fields {
        self.columns.iter().map(|name| name.clone().into_bytes()).collect()
    }

    /// Whether the next row may have to be waited for.
    pub(super) fn may_wait(&self) -> bool {
        self.input.may_wait()
    }

    /// The last line that has been read to its end.
    pub(super) fn through_line(&self) -> u64 {
        self.input.position().line - 1
    }

    /// Reads the next row; `None` at the end of the script.
    pub(super) fn next(&mut self) -> io::Result<Option<Inserted>> {
        loop {
            if !self.in_rows {
                let Some(columns) = self.find()? else { return Ok(None) };
                self.in_rows = true;
                if columns != self.columns {
                    let start = self.input.position();
                    self.raw.clear();
                    self.pass()?;
                    let fault = format!("the statement has other columns than the first: {}", self.columns.join(", "));
                    return Ok(Some(self.row(start, Err(fault))));
                }
            }
            self.pass_blanks()?;
            let start = self.input.position();
            self.raw.clear();
            match self.token()? {
                Token::Mark(b'(') => {
                    let fields = self.fields()?;
                    self.input.pass_blank_rest();
                    return Ok(Some(self.row(start, fields)));
                }
                Token::Mark(b',') => {}
                Token::Mark(b';') => self.in_rows = false,
                Token::End => return Ok(None),
                // A clause behind the rows, such as ON CONFLICT.
                _ => self.pass()?,
            }
        }
    }

    fn row(&mut self, start: Position, fields: Result<Fields, String>) -> Inserted {
        let end = self.input.position();
        let raw = std::mem::take(&mut self.raw);
        Inserted { line: start.line, last_line: end.line - 1, end: end.offset, raw, fields }
    }

    /// Reads the fields of a row behind its opening parenthesis.
    fn fields(&mut self) -> io::Result<Result<Fields, String>> {
        let mut fields = Fields::new();
        let name =
            |at: usize, columns: &[String]| columns.get(at).cloned().unwrap_or_else(|| format!("field {}", at + 1));
        loop {
            let literal = self.token()?;
            let field = match &literal {
                Token::Text(text) => Some(text.clone()),
                Token::Word(word) if word.eq_ignore_ascii_case("null") => Some(Vec::new()),
                Token::Word(word) if is_number(word) => Some(word.clone().into_bytes()),
                _ => None,
            };
            let next = if field.is_some() { self.token()? } else { literal };
            match (field, next) {
                (Some(field), Token::Mark(b',')) => fields.push(field),
                (Some(field), Token::Mark(b')')) => {
                    fields.push(field);
                    let (count, expected) = (fields.len(), self.columns.len());
                    let counted = format!("the row has {count} fields, the statement has {expected} columns");
                    return Ok(if count == expected { Ok(fields) } else { Err(counted) });
                }
                (_, Token::Endless | Token::End) => {
                    return Ok(Err(format!("{}: a quote is opened and not closed", name(fields.len(), &self.columns))));
                }
                (_, token) => {
                    self.pass_row(&token)?;
                    let fault = "is neither a text in quotes, nor a number, nor NULL";
                    return Ok(Err(format!("{}: {fault}", name(fields.len(), &self.columns))));
                }
            }
        }
    }

    /// Passes over the rest of a row, of which a token has been read.
    fn pass_row(&mut self, token: &Token) -> io::Result<()> {
        let mut depth = match token {
            Token::Mark(b'(') => 2,
            Token::Mark(b')') => 0,
            _ => 1,
        };
        while depth > 0 {
            match self.token()? {
                Token::Mark(b'(') => depth += 1,
                Token::Mark(b')') => depth -= 1,
                Token::End | Token::Endless => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Passes over statements up to the rows of the next one that has some, and returns its columns; `None` at the end. A statement
    /// that looks like one and names no columns has none.
    fn find(&mut self) -> io::Result<Option<Vec<String>>> {
        loop {
            match self.token()? {
                Token::End => return Ok(None),
                Token::Mark(b';') => {}
                Token::Word(word) if word.eq_ignore_ascii_case("insert") => match self.head()? {
                    Some(columns) => return Ok(Some(columns)),
                    None => self.pass()?,
                },
                _ => self.pass()?,
            }
        }
    }

    /// Reads `INTO products (column, …) VALUES` behind `INSERT`.
    fn head(&mut self) -> io::Result<Option<Vec<String>>> {
        let is = |token: Token, keyword: &str| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        if !is(self.token()?, "into") {
            return Ok(None);
        }
        let Token::Word(table) = self.token()? else { return Ok(None) };
        if table.rsplit('.').next() != Some(TABLE) || self.token()? != Token::Mark(b'(') {
            return Ok(None);
        }
        let mut columns = Vec::new();
        loop {
            let Token::Word(column) = self.token()? else { return Ok(None) };
            columns.push(column);
            match self.token()? {
                Token::Mark(b',') => {}
                Token::Mark(b')') => break,
                _ => return Ok(None),
            }
        }
        Ok(is(self.token()?, "values").then_some(columns))
    }

    /// Passes over the rest of a statement.
    fn pass(&mut self) -> io::Result<()> {
        self.in_rows = false;
        while !matches!(self.token()?, Token::Mark(b';') | Token::End) {}
        Ok(())
    }

    fn token(&mut self) -> io::Result<Token> {
        self.pass_blanks()?;
        let Some(byte) = self.take()? else { return Ok(Token::End) };
        if byte == b'\'' {
            return self.text();
        }
        if !is_part_of_word(byte) {
            return Ok(Token::Mark(byte));
        }
        let mut word = vec![byte];
        while let Some(byte) = self.input.peek()?.filter(|byte| is_part_of_word(*byte) && word.len() < LONGEST) {
            self.take()?;
            word.push(byte);
        }
        // Quotes around names change nothing here: the names that count are in lower case.
        Ok(Token::Word(String::from_utf8_lossy(&word).replace('"', "")))
    }

    /// Reads a text behind its opening quote, in which a quote is written twice.
    fn text(&mut self) -> io::Result<Token> {
        let mut text = Vec::new();
        while let Some(byte) = self.take()? {
            if byte == b'\'' && self.input.peek()? != Some(b'\'') {
                return Ok(Token::Text(text));
            }
            if byte == b'\'' {
                self.take()?;
            }
            if text.len() == LONGEST {
                return Ok(Token::Endless);
            }
            text.push(byte);
        }
        Ok(Token::Endless)
    }

    /// Passes over white space, comments, and the commands of psql.
    fn pass_blanks(&mut self) -> io::Result<()> {
        while let Some(byte) = self.input.peek()? {
            let before = self.input.position();
            match byte {
                b'\\' => self.pass_line()?,
                b'-' => {
                    self.input.take();
                    if self.input.peek()? != Some(b'-') {
                        self.input.put_back(before, b"-");
                        return Ok(());
                    }
                    self.pass_line()?;
                }
                b'/' => {
                    self.input.take();
                    if self.input.peek()? != Some(b'*') {
                        self.input.put_back(before, b"/");
                        return Ok(());
                    }
                    self.pass_comment()?;
                }
                _ if byte.is_ascii_whitespace() => self.input.take(),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn pass_line(&mut self) -> io::Result<()> {
        while self.input.peek()?.is_some_and(|byte| !matches!(byte, b'\n' | b'\r')) {
            self.input.take();
        }
        Ok(())
    }

    fn pass_comment(&mut self) -> io::Result<()> {
        let mut before = 0;
        self.input.take();
        while let Some(byte) = self.input.peek()? {
            self.input.take();
            if (before, byte) == (b'*', b'/') {
                break;
            }
            before = byte;
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        let byte = self.input.peek()?;
        if let Some(byte) = byte {
            self.input.take();
            if self.raw.len() < LONGEST {
                self.raw.push(byte);
            }
        }
        Ok(byte)
    }
}

fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'"' | b'-' | b'+') || !byte.is_ascii()
}

fn is_number(word: &str) -> bool {
    let digits = word.trim_start_matches(['-', '+']);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
