//! The plan against a real Kafka and a real registry.

use pushrail_schemas::avro;
use pushrail_schemas::registry::{COMPATIBILITY, Registry, RegistryError, subject};
use pushrail_testkit::Cluster as Servers;
use pushrail_topology::{Applied, Cluster, Error, Plan, Settings, plan};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

/// A cluster whose fixed topics are ours alone.
struct Bed {
    servers: Servers,
    cluster: Cluster,
    registry: Registry,
    settings: Settings,
}

impl Bed {
    async fn start() -> Self {
        let servers = Servers::private().await;
        let cluster = Cluster::connect(&servers.connection().admin("topology-test")).unwrap();
        let registry = Registry::new(&servers.registry_url, None).unwrap();
        let mut settings = Settings::single();
        for topic in [
            "events",
            "deliver.<kind>",
            "retry.<tier>",
            "dlq.<kind>",
            "audit.attempts",
        ] {
            settings.partitions.insert(topic.into(), 2);
        }
        Bed {
            servers,
            cluster,
            registry,
            settings,
        }
    }

    async fn plan(&self, tenants: &[&str]) -> Plan {
        plan(
            &self.cluster,
            Some(&self.registry),
            &self.settings,
            &["webhook"],
            tenants,
        )
        .await
        .unwrap()
    }

    async fn apply(&self, plan: &Plan) -> Applied {
        plan.apply(&self.cluster, Some(&self.registry))
            .await
            .unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.servers
            .connection()
            .admin("topology-test")
            .create()
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_twice_changes_nothing_and_nothing_is_ever_taken_away() {
    let mut bed = Bed::start().await;
    let error = bed.registry.ids().await.unwrap_err();
    assert!(
        matches!(error, RegistryError::NotRegistered { .. }),
        "{error}"
    );

    everything_is_made_once(&bed).await;
    a_new_tenant_costs_its_own_topics_only(&bed).await;
    growth_is_applied(&mut bed).await;
    drift_is_reported_and_left(&mut bed).await;
    the_registry_refuses_what_breaks_readers(&bed).await;

    bed.settings = Settings {
        replication_factor: 3,
        min_insync_replicas: 2,
        ..bed.settings
    };
    let refused = plan(&bed.cluster, None, &bed.settings, &[], &[])
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Brokers {
                wanted: 3,
                brokers: 1
            }
        ),
        "{refused}"
    );
}

async fn everything_is_made_once(bed: &Bed) {
    let first = bed.plan(&["dev"]).await;
    assert_eq!(
        (first.grow.len(), first.drift.len(), first.unchanged),
        (0, 0, 0),
        "{first}"
    );
    // Two operators at the same time.
    let (one, other) = tokio::join!(bed.apply(&first), bed.apply(&first));
    assert_eq!(one, other);
    assert_eq!(
        (one.created, one.subjects),
        (first.create.len(), first.subjects.len())
    );
    let second = bed.plan(&["dev"]).await;
    assert!(second.is_empty() && second.drift.is_empty(), "{second}");
    assert_eq!(second.unchanged, first.create.len());
    assert_eq!(bed.apply(&second).await, Applied::default());

    let ids = bed.registry.ids().await.unwrap();
    for (topic, schema, id) in [
        ("events", avro::EVENT, ids.event),
        ("deliver.webhook", avro::EVENT, ids.event),
        ("retry.6h", avro::EVENT, ids.event),
        ("dlq.webhook", avro::EVENT, ids.event),
        ("audit.attempts", avro::ATTEMPT, ids.attempt),
    ] {
        assert_eq!(
            bed.registry.id(topic, schema).await.unwrap(),
            id,
            "{topic}: the bytes travel unchanged, so the id must fit"
        );
        assert_eq!(
            bed.registry
                .compatibility(&subject(topic))
                .await
                .unwrap()
                .as_deref(),
            Some(COMPATIBILITY)
        );
    }
    let written = bed.registry.writer_schema(ids.event).await.unwrap();
    assert_eq!(
        *written,
        apache_avro::Schema::parse_str(avro::EVENT).unwrap()
    );
}

async fn a_new_tenant_costs_its_own_topics_only(bed: &Bed) {
    let plan = bed.plan(&["dev", "acme"]).await;
    let topics: Vec<_> = plan
        .create
        .iter()
        .map(|create| create.topic.as_str())
        .collect();
    assert_eq!(
        topics,
        ["events.direct.acme", "audit.attempts.acme"],
        "{plan}"
    );
    assert_eq!(plan.subjects.len(), 2, "{plan}");
    bed.apply(&plan).await;
    let without = bed.plan(&["dev"]).await;
    assert!(
        without.is_empty(),
        "a tenant that is gone keeps its topic: {without}"
    );
    assert!(
        without.to_string().contains("events.direct.acme"),
        "{without}"
    );
}

async fn growth_is_applied(bed: &mut Bed) {
    bed.settings.partitions.insert("events".into(), 4);
    let plan = bed.plan(&["dev", "acme"]).await;
    let grown: Vec<_> = plan
        .grow
        .iter()
        .map(|grow| (grow.topic.as_str(), grow.from, grow.to))
        .collect();
    assert_eq!(grown, [("events", 2, 4), ("dedup", 2, 4)], "{plan}");
    assert_eq!(bed.apply(&plan).await.grown, 2);
    assert!(bed.plan(&["dev", "acme"]).await.is_empty());
    bed.settings.partitions.insert("events".into(), 2);
    let smaller = bed.plan(&["dev", "acme"]).await;
    assert!(smaller.is_empty() && smaller.drift.len() == 2, "{smaller}");
    bed.settings.partitions.insert("events".into(), 4);
}

async fn drift_is_reported_and_left(bed: &mut Bed) {
    let (admin, options) = (bed.admin(), AdminOptions::new());
    admin
        .create_partitions(&[NewPartitions::new("deliver.webhook", 3)], &options)
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    let altered =
        AlterConfig::new(ResourceSpecifier::Topic("audit.attempts")).set("retention.ms", "1000");
    admin.alter_configs(&[altered], &options).await.unwrap()[0]
        .as_ref()
        .unwrap();
    bed.servers.create("deliver.telegraph", 1, &[]).await;

    let plan = bed.plan(&["dev", "acme"]).await;
    assert!(plan.is_empty(), "{plan}");
    let said = plan.to_string();
    for drift in [
        "deliver.webhook          has 3 partitions, declared 2",
        "retention.ms is 1000, declared 604800000",
        "deliver.telegraph        is named like ours",
    ] {
        assert!(said.contains(drift), "{drift} is missing in\n{said}");
    }
    bed.apply(&plan).await;
    assert_eq!(
        bed.plan(&["dev", "acme"]).await.drift,
        plan.drift,
        "apply must leave drift alone"
    );
}

async fn the_registry_refuses_what_breaks_readers(bed: &Bed) {
    for (edit, to) in [
        (
            r#"{"name": "outcome", "type": "string""#,
            r#"{"name": "outcome", "type": "long""#,
        ),
        (r#"{"name": "outcome","#, r#"{"name": "result","#),
    ] {
        let broken = avro::ATTEMPT.replace(edit, to);
        assert_ne!(broken, avro::ATTEMPT, "the edit must hit");
        let refused = bed
            .registry
            .register("audit.attempts-value", &broken)
            .await
            .unwrap_err();
        assert!(
            matches!(refused, RegistryError::Incompatible { .. }),
            "{refused:?}"
        );
    }
    let unknown = bed.registry.writer_schema(999_999).await.unwrap_err();
    assert_eq!(unknown, RegistryError::UnknownId(999_999));
}
