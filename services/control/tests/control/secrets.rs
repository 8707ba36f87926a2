use pushrail_testkit::Receiver;
use serde_json::json;
use sqlx::Connection as _;

use crate::support::{control, text};

/// Every value of every table, as text.
async fn everything(database_url: &str) -> String {
    let mut database = sqlx::PgConnection::connect(database_url).await.unwrap();
    let tables: Vec<(String,)> =
        sqlx::query_as("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(tables.len() > 8, "{tables:?}");
    let mut all = String::new();
    for (table,) in tables {
        let sql =
            format!("SELECT coalesce(string_agg(row::text, E'\\n'), '') FROM \"{table}\" AS row");
        let (rows,): (String,) = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut database)
            .await
            .unwrap();
        all += &rows;
    }
    // Bytes are shown in hex.
    let (values,): (String,) = sqlx::query_as(
        "SELECT coalesce(string_agg(convert_from(value, 'UTF8'), E'\\n'), '') FROM outbox WHERE topic = 'config'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    all + &values
}

#[tokio::test]
async fn no_table_and_no_answer_but_the_first_has_a_secret_in_clear() {
    let receiver = Receiver::start().await;
    let control = control().await;
    let acme = control.tenant("acme").await;
    let body = json!({"kind": "webhook", "config": {"url": receiver.url("/"), "authentication": {"type": "bearer"}},
        "secrets": {"bearerToken": "planted-bearer-token"}});
    let headers = [("idempotency-key", "planted")];
    let path = "/v1/customers/c1/destinations";
    let send = || control.send(http::Method::POST, path, &acme.key, &headers, Some(&body));
    let made = send().await;
    let made = made.is(201);
    let id = text(&made["destinationId"]);
    let rotated = control
        .act(&format!("{path}/{id}/secrets/rotate"), &acme.key)
        .await
        .is(200);
    let token = control.session(&acme, "c1").await;
    let secrets = [
        "planted-bearer-token".to_owned(),
        acme.key.clone(),
        text(&made["signingSecret"]),
        text(&rotated["signingSecret"]),
        token.clone(),
    ];
    control
        .act(&format!("{path}/{id}/test"), &acme.key)
        .await
        .is(200);
    let mut seen = everything(&control.database_url).await;
    for path in [
        format!("{path}/{id}"),
        path.to_owned(),
        "/v1/audit-trail/export".into(),
        "/v1/api-keys".into(),
    ] {
        seen += &control.get(&path, &acme.key).await.text;
    }
    for secret in &secrets {
        // Without what is shown of it: `psh_<id>_`, `whsec_`.
        let plain = match secret.strip_prefix("psh_") {
            Some(key) => key.split_once('_').unwrap().1,
            None => secret.strip_prefix("whsec_").unwrap_or(secret),
        };
        assert!(plain.len() >= 20 && !seen.contains(plain), "{plain}");
    }
    // And yet the repeat gets it.
    assert_eq!(send().await.is(201)["signingSecret"], made["signingSecret"]);
}

#[tokio::test]
async fn an_old_signing_secret_signs_for_the_overlap_and_not_after() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let made = control.webhook(&acme, "c1", "https://example.com").await;
    let path = format!(
        "/v1/customers/c1/destinations/{}",
        text(&made["destinationId"])
    );
    let rotate = json!({"overlapSeconds": 1});
    let rotated = control
        .post(&format!("{path}/secrets/rotate"), &acme.key, rotate)
        .await
        .is(200);
    assert_eq!(rotated["version"], 2);
    assert!(rotated["rotationEndsAt"].is_string(), "{rotated}");
    assert_ne!(rotated["signingSecret"], made["signingSecret"]);
    pushrail_testkit::wait_for("the rotation has ended", async || {
        let shown = control.get(&path, &acme.key).await.is(200);
        (shown["version"] == 3 && shown["rotationEndsAt"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_ciphertext_in_another_row_opens_nothing() {
    let control = control().await;
    let acme = control.tenant("acme").await;
    let (one, two) = (
        control.webhook(&acme, "c1", "https://example.com/1").await,
        control.webhook(&acme, "c2", "https://example.com/2").await,
    );
    let mut database = sqlx::PgConnection::connect(&control.database_url)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE destinations SET document = jsonb_set(document::jsonb, '{secrets}',
             (SELECT document::jsonb -> 'secrets' FROM destinations WHERE destination_id::text = $1))::json
         WHERE destination_id::text = $2",
    )
    .bind(text(&one["destinationId"]))
    .bind(text(&two["destinationId"]))
    .execute(&mut database)
    .await
    .unwrap();
    let path = format!(
        "/v1/customers/c2/destinations/{}",
        text(&two["destinationId"])
    );
    let rotated = control
        .act(&format!("{path}/secrets/rotate"), &acme.key)
        .await;
    rotated.is(422);
    assert_eq!(rotated.fields(), ["secrets"]);
    control
        .act(&format!("{path}/test"), &acme.key)
        .await
        .is(422);
}
