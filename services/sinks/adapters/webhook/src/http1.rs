//! HTTP/1.1 on one connection: a request goes out, its answer comes in (RFC 9112).
//!
//! Whoever calls drives the socket; there is no task, channel or lock in between, which is what makes a call cheap. The
//! grammar is `httparse`'s. A connection whose answer left any doubt about where it ends is not used again.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pushrail_egress::Stream;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::io::poll_read_buf;

use crate::evidence;
use crate::failure::Failure;

/// Largest response head, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;
/// Most headers of a response.
const HEADER_COUNT_MAX: usize = 100;
/// Most bytes that frame one chunk, and that may trail the last.
const CHUNK_LINE_LEN_MAX: usize = 4 * 1024;
/// How much is asked of the socket at once.
const READ_LEN: usize = 4 * 1024;
/// How long an orderly close may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A connection on which no exchange is under way, or one. Dropping it closes it at once.
pub(crate) struct Connection {
    stream: Stream,
    /// What was read and not yet taken.
    input: Vec<u8>,
    pub(crate) born: Instant,
}

/// A final response's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Lines of `name: value` without credentials.
    pub(crate) headers: Box<str>,
    pub(crate) retry_after: Option<Duration>,
    /// How long the connection may be kept idle after this; `None` when it must not be used again.
    pub(crate) keep: Option<Duration>,
    framing: Framing,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// How much of a body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appetite {
    /// Bytes that are kept.
    pub(crate) keep: usize,
    /// Bytes that are read before the rest is given up.
    pub(crate) read: u64,
}

impl Connection {
    pub(crate) fn over(stream: Stream) -> Self {
        Connection {
            stream,
            input: Vec::new(),
            born: Instant::now(),
        }
    }

    /// Whether an idle connection is still open, and silent as it should be.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut nothing = Context::from_waker(Waker::noop());
        self.input.is_empty() && self.poll_fill(&mut nothing).is_pending()
    }

    /// Closes in order, which with TLS takes a message.
    pub(crate) fn close(self) {
        if let Stream::Tls(mut stream) = self.stream {
            tokio::spawn(async move { drop(timeout(CLOSE_WAIT, stream.shutdown()).await) });
        }
    }

    /// Sends a request and reads the head of its answer. With [`Unsent`], not a byte of it has left: another connection may
    /// carry it.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Head, Unsent> {
        let mut sent = 0;
        let early = poll_fn(|cx| self.poll_send(cx, request, &mut sent)).await;
        let head = match early {
            Ok(None) => self.head().await,
            // It knew enough; the rest of the request is owed, so nothing else may follow on this connection.
            Ok(Some(head)) => Ok(Head { keep: None, ..head }),
            Err(error) if sent == 0 => return Err(Unsent::Nothing(Failure::from_io(&error))),
            // The receiver may have answered before it hung up.
            Err(error) => match self.head().await {
                Ok(head) => Ok(Head { keep: None, ..head }),
                Err(_) => Err(Failure::from_io(&error)),
            },
        };
        head.map_err(Unsent::Perhaps)
    }

    /// Writes all of `request`. While the receiver takes nothing, looks whether it has answered already.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<Option<Head>>> {
        while *sent < request.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &request[*sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => *sent += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if ready!(self.poll_fill(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    match self.take_head() {
                        Ok(None) => {}
                        Ok(Some(head)) => return Poll::Ready(Ok(Some(head))),
                        Err(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                    }
                }
            }
        }
        // What TLS has sealed and not yet written.
        Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| None)
    }

    async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some(head) = self.take_head()? {
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Takes the head of the final response out of what was read, and interim ones before it.
    fn take_head(&mut self) -> Result<Option<Head>, Failure> {
        while !self.input.is_empty() {
            let Some((len, head)) = parse_head(&self.input)? else {
                if self.input.len() >= HEAD_LEN_MAX {
                    return Err(Failure::InvalidResponse);
                }
                return Ok(None);
            };
            self.input.drain(..len);
            // 101 would change the protocol, which nobody asked for.
            if head.status >= 200 || head.status == 101 {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Reads the body that follows `head`, keeping its start in `kept`. Whether it was read to its end.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        appetite: Appetite,
        kept: &mut Vec<u8>,
    ) -> Result<bool, Failure> {
        match head.framing {
            Framing::Length(length) => {
                let mut left = length;
                // Nothing is gained by reading on when the end is out of reach anyway.
                let enough = if length > appetite.read {
                    appetite.keep as u64
                } else {
                    length
                };
                while left > length - enough {
                    if self.input.is_empty() {
                        self.fill().await?;
                    }
                    left -= self.take(left, appetite, kept);
                }
                Ok(left == 0)
            }
            Framing::Chunked => self.chunks(appetite, kept).await,
            Framing::UntilClose => {
                let mut read = 0;
                loop {
                    read += self.take(u64::MAX, appetite, kept);
                    if read > appetite.read {
                        return Ok(false);
                    }
                    if poll_fn(|cx| self.poll_fill(cx)).await.map_err(lost)? == 0 {
                        return Ok(true);
                    }
                }
            }
        }
    }

    async fn chunks(&mut self, appetite: Appetite, kept: &mut Vec<u8>) -> Result<bool, Failure> {
        let mut read = 0;
        loop {
            let mut left = self.chunk_size().await?;
            if left == 0 {
                return self.trailers().await.map(|()| true);
            }
            while left > 0 {
                if self.input.is_empty() {
                    self.fill().await?;
                }
                let taken = self.take(left, appetite, kept);
                left -= taken;
                read += taken;
                if read > appetite.read {
                    return Ok(false);
                }
            }
            while self.input.len() < 2 {
                self.fill().await?;
            }
            if !self.input.starts_with(b"\r\n") {
                return Err(Failure::InvalidResponse);
            }
            self.input.drain(..2);
        }
    }

    async fn chunk_size(&mut self) -> Result<u64, Failure> {
        loop {
            match httparse::parse_chunk_size(&self.input) {
                Ok(httparse::Status::Complete((len, size))) => {
                    self.input.drain(..len);
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) if self.input.len() < CHUNK_LINE_LEN_MAX => {
                    self.fill().await?;
                }
                _ => return Err(Failure::InvalidResponse),
            }
        }
    }

    /// Passes over what may stand between the last chunk and the end.
    async fn trailers(&mut self) -> Result<(), Failure> {
        let mut read = 0;
        loop {
            match self.input.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let is_last = matches!(&self.input[..end], b"" | b"\r");
                    self.input.drain(..=end);
                    read += end + 1;
                    if is_last {
                        return Ok(());
                    }
                }
                None if read + self.input.len() < CHUNK_LINE_LEN_MAX => self.fill().await?,
                None => return Err(Failure::InvalidResponse),
            }
            if read > CHUNK_LINE_LEN_MAX {
                return Err(Failure::InvalidResponse);
            }
        }
    }

    /// Takes at most `most` bytes of a body out of what was read.
    fn take(&mut self, most: u64, appetite: Appetite, kept: &mut Vec<u8>) -> u64 {
        let len = usize::try_from(most).map_or(self.input.len(), |most| most.min(self.input.len()));
        let wanted = len.min(appetite.keep - kept.len());
        kept.extend_from_slice(&self.input[..wanted]);
        self.input.drain(..len);
        len as u64
    }

    /// Makes an exchange's leftovers small. `false`: there is something that nobody asked for.
    pub(crate) fn settle(&mut self) -> bool {
        self.input.shrink_to(READ_LEN);
        self.input.is_empty()
    }

    /// Reads more, which must come.
    async fn fill(&mut self) -> Result<(), Failure> {
        match poll_fn(|cx| self.poll_fill(cx)).await.map_err(lost)? {
            0 => Err(Failure::ConnectionLost),
            _ => Ok(()),
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ_LEN);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
    }
}

fn lost(error: io::Error) -> Failure {
    Failure::from_io(&error)
}

/// Why there is no head of an answer.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// Nothing was sent.
    Nothing(Failure),
    /// The receiver may have got it.
    Perhaps(Failure),
}

impl Unsent {
    pub(crate) fn failure(self) -> Failure {
        match self {
            Unsent::Nothing(failure) | Unsent::Perhaps(failure) => failure,
        }
    }
}

/// The head at the start of `input` and its length, or `None` when it is not complete.
fn parse_head(input: &[u8]) -> Result<Option<(usize, Head)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(input)
        .map_err(|_| Failure::InvalidResponse)?;
    let httparse::Status::Complete(len) = parsed else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let headers = &*response.headers;
    let is_1_1 = response.version == Some(1);
    let (framing, is_certain) = framing(status, is_1_1, headers)?;
    let persists = match connection_options(headers) {
        Options { close: true, .. } => false,
        Options { keep_alive, .. } => is_1_1 || keep_alive,
    };
    let persists = persists && is_certain && framing != Framing::UntilClose && status != 101;
    let head = Head {
        status,
        headers: evidence::headers(headers),
        retry_after: (status >= 400)
            .then(|| evidence::retry_after(headers, crate::now_ms()))
            .flatten(),
        keep: persists.then(|| evidence::idle(headers)),
        framing,
    };
    Ok(Some((len, head)))
}

/// Where the body ends, and whether sender and receiver are sure to agree on it (RFC 9112, 6.3).
fn framing(
    status: u16,
    is_1_1: bool,
    headers: &[httparse::Header<'_>],
) -> Result<(Framing, bool), Failure> {
    if status < 200 || status == 204 || status == 304 {
        return Ok((Framing::Length(0), true));
    }
    let mut codings = evidence::all(headers, "transfer-encoding").peekable();
    if codings.peek().is_some() {
        let last = codings.last().unwrap_or_default().trim_ascii();
        let is_chunked = last.len() >= 7 && last[last.len() - 7..].eq_ignore_ascii_case(b"chunked");
        return Ok(match is_chunked {
            // Another reader may go by the length that is there too.
            true => {
                let has_length = evidence::all(headers, "content-length").next().is_some();
                (Framing::Chunked, is_1_1 && !has_length)
            }
            false => (Framing::UntilClose, false),
        });
    }
    Ok(match content_length(headers)? {
        Some(length) => (Framing::Length(length), true),
        None => (Framing::UntilClose, false),
    })
}

/// What `Content-Length` says; several must say the same.
fn content_length(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Failure> {
    let mut length = None;
    for part in evidence::all(headers, "content-length").flat_map(|v| v.split(|b| *b == b',')) {
        let part = part.trim_ascii();
        // `parse` alone would take a sign.
        let digits = part.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(part).ok().filter(|_| digits);
        let number = number.and_then(|text| text.parse::<u64>().ok());
        match (number, length) {
            (None, _) => return Err(Failure::InvalidResponse),
            (Some(number), Some(known)) if number != known => return Err(Failure::InvalidResponse),
            (number, _) => length = number,
        }
    }
    Ok(length)
}

#[derive(Default)]
struct Options {
    close: bool,
    keep_alive: bool,
}

fn connection_options(headers: &[httparse::Header<'_>]) -> Options {
    let mut options = Options::default();
    for part in evidence::all(headers, "connection").flat_map(|v| v.split(|b| *b == b',')) {
        let part = part.trim_ascii();
        options.close |= part.eq_ignore_ascii_case(b"close");
        options.keep_alive |= part.eq_ignore_ascii_case(b"keep-alive");
    }
    options
}

#[cfg(test)]
mod tests;
