//! Reads HTTP/1.1 requests off a socket, no more of HTTP than a webhook sender uses: a request with a `content-length`,
//! one after the other on a kept connection. Hand-written, because a receiver must cost less than what it measures and
//! must be able to misbehave below HTTP.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use uuid::Uuid;

/// Longest head and longest body that are read.
const HEAD_LEN_MAX: usize = 64 * 1024;
const BODY_LEN_MAX: usize = 16 << 20;

/// A request that has been read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: Target,
    pub(super) post: bool,
    pub(super) webhook_id: Option<Uuid>,
    /// What Standard Webhooks sends beside the id; read only where it is verified.
    pub(super) signed: Signed,
    pub(super) body: bytes::Bytes,
}

/// `webhook-timestamp` and `webhook-signature`.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub(super) timestamp: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// What the path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/d/<number>`
    Destination(u32),
    /// `/_/<name>`
    Control(Box<str>),
    Unknown,
}

#[derive(Debug)]
pub(super) enum ReadError {
    /// The client closed between two requests.
    Closed,
    /// What came is not a request that this receiver reads.
    Malformed(&'static str),
    Io,
}

struct Head {
    len: usize,
    target: Target,
    post: bool,
    webhook_id: Option<Uuid>,
    signed: Signed,
    body_len: usize,
}

/// Reads the next request; what belongs to the one after it stays in `buffer`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    keep_signature: bool,
) -> Result<Request, ReadError> {
    let head = loop {
        if let Some(head) = parse_head(buffer, keep_signature)? {
            break head;
        }
        if buffer.len() > HEAD_LEN_MAX {
            return Err(ReadError::Malformed("head too long"));
        }
        fill(stream, buffer).await?;
    };
    buffer.advance(head.len);
    while buffer.len() < head.body_len {
        buffer.reserve(head.body_len - buffer.len());
        fill(stream, buffer).await?;
    }
    let body = if head.body_len == 0 {
        bytes::Bytes::new()
    } else {
        buffer.split_to(head.body_len).freeze()
    };
    Ok(Request {
        target: head.target,
        post: head.post,
        webhook_id: head.webhook_id,
        signed: head.signed,
        body,
    })
}

async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<(), ReadError> {
    buffer.reserve(4096);
    match stream.read_buf(buffer).await {
        Ok(0) => Err(ReadError::Closed),
        Ok(_) => Ok(()),
        Err(_) => Err(ReadError::Io),
    }
}

fn parse_head(buffer: &[u8], keep_signature: bool) -> Result<Option<Head>, ReadError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(buffer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ReadError::Malformed("not HTTP/1.1")),
    };
    let (mut body_len, mut webhook_id, mut signed) = (0, None, Signed::default());
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or("");
            body_len = text
                .parse()
                .map_err(|_| ReadError::Malformed("content-length is no number"))?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(ReadError::Malformed("only content-length bodies are read"));
        } else if header.name.eq_ignore_ascii_case("webhook-id") {
            webhook_id = Uuid::try_parse_ascii(header.value).ok();
        } else if keep_signature && header.name.eq_ignore_ascii_case("webhook-timestamp") {
            signed.timestamp = header.value.to_vec();
        } else if keep_signature && header.name.eq_ignore_ascii_case("webhook-signature") {
            signed.signature = header.value.to_vec();
        }
    }
    if body_len > BODY_LEN_MAX {
        return Err(ReadError::Malformed("body too long"));
    }
    let target = target(request.path.unwrap_or(""));
    Ok(Some(Head {
        len,
        target,
        post: request.method == Some("POST"),
        webhook_id,
        signed,
        body_len,
    }))
}

fn target(path: &str) -> Target {
    if let Some(number) = path.strip_prefix("/d/") {
        return number.parse().map_or(Target::Unknown, Target::Destination);
    }
    path.strip_prefix("/_/")
        .map_or(Target::Unknown, |name| Target::Control(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_that_share_a_packet_are_told_apart() {
        let wire: &[u8] =
            b"POST /d/7 HTTP/1.1\r\nWebhook-Id: 00000000-0000-0000-0000-000000000005\r\n\
            content-length: 2\r\n\r\n{}GET /_/stats HTTP/1.1\r\n\r\n";
        let (mut stream, mut buffer) = (wire, BytesMut::new());
        let first = read(&mut stream, &mut buffer, false).await.unwrap();
        assert_eq!(
            (first.target, first.webhook_id),
            (Target::Destination(7), Some(Uuid::from_u128(5)))
        );
        assert_eq!(&first.body[..], b"{}");
        let second = read(&mut stream, &mut buffer, false).await.unwrap();
        assert_eq!(second.target, Target::Control("stats".into()));
        assert!(matches!(
            read(&mut stream, &mut buffer, false).await,
            Err(ReadError::Closed)
        ));
    }

    #[tokio::test]
    async fn a_chunked_body_is_refused_rather_than_misread() {
        let mut wire: &[u8] = b"POST /d/7 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(matches!(
            read(&mut wire, &mut BytesMut::new(), false).await,
            Err(ReadError::Malformed(_))
        ));
    }
}
