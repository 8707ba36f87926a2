//! Kafka and the registry: those that we were given, else our own.

use anyhow::bail;
use pushrail_kafka::Connection;
use pushrail_servers::{Artifacts, Java, Kafka, Registry};

use crate::args::Args;
use crate::folder::DataFolder;
use crate::listeners::Ports;
use crate::progress::Step;

pub(crate) struct Servers {
    kafka: Option<Kafka>,
    registry: Option<Registry>,
    pub(crate) connection: Connection,
    /// Where clients that name themselves find Kafka; not known of every Kafka that is given.
    pub(crate) kafka_sasl: Option<String>,
    pub(crate) registry_url: String,
}

impl Servers {
    pub(crate) async fn start(
        args: &Args,
        folder: &DataFolder,
        ports: Ports,
    ) -> anyhow::Result<Servers> {
        if args.kafka.is_none() || args.registry.is_none() {
            prepare().await?;
        }
        let (kafka, registry) = tokio::try_join!(
            start_kafka(args, folder, ports),
            start_registry(args, folder, ports)
        )?;
        let mut connection = match (&kafka, &args.kafka) {
            (Some(kafka), _) => Connection::new(kafka.bootstrap()),
            (None, given) => Connection::new(given.clone().unwrap_or_default()),
        };
        let kafka_sasl = match &kafka {
            Some(kafka) => Some(kafka.sasl_bootstrap()),
            None => args.kafka_sasl.clone(),
        };
        connection.properties.extend(
            args.kafka_properties
                .iter()
                .flat_map(|property| property.pairs())
                .cloned(),
        );
        let registry_url = match (&registry, &args.registry) {
            (Some(registry), _) => registry.url(),
            (None, given) => given.clone().unwrap_or_default(),
        };
        Ok(Servers {
            kafka,
            registry,
            connection,
            kafka_sasl,
            registry_url,
        })
    }

    /// An error when one of ours has ended by itself.
    pub(crate) fn alive(&self) -> Result<(), pushrail_servers::Error> {
        self.kafka.as_ref().map_or(Ok(()), Kafka::alive)?;
        self.registry.as_ref().map_or(Ok(()), Registry::alive)
    }

    /// Stops those that are ours.
    pub(crate) async fn stop(mut self) {
        if let Some(registry) = &mut self.registry {
            let step = Step::start("registry");
            registry.stop().await;
            step.done("stopped");
        }
        if let Some(kafka) = &mut self.kafka {
            let step = Step::start("Kafka");
            kafka.stop().await;
            step.done("stopped");
        }
    }
}

/// Java and the servers' files, before anything is started.
async fn prepare() -> anyhow::Result<()> {
    let step = Step::start("server files");
    let missing = Artifacts::find().is_err();
    let found =
        tokio::task::spawn_blocking(|| Java::find().and_then(|_| Artifacts::find_or_fetch()));
    if let Err(error) = found.await? {
        bail!("{error}; or use servers that run already, with --kafka and --registry");
    }
    if missing {
        step.done("fetched");
    }
    Ok(())
}

async fn start_kafka(
    args: &Args,
    folder: &DataFolder,
    ports: Ports,
) -> anyhow::Result<Option<Kafka>> {
    if let Some(given) = &args.kafka {
        Step::start("Kafka").done(format_args!("{given} (given)"));
        return Ok(None);
    }
    let step = Step::start("Kafka");
    let builder = Kafka::builder(folder.file("kafka"))
        .port(ports.kafka)
        .sasl_port(ports.kafka_sasl)
        .heap_mib(args.kafka_heap);
    let kafka = builder.start().await?;
    step.done(format_args!(
        "{}, with SASL {}",
        kafka.bootstrap(),
        kafka.sasl_bootstrap()
    ));
    Ok(Some(kafka))
}

async fn start_registry(
    args: &Args,
    folder: &DataFolder,
    ports: Ports,
) -> anyhow::Result<Option<Registry>> {
    if let Some(given) = &args.registry {
        Step::start("registry").done(format_args!("{given} (given)"));
        return Ok(None);
    }
    let step = Step::start("registry");
    let registry = Registry::builder(folder.file("registry"))
        .port(ports.registry)
        .start()
        .await?;
    step.done(registry.url());
    Ok(Some(registry))
}
