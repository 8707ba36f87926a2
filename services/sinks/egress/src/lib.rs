//! The way out: from an address that a customer entered to an open connection, for adapters that open their own.
//!
//! A customer chooses where events go, so everything here fails shut: a URL is taken apart once (`target`), its name is
//! resolved once (`resolve`), every address is vetted, and the socket is opened to one that passed (`dial`). There is no
//! second look-up that could answer otherwise, no proxy of the environment and no redirect. What goes over the connection is
//! the adapter's business; for those that speak ordinary HTTP there is a client (`http`), and for gRPC another (`http2`).

mod dial;
mod failure;
mod http;
mod http2;
mod per_runtime;
mod resolve;
mod rules;
mod stream;
mod target;
mod tls;

pub use crate::http::{Http, why};
pub use crate::http2::{Http2, Lease, Service};
pub use dial::Dialer;
pub use failure::{FAILURES, Failure, bounded};
pub use per_runtime::PerRuntime;
pub use resolve::{Names, Resolvers};
pub use rules::Rules;
pub use stream::Stream;
pub use target::{Peer, Target};
pub use tls::{Extra, SHARED as TLS, Tls};
