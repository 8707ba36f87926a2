//! Makes load: over HTTP as a vendor's backend does, or straight into Kafka.
//!
//! At a rate the load is open loop: each event has a time at which it is due, whatever became of those before it, and
//! carries that time (`sentAtUs`). So a stall shows in the latency of everything that was due meanwhile, and is not
//! hidden by a generator that waits along (coordinated omission).

pub mod direct;
pub mod http;
mod pace;

pub use pace::Pace;

/// Runs a generator on a thread and runtime of its own, so that nothing the caller does delays it.
pub fn on_own_thread<T: Send + 'static, F>(
    generate: impl FnOnce() -> F + Send + 'static,
) -> impl Future<Output = anyhow::Result<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let (done, result) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new()
        .name("generator".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let generated = match runtime {
                Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, generate()),
                Err(error) => Err(error.into()),
            };
            // Nobody may be waiting any more.
            let _ = done.send(generated);
        });
    async move {
        spawned?;
        result.await?
    }
}
