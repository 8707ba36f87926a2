//! How a request is answered, or is not.

use std::time::Duration;

use bytes::Bytes;

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) after: Duration,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Body(Bytes),
    /// Reads the request and never answers.
    Hang,
    /// Resets the connection once the request is read.
    Reset,
    /// Sends the head, then one byte at a time for ever.
    Drip(Duration),
    /// Sends this many bytes of body.
    Huge(u64),
}

impl Default for Reply {
    fn default() -> Self {
        Reply::status(200)
    }
}

impl Reply {
    fn new(status: u16, kind: Kind) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            after: Duration::ZERO,
            kind,
        }
    }

    pub fn ok() -> Self {
        Reply::status(200)
    }

    pub fn status(status: u16) -> Self {
        Reply::new(status, Kind::Body(Bytes::new()))
    }

    /// Reads the request and never answers.
    pub fn hang() -> Self {
        Reply::new(200, Kind::Hang)
    }

    /// Resets the connection once the request is read.
    pub fn reset() -> Self {
        Reply::new(200, Kind::Reset)
    }

    /// Answers `200`, and then sends a byte of body every `every`, for ever.
    pub fn drip(every: Duration) -> Self {
        Reply::new(200, Kind::Drip(every))
    }

    /// Answers `200` with a body of `bytes` bytes.
    pub fn huge(bytes: u64) -> Self {
        Reply::new(200, Kind::Huge(bytes))
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.kind = Kind::Body(body.into());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before it answers.
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}
