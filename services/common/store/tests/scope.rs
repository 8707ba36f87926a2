//! Row-level security: what a transaction sees is what it has said it is about, whatever its statements ask for.

use pushrail_schemas::config::{Destination, PayloadMode, RetryPolicy, State};
use pushrail_schemas::identity;
use pushrail_store::{Scope, Store, Tx, audit, customers, destinations, tenants};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Tables with rows of tenants.
const TABLES: [&str; 12] = [
    "tenants",
    "api_keys",
    "customers",
    "destinations",
    "sessions",
    "event_types",
    "audit_trail",
    "idempotency",
    "kafka_credentials",
    "replays",
    "payload_keys",
    "erasures",
];

async fn store() -> (Store, String) {
    let url = pushrail_testkit::database().await;
    let store = Store::new(&url, 4).unwrap();
    store.migrate().await.unwrap();
    (store, url)
}

fn destination(tenant_id: &str, external_id: &str) -> Destination {
    Destination {
        destination_id: Uuid::now_v7(),
        tenant_id: tenant_id.into(),
        customer_id: identity::customer_id(tenant_id, external_id),
        customer_external_id: external_id.into(),
        kind: "webhook".into(),
        name: "x".into(),
        state: State::Active,
        version: 1,
        config: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
        secrets: None,
        event_types: vec!["*".into()],
        filter: None,
        transform: Vec::new(),
        retry: RetryPolicy::default(),
        rate_limit: None,
        batch: None,
        payload_mode: PayloadMode::Full,
        payload_mode_inherited: false,
        timeout_ms: None,
    }
}

async fn audited(tx: &mut Tx, tenant_id: &str, customer_id: Option<Uuid>) {
    let entry = audit::Entry {
        chain: tenant_id,
        actor_kind: "system",
        actor_id: "",
        action: "test",
        target_kind: "test",
        target_id: "",
        customer_id,
        before: None,
        after: None,
        source: "",
    };
    audit::append(tx, &entry).await.unwrap();
}

/// A row of every table for a tenant with two customers.
async fn furnish(store: &Store, url: &str, tenant_id: &str) -> [Destination; 2] {
    let settings = tenants::Settings {
        rotation_overlap_seconds: 0,
        ..tenants::Settings::named(tenant_id)
    };
    let mut tx = store.begin(Scope::System).await.unwrap();
    tenants::insert(&mut tx, tenant_id, &settings)
        .await
        .unwrap();
    let mut made = Vec::new();
    for customer in ["c1", "c2"] {
        let (row, _) = customers::ensure(&mut tx, tenant_id, customer, "")
            .await
            .unwrap();
        let document = destination(tenant_id, customer);
        destinations::insert(&mut tx, &document).await.unwrap();
        audited(&mut tx, tenant_id, Some(row.customer_id)).await;
        made.push(document);
    }
    audited(&mut tx, tenant_id, None).await;
    tx.commit().await.unwrap();
    let mut owner = PgConnection::connect(url).await.unwrap();
    let rest = format!(
        "INSERT INTO api_keys (key_id, tenant_id, sha256) VALUES ('k-{tenant_id}', '{tenant_id}', 'sha-{tenant_id}');
         INSERT INTO event_types (tenant_id, name) VALUES ('{tenant_id}', 'a.b');
         INSERT INTO sessions (session_id, tenant_id, customer_id, expires_at)
             SELECT gen_random_uuid(), tenant_id, customer_id, now() + interval '1 hour' FROM customers WHERE tenant_id = '{tenant_id}';
         INSERT INTO replays (replay_id, tenant_id, customer_id, destination_id, source, reads, selection, state, rate_per_second,
                 actor_kind, actor_id)
             SELECT gen_random_uuid(), tenant_id, customer_id, destination_id, 'events', 'events', '{{}}', 'estimated', 1, '', ''
             FROM destinations WHERE tenant_id = '{tenant_id}';
         INSERT INTO payload_keys (tenant_id, epoch, shard, key_ring_id, ciphertext) VALUES ('{tenant_id}', 0, 0, 'k', '');
         INSERT INTO erasures (erasure_id, tenant_id, what, customer_id, until)
             SELECT gen_random_uuid(), tenant_id, 'customer', customer_id, now() FROM customers WHERE tenant_id = '{tenant_id}';
         INSERT INTO idempotency (owner, key, request_sha256) VALUES ('tenant/{tenant_id}', 'k', '');
         INSERT INTO kafka_credentials (user_name, tenant_id, write_direct, read_audit) VALUES ('u-{tenant_id}', '{tenant_id}', true, true);"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(rest))
        .execute(&mut owner)
        .await
        .unwrap();
    made.try_into().unwrap()
}

/// Rows that a statement without any condition sees, in a transaction that has said these settings and nothing else.
async fn seen(url: &str, settings: &[(&str, &str)], table: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    sqlx::query("SET LOCAL ROLE pushrail_app")
        .execute(&mut *tx)
        .await
        .unwrap();
    for (name, value) in settings {
        sqlx::query("SELECT set_config($1, $2, true)")
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *tx).await.unwrap();
    count
}

#[tokio::test]
async fn a_query_that_forgot_its_scope_sees_nothing() {
    let (store, url) = store().await;
    furnish(&store, &url, "acme").await;
    furnish(&store, &url, "other").await;
    let acme = identity::customer_id("acme", "c1").to_string();
    for table in TABLES {
        let all = seen(&url, &[("pushrail.scope", "system")], table).await;
        assert!(all >= 2, "{table}: {all}");
        assert_eq!(seen(&url, &[], table).await, 0, "{table}, nothing said");
        // A kind without whose it is, whose without a kind, and a kind that is none.
        for settings in [
            &[("pushrail.scope", "tenant")][..],
            &[("pushrail.scope", "customer")],
            &[("pushrail.tenant_id", "acme")],
            &[
                ("pushrail.scope", "anything"),
                ("pushrail.tenant_id", "acme"),
            ],
            &[
                ("pushrail.scope", "customer"),
                ("pushrail.customer_id", acme.as_str()),
            ],
        ] {
            assert_eq!(
                seen(&url, settings, table).await,
                0,
                "{table}, {settings:?}"
            );
        }
        let tenant = [
            ("pushrail.scope", "tenant"),
            ("pushrail.tenant_id", "acme"),
            ("pushrail.presented", "tenant/acme"),
        ];
        assert_eq!(seen(&url, &tenant, table).await * 2, all, "{table}");
        let customer = [
            ("pushrail.scope", "customer"),
            ("pushrail.tenant_id", "acme"),
            ("pushrail.customer_id", acme.as_str()),
        ];
        let expected = match table {
            // Its tenant as far as the service shows it, itself, what is its own, and what it may pick from.
            "tenants" | "customers" | "destinations" | "event_types" | "audit_trail"
            | "replays" | "erasures" => 1,
            _ => 0,
        };
        assert_eq!(seen(&url, &customer, table).await, expected, "{table}");
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_neither_read_nor_written_by_id() {
    let (store, url) = store().await;
    let [one, two] = furnish(&store, &url, "acme").await;
    let [theirs, _] = furnish(&store, &url, "other").await;
    let scope = Scope::Customer {
        tenant_id: "acme",
        customer_id: one.customer_id,
    };
    for foreign in [&two, &theirs] {
        let (tenant, customer, id) = (
            &*foreign.tenant_id,
            foreign.customer_id,
            foreign.destination_id,
        );
        let mut tx = store.begin(scope).await.unwrap();
        let row = destinations::get(&mut tx, tenant, customer, id)
            .await
            .unwrap();
        assert!(row.is_none());
        let row = destinations::update(&mut tx, foreign, Default::default())
            .await
            .unwrap();
        assert!(row.is_none());
        assert!(!destinations::delete(&mut tx, id).await.unwrap());
        // Not even as a new row that claims to be theirs.
        let mut claimed = foreign.clone();
        claimed.destination_id = Uuid::now_v7();
        assert!(destinations::insert(&mut tx, &claimed).await.is_err());
    }
    // And a customer can't be made to be another tenant's by naming it so.
    let mut tx = store.begin(Scope::Tenant("acme")).await.unwrap();
    let mut mixed = one.clone();
    mixed.destination_id = Uuid::now_v7();
    mixed.customer_id = theirs.customer_id;
    assert!(destinations::insert(&mut tx, &mixed).await.is_err());
}

#[tokio::test]
async fn what_is_not_committed_is_not_there() {
    let (store, url) = store().await;
    let [one, _] = furnish(&store, &url, "acme").await;
    let mut tx = store.begin(Scope::Tenant("acme")).await.unwrap();
    assert!(
        destinations::delete(&mut tx, one.destination_id)
            .await
            .unwrap()
    );
    audited(&mut tx, "acme", None).await;
    drop(tx);
    let mut tx = store.begin(Scope::Tenant("acme")).await.unwrap();
    let row = destinations::get(&mut tx, "acme", one.customer_id, one.destination_id).await;
    assert!(row.unwrap().is_some());
    let verdict = audit::verify(&mut tx, "acme").await.unwrap();
    assert!(
        matches!(verdict, audit::Verdict::Whole { rows: 3, .. }),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_commit_whose_connection_is_lost_is_not_called_undone() {
    let (store, url) = store().await;
    let [one, _] = furnish(&store, &url, "acme").await;
    let mut tx = store.begin(Scope::Tenant("acme")).await.unwrap();
    destinations::delete(&mut tx, one.destination_id)
        .await
        .unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'pushrail' AND state = 'idle in transaction'",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let lost = tx.commit().await;
    assert!(
        matches!(lost, Err(pushrail_store::Error::Undecided(_))),
        "{lost:?}"
    );
}
