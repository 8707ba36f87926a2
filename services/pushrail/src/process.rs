//! The process around a service: what is watched, what is listened for, how it ends.
//!
//! The first SIGTERM or SIGINT asks the service to drain; the second ends the process at once, which loses nothing that
//! Kafka has, and only repeats what was under way.

use std::future::Future;

use anyhow::Context;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::registry::{Ids, Registry, RegistryError};
use pushrail_settings::OpsArgs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the registry is left alone between questions.
const REGISTRY_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Exit code of a process that was told twice: 128 + SIGINT.
const FORCED: i32 = 130;

/// What a service is given beside its settings.
pub(crate) struct Service {
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
}

/// Runs a service to its end on a runtime of `threads` threads. Services that do their work on threads of their own need
/// one, for the operator's server and what follows the configuration.
pub(crate) fn run<F>(
    name: &str,
    ops: &OpsArgs,
    threads: usize,
    service: impl FnOnce(Service) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    // Dropped last: it sends what is left of the traces.
    let _observation = pushrail_obs::init(&ops.options(&format!("pushrail-{name}")))?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name(format!("{name}-main"))
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let given = Service {
            metrics: Metrics::new(),
            health: Health::new(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(listen_for_signals(shutdown.clone())?);
        if let Some(address) = ops.listen {
            let (metrics, health) = (given.metrics.clone(), given.health.clone());
            // It answers until the process ends: a draining service is alive, and says that it is not ready.
            pushrail_obs::serve(address, metrics, health, CancellationToken::new())
                .await
                .with_context(|| format!("--ops-listen {address}"))?;
        }
        let health = given.health.clone();
        let watch = async {
            shutdown.cancelled().await;
            health.drain();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = service(given) => result,
            () = watch => unreachable!("it never ends"),
        }
    });
    match &result {
        Ok(()) => tracing::info!(service = name, "service.stopped"),
        Err(error) => tracing::error!(
            service = name,
            error = format!("{error:#}"),
            "service.failed"
        ),
    }
    runtime.shutdown_background();
    result
}

fn listen_for_signals(
    shutdown: CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = told().await;
        tracing::info!(signal, "shutdown.requested");
        shutdown.cancel();
        let signal = told().await;
        tracing::warn!(signal, "shutdown.forced");
        std::process::exit(FORCED);
    })
}

/// Thousands of destinations are thousands of connections; the usual soft limit of 1,024 is for `select(2)`.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "file_limit.not_raised");
    }
}

/// The ids of the schemas that Pushrail writes with. Waits for them: an operator can start the registry, mend credentials or
/// run `pushrail topology apply` meanwhile. `None` when the process was told to end before.
pub(crate) async fn schema_ids(registry: &Registry, service: &Service) -> Option<Ids> {
    let condition = service.health.condition("registry");
    let mut last: Option<RegistryError> = None;
    loop {
        match registry.ids().await {
            Ok(ids) => {
                condition.met();
                return Some(ids);
            }
            // Each is told once, and shown by /readyz as long as it lasts.
            Err(error) => {
                if last.as_ref() != Some(&error) {
                    condition.unmet(error.to_string());
                    tracing::warn!(%error, "registry.no_schema");
                }
                last = Some(error);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REGISTRY_EVERY) => {}
            () = service.shutdown.cancelled() => return None,
        }
    }
}
