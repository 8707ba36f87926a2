use serde_json::json;
use sqlx::Connection as _;

use crate::support::{ADMIN_KEY, control, text};

#[tokio::test]
async fn a_row_that_is_changed_or_removed_shows() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    for n in 0..5 {
        control
            .post(
                "/v1/customers",
                &acme.key,
                json!({"externalId": format!("c{n}")}),
            )
            .await
            .is(201);
    }
    let verify = async || {
        control
            .get("/v1/audit-trail/verify", &acme.key)
            .await
            .is(200)
    };
    assert_eq!(verify().await["whole"], true);
    // The owner of the tables can't without taking the guard away, and then it shows.
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    let refused = sqlx::raw_sql("DELETE FROM audit_trail WHERE seq = 4")
        .execute(&mut database)
        .await;
    assert!(refused.unwrap_err().to_string().contains("append-only"));
    let tamper = [
        ("UPDATE audit_trail SET action = 'nothing' WHERE seq = 5", 5),
        ("DELETE FROM audit_trail WHERE seq = 4", 4),
        ("DELETE FROM audit_trail WHERE seq >= 4", 4),
    ];
    for (sql, broken_at) in tamper {
        let sql = sqlx::AssertSqlSafe(format!(
            "ALTER TABLE audit_trail DISABLE TRIGGER audit_trail_append_only; {sql};
             ALTER TABLE audit_trail ENABLE TRIGGER audit_trail_append_only;"
        ));
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
        let verdict = verify().await;
        assert_eq!(verdict["whole"], false, "{verdict}");
        assert_eq!(verdict["brokenAt"], broken_at, "{verdict}");
    }
}

#[tokio::test]
async fn the_trail_is_exported_in_both_formats_and_shows_no_other_tenants_rows() {
    let control = control().await;
    let (acme, other) = (control.tenant("acme").await, control.tenant("other").await);
    control.webhook(&other, "c9", "https://other.example").await;
    control
        .webhook(&acme, "c1", "https://example.com/\"quoted\",")
        .await;
    let lines = control.get("/v1/audit-trail/export", &acme.key).await;
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let actions: Vec<_> = lines
        .text
        .lines()
        .map(|line| text(&serde_json::from_str::<serde_json::Value>(line).unwrap()["action"]))
        .collect();
    let expected = [
        "tenant.create",
        "api_key.create",
        "customer.create",
        "destination.create",
    ];
    assert_eq!(actions, expected);
    assert!(!lines.text.contains("other"), "{lines:?}");
    let csv = control
        .get("/v1/audit-trail/export?format=csv", &acme.key)
        .await;
    assert_eq!(csv.headers["content-type"], "text/csv");
    assert_eq!(csv.text.matches("\r\n").count(), 1 + expected.len());
    // The operator reads any trail; a tenant no other one's.
    let theirs = control
        .get("/v1/audit-trail?tenantId=acme", ADMIN_KEY)
        .await
        .is(200);
    assert_eq!(theirs["items"].as_array().unwrap().len(), expected.len());
    control
        .get("/v1/audit-trail?tenantId=acme", &other.key)
        .await
        .is(404);
}
