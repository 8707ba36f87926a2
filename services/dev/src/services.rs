//! The services, as production runs them, each in a task of its own with its own health and metrics.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::BoxFuture;
use pushrail_control::KafkaAccess;
use pushrail_directory::Directory;
use pushrail_kafka::Connection;
use pushrail_obs::{Health, Metrics};
use pushrail_schemas::registry::{Ids, Registry};
use pushrail_sink_core::Context;
use pushrail_vault::KeyRing;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::progress::Step;

/// A group that was left a moment ago, by a process that was killed, gives its partitions away after 6 s.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// An attempt at a receiver that hangs is given up, and made again after the next start.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

const STOP_WITHIN: Duration = Duration::from_secs(15);
/// What the control plane may do: more than one person at a terminal asks for.
const CONNECTIONS_MAX: u32 = 8;
/// How long an attempt waits for others before the log keeps it.
const LOG_LINGER: Duration = Duration::from_millis(50);
/// Of a vendor that publishes straight to Kafka.
const KAFKA_BYTES_PER_SECOND: u64 = 50_000_000;
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// What the services are started with.
pub(crate) struct Plan {
    pub(crate) listen: SocketAddr,
    pub(crate) control: Control,
    pub(crate) connection: Connection,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ids: Ids,
    pub(crate) directory: Directory,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) workers: usize,
    pub(crate) metadata_len_max: usize,
}

/// What the control plane needs beside what all have.
pub(crate) struct Control {
    pub(crate) listen: SocketAddr,
    pub(crate) database_url: Zeroizing<String>,
    pub(crate) admin_key: Zeroizing<String>,
    /// Where vendors reach Kafka.
    pub(crate) kafka_sasl: Option<String>,
}

/// One service.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// All of them, in the order in which they are to be stopped: who takes events in goes first, and whatever a later one
/// still writes for an earlier one is there after the next start.
pub(crate) struct Services(Vec<Service>);

impl Services {
    pub(crate) fn start(plan: &Plan) -> Services {
        let mut services = vec![ingest(plan), control(plan), router(plan)];
        services.extend(pushrail_sinks::KINDS.iter().map(|kind| sink(plan, kind)));
        services.push(retry(plan));
        services.push(feed(plan));
        services.push(log(plan));
        services.push(replay(plan));
        Services(services)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.0.iter()
    }

    /// Returns when all are ready; fails when one ends before, or with what is missing after a minute.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let unmet: Vec<String> = self.0.iter().flat_map(Service::unmet).collect();
            if unmet.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "not ready after {} s: {}",
                    READY_WITHIN.as_secs(),
                    unmet.join("; ")
                );
            }
            tokio::select! {
                error = self.ended() => return Err(error),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    /// Waits for the first that ends without having been told to.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let tasks = self.0.iter_mut().map(|service| &mut service.task);
        let (result, index, _) = futures::future::select_all(tasks).await;
        // A task's result can be taken once: who has ended is not waited for again.
        let service = self.0.remove(index);
        match result {
            Ok(Ok(())) => anyhow::anyhow!("the service {} ended by itself", service.name),
            Ok(Err(error)) => error.context(format!("the service {} ended", service.name)),
            Err(panic) => anyhow::anyhow!("the service {} ended: {panic}", service.name),
        }
    }

    /// Stops one after the other; each drains first.
    pub(crate) async fn stop(self) {
        for service in self.0 {
            let step = Step::start("drain");
            service.shutdown.cancel();
            // Bounded: with Kafka gone, nobody can acknowledge what a service waits for.
            match tokio::time::timeout(STOP_WITHIN, service.task).await {
                Ok(Ok(Ok(()))) => step.done(&service.name),
                Ok(Ok(Err(error))) => step.done(format_args!("{}: {error:#}", service.name)),
                Ok(Err(error)) => step.done(format_args!("{}: {error}", service.name)),
                Err(_) => step.done(format_args!(
                    "{}: given up; what was under way is done again",
                    service.name
                )),
            }
        }
    }
}

impl Service {
    fn spawn(
        name: impl Into<String>,
        run: impl FnOnce(Metrics, Health, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>>,
    ) -> Service {
        let (metrics, health, shutdown) = (Metrics::new(), Health::new(), CancellationToken::new());
        // Met as the last thing before a service's own conditions exist would say "ready" too early: this one is met when
        // the task has run for the first time, which is when they exist.
        let started = health.condition("started");
        started.unmet("starting");
        let service = run(metrics.clone(), health.clone(), shutdown.clone());
        let task = tokio::spawn(async move {
            tokio::pin!(service);
            let mut first = true;
            std::future::poll_fn(|context| {
                let state = service.as_mut().poll(context);
                if std::mem::take(&mut first) {
                    started.met();
                }
                state
            })
            .await
        });
        Service {
            name: name.into(),
            metrics,
            health,
            shutdown,
            task,
        }
    }

    fn unmet(&self) -> Vec<String> {
        let unmet = self.health.unmet().into_iter();
        unmet
            .map(|(condition, reason)| format!("{}: {condition}: {reason}", self.name))
            .collect()
    }
}

fn ingest(plan: &Plan) -> Service {
    let mut settings = pushrail_ingest::Settings::new(plan.listen, plan.connection.clone());
    settings.workers = plan.workers;
    settings.direct_workers = plan.workers;
    settings.drain_timeout = DRAIN_WITHIN;
    settings.control = format!("http://{}", plan.control.listen).parse().ok();
    let (directory, registry) = (plan.directory.clone(), plan.registry.clone());
    let ring = Some(plan.ring.clone());
    Service::spawn("ingest", move |metrics, health, shutdown| {
        let surroundings = pushrail_ingest::Surroundings {
            directory,
            ring,
            registry,
            metrics,
            health,
        };
        Box::pin(async move {
            let listen = settings.listen;
            let run = pushrail_ingest::run(settings, surroundings, |_| {}, shutdown);
            run.await.with_context(|| format!("on {listen}"))
        })
    })
}

fn control(plan: &Plan) -> Service {
    let context = context();
    let settings = pushrail_control::Settings {
        listen: plan.control.listen,
        connection: plan.connection.clone(),
        database_url: plan.control.database_url.clone(),
        database_connections_max: CONNECTIONS_MAX,
        admin_key: plan.control.admin_key.clone(),
        adapters: pushrail_sinks::adapters(&context),
        context,
        check_route: pushrail_router::check,
        trusted_proxies: LOOPBACK
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect(),
        kafka_access: plan
            .control
            .kafka_sasl
            .as_ref()
            .map(|bootstrap| KafkaAccess {
                bootstrap: bootstrap.clone(),
                tls: false,
                producer_bytes_per_s: KAFKA_BYTES_PER_SECOND,
                consumer_bytes_per_s: KAFKA_BYTES_PER_SECOND,
                topology: pushrail_topology::Settings::single(),
                registry: Arc::clone(&plan.registry),
            }),
        requests_per_second: REQUESTS_PER_SECOND,
        ids: plan.ids,
    };
    let ring = plan.ring.clone();
    Service::spawn("control", move |metrics, health, shutdown| {
        Box::pin(async move {
            let run = pushrail_control::run(settings, ring, &metrics, &health, |_| {}, shutdown);
            Ok(run.await?)
        })
    })
}

fn router(plan: &Plan) -> Service {
    let mut settings = pushrail_router::Settings::new(plan.connection.clone(), plan.ids.attempt);
    settings.workers = plan.workers;
    settings.kinds = pushrail_sinks::kinds();
    settings.metadata_len_max = plan.metadata_len_max;
    settings.drain_timeout = DRAIN_WITHIN;
    settings.ring = Some(plan.ring.clone());
    let directory = plan.directory.clone();
    Service::spawn("router", move |metrics, health, shutdown| {
        Box::pin(async move {
            pushrail_router::run(settings, directory, &metrics, &health, shutdown).await;
            Ok(())
        })
    })
}

fn sink(plan: &Plan, kind: &str) -> Service {
    let settings = pushrail_sinks::Settings {
        connection: plan.connection.clone(),
        kind: kind.to_owned(),
        workers: plan.workers,
        context: context(),
        event_schema_id: plan.ids.event,
        attempt_schema_id: plan.ids.attempt,
        metadata_len_max: plan.metadata_len_max,
        drain_timeout: DRAIN_WITHIN,
        limits: pushrail_sinks::Limits::default(),
    };
    let ring = plan.ring.clone();
    Service::spawn(format!("sink-{kind}"), move |metrics, health, shutdown| {
        Box::pin(async move {
            Ok(pushrail_sinks::run(settings, ring, &metrics, &health, shutdown).await?)
        })
    })
}

fn retry(plan: &Plan) -> Service {
    let mut settings = pushrail_retry::Settings::new(plan.connection.clone());
    settings.workers = plan.workers;
    settings.metadata_len_max = plan.metadata_len_max;
    settings.drain_timeout = DRAIN_WITHIN;
    Service::spawn("retry", move |metrics, health, shutdown| {
        Box::pin(async move {
            pushrail_retry::run(settings, &metrics, &health, shutdown).await;
            Ok(())
        })
    })
}

fn feed(plan: &Plan) -> Service {
    let mut settings = pushrail_feed::Settings::new(plan.connection.clone());
    settings.workers = plan.workers;
    settings.metadata_len_max = plan.metadata_len_max;
    settings.drain_timeout = DRAIN_WITHIN;
    let directory = plan.directory.clone();
    Service::spawn("feed", move |metrics, health, shutdown| {
        Box::pin(async move {
            pushrail_feed::run(settings, directory, &metrics, &health, shutdown).await?;
            Ok(())
        })
    })
}

fn log(plan: &Plan) -> Service {
    let kinds = pushrail_sinks::kinds();
    let database_url = plan.control.database_url.clone();
    let connection = plan.connection.clone();
    let mut settings = pushrail_log::Settings::new(connection, database_url, kinds, plan.ids.event);
    // Whoever tries it out looks at once.
    settings.linger = LOG_LINGER;
    Service::spawn("log", move |metrics, health, shutdown| {
        Box::pin(async move { Ok(pushrail_log::run(settings, &metrics, &health, shutdown).await?) })
    })
}

fn replay(plan: &Plan) -> Service {
    let database_url = plan.control.database_url.clone();
    let mut settings = pushrail_replay::Settings::new(plan.connection.clone(), database_url);
    settings.ring = Some(plan.ring.clone());
    Service::spawn("replay", move |metrics, health, shutdown| {
        Box::pin(
            async move { Ok(pushrail_replay::run(settings, &metrics, &health, shutdown).await?) },
        )
    })
}

/// Networks that only development may deliver to.
pub(crate) const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

fn context() -> Context {
    Context {
        allowed_networks: LOOPBACK.map(Into::into).to_vec(),
        allow_plaintext: true,
    }
}
