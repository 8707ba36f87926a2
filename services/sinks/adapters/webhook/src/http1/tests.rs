//! Framing by the table, bodies however they are cut, and the whole against hyper.

use tokio::net::TcpStream;

use super::*;

fn head(text: &str) -> Result<Option<(usize, Head)>, Failure> {
    parse_head(text.as_bytes())
}

fn of(lines: &str) -> (Framing, bool) {
    let (_, head) = head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
        .unwrap()
        .unwrap();
    (head.framing, head.keep.is_some())
}

#[test]
fn the_end_of_a_body_is_where_the_standard_has_it() {
    let (length, chunked, close) = (Framing::Length, Framing::Chunked, Framing::UntilClose);
    let table = [
        ("content-length: 5\r\n", (length(5), true)),
        (
            "Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n",
            (length(5), true),
        ),
        ("content-length: 5, 5\r\n", (length(5), true)),
        ("transfer-encoding: chunked\r\n", (chunked, true)),
        ("transfer-encoding: gzip, Chunked\r\n", (chunked, true)),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            (chunked, true),
        ),
        // An attack on whoever reads the other one.
        (
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            (chunked, false),
        ),
        ("transfer-encoding: gzip\r\n", (close, false)),
        ("transfer-encoding: chunked, gzip\r\n", (close, false)),
        ("", (close, false)),
        (
            "content-length: 0\r\nconnection: Close\r\n",
            (length(0), false),
        ),
        (
            "content-length: 0\r\nconnection: x, close\r\n",
            (length(0), false),
        ),
    ];
    for (lines, expected) in table {
        assert_eq!(of(lines), expected, "{lines}");
    }
}

#[test]
fn a_length_that_is_no_number_or_two_is_refused() {
    for lines in [
        "content-length: +5\r\n",
        "content-length: 0x5\r\n",
        "content-length: \r\n",
        "content-length: 5,6\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 99999999999999999999\r\n",
    ] {
        let refused = head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        assert!(matches!(refused, Err(Failure::InvalidResponse)), "{lines}");
    }
}

#[test]
fn an_old_server_keeps_its_connection_only_where_it_says_so() {
    let kept = |lines: &str| {
        let text = format!("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n{lines}\r\n");
        head(&text).unwrap().unwrap().1.keep.is_some()
    };
    assert!(!kept(""));
    assert!(kept("connection: keep-alive\r\n"));
}

#[test]
fn no_body_follows_a_status_that_has_none() {
    for status in [204, 304] {
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
        let (_, head) = head(&text).unwrap().unwrap();
        assert_eq!(head.framing, Framing::Length(0));
    }
}

/// A connection whose receiver sends `pieces`, one after the other.
async fn receiving(pieces: Vec<Vec<u8>>) -> Connection {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    Connection::over(Stream::Plain(TcpStream::connect(address).await.unwrap()))
}

const ALL: Appetite = Appetite {
    keep: 1 << 20,
    read: 1 << 20,
};

async fn read(pieces: Vec<Vec<u8>>) -> Result<(bool, Vec<u8>, bool), Failure> {
    let mut connection = receiving(pieces).await;
    let head = connection.head().await?;
    let mut kept = Vec::new();
    let whole = connection.body(&head, ALL, &mut kept).await?;
    Ok((whole, kept, connection.settle()))
}

#[tokio::test]
async fn chunks_are_put_together_however_they_are_cut() {
    let text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n";
    for size in [1, 2, 3, 7, 1000] {
        let pieces = text.chunks(size).map(<[u8]>::to_vec).collect();
        let (whole, body, clean) = read(pieces).await.unwrap();
        assert!(whole && clean, "{size}");
        assert_eq!(body, b"abc0123456789", "{size}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    for body in ["x\r\n", "3\r\nabcd\r\n", "FFFFFFFFFFFFFFFFF\r\n", "-1\r\n"] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let refused = read(vec![text.into_bytes()]).await;
        assert_eq!(refused, Err(Failure::InvalidResponse), "{body}");
    }
}

#[tokio::test]
async fn what_follows_a_body_unasked_is_noticed() {
    let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n";
    let (whole, body, clean) = read(vec![text.to_vec()]).await.unwrap();
    assert!(whole && !clean);
    assert_eq!(body, b"ok");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_taken_is_read() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream
    });
    let mut connection =
        Connection::over(Stream::Plain(TcpStream::connect(address).await.unwrap()));
    // More than the sockets hold, and nobody reads it.
    let head = connection.exchange(&vec![b'x'; 64 << 20]).await.unwrap();
    assert_eq!((head.status, head.keep), (413, None));
    drop(receiver);
}

#[tokio::test]
async fn a_request_that_never_left_is_told_from_one_that_may_have() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connection =
        Connection::over(Stream::Plain(TcpStream::connect(address).await.unwrap()));
    drop(listener.accept().await.unwrap());
    while connection.is_quiet() {
        tokio::task::yield_now().await;
    }
    // The receiver is gone, but its system still takes the first bytes.
    let first = connection.exchange(b"POST / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(
        first,
        Err(Unsent::Perhaps(Failure::ConnectionLost))
    ));
    let second = connection.exchange(b"POST / HTTP/1.1\r\n\r\n").await;
    assert!(matches!(
        second,
        Err(Unsent::Nothing(Failure::ConnectionLost))
    ));
}

/// What a client makes of an answer.
#[derive(Debug, PartialEq)]
enum Read {
    Whole(u16, Vec<u8>),
    /// The head was understood, the body was not or broke off.
    Head(u16),
    Nothing,
}

async fn read_by_us(answer: Vec<u8>) -> Read {
    let mut connection = receiving(vec![answer]).await;
    let Ok(head) = connection
        .exchange(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
    else {
        return Read::Nothing;
    };
    let mut kept = Vec::new();
    match connection.body(&head, ALL, &mut kept).await {
        Ok(true) => Read::Whole(head.status, kept),
        _ => Read::Head(head.status),
    }
}

async fn read_by_hyper(answer: Vec<u8>) -> Read {
    use http_body_util::{BodyExt as _, Empty};
    let Stream::Plain(stream) = receiving(vec![answer]).await.stream else {
        return Read::Nothing;
    };
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post("/").header("host", "x");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let Ok(response) = sender.send_request(request).await else {
        return Read::Nothing;
    };
    let status = response.status().as_u16();
    match response.into_body().collect().await {
        Ok(body) => Read::Whole(status, body.to_bytes().to_vec()),
        Err(_) => Read::Head(status),
    }
}

fn answers() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let status = prop::sample::select(vec![200u16, 201, 204, 304, 400, 404, 500, 503, 999]);
    let line = prop::sample::select(vec![
        "content-length: 5",
        "Content-Length: 0",
        "content-length: 5, 5",
        "content-length: 12",
        "content-length: -1",
        "content-length: 99999999999999999999",
        "transfer-encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "transfer-encoding: gzip",
        "connection: close",
        "connection: keep-alive",
        "x-y:   z  ",
        "x:",
        "no colon",
        " leading: space",
        "x y: z",
    ]);
    let body = prop::sample::select(vec![
        "hello",
        "",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nt: 1\r\n\r\n",
        "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "5\r\nhello world\r\n0\r\n\r\n",
        "z\r\n",
        "FFFFFFFFFFFFFFFFFF\r\n",
        "hello world!",
    ]);
    let lines = prop::collection::vec(line, 0..4);
    (
        status,
        lines,
        body,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(status, lines, body, cut, is_cut)| {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut bytes = format!("HTTP/1.1 {status} X\r\n{lines}\r\n{body}").into_bytes();
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]

    /// Two readers that disagree about where a body ends are how requests get smuggled.
    #[test]
    fn an_answer_is_read_as_hyper_reads_it(answer in answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (ours, theirs) = runtime.block_on(async {
            (read_by_us(answer.clone()).await, read_by_hyper(answer.clone()).await)
        });
        let text = String::from_utf8_lossy(&answer);
        proptest::prop_assert_eq!(ours, theirs, "{}", text);
    }
}
