//! Threads that own their clients: one current-thread runtime each, restarted when their clients give up.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Error;

/// Runs `count` workers, each on a thread of its own with a current-thread runtime, until `shutdown`; returns when all
/// have drained. `make` is called on the worker's thread, and again a little later when a worker fails or panics: new
/// clients and a fresh look at what is committed mend what a broken connection, a fenced producer or a lost session left
/// behind.
pub async fn run<F, W>(name: &str, count: usize, shutdown: CancellationToken, make: F)
where
    F: Fn(usize, CancellationToken) -> W + Clone + Send + 'static,
    W: Future<Output = Result<(), Error>> + 'static,
{
    let mut threads = tokio::task::JoinSet::new();
    for index in 0..count {
        let (ended, end) = tokio::sync::oneshot::channel();
        let (make, shutdown, thread_name) =
            (make.clone(), shutdown.clone(), format!("{name}-{index}"));
        let spawned = std::thread::Builder::new()
            .name(thread_name.clone())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(Default::default());
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(supervise(&thread_name, index, shutdown, make));
                    }
                    Err(error) => {
                        tracing::error!(%error, worker = thread_name, "worker.not_started")
                    }
                }
                let _ = ended.send(());
            });
        if let Err(error) = spawned {
            tracing::error!(%error, name, index, "worker.not_started");
            continue;
        }
        threads.spawn(async move { end.await.ok() });
    }
    while threads.join_next().await.is_some() {}
}

async fn supervise<F, W>(name: &str, index: usize, shutdown: CancellationToken, make: F)
where
    F: Fn(usize, CancellationToken) -> W,
    W: Future<Output = Result<(), Error>> + 'static,
{
    let mut delay = Duration::from_millis(250);
    while !shutdown.is_cancelled() {
        let started = tokio::time::Instant::now();
        // A task of its own, so that a panic ends the worker and not the thread that would start it again.
        match tokio::task::spawn_local(make(index, shutdown.clone())).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, worker = name, "worker.failed"),
            Err(error) => tracing::error!(%error, worker = name, "worker.panicked"),
        }
        if started.elapsed() > Duration::from_secs(60) {
            delay = Duration::from_millis(250);
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => delay = (delay * 2).min(Duration::from_secs(10)),
            () = shutdown.cancelled() => {}
        }
    }
}
