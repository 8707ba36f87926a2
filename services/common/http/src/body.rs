//! What becomes of a request's body that nobody reads.
//!
//! A connection that is closed while its client still writes may lose the answer that is on its way: whoever is told that a
//! credential is not good, or a body too large, gets to read it only if the rest of the request is taken first.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

const DISCARD_LEN_MAX: usize = 8 * 1024 * 1024;
const DISCARD_WITHIN: Duration = Duration::from_secs(2);

/// Reads and throws away: at most 8 MiB, and for at most 2 s.
pub async fn discard(mut body: Body) {
    let reading = async {
        let mut len = 0;
        while let Some(Ok(frame)) = body.frame().await {
            len += frame.data_ref().map_or(0, Bytes::len);
            if len > DISCARD_LEN_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}

/// Middleware: what the handlers leave of a body is discarded before they are heard.
///
/// A client that waits to be asked for its body (`Expect: 100-continue`) is not asked for one that nobody wants.
pub async fn discard_rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let rest = Arc::new(Mutex::new(None));
    let given = request.map(|body| {
        Body::new(Given {
            body,
            rest: Arc::clone(&rest),
        })
    });
    let response = next.run(given).await;
    let rest = rest.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) = rest {
        discard(rest).await;
    }
    response
}

/// A body that comes back when it is let go before its end.
struct Given {
    body: Body,
    rest: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Given {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let body = mem::take(&mut self.body);
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn server() -> TcpStream {
        let routes = Router::new()
            .route("/refused", post(async || "no"))
            .route("/read", post(async |body: Bytes| body.len().to_string()))
            .layer(axum::middleware::from_fn(discard_rest));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        TcpStream::connect(address).await.unwrap()
    }

    async fn answer(connection: &mut TcpStream) -> String {
        let mut text = vec![0; 4_096];
        let len = connection.read(&mut text).await.unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    }

    #[tokio::test]
    async fn a_connection_goes_on_after_a_body_that_nobody_read() {
        let mut connection = server().await;
        for (path, said) in [("refused", "\r\n\r\nno"), ("read", "\r\n\r\n300000")] {
            let head =
                format!("POST /{path} HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
            // The body comes when the answer could be there already.
            tokio::time::sleep(Duration::from_millis(20)).await;
            connection.write_all(&vec![b'x'; 300_000]).await.unwrap();
            let text = answer(&mut connection).await;
            assert!(
                text.starts_with("HTTP/1.1 200") && text.ends_with(said),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn whoever_waits_to_be_asked_is_not() {
        let mut connection = server().await;
        let head = "POST /refused HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        let text = answer(&mut connection).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}
