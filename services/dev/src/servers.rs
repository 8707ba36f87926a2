//! Kafka, the registry and PostgreSQL: those that we were given, else our own.

use anyhow::bail;
use pushrail_kafka::Connection;
use pushrail_servers::{Artifacts, Java, Kafka, Postgres, Registry};
use pushrail_settings::Hidden;

use crate::args::Args;
use crate::folder::DataFolder;
use crate::listeners::Ports;
use crate::progress::Step;

pub(crate) struct Servers {
    kafka: Option<Kafka>,
    registry: Option<Registry>,
    postgres: Option<Postgres>,
    pub(crate) connection: Connection,
    /// Where clients that name themselves find Kafka; not known of every Kafka that is given.
    pub(crate) kafka_sasl: Option<String>,
    pub(crate) registry_url: String,
    /// With a password in it.
    pub(crate) database_url: Hidden,
}

impl Servers {
    pub(crate) async fn start(
        args: &Args,
        folder: &DataFolder,
        ports: Ports,
    ) -> anyhow::Result<Servers> {
        let with_java = args.kafka.is_none() || args.registry.is_none();
        if with_java || args.database.is_none() {
            prepare(with_java).await?;
        }
        let (kafka, registry, postgres) = tokio::try_join!(
            start_kafka(args, folder, ports),
            start_registry(args, folder, ports),
            start_postgres(args, folder, ports)
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
        let database_url = match (&postgres, &args.database) {
            (None, Some(given)) => given.clone(),
            (ours, _) => Hidden::new(ours.as_ref().map(Postgres::url).unwrap_or_default()),
        };
        Ok(Servers {
            kafka,
            registry,
            postgres,
            connection,
            kafka_sasl,
            registry_url,
            database_url,
        })
    }

    /// An error when one of ours has ended by itself.
    pub(crate) fn alive(&self) -> Result<(), pushrail_servers::Error> {
        self.kafka.as_ref().map_or(Ok(()), Kafka::alive)?;
        self.registry.as_ref().map_or(Ok(()), Registry::alive)?;
        self.postgres.as_ref().map_or(Ok(()), Postgres::alive)
    }

    /// Where PostgreSQL is, for a terminal: without the password.
    pub(crate) fn database_shown(&self) -> String {
        match &self.postgres {
            Some(postgres) => shown(postgres),
            None => "given with --database".to_owned(),
        }
    }

    /// Stops those that are ours; Kafka, which everything stands on, last.
    pub(crate) async fn stop(mut self) {
        if let Some(postgres) = &mut self.postgres {
            let step = Step::start("PostgreSQL");
            postgres.stop().await;
            step.done("stopped");
        }
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

/// Java, where one of ours needs it, and the servers' files, before anything is started.
async fn prepare(with_java: bool) -> anyhow::Result<()> {
    let step = Step::start("server files");
    let missing = Artifacts::find().is_err();
    let find = move || {
        if with_java {
            Java::find()?;
        }
        Artifacts::find_or_fetch()
    };
    if let Err(error) = tokio::task::spawn_blocking(find).await? {
        bail!("{error}; or use servers that run already, with --kafka, --registry and --database");
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

async fn start_postgres(
    args: &Args,
    folder: &DataFolder,
    ports: Ports,
) -> anyhow::Result<Option<Postgres>> {
    if args.database.is_some() {
        Step::start("PostgreSQL").done("given");
        return Ok(None);
    }
    let step = Step::start("PostgreSQL");
    let postgres = Postgres::builder(folder.file("postgres"))
        .port(ports.postgres)
        .start()
        .await?;
    step.done(shown(&postgres));
    Ok(Some(postgres))
}

fn shown(postgres: &Postgres) -> String {
    format!("127.0.0.1:{}", postgres.port())
}
