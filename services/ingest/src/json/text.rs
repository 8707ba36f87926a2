//! Strings: where they end, and what they say.

use std::borrow::Cow;

/// A string as it was sent, between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    inner: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// `raw` is a well-formed string with its quotes.
    pub(super) fn of(raw: &'a str) -> Self {
        let inner = &raw[1..raw.len() - 1];
        Text {
            inner,
            escaped: inner.contains('\\'),
        }
    }

    /// What is between the quotes, as it was sent.
    pub fn inner(&self) -> &'a str {
        self.inner
    }

    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// What it says; `None` when it has half a surrogate pair.
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.inner));
        }
        serde_json::from_str(&format!("\"{}\"", self.inner))
            .ok()
            .map(Cow::Owned)
    }

    /// Whether both say the same.
    pub(super) fn same(&self, other: &Text<'_>) -> bool {
        if !self.escaped && !other.escaped {
            return self.inner == other.inner;
        }
        self.decode() == other.decode()
    }

    pub(super) fn has_half_pair(&self) -> bool {
        // Only a `\ud…` can be one, so the rest need not be decoded.
        self.escaped
            && (self.inner.contains("\\ud") || self.inner.contains("\\uD"))
            && self.decode().is_none()
    }
}

/// Where the string that starts at `start` ends, its closing quote included; else the place and the problem.
pub(super) fn end(bytes: &[u8], start: usize) -> Result<usize, (usize, &'static str)> {
    let mut at = start + 1;
    loop {
        at += plain(&bytes[at..]);
        match bytes.get(at) {
            None => return Err((at, "the document ends inside a string")),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at)?,
            Some(byte) if *byte < 0x20 => {
                return Err((
                    at,
                    "a control character stands in a string: write it as an escape such as \\n",
                ));
            }
            Some(_) => at += 1,
        }
    }
}

fn escape(bytes: &[u8], at: usize) -> Result<usize, (usize, &'static str)> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            Some(_) => Err((at, "\\u needs four hexadecimal digits")),
            None => Err((at, "the document ends inside a string")),
        },
        Some(_) => Err((at, "JSON has no such escape")),
        None => Err((at, "the document ends inside a string")),
    }
}

/// How many bytes pass before a quote, a backslash or a control character may stand: eight at a time.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut passed = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let special = (control | quote | backslash) & HIGHS;
        if special != 0 {
            // A borrow can only mark bytes above the first special one, so the lowest mark is right.
            return passed + (special.trailing_zeros() / 8) as usize;
        }
        passed += 8;
    }
    passed
}
