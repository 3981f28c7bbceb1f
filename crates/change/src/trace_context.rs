//! The context of a span in other processes.

use std::fmt;

/// Names a sampled span for other processes, in the form of W3C Trace Context: what a replica tells the others of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace_id: u128,
    /// The span; not zero.
    pub span_id: u64,
    /// Whether the caller samples the trace.
    pub sampled: bool,
}

/// The length of `00-<32 digits>-<16 digits>-<2 digits>`.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Reads a `traceparent`. `None` for whatever the specification calls invalid. A later version than 00 may have more behind what is
    /// read.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.as_bytes().split_at_checked(LENGTH)?;
        let field = |from: usize, to: usize| known.get(from..to).and_then(digits);
        let version = field(0, 2)?;
        let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        let complete = more.is_empty() || (version > 0 && more[0] == b'-');
        if version == 0xff || !dashes || !complete {
            return None;
        }
        let (trace_id, span_id) = (field(3, 35)?, u64::try_from(field(36, 52)?).ok()?);
        let flags = u8::try_from(field(53, 55)?).ok()?;
        let valid = trace_id != 0 && span_id != 0;
        valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// Reads a context as two fixed-size fields have it.
    pub fn from_bytes(trace_id: &[u8], span_id: &[u8]) -> Option<Self> {
        let trace_id = u128::from_be_bytes(trace_id.try_into().ok()?);
        let span_id = u64::from_be_bytes(span_id.try_into().ok()?);
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: true })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Reads hexadecimal digits in lower case, of which there are at most 32.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn contexts_are_read_as_they_are_written() {
        let context = TraceContext::parse(TEXT).unwrap();
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((context.span_id, context.sampled), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(context.to_string(), TEXT);
        let parse = |text: String| TraceContext::parse(&text);
        assert!(!parse(TEXT.replace("-01", "-00")).unwrap().sampled);
        assert_eq!(parse(TEXT.replace("-01", "-03")), Some(context), "of other flags nothing is known");
        assert_eq!(parse(format!("{}-what-comes", TEXT.replacen("00", "cc", 1))), Some(context), "a later version");
    }

    #[test]
    fn invalid_contexts_are_none() {
        for cut in 0..TEXT.len() {
            assert_eq!(TraceContext::parse(&TEXT[..cut]), None, "{cut}");
        }
        for text in [
            TEXT.to_uppercase(),
            format!("{TEXT}-more"),
            TEXT.replacen("00", "ff", 1),
            format!("{}.more", TEXT.replacen("00", "cc", 1)),
            TEXT.replace('-', "_"),
            TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            TEXT.replace("b7ad6b7169203331", &"0".repeat(16)),
            TEXT.replace("b7ad", "b7ag"),
            TEXT.replace("b7ad6b71692033", "b7ad6b7169203\u{e9}"),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }
}
