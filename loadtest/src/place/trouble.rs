//! Servers that nobody would want to deliver to.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// What is wrong with one.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Answers whatever it is asked with 503, `SlowDown` and `Retry-After: 1`.
    Throttles,
    /// Accepts connections and says nothing.
    Hangs,
    /// Nobody listens there.
    Gone,
}

/// One such server, until it is dropped.
pub struct Astray {
    address: SocketAddr,
    serving: Option<AbortHandle>,
}

impl Trouble {
    pub fn name(self) -> &'static str {
        match self {
            Trouble::Throttles => "one throttles",
            Trouble::Hangs => "one hangs",
            Trouble::Gone => "one is gone",
        }
    }

    pub async fn start(self) -> anyhow::Result<Astray> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = match self {
            Trouble::Throttles => {
                let answer = || async {
                    let body = "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
                    let head = [("retry-after", "1"), ("content-type", "application/xml")];
                    (StatusCode::SERVICE_UNAVAILABLE, head, body)
                };
                let routes = Router::new().fallback(answer);
                Some(tokio::spawn(async move {
                    _ = axum::serve(listener, routes).await
                }))
            }
            Trouble::Hangs => Some(tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((connection, _)) = listener.accept().await {
                    held.push(connection);
                }
            })),
            Trouble::Gone => None,
        };
        Ok(Astray {
            address,
            serving: serving.map(|task| task.abort_handle()),
        })
    }
}

impl Astray {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Astray {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
