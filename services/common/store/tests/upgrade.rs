//! Migrations on tables that have rows.

use pushrail_schemas::config::EventType;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, raw_sql};

/// As the owner of the tables, whom row-level security holds too.
#[tokio::test]
async fn types_that_were_there_before_ingest_wanted_them_are_told() {
    let url = pushrail_testkit::database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let before = include_str!("../migrations/0001_control_plane.sql");
    raw_sql(before).execute(&mut connection).await.unwrap();
    let (database,): (String,) = sqlx::query_as("SELECT current_database()::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let owner = format!("owner_{database}");
    let rows = format!(
        r#"INSERT INTO tenants (tenant_id, name) VALUES ('acme', 'Acme');
           INSERT INTO event_types (tenant_id, name, schema) VALUES
               ('acme', 'order.completed', '{{"type": ["object", null], "x": "é"}}'), ('acme', 'order.opened', NULL);
           CREATE ROLE {owner} NOSUPERUSER;
           GRANT ALL ON SCHEMA public TO {owner};
           ALTER TABLE tenants OWNER TO {owner};
           ALTER TABLE event_types OWNER TO {owner};
           ALTER TABLE outbox OWNER TO {owner};"#
    );
    raw_sql(AssertSqlSafe(rows))
        .execute(&mut connection)
        .await
        .unwrap();
    let after = include_str!("../migrations/0002_event_validation.sql");
    let upgrade = format!("BEGIN; SET LOCAL ROLE {owner}; {after} COMMIT;");
    raw_sql(AssertSqlSafe(upgrade))
        .execute(&mut connection)
        .await
        .unwrap();
    let letters: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("SELECT topic, key, value FROM outbox ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let told: Vec<_> = letters
        .iter()
        .map(|(topic, key, value)| {
            let known: EventType = serde_json::from_slice(value).unwrap();
            assert_eq!((&**topic, &*known.tenant_id), ("config", "acme"));
            assert_eq!(*key, format!("event_type/acme/{}", known.name));
            known.schema.map(|schema| schema.get().to_owned())
        })
        .collect();
    let schema = r#"{"type": ["object", null], "x": "é"}"#;
    assert_eq!(told, [Some(schema.to_owned()), None]);
}
