//! The rest of the API behind ingest's address: a real ingest, a real listener as the control plane.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt as _;
use pushrail_clock::Clock;
use pushrail_ingest::Settings;
use pushrail_ingest::catalogue::Catalogue;
use pushrail_ingest::metrics::Metrics;
use pushrail_ingest::server::{Server, Shared};
use pushrail_obs::{Health, Metrics as Registry};
use support::{Edge, OneKey, event, post, settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What came to the control plane.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Control {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Control {
    async fn start() -> (Control, SocketAddr) {
        let control = Control::default();
        let app = Router::new().fallback(answer).with_state(control.clone());
        (control, serve(app).await)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(control): State<Control>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let seen = Seen {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    control.seen.lock().unwrap().push(seen);
    let headers = [
        ("etag", "\"3\""),
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "timeout=5"),
        ("content-type", "application/json"),
    ];
    (http::StatusCode::CREATED, headers, "{\"made\":true}").into_response()
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn forwarding(control: SocketAddr) -> Settings {
    let mut settings = settings();
    settings.control = Some(format!("http://{control}").parse().unwrap());
    settings.workers = 1;
    settings
}

/// Ingest as it runs, but for Kafka, which no test here needs. Ends with the guard.
async fn ingest(settings: Settings) -> (SocketAddr, tokio_util::sync::DropGuard) {
    settings.check().unwrap();
    let server = Server::bind(settings.listen).await.unwrap();
    let address = server.address();
    let shutdown = CancellationToken::new();
    let (tenant, metrics) = (Arc::new(OneKey::default()), Metrics::new(&Registry::new()));
    let shared = Shared {
        settings: Arc::new(settings),
        catalogue: Arc::new(Catalogue::new(tenant.clone(), metrics.clone())),
        seals: Arc::new(pushrail_ingest::seals::Seals::none()),
        keys: tenant,
        metrics,
        health: Health::new(),
        schema_id: 7,
        clock: Clock::process(),
    };
    tokio::spawn(server.run(shared, shutdown.clone()));
    (address, shutdown.drop_guard())
}

/// Sends text as it is, and returns what comes back until the connection is closed.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_goes_on_as_it_came_and_so_does_its_answer() {
    let (control, address) = Control::start().await;
    let (ingest, _guard) = ingest(forwarding(address)).await;
    let client = reqwest::Client::new();
    let answer = client
        .patch(format!(
            "http://{ingest}/v1/customers/a%2Fb%20c/destinations?limit=5&cursor=%3D"
        ))
        .bearer_auth("secret")
        .header("host", "api.vendor.example")
        .header("if-match", "\"2\"")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-for", "198.51.100.1")
        .body("{\"name\":\"n\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["etag"], "\"3\"");
    for stays in ["x-internal", "keep-alive", "connection"] {
        assert!(!answer.headers().contains_key(stays), "{stays}");
    }
    assert_eq!(answer.text().await.unwrap(), "{\"made\":true}");
    let seen = control.seen();
    let [seen] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(seen.method, Method::PATCH);
    assert_eq!(
        seen.uri,
        "/v1/customers/a%2Fb%20c/destinations?limit=5&cursor=%3D"
    );
    assert_eq!(seen.headers["host"], "api.vendor.example");
    assert_eq!(seen.headers["authorization"], "Bearer secret");
    assert_eq!(seen.headers["if-match"], "\"2\"");
    assert_eq!(
        seen.headers["x-forwarded-for"],
        "203.0.113.9, 198.51.100.1, 127.0.0.1"
    );
    assert_eq!(&seen.body[..], b"{\"name\":\"n\"}");
}

#[tokio::test]
async fn only_what_is_the_control_planes_goes_there() {
    let (control, address) = Control::start().await;
    let edge = Edge::with(forwarding(address));
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for (path, status) in [
        ("/v1/tenant", 201),
        ("/openapi.json", 201),
        ("/docs", 201),
        ("/docs/index.html", 201),
        ("/", 200),
        ("/v1", 404),
        ("/docsx", 404),
        ("/metrics", 404),
        ("/v1/events", 405),
        ("/v1/events/batch", 405),
    ] {
        assert_eq!(edge.send(get(path)).await.status, status, "{path}");
    }
    assert_eq!(edge.post("/v1/events", event("c-1")).await.status, 202);
    let paths: Vec<_> = control.seen().iter().map(|s| s.uri.to_string()).collect();
    assert_eq!(
        paths,
        ["/v1/tenant", "/openapi.json", "/docs", "/docs/index.html"]
    );
    // Without a peer's address, a claim of one is worth nothing.
    let mut claimed = get("/v1/tenant");
    let claim = "203.0.113.9".parse().unwrap();
    claimed.headers_mut().insert("x-forwarded-for", claim);
    edge.send(claimed).await;
    let last = control.seen().pop().unwrap();
    assert!(!last.headers.contains_key("x-forwarded-for"));

    let alone = Edge::new().send(get("/v1/tenant")).await;
    assert_eq!(alone.status, 404);
    assert!(alone.text.contains("--control"), "{}", alone.text);
}

#[tokio::test]
async fn what_one_connection_says_of_itself_stays_there_and_nothing_rides_along() {
    let (control, address) = Control::start().await;
    let (ingest, _guard) = ingest(forwarding(address)).await;
    let answer = raw(
        ingest,
        "POST http://elsewhere.example/v1/sessions HTTP/1.1\r\nHost: api.vendor.example\r\n\
         Authorization: Bearer k\r\nX-Forwarded-For: 203.0.113.9\r\n\
         Connection: close, x-mine, authorization, host, x-forwarded-for, content-length\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nUpgrade: websocket\r\n\
         Expect: 100-continue\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n\r\nGET /v1/tenants HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
    )
    .await;
    assert!(answer.contains("201 Created"), "{answer}");
    let seen = control.seen();
    let [seen] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(seen.uri, "/v1/sessions");
    assert_eq!(&seen.body[..], b"hi");
    let headers = &seen.headers;
    assert_eq!(headers["host"], "api.vendor.example");
    assert_eq!(headers["authorization"], "Bearer k");
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 127.0.0.1");
    for stays in [
        "connection",
        "x-mine",
        "keep-alive",
        "te",
        "proxy-authorization",
        "upgrade",
        "expect",
        "content-length",
    ] {
        assert!(!headers.contains_key(stays), "{stays}: {headers:?}");
    }
    for malformed in [
        "GET /v1/tenant HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET /v1/tenant HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "GET /v1/tenant HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET /v1/ten ant HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = raw(ingest, malformed).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{malformed}: {answer}");
    }
    assert_eq!(control.seen().len(), 1);
}

#[tokio::test]
async fn bodies_flow_both_ways_while_they_are_made() {
    // Answers each piece of the request with the same piece, as it comes.
    let app = Router::new().fallback(|request: Request| async {
        Response::new(Body::from_stream(request.into_body().into_data_stream()))
    });
    let address = serve(app).await;
    let (ingest, _guard) = ingest(forwarding(address)).await;
    let (pieces, taken) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(taken, async |mut taken| {
        let piece = taken.recv().await?;
        Some((piece, taken))
    });
    let request = reqwest::Client::new()
        .post(format!("http://{ingest}/v1/echo"))
        .body(reqwest::Body::wrap_stream(body));
    pieces.send(Ok(Bytes::from_static(b"one"))).await.unwrap();
    let mut answer = request.send().await.unwrap();
    assert_eq!(&answer.chunk().await.unwrap().unwrap()[..], b"one");
    // The second is sent when the first has come all the way back.
    pieces.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    assert_eq!(&answer.chunk().await.unwrap().unwrap()[..], b"two");
    drop(pieces);
    assert!(answer.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_control_plane_that_is_away_costs_no_event() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let edge = Edge::with(forwarding(address));
    let answer = edge.post("/v1/sessions", "{}").await;
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.json["type"],
        "urn:pushrail:problem:control-unavailable"
    );
    assert!(
        answer.text.contains("nothing was changed"),
        "{}",
        answer.text
    );
    assert_eq!(edge.post("/v1/events", event("c-1")).await.status, 202);
}

#[tokio::test]
async fn one_that_breaks_off_or_falls_silent_is_said_to_have_done_perhaps() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for round in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            match round {
                // Breaks off.
                0 => drop(stream),
                // Says nothing.
                1 => kept.push(stream),
                // Begins to answer, and then says nothing.
                _ => {
                    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
                    stream.write_all(begun).await.unwrap();
                    kept.push(stream);
                }
            }
        }
    });
    let edge = Edge::forwarding(forwarding(address), Duration::from_millis(200));
    let answer = edge.send(post("/v1/sessions", "{}")).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text.contains("may or may not"), "{}", answer.text);
    let answer = edge.send(post("/v1/sessions", "{}")).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json["type"], "urn:pushrail:problem:control-timeout");
    let mut answer = edge.response(post("/v1/sessions", "{}")).await;
    assert_eq!(answer.status(), 200);
    let first = answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(&first.into_data().unwrap()[..], b"hello");
    assert!(answer.body_mut().frame().await.unwrap().is_err());
}

#[test]
fn an_address_that_can_not_be_one_is_refused_at_the_start() {
    for address in [
        "https://control:8081",
        "http://control:8081/base",
        "http://control:8081/?a=b",
        "http://user:password@control:8081",
        "control:8081",
        "/v1",
    ] {
        let mut settings = settings();
        settings.control = Some(address.parse().unwrap());
        let error = settings.check().unwrap_err();
        assert_eq!(error.name, "control", "{address}");
        assert!(!error.to_string().contains("password"), "{error}");
    }
}
