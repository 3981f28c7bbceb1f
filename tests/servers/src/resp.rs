//! The protocol of Redis, RESP2 and RESP3, as far as whole messages can be told apart.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

/// The longest message that is read: longer ones are a mistake of whoever sent them.
const LONGEST: usize = 128 << 20;
/// The deepest nesting that is read.
const DEEPEST: usize = 32;

/// What is not RESP, or beyond what is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<Malformed> for std::io::Error {
    fn from(_: Malformed) -> Self {
        std::io::ErrorKind::InvalidData.into()
    }
}

/// One message, and the bytes that it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) value: Value<'a>,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A status, a number, a boolean: whatever fits into a line.
    Line(&'a [u8]),
    Error(&'a [u8]),
    Bulk(&'a [u8]),
    Null,
    /// An array, a set, or a map with its keys and values in turn.
    List(Vec<Frame<'a>>),
    /// What the server says without having been asked; RESP3 only.
    Push(Vec<Frame<'a>>),
}

impl<'a> Value<'a> {
    /// The elements of a list or a push.
    pub(crate) fn elements(&self) -> &[Frame<'a>] {
        match self {
            Self::List(elements) | Self::Push(elements) => elements,
            _ => &[],
        }
    }

    /// The text of a line or a bulk.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Line(text) | Self::Bulk(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads the first message of `input`; `None` means that its end has not come yet.
pub(crate) fn parse(input: &[u8]) -> Result<Option<Frame<'_>>, Malformed> {
    let mut reader = Reader { input, at: 0 };
    match reader.frame(0) {
        Ok(frame) => Ok(Some(frame)),
        Err(Stop::Incomplete) if input.len() <= LONGEST => Ok(None),
        Err(_) => Err(Malformed),
    }
}

/// A request as clients send it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word));
    }
    bytes
}

/// A string of bytes.
pub(crate) fn bulk(text: &[u8]) -> Vec<u8> {
    let mut bytes = format!("${}\r\n", text.len()).into_bytes();
    bytes.extend(text);
    bytes.extend(b"\r\n");
    bytes
}

enum Stop {
    Incomplete,
    Malformed,
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn frame(&mut self, depth: usize) -> Result<Frame<'a>, Stop> {
        if depth > DEEPEST {
            return Err(Stop::Malformed);
        }
        let begin = self.at;
        let line = self.line()?;
        let (&kind, rest) = line.split_first().ok_or(Stop::Malformed)?;
        let value = match kind {
            b'+' | b':' | b',' | b'#' | b'(' => Value::Line(rest),
            b'-' => Value::Error(rest),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => match length(rest)? {
                None => Value::Null,
                Some(length) => match (kind, self.block(length)?) {
                    (b'!', text) => Value::Error(text),
                    // Three letters and a colon tell the format of a verbatim string.
                    (b'=', text) => Value::Bulk(text.get(4..).ok_or(Stop::Malformed)?),
                    (_, text) => Value::Bulk(text),
                },
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match length(rest)? {
                None => Value::Null,
                Some(length) => {
                    let pairs = matches!(kind, b'%' | b'|');
                    let elements = self.elements(if pairs { length * 2 } else { length }, depth)?;
                    match kind {
                        b'>' => Value::Push(elements),
                        // Attributes stand before the reply that they are about, and belong to it.
                        b'|' => self.frame(depth + 1)?.value,
                        _ => Value::List(elements),
                    }
                }
            },
            _ => return Err(Stop::Malformed),
        };
        Ok(Frame { raw: &self.input[begin..self.at], value })
    }

    fn elements(&mut self, count: usize, depth: usize) -> Result<Vec<Frame<'a>>, Stop> {
        // The count is what somebody says, not yet what there is.
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            elements.push(self.frame(depth + 1)?);
        }
        Ok(elements)
    }

    /// The bytes up to the end of the line.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(Stop::Incomplete)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    /// So many bytes and the end of a line.
    fn block(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        if rest.len() < length + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Stop::Malformed);
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }
}

/// A length; `None` is RESP2's way to say that there is nothing.
fn length(text: &[u8]) -> Result<Option<usize>, Stop> {
    let text = std::str::from_utf8(text).map_err(|_| Stop::Malformed)?;
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(length) => match usize::try_from(length) {
            Ok(length) if length <= LONGEST => Ok(Some(length)),
            _ => Err(Stop::Malformed),
        },
        Err(_) => Err(Stop::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_a_message_is_incomplete() {
        let messages: [&[u8]; 9] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b"$5\r\na\r\nbc\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n:12\r\n",
            b"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n",
            b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n=6\r\ntxt:hi\r\n",
        ];
        for message in messages {
            for end in 0..message.len() {
                assert_eq!(parse(&message[..end]), Ok(None), "{:?}", String::from_utf8_lossy(&message[..end]));
            }
            let mut more = message.to_vec();
            more.extend(b"+next\r\n");
            assert_eq!(parse(&more).unwrap().unwrap().raw, message, "{:?}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn values_are_what_was_said() {
        let value = |bytes: &'static [u8]| parse(bytes).unwrap().unwrap().value;
        assert_eq!(value(b"$5\r\na\r\nbc\r\n"), Value::Bulk(b"a\r\nbc"));
        assert_eq!(value(b"$-1\r\n"), Value::Null);
        assert_eq!(value(b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n"), Value::Bulk(b"x"));
        assert_eq!(value(b"=6\r\ntxt:hi\r\n"), Value::Bulk(b"hi"));
        let push = value(b">2\r\n+a\r\n:1\r\n");
        assert_eq!(push.elements().iter().map(|frame| frame.raw).collect::<Vec<_>>(), [b"+a\r\n", b":1\r\n"]);
        let request = command(&[b"SET", b"k", b"v"]);
        let words: Vec<_> =
            parse(&request).unwrap().unwrap().value.elements().iter().map(|word| word.value.text()).collect();
        assert_eq!(words, [Some(b"SET".as_slice()), Some(b"k"), Some(b"v")]);
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        let deep = b"*1\r\n".repeat(DEEPEST + 2);
        for bytes in [b"hello\r\n".as_slice(), b"\r\n", b"$x\r\n", b"$-2\r\n", b"$1\r\nabc", b"$9999999999\r\n", &deep]
        {
            assert_eq!(parse(bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
