//! Roles, and who may what: moto checks signatures and policies here.

use std::time::Duration;

use aws_credential_types::Credentials;
use pushrail_aws::Operator;
use pushrail_s3::{Client, S3};
use pushrail_testkit::{Moto, Receiver, Reply, moto};
use serde_json::{Value, json};

use super::support::{
    CUSTOMER, SECRET, batch, bucket, client, config, connect, loopback, send, verdict,
};

const ROLE: &str = "arn:aws:iam::123456789012:role/pushrail";

async fn with_role(
    bucket: &str,
    store: &str,
    sts: &str,
    operator: (&str, &str),
    role: &str,
) -> Client {
    let operator = Operator::Given {
        endpoint: sts.into(),
        region: "us-east-1".into(),
        credentials: Credentials::new(operator.0, operator.1, None, None, "test"),
    };
    let s3 = S3::with_operator(&loopback(), operator);
    let role = json!({"authentication": {"type": "assume_role", "roleArn": role}});
    connect(&s3, config(bucket, store, role), json!({})).await
}

fn session(expires: &str) -> Reply {
    Reply::ok().header("content-type", "text/xml").body(format!(
        r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
        <AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>
        <SessionToken>s3cret-token</SessionToken><Expiration>{expires}</Expiration></Credentials></AssumeRoleResult>
        </AssumeRoleResponse>"#
    ))
}

fn sts_error(status: u16, code: &str) -> Reply {
    Reply::status(status).header("content-type", "text/xml").body(format!(
        r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
        <Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"#
    ))
}

#[tokio::test]
async fn a_session_is_of_the_customers_own_id_and_got_once() {
    let (sts, store) = (Receiver::start().await, Receiver::start().await);
    sts.on(
        "/",
        [session("2126-01-01T00:00:00Z").after(Duration::from_millis(50))],
    );
    let client = with_role(
        "bucket",
        &store.url(""),
        &sts.url(""),
        ("AKIAOPERATOR", "operator-secret"),
        ROLE,
    )
    .await;
    let client = std::sync::Arc::new(client);
    let calls = (0..4).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { verdict(&send(&client, &batch(1)).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), "delivered");
    }
    let asked = sts.requests();
    assert_eq!(asked.len(), 1, "calls that need a session share it");
    let form = String::from_utf8(asked[0].body.to_vec()).unwrap();
    assert!(form.contains(&format!("ExternalId={CUSTOMER}")), "{form}");
    assert!(
        form.contains("RoleSessionName=pushrail-00000000-0000-0000-0000-0000000000d1"),
        "{form}"
    );
    assert!(form.contains("role%2Fpushrail"), "{form}");
    let signed = asked[0].header("authorization").unwrap();
    assert!(signed.contains("AKIAOPERATOR"), "{signed}");
    for request in store.requests() {
        assert!(
            request
                .header("authorization")
                .unwrap()
                .contains("ASIAEXAMPLE")
        );
        assert_eq!(request.header("x-amz-security-token"), Some("s3cret-token"));
    }
}

#[tokio::test]
async fn a_session_that_ends_or_is_refused_is_renewed() {
    let (sts, store) = (Receiver::start().await, Receiver::start().await);
    sts.on(
        "/",
        [
            session("2020-01-01T00:00:00Z"),
            session("2126-01-01T00:00:00Z"),
        ],
    );
    let expired = Reply::status(400)
        .body("<Error><Code>ExpiredToken</Code><Message>s3cret-token ended</Message></Error>");
    store.on("*", [Reply::ok(), expired, Reply::ok()]);
    let client = with_role(
        "bucket",
        &store.url(""),
        &sts.url(""),
        ("AKIAOPERATOR", "operator-secret"),
        ROLE,
    )
    .await;
    assert_eq!(verdict(&send(&client, &batch(1)).await), "delivered");
    // The first had ended before it was there; the second is good, and the store does not think so.
    let outcome = send(&client, &batch(1)).await;
    assert_eq!(verdict(&outcome), "retry session_rejected");
    assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    assert_eq!(sts.requests().len(), 2);
    assert_eq!(verdict(&send(&client, &batch(1)).await), "delivered");
    assert_eq!(sts.requests().len(), 3);
}

#[tokio::test]
async fn a_role_that_refuses_suspends_and_our_own_trouble_does_not() {
    for (reply, expected) in [
        (sts_error(403, "AccessDenied"), "suspend role_refused"),
        (sts_error(400, "ValidationError"), "suspend role_refused"),
        (
            sts_error(403, "InvalidClientTokenId"),
            "retry operator_credentials",
        ),
        (sts_error(400, "Throttling"), "retry sts_unavailable"),
        (
            sts_error(503, "ServiceUnavailable"),
            "retry sts_unavailable",
        ),
        (Reply::reset(), "retry connection_lost"),
    ] {
        let (sts, store) = (Receiver::start().await, Receiver::start().await);
        sts.on("/", [reply]);
        let client = with_role(
            "bucket",
            &store.url(""),
            &sts.url(""),
            ("AKIAOPERATOR", "operator-secret"),
            ROLE,
        )
        .await;
        let outcome = send(&client, &batch(2)).await;
        assert_eq!(verdict(&outcome), expected);
        assert_eq!(sts.requests().len(), 1, "one call: no retry");
        assert!(store.requests().is_empty());
    }
}

#[tokio::test]
async fn moto_lends_a_role_and_takes_what_it_signs() {
    let moto = moto().await;
    let bucket = bucket(moto).await;
    let client = with_role(
        &bucket,
        &moto.url(),
        &moto.url(),
        ("AKIAOPERATOR", "operator-secret"),
        ROLE,
    )
    .await;
    assert_eq!(verdict(&send(&client, &batch(3)).await), "delivered");
    let listed =
        format!(r#"say(len(client("s3").list_objects_v2(Bucket="{bucket}")["Contents"]))"#);
    assert_eq!(moto.boto3(&listed).await, json!(1));
}

/// Calls that `SETUP` makes.
const SETUP_CALLS: u32 = 9;
const SETUP: &str = r#"
iam, s3 = client("iam"), client("s3")
s3.create_bucket(Bucket="guarded")
keys = {}
for name, action in [("writer", "s3:PutObject"), ("reader", "s3:GetObject")]:
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::guarded/pushrail/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    keys[name] = [made["AccessKeyId"], made["SecretAccessKey"]]
iam.create_user(UserName="spare")
iam.list_users()
say(keys)
"#;

#[tokio::test]
async fn the_policy_of_the_guide_is_enough_and_less_is_told() {
    let moto = Moto::private(Some(SETUP_CALLS)).await;
    let keys = moto.boto3(SETUP).await;
    let with = async |id: &Value, secret: &Value| {
        let authentication = json!({"type": "access_key", "accessKeyId": id});
        let changes = json!({"prefix": "pushrail", "authentication": authentication});
        let s3 = S3::new(&loopback());
        let secrets = json!({"secretAccessKey": secret});
        let client = connect(&s3, config("guarded", &moto.url(), changes), secrets).await;
        verdict(&send(&client, &batch(1)).await)
    };
    let (writer, reader) = (&keys["writer"], &keys["reader"]);
    assert_eq!(with(&writer[0], &writer[1]).await, "delivered");
    assert_eq!(with(&reader[0], &reader[1]).await, "suspend access_denied");
    assert_eq!(
        with(&writer[0], &reader[1]).await,
        "suspend credentials_rejected"
    );
    assert_eq!(
        with(&json!("AKIANOBODY"), &writer[1]).await,
        "suspend credentials_rejected"
    );
}

#[tokio::test]
async fn keys_of_one_destination_are_not_those_of_another_on_the_same_store() {
    let store = Receiver::start().await;
    let of = async |id: &str| {
        let authentication = json!({"authentication": {"type": "access_key", "accessKeyId": id}});
        client("bucket", &store.url(""), authentication).await
    };
    let (one, two) = (of("AKIAONE").await, of("AKIATWO").await);
    for client in [&one, &two, &one] {
        send(client, &batch(1)).await;
    }
    let signed: Vec<_> = store
        .requests()
        .iter()
        .map(|r| r.header("authorization").unwrap().to_owned())
        .collect();
    assert!(
        signed[0].contains("AKIAONE")
            && signed[1].contains("AKIATWO")
            && signed[2].contains("AKIAONE")
    );
}
