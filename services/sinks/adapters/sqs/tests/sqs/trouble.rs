//! What the suite does not ask: roles, and calls of several parts.

use aws_credential_types::Credentials;
use pushrail_aws::Operator;
use pushrail_conformance::records;
use pushrail_sink_core::Adapter as _;
use pushrail_sqs::Sqs;
use pushrail_testkit::{Receiver, Reply, moto};
use serde_json::json;

use super::support::{client, config, loopback, messages, queue, send, verdicts};

#[tokio::test]
async fn a_part_that_fails_ends_the_call_and_takes_nothing_back() {
    let service = Receiver::start().await;
    let answer = |ids: std::ops::Range<usize>| {
        let entry = |id| json!({"Id": format!("{id}"), "MessageId": format!("m-{id}"), "MD5OfMessageBody": ""});
        json!({"Successful": ids.map(entry).collect::<Vec<_>>()}).to_string()
    };
    let busy = r#"{"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}"#;
    service.on(
        "*",
        [
            Reply::ok().body(answer(0..10)),
            Reply::status(400).body(busy),
        ],
    );
    let client = client("q", &service.url(""), json!({})).await;
    let outcome = send(&client, &records(25)).await;
    let mut expected = vec!["delivered"; 10];
    expected.extend(["retry throttled"; 15]);
    assert_eq!(verdicts(&outcome), expected);
    assert_eq!(
        service.requests().len(),
        2,
        "the third part is not sent behind one that failed"
    );
}

#[tokio::test]
async fn an_answer_about_others_counts_for_nobody() {
    let service = Receiver::start().await;
    let odd = json!({
        "Successful": [{"Id": "7", "MessageId": "m", "MD5OfMessageBody": ""}, {"Id": "x", "MessageId": "m", "MD5OfMessageBody": ""}],
        "Failed": [{"Id": "1", "SenderFault": true, "Code": "InvalidMessageContents", "Message": "no"}],
    });
    service.on("*", [Reply::ok().body(odd.to_string())]);
    let client = client("q", &service.url(""), json!({})).await;
    let outcome = send(&client, &records(3)).await;
    assert_eq!(
        verdicts(&outcome),
        [
            "retry unanswered",
            "reject message_refused",
            "retry unanswered"
        ]
    );
}

#[tokio::test]
async fn a_role_is_assumed_for_a_queue_too() {
    let moto = moto().await;
    let queue = queue(moto, false).await;
    let operator = Operator::Given {
        endpoint: moto.url().into(),
        region: "us-east-1".into(),
        credentials: Credentials::new("AKIAOPERATOR", "operator-secret", None, None, "test"),
    };
    let role = json!({"type": "assume_role", "roleArn": "arn:aws:iam::123456789012:role/pushrail"});
    let config = config(&queue, &moto.url(), json!({"authentication": role}));
    let sqs = Sqs::with_operator(&loopback(), operator);
    let config = serde_json::from_value(config).unwrap();
    let client = sqs.connect(config, Default::default()).await.unwrap();
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered", "delivered"]
    );
    assert_eq!(messages(moto, &queue).await.len(), 2);
}

#[test]
fn the_guide_covers_what_a_customer_must_know() {
    let parts = [
        "sqs:SendMessage",
        "sts:ExternalId",
        "sts:AssumeRole",
        "kms:GenerateDataKey",
        "MessageGroupId",
        "MessageDeduplicationId",
        "eventId",
    ];
    for part in parts {
        assert!(Sqs::INFO.guide.contains(part), "{part}");
    }
}
