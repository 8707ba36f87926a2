//! An HTTP receiver that answers, or fails to, as each path is told, and remembers every request.

mod body;
mod reply;
mod serve;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::wait::wait_for;
pub use reply::Reply;

/// A request as it arrived, its body read whole.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
    /// Counts connections from 0, so that a test can tell whether one was kept.
    pub connection: u64,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A receiver on loopback. It stops when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, VecDeque<Reply>>,
    requests: Vec<Request>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request, and says how to answer it: a path's replies in order, the last for ever, `200` by default.
    fn take(&self, request: Request) -> Reply {
        let mut state = self.state();
        let path = request
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        state.requests.push(request);
        let script = match state.scripts.contains_key(&path) {
            true => state.scripts.get_mut(&path),
            false => state.scripts.get_mut("*"),
        };
        match script {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        }
        .unwrap_or_default()
    }
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port on loopback");
        let address = listener.local_addr().expect("the port's address");
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(serve::accept(listener, shared.clone()));
        Receiver {
            address,
            shared,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers requests to `path` with `replies` in order, and with the last one from then on. `*` is every path that has no
    /// script of its own.
    pub fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.shared
            .state()
            .scripts
            .insert(path.to_owned(), replies.into_iter().collect());
    }

    /// All requests so far, in the order in which they were read.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Requests to `path` so far.
    pub fn requests_to(&self, path: &str) -> Vec<Request> {
        let state = self.shared.state();
        state
            .requests
            .iter()
            .filter(|request| request.path.split('?').next() == Some(path))
            .cloned()
            .collect()
    }

    /// Waits until `path` has had `count` requests, and returns them.
    pub async fn wait(&self, path: &str, count: usize) -> Vec<Request> {
        let what = format!("{count} requests to {path}");
        wait_for(&what, async || {
            Some(self.requests_to(path)).filter(|requests| requests.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
