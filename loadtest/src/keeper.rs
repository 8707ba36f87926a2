//! A receiver that keeps every request whole, headers and body, for whoever judges them afterwards. It costs more than
//! [`crate::receiver`] and misbehaves less.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// A request, as it arrived.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Unix microseconds.
    pub at_us: i64,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What was answered.
    pub status: u16,
}

impl Kept {
    /// A header as text; empty where it is absent or none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The event's id.
    pub fn event_id(&self) -> Option<Uuid> {
        self.header("webhook-id").parse().ok()
    }

    pub fn delivered(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Reply {
            status,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }
}

/// Decides on an answer. The status of what it is shown is not known yet.
type Decide = dyn Fn(&Kept) -> Reply + Send + Sync;

struct Shared {
    kept: Mutex<Vec<Arc<Kept>>>,
    count: watch::Sender<usize>,
    decide: Box<Decide>,
}

/// A running keeper, on a thread of its own. It ends when this is dropped.
pub struct Keeper {
    address: SocketAddr,
    shared: Arc<Shared>,
    _running: oneshot::Sender<()>,
}

impl Keeper {
    /// Starts one on a free port of the loopback interface.
    pub async fn start(
        decide: impl Fn(&Kept) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            count: watch::Sender::new(0),
            decide: Box::new(decide),
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (running, ended) = oneshot::channel();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || serve(listener, router, ended))?;
        Ok(Keeper {
            address,
            shared,
            _running: running,
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests there have been.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// The requests from number `from` on, in order of arrival.
    pub fn kept(&self, from: usize) -> Vec<Arc<Kept>> {
        let kept = self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.get(from..).unwrap_or_default().to_vec()
    }

    /// Waits for the first request from number `from` on that `wanted` wants; `None` when `limit` has passed.
    pub async fn wait(
        &self,
        from: usize,
        limit: Duration,
        mut wanted: impl FnMut(&Kept) -> bool,
    ) -> Option<Arc<Kept>> {
        let mut count = self.shared.count.subscribe();
        let mut next = from;
        let waiting = async {
            loop {
                let new = self.kept(next);
                next += new.len();
                if let Some(found) = new.into_iter().find(|kept| wanted(kept)) {
                    return Some(found);
                }
                count.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, waiting).await.ok().flatten()
    }
}

fn serve(listener: std::net::TcpListener, router: Router, ended: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let listener = listener.tap_io(|stream| {
                let _ = stream.set_nodelay(true);
            });
            tokio::select! {
                served = axum::serve(listener, router).into_future() => served,
                _ = ended => Ok(()),
            }
        })
    });
    if let Err(error) = served {
        eprintln!("a keeper ended: {error}");
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut kept = Kept {
        at_us: pushrail_clock::now_us(),
        path: uri.to_string(),
        headers,
        body,
        status: 0,
    };
    let reply = (shared.decide)(&kept);
    kept.status = reply.status;
    let count = {
        let mut all = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::new(kept));
        all.len()
    };
    shared.count.send_replace(count);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    (status, reply.headers, reply.body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_is_kept_whole_and_waited_for() {
        let keeper = Keeper::start(|kept| match kept.path.as_str() {
            "/busy" => Reply::status(503),
            _ => Reply::status(204),
        })
        .await
        .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for path in ["/busy", "/fine?a=1"] {
            let request = client
                .post(keeper.url(path))
                .header("x-one", "1")
                .body(path);
            request.send().await.unwrap();
        }
        let limit = Duration::from_secs(10);
        let fine = keeper.wait(0, limit, |kept| kept.delivered()).await;
        let fine = fine.unwrap();
        assert_eq!(
            (fine.path.as_str(), fine.header("x-one")),
            ("/fine?a=1", "1")
        );
        assert_eq!(&fine.body[..], b"/fine?a=1");
        assert_eq!((keeper.count(), keeper.kept(0)[0].status), (2, 503));
    }
}
