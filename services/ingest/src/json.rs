//! A JSON scanner: proves a document well-formed and safe to pass on, without building it.
//!
//! A payload is handed on byte for byte, so nothing here converts it; but what is accepted has to mean the same to every
//! reader behind us. Well-formed JSON that readers disagree about (repeated keys, half a surrogate pair, a number beyond
//! a double, nesting that overflows a parser's stack) is a [`Flaw`]: it condemns the value that it is in and lets the
//! scan go on, so that a flawed record in a batch does not take its neighbours along. Only a [`SyntaxError`], after which
//! nobody can say where the next record starts, ends the scan. serde's `RawValue` checks none of the former, and a
//! second pass over the same bytes would cost as much as the first.

mod keys;
mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use text::Text;

/// Containers inside one another, the outermost included. Common parsers stop at 100 to 128.
pub const DEPTH_MAX: usize = 64;

/// The document ends, or goes on with something that JSON does not have there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct SyntaxError {
    /// Bytes before the place.
    pub at: usize,
    pub problem: &'static str,
}

/// Why a well-formed value is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("is nested deeper than {DEPTH_MAX} levels")]
    Depth,
    #[error("repeats the key `{0}` in one object, and readers disagree about which value counts")]
    RepeatedKey(String),
    #[error("has half a surrogate pair in a \\u escape, which is no character")]
    Surrogate,
    #[error("has the number {0}, which is beyond the range of a double")]
    Range(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// With its article, for messages.
    pub fn named(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// A value that was scanned: where it stands and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Value<'a> {
    pub kind: Kind,
    /// The value as it was sent, without white space around it.
    pub raw: &'a str,
    pub flaw: Option<Flaw>,
}

impl<'a> Value<'a> {
    /// Scans a document that is one value.
    pub fn of(text: &'a str) -> Result<Self, SyntaxError> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value)
    }

    /// The text of a string without flaw; `None` for anything else.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match (self.kind, &self.flaw) {
            (Kind::String, None) => Text::of(self.raw).decode(),
            _ => None,
        }
    }
}

/// Walks over a document from left to right.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Keys of the objects that are open, the innermost last; kept between values to spare the allocation.
    keys: Vec<Text<'a>>,
    flaw: Option<Flaw>,
}

/// What is open around the place of the scan.
#[derive(Clone, Copy)]
enum Frame {
    Array,
    /// Where its keys begin in [`Scanner::keys`].
    Object(u32),
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner {
            text,
            at: 0,
            keys: Vec::new(),
            flaw: None,
        }
    }

    /// Bytes that were passed.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What stands between `start` and here.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Passes white space and looks at the next byte.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                _ => return Some(*byte),
            }
        }
        None
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("unexpected text after the end of the JSON value")),
        }
    }

    /// Walks over an array that starts here, handing each element's turn to `each`, which must pass it.
    pub fn elements<E: From<SyntaxError>>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "expected an array")?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            each(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected `,` or `]`").into()),
            }
        }
    }

    /// Walks over an object that starts here, handing each key to `each`, which must pass the value.
    pub fn members<E: From<SyntaxError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "expected an object")?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("expected `,` or `}`").into()),
            }
        }
    }

    /// Passes a value.
    pub fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        let kind = match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b'N' | b'I') => {
                return Err(self.error("NaN and Infinity are not JSON: expected a value"));
            }
            Some(_) => return Err(self.error("expected a value")),
            None => return Err(self.error("the document ends where a value was expected")),
        };
        let start = self.at;
        match kind {
            Kind::Object | Kind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(Value {
            kind,
            raw: self.since(start),
            flaw: self.flaw.take(),
        })
    }

    /// Passes an array or object and all that is in it. A loop and not a recursion: what is sent decides the depth.
    fn container(&mut self) -> Result<(), SyntaxError> {
        let mut frames = [Frame::Array; DEPTH_MAX];
        let mut depth = 0;
        loop {
            // At a value.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        self.note(|| Flaw::Depth);
                        self.at += 1;
                        self.skip_depth()?;
                    } else {
                        self.at += 1;
                        frames[depth] = match open {
                            b'{' => Frame::Object(self.keys.len() as u32),
                            _ => Frame::Array,
                        };
                        depth += 1;
                        match (open, self.peek()) {
                            (b'{', Some(b'}')) | (b'[', Some(b']')) => {
                                self.at += 1;
                                depth -= 1;
                            }
                            (b'{', _) => {
                                self.member_key()?;
                                continue;
                            }
                            _ => continue,
                        }
                    }
                }
                _ => self.scalar()?,
            }
            // After a value: close what ends here, then go to the next one.
            loop {
                let Some(frame) = depth.checked_sub(1).map(|top| frames[top]) else {
                    return Ok(());
                };
                match (frame, self.peek()) {
                    (Frame::Array, Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Frame::Object(_), Some(b',')) => {
                        self.at += 1;
                        self.member_key()?;
                        break;
                    }
                    (Frame::Array, Some(b']')) => self.at += 1,
                    (Frame::Object(first), Some(b'}')) => {
                        self.at += 1;
                        if let Some(key) = keys::repeated(&mut self.keys[first as usize..]) {
                            self.note(|| Flaw::RepeatedKey(key));
                        }
                        self.keys.truncate(first as usize);
                    }
                    (Frame::Array, _) => return Err(self.error("expected `,` or `]`")),
                    (Frame::Object(_), _) => return Err(self.error("expected `,` or `}`")),
                }
                depth -= 1;
            }
        }
    }

    /// Passes the rest of what is nested too deeply, only counting brackets: it is refused in any case, so all that
    /// matters is where it ends.
    fn skip_depth(&mut self) -> Result<(), SyntaxError> {
        let mut open = 1usize;
        while open > 0 {
            match self.peek() {
                Some(b'"') => {
                    self.text()?;
                }
                Some(b'{' | b'[') => {
                    open += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    open -= 1;
                    self.at += 1;
                }
                Some(_) => self.at += 1,
                None => return Err(self.error("the document ends inside a value")),
            }
        }
        Ok(())
    }

    fn member_key(&mut self) -> Result<(), SyntaxError> {
        let key = self.key()?;
        self.keys.push(key);
        Ok(())
    }

    fn key(&mut self) -> Result<Text<'a>, SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key = self.text()?;
        self.expect(b':', "expected `:` after a key")?;
        Ok(key)
    }

    fn scalar(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"') => self.text().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'N' | b'I') => Err(self.error("NaN and Infinity are not JSON: expected a value")),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the document ends where a value was expected")),
        }
    }

    fn literal(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes a string, which starts here.
    fn text(&mut self) -> Result<Text<'a>, SyntaxError> {
        let start = self.at;
        let end = text::end(self.text.as_bytes(), start)
            .map_err(|(at, problem)| SyntaxError { at, problem })?;
        self.at = end;
        let text = Text::of(&self.text[start..end]);
        if text.has_half_pair() {
            self.note(|| Flaw::Surrogate);
        }
        Ok(text)
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        self.take(b"-");
        if !self.take(b"0") && self.digits() == 0 {
            return Err(self.error("expected a digit"));
        }
        if self.take(b".") && self.digits() == 0 {
            return Err(self.error("expected a digit after the decimal point"));
        }
        let exponent = self.take(b"eE");
        if exponent {
            self.take(b"+-");
            if self.digits() == 0 {
                return Err(self.error("expected a digit in the exponent"));
            }
        }
        // The largest double has 309 digits: without exponent, only what is longer can exceed it.
        let raw = self.since(start);
        if (exponent || raw.len() > 308) && raw.parse().is_ok_and(f64::is_infinite) {
            self.note(|| Flaw::Range(raw.chars().take(40).collect()));
        }
        Ok(())
    }

    fn take(&mut self, any: &[u8]) -> bool {
        let taken = self
            .text
            .as_bytes()
            .get(self.at)
            .is_some_and(|b| any.contains(b));
        self.at += usize::from(taken);
        taken
    }

    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), SyntaxError> {
        if self.peek() != Some(byte) {
            return Err(self.error(problem));
        }
        self.at += 1;
        Ok(())
    }

    /// Keeps the first flaw of a value.
    fn note(&mut self, flaw: impl FnOnce() -> Flaw) {
        if self.flaw.is_none() {
            self.flaw = Some(flaw());
        }
    }

    fn error(&self, problem: &'static str) -> SyntaxError {
        let problem = match self.at >= self.text.len() {
            true if problem.starts_with("expected") => "the document ends too early",
            _ => problem,
        };
        SyntaxError {
            at: self.at,
            problem,
        }
    }
}

/// What somebody else wrote as an error repeats it: short, and without control characters.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(char::is_control, "\u{fffd}")
}
