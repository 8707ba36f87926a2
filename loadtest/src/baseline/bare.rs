//! Baseline (a): how fast can the fastest client post these bytes, with nothing around it?
//!
//! One current-thread runtime, hyper's HTTP/1 on kept connections, one request in flight on each. The request is built
//! and signed once; each post copies its headers, as a client must.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::ensure;
use futures::future::try_join_all;
use hyper::Uri;
use pushrail_schemas::Event;

use super::post::Poster;
use super::{Drained, Meter};
use crate::http::Connection;
use crate::sample;

/// Posts `count` requests to `destinations` paths of `receiver` over `concurrency` connections.
pub async fn run(
    receiver: SocketAddr,
    destinations: u32,
    count: u64,
    concurrency: usize,
) -> anyhow::Result<Drained> {
    let event = Event::parse(sample::value_bytes(1, 0, sample::destination_id(0, 0)))?;
    let poster = Poster::new(crate::destinations::SIGNING_KEY, &receiver.to_string())?;
    let (headers, body) = poster.request(&event, pushrail_clock::now_us() / 1_000_000);
    let paths: Rc<[Uri]> = (0..destinations)
        .map(|n| Uri::try_from(format!("/d/{n}")))
        .collect::<Result<_, _>>()?;
    let connections = try_join_all((0..concurrency).map(|_| Connection::open(receiver))).await?;
    let next = Rc::new(std::cell::Cell::new(0));
    let meter = Meter::start();
    let loops = connections.into_iter().map(|mut connection| {
        let (headers, body, paths, next) =
            (headers.clone(), body.clone(), paths.clone(), next.clone());
        tokio::task::spawn_local(async move {
            while next.get() < count {
                let sequence = next.replace(next.get() + 1);
                let path = paths[sequence as usize % paths.len()].clone();
                let answer = connection.post(path, headers.clone(), body.clone()).await?;
                ensure!(
                    answer.status.is_success(),
                    "the receiver answered {}",
                    answer.status
                );
            }
            Ok(())
        })
    });
    for finished in futures::future::join_all(loops).await {
        finished??;
    }
    Ok(meter.stop(count))
}
