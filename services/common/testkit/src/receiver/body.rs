//! Bodies that are whole, endless, or very long.

use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

use super::reply::Kind;

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

const CHUNK: usize = 64 * 1024;

pub(super) fn of(kind: Kind) -> Body {
    match kind {
        Kind::Body(bytes) => Full::new(bytes).boxed_unsync(),
        Kind::Drip(every) => streamed(stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((Bytes::from_static(b"."), ()))
        })),
        Kind::Huge(bytes) => streamed(stream::unfold(bytes, |left| async move {
            let chunk = left.min(CHUNK as u64);
            (chunk > 0).then(|| (Bytes::from(vec![b'x'; chunk as usize]), left - chunk))
        })),
        Kind::Hang | Kind::Reset => Full::default().boxed_unsync(),
    }
}

fn streamed(bytes: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    let frames: Pin<Box<dyn Stream<Item = _> + Send>> =
        Box::pin(bytes.map(|bytes| Ok(Frame::data(bytes))));
    StreamBody::new(frames).boxed_unsync()
}
