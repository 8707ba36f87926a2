//! Tokens: how they are asked for, kept and refused. Google's endpoints are doubles here, over real HTTP.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use pushrail_bigquery::{BigQuery, Client};
use pushrail_conformance::records;
use pushrail_google::{Identity, Operator};
use pushrail_testkit::{Receiver, Reply};
use serde_json::{Value, json};

use super::doubles::{Grpc, status};
use super::support::{EMAIL, PEM, Place, connect, detail, granted, loopback, send, verdicts};

const PROVIDER: &str =
    "projects/123456789012/locations/global/workloadIdentityPools/pushrail/providers/pushrail";
const IMPERSONATE: &str = "/v1/projects/-/serviceAccounts/pushrail@pushrail-test.iam.gserviceaccount.com:generateAccessToken";

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    &form.iter().find(|(key, _)| key == name).unwrap().1
}

/// Google's STS and IAM as doubles, and an installation with an identity.
async fn federated(google: &Receiver, account: Option<&str>, grpc: &Grpc) -> Client {
    let operator = Operator {
        identity: Some(Identity::new("https://identity.pushrail.example", &PEM).unwrap()),
        sts: Some(google.url("").into()),
        iam: Some(google.url("").into()),
    };
    let adapter = BigQuery::with_operator(&loopback(), operator);
    let mut config = json!({
        "project": "my-project", "dataset": "events",
        "authentication": {"type": "workload_identity", "provider": PROVIDER},
        "storageEndpoint": grpc.url(),
    });
    if let Some(account) = account {
        config["authentication"]["serviceAccount"] = json!(account);
    }
    connect(&adapter, config, json!({})).await
}

#[tokio::test]
async fn a_key_signs_for_one_token_that_all_calls_share() {
    let place = Place::new().await;
    place.tokens.on(
        "/token",
        [granted("t0ken-of-all").after(Duration::from_millis(50))],
    );
    let grpc = Grpc::start().await;
    let url = grpc.url();
    let client = place
        .client(|config| config["storageEndpoint"] = json!(url))
        .await;
    let batches: Vec<_> = (0..4).map(|_| records(1)).collect();
    let calls = batches.iter().map(|batch| send(&client, batch));
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(verdicts(&outcome), ["delivered"]);
    }
    let asked = place.tokens.requests();
    assert_eq!(asked.len(), 1, "calls that need a token share it");
    let form = form(&asked[0].body);
    assert_eq!(
        field(&form, "grant_type"),
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let claims = claims(field(&form, "assertion"));
    assert_eq!(claims["iss"], EMAIL);
    assert_eq!(claims["aud"], place.tokens.url("/token"));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/bigquery");
    let life_s = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life_s, 3600);
}

#[tokio::test]
async fn the_installations_token_says_for_which_customer_it_comes() {
    let (google, grpc) = (Receiver::start().await, Grpc::start().await);
    google.on("/v1/token", [granted("federated-t0ken")]);
    let client = federated(&google, None, &grpc).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let asked = google.requests();
    assert_eq!(asked.len(), 1);
    let form = form(&asked[0].body);
    assert_eq!(
        field(&form, "audience"),
        format!("//iam.googleapis.com/{PROVIDER}")
    );
    assert_eq!(
        field(&form, "scope"),
        "https://www.googleapis.com/auth/bigquery"
    );
    let claims = claims(field(&form, "subject_token"));
    assert_eq!(claims["iss"], "https://identity.pushrail.example");
    assert_eq!(
        claims["aud"],
        format!("https://iam.googleapis.com/{PROVIDER}")
    );
    // The customer's id of the delivery, which no configuration can change.
    assert_eq!(claims["sub"], "00000000-0000-0000-0000-000000000002");
    assert_eq!(
        grpc.calls("AppendRows")[0]["authorization"],
        "Bearer federated-t0ken"
    );
}

#[tokio::test]
async fn a_service_account_is_impersonated_with_the_federated_token() {
    let (google, grpc) = (Receiver::start().await, Grpc::start().await);
    google.on("/v1/token", [granted("federated-t0ken")]);
    let given = json!({"accessToken": "account-t0ken", "expireTime": "2126-01-01T00:00:00Z"});
    google.on(IMPERSONATE, [Reply::ok().body(given.to_string())]);
    let client = federated(&google, Some(EMAIL), &grpc).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let form = form(&google.requests_to("/v1/token")[0].body);
    assert_eq!(
        field(&form, "scope"),
        "https://www.googleapis.com/auth/cloud-platform"
    );
    let asked = &google.requests_to(IMPERSONATE)[0];
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer federated-t0ken")
    );
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(
        body["scope"],
        json!(["https://www.googleapis.com/auth/bigquery"])
    );
    assert_eq!(
        grpc.calls("AppendRows")[0]["authorization"],
        "Bearer account-t0ken"
    );
}

#[tokio::test]
async fn each_refusal_of_a_token_says_what_to_do_and_shows_none() {
    let condition = json!({"error": "unauthorized_client", "error_description": "The given credential is rejected by the attribute condition."});
    let issuer = json!({"error": "invalid_grant", "error_description": "Error connecting to the given credential's issuer."});
    let denied = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Permission 'iam.serviceAccounts.getAccessToken' denied, federated-t0ken"}});
    let table = [
        (
            "/v1/token",
            403,
            condition,
            "suspend federation_refused",
            "google.subject",
        ),
        (
            "/v1/token",
            400,
            issuer,
            "retry operator_identity",
            "issuer",
        ),
        (
            "/v1/token",
            503,
            json!({}),
            "retry token_unavailable",
            "503",
        ),
        (
            "/v1/token",
            200,
            json!({"token": "none"}),
            "retry invalid_response",
            "protocol",
        ),
        (
            IMPERSONATE,
            403,
            denied,
            "suspend impersonation_refused",
            "roles/iam.workloadIdentityUser",
        ),
    ];
    for (path, status, body, expected, told) in table {
        let (google, grpc) = (Receiver::start().await, Grpc::start().await);
        google.on("/v1/token", [granted("federated-t0ken")]);
        google.on(path, [Reply::status(status).body(body.to_string())]);
        let client = federated(&google, Some(EMAIL), &grpc).await;
        let outcome = send(&client, &records(1)).await;
        assert_eq!(verdicts(&outcome), [expected], "{outcome:?}");
        assert!(detail(&outcome).contains(told), "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("t0ken"), "{outcome:?}");
        assert!(grpc.calls("CreateWriteStream").is_empty());
    }
}

#[tokio::test]
async fn a_right_that_is_lacking_is_named_for_the_identity_that_lacks_it() {
    let (google, grpc) = (Receiver::start().await, Grpc::start().await);
    google.on("/v1/token", [granted("federated-t0ken")]);
    grpc.on("CreateWriteStream", [status(7, "no")]);
    let client = federated(&google, None, &grpc).await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["suspend permission_denied"]);
    let member = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/pushrail/subject/";
    let expected = format!(
        "run: GRANT `roles/bigquery.dataEditor` ON SCHEMA `my-project.events` TO \"{member}00000000-0000-0000-0000-000000000002\";"
    );
    assert!(detail(&outcome).ends_with(&expected), "{outcome:?}");
}

#[tokio::test]
async fn without_an_identity_the_installation_suspends_nobody() {
    let grpc = Grpc::start().await;
    let adapter = BigQuery::with_operator(&loopback(), Operator::default());
    let config = json!({
        "project": "my-project", "dataset": "events",
        "authentication": {"type": "workload_identity", "provider": PROVIDER},
        "storageEndpoint": grpc.url(),
    });
    let client = connect(&adapter, config, json!({})).await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["retry operator_identity"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_used_again() {
    let place = Place::new().await;
    place
        .tokens
        .on("/token", [granted("first-t0ken"), granted("second-t0ken")]);
    let grpc = Grpc::start().await;
    grpc.on("AppendRows", [status(16, "you sent first-t0ken")]);
    let url = grpc.url();
    let client = place
        .client(|config| config["storageEndpoint"] = json!(url))
        .await;
    let outcome = send(&client, &records(1)).await;
    assert_eq!(verdicts(&outcome), ["suspend credentials_rejected"]);
    assert!(!format!("{outcome:?}").contains("t0ken"), "{outcome:?}");
    send(&client, &records(1)).await;
    let calls = grpc.calls("AppendRows");
    assert_eq!(calls[1]["authorization"], "Bearer second-t0ken");
}

#[test]
fn the_public_keys_are_those_that_tokens_are_signed_with() {
    let identity = Identity::new("https://identity.pushrail.example", &PEM).unwrap();
    let keys = identity.jwks();
    assert_eq!(keys["keys"][0]["kty"], "RSA");
    assert!(keys["keys"][0]["d"].is_null(), "nothing private");
    assert!(Identity::new("http://identity.pushrail.example", &PEM).is_err());
    assert!(Identity::new("https://identity.pushrail.example", "no key").is_err());
}
