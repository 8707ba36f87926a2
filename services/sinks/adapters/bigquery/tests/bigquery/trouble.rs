//! What BigQuery refuses, as a double says it.

use std::time::Duration;

use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use googleapis_tonic_google_rpc::google::rpc;
use pushrail_conformance::{record_of, records};
use pushrail_sink_core::Verdict;
use serde_json::json;
use storage::append_rows_response::{AppendResult, Response};
use storage::storage_error::StorageErrorCode as Code;

use super::doubles::{Grpc, appended, message, refused, retry_info, status, throttled};
use super::support::{Place, detail, send, verdicts};

async fn client(place: &Place, double: &Grpc) -> pushrail_bigquery::Client {
    let url = double.url();
    place
        .client(|config| config["storageEndpoint"] = json!(url))
        .await
}

fn done() -> super::doubles::Say {
    let done = Response::AppendResult(AppendResult { offset: Some(0) });
    appended(done, Vec::new())
}

#[tokio::test]
async fn each_refusal_of_an_append_has_its_verdict() {
    let place = Place::new().await;
    let table = [
        (refused(8, None), "retry throttled"),
        (refused(13, None), "retry unavailable"),
        (refused(14, None), "retry unavailable"),
        (refused(10, None), "retry unavailable"),
        (refused(7, None), "suspend permission_denied"),
        (refused(3, None), "suspend table_unfit"),
        (
            refused(11, Some(Code::OffsetOutOfRange)),
            "retry stream_lost",
        ),
        (
            refused(6, Some(Code::OffsetAlreadyExists)),
            "retry stream_lost",
        ),
        (refused(3, Some(Code::StreamFinalized)), "retry stream_lost"),
        (
            refused(3, Some(Code::SchemaMismatchExtraFields)),
            "retry stream_lost",
        ),
        (
            status(14, "The service is currently unavailable."),
            "retry unavailable",
        ),
        (status(8, "quota"), "retry throttled"),
        (status(16, "no"), "suspend credentials_rejected"),
        (status(12, "no"), "reject refused"),
    ];
    for (say, expected) in table {
        let double = Grpc::start().await;
        double.on("AppendRows", [say]);
        let client = client(&place, &double).await;
        let outcome = send(&client, &records(2)).await;
        assert_eq!(verdicts(&outcome), [expected; 2], "{outcome:?}");
        assert!(!outcome.evidence.excerpt.is_empty() || expected == "retry stream_lost");
    }
}

#[tokio::test]
async fn a_stream_that_is_lost_is_made_again_within_the_call() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    let client = client(&place, &double).await;
    double.on(
        "AppendRows",
        [refused(11, Some(Code::OffsetOutOfRange)), done()],
    );
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    assert_eq!(double.calls("CreateWriteStream").len(), 2);
}

#[tokio::test]
async fn what_bigquery_asks_to_wait_is_handed_on() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    let exhausted = rpc::Status {
        code: 8,
        message: "throughput".to_owned(),
        details: vec![retry_info(21)],
    };
    let in_band = appended(Response::Error(exhausted), Vec::new());
    for (say, seconds) in [(in_band, 21), (throttled(9), 9)] {
        double.on("AppendRows", [say]);
        let client = client(&place, &double).await;
        let outcome = send(&client, &records(1)).await;
        let Verdict::Retry { fault, after } = &outcome.verdicts[0] else {
            panic!("{outcome:?}");
        };
        assert_eq!(fault.code, "throttled");
        assert_eq!(*after, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn rows_that_are_refused_are_named_and_the_others_sent_again() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    let bad = |index| storage::RowError {
        index,
        code: 1,
        message: format!("row {index} is bad"),
    };
    let error = || {
        Response::Error(rpc::Status {
            code: 3,
            message: "Errors found while processing rows.".to_owned(),
            details: Vec::new(),
        })
    };
    double.on(
        "AppendRows",
        [appended(error(), vec![bad(0), bad(3)]), done()],
    );
    let sending = client(&place, &double).await;
    let outcome = send(&sending, &records(4)).await;
    let expected = [
        "reject invalid_row",
        "delivered",
        "delivered",
        "reject invalid_row",
    ];
    assert_eq!(verdicts(&outcome), expected);
    assert_eq!(detail(&outcome), "BigQuery refuses this row: row 0 is bad");
    // One that names rows that are not there names none, and ends.
    double.on("AppendRows", [appended(error(), vec![bad(-1), bad(99)])]);
    let outcome = send(&client(&place, &double).await, &records(2)).await;
    assert_eq!(verdicts(&outcome), ["reject invalid_row"; 2]);
}

#[tokio::test]
async fn a_table_that_is_not_there_yet_is_waited_for_by_the_engine() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    // BigQuery does not tell everybody whether a table is there.
    let hidden = "Permission 'TABLES_UPDATE_DATA' denied on resource (or it may not exist).";
    double.on("CreateWriteStream", [status(7, hidden)]);
    let client = client(&place, &double).await;
    let sent = [record_of("never.seen", "{}")];
    let outcome = send(&client, &sent).await;
    assert_eq!(verdicts(&outcome), ["retry table_not_ready"], "{outcome:?}");
    assert_eq!(place.ids("never_seen").await.len(), 0, "the table was made");
    // Now it is there, and still we may not: that is what it says then.
    let outcome = send(&client, &sent).await;
    assert_eq!(verdicts(&outcome), ["suspend permission_denied"]);
    let said = detail(&outcome);
    assert!(
        said.contains("run: GRANT `roles/bigquery.dataEditor` ON SCHEMA `pushrail-test.pushrail`"),
        "{said}"
    );
    assert!(said.contains("serviceAccount:pushrail@"), "{said}");
}

#[tokio::test]
async fn calls_say_whose_they_are_and_where_they_go() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    let client = client(&place, &double).await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let made = &double.calls("CreateWriteStream")[0];
    let table = format!("{}order_completed", place.prefix);
    let parent =
        format!("parent=projects%2Fpushrail-test%2Fdatasets%2Fpushrail%2Ftables%2F{table}");
    assert_eq!(made["x-goog-request-params"], parent.as_str());
    assert_eq!(made["authorization"], "Bearer an-access-token-of-a-test");
    assert!(
        made["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("Pushrail/")
    );
    let appended = &double.calls("AppendRows")[0];
    let stream = "write_stream=projects%2Fp%2Fdatasets%2Fd%2Ftables%2Ft%2Fstreams%2Fs";
    assert_eq!(appended["x-goog-request-params"], stream);
}

#[tokio::test]
async fn a_doubt_that_nobody_can_resolve_is_given_up_and_one_that_may_pass_kept() {
    let place = Place::new().await;
    let double = Grpc::start().await;
    let client = client(&place, &double).await;
    let sent = records(2);
    double.on("AppendRows", [refused(13, None), done()]);
    double.on(
        "FinalizeWriteStream",
        [status(14, "not now"), status(5, "no such stream")],
    );
    assert_eq!(
        verdicts(&send(&client, &sent).await),
        ["retry unavailable"; 2]
    );
    assert_eq!(
        verdicts(&send(&client, &sent).await),
        ["retry unavailable"; 2]
    );
    assert_eq!(
        double.calls("AppendRows").len(),
        1,
        "nothing is sent in doubt"
    );
    assert_eq!(verdicts(&send(&client, &sent).await), ["delivered"; 2]);
    // What turned out to be there is not sent again.
    double.on("AppendRows", [refused(13, None), done()]);
    let rows = storage::FinalizeWriteStreamResponse { row_count: 4 };
    double.on("FinalizeWriteStream", [message(&rows)]);
    assert_eq!(
        verdicts(&send(&client, &sent).await),
        ["retry unavailable"; 2]
    );
    let before = double.calls("AppendRows").len();
    assert_eq!(verdicts(&send(&client, &sent).await), ["delivered"; 2]);
    assert_eq!(double.calls("AppendRows").len(), before);
}
