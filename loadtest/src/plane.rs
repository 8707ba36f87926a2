//! A bed with a control plane: PostgreSQL, `pushrail control`, and a tenant that was made through the API.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_servers::Postgres;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::{Api, text};
use crate::bed::Bed;
use crate::sample::TENANT;
use crate::services::{Kind, Service};

/// How long an outbox may take to empty: one of 100,000 letters too.
const TOLD_WITHIN: Duration = Duration::from_secs(300);

/// Servers, a control plane, and those who may ask it.
pub struct Plane {
    pub bed: Bed,
    pub postgres: Postgres,
    pub control: Service,
    /// With the operator's key.
    pub operator: Api,
    /// With the tenant's key, straight to the control plane; [`Plane::through`] takes the way through ingest.
    pub tenant: Api,
    pub admin_key: String,
}

impl Plane {
    /// Starts everything and makes the tenant [`TENANT`]. `extra` are further arguments of the control plane.
    pub async fn start(label: &str, extra: &[&str]) -> anyhow::Result<Self> {
        Self::for_kinds(label, &["webhook"], extra).await
    }

    /// The same with topics of other kinds of destinations.
    pub async fn for_kinds(label: &str, kinds: &[&str], extra: &[&str]) -> anyhow::Result<Self> {
        let mut bed = Bed::without_tenant(label, kinds).await?;
        let postgres = Postgres::builder(bed.folder().join("postgres"));
        let postgres = postgres.start().await?;
        let admin_key = format!("operator-{}", Uuid::new_v4().simple());
        let url = postgres.url();
        let sasl = bed.kafka.sasl_bootstrap();
        let mut arguments = vec!["--database", &url, "--admin-key", &admin_key];
        arguments.extend(["--allow-network", "127.0.0.0/8", "--allow-plaintext"]);
        // Nobody here is to be slowed down.
        arguments.extend(["--requests-per-second", "100000"]);
        arguments.extend(["--trusted-proxy", "127.0.0.0/8"]);
        arguments.extend(["--kafka-sasl", &sasl, "--kafka-sasl-plaintext"]);
        arguments.extend(["--replication-factor", "1", "--min-insync-replicas", "1"]);
        arguments.extend(extra);
        let control = Service::start(&bed, Kind::Control, "control", &arguments).await?;
        let operator = Api::new(control.listen, admin_key.clone())?;
        let made = operator
            .post("/v1/tenants", &json!({"tenantId": TENANT}))
            .await?;
        bed.api_key = text(&made.good()?, "apiKey")?;
        Ok(Plane {
            tenant: operator.with(bed.api_key.clone()),
            bed,
            postgres,
            control,
            operator,
            admin_key,
        })
    }

    /// Starts a service beside it; ingest forwards the API.
    pub async fn service(&self, kind: Kind, extra: &[&str]) -> anyhow::Result<Service> {
        let control = format!("http://{}", self.control.listen);
        let mut arguments = extra.to_vec();
        if kind == Kind::Ingest {
            arguments.extend(["--control", &control]);
        }
        Service::start(&self.bed, kind, kind.name(), &arguments).await
    }

    /// The services that an event meets, in the order of [`Kind::ALL`].
    pub async fn services(&self, extra: &[&str]) -> anyhow::Result<Vec<Service>> {
        let mut services = Vec::new();
        for kind in Kind::ALL {
            services.push(self.service(kind, extra).await?);
        }
        Ok(services)
    }

    /// The tenant's API as vendors reach it.
    pub fn through(&self, ingest: &Service) -> anyhow::Result<Api> {
        Api::new(ingest.listen, self.bed.api_key.clone())
    }

    /// The database, as its superuser, whom row-level security does not concern.
    pub async fn database(&self) -> anyhow::Result<PgConnection> {
        let connected = PgConnection::connect(&self.postgres.url()).await;
        connected.context("PostgreSQL can't be reached")
    }

    /// Waits until Kafka has been told of everything; returns how long it took.
    pub async fn told(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut database = self.database().await?;
        loop {
            let (waiting,): (i64,) = sqlx::query_as("SELECT count(*) FROM outbox")
                .fetch_one(&mut database)
                .await?;
            if waiting == 0 {
                return Ok(started.elapsed());
            }
            anyhow::ensure!(
                started.elapsed() < TOLD_WITHIN,
                "{waiting} letters are in the outbox after {TOLD_WITHIN:?}:\n{}",
                self.control.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the control plane and the servers in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.control.stop().await?;
        self.postgres.stop().await;
        self.bed.stop().await;
        Ok(())
    }
}
