//! The kit must be trusted before what it tests.

use std::time::Duration;

use pushrail_testkit::{Cluster, Receiver, Reply, cluster, database, headers};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends a request on a connection of its own, and returns what came back and how it ended.
async fn post(receiver: &Receiver, path: &str) -> (String, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end =
        tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
    let end = end.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    (String::from_utf8_lossy(&answer).into_owned(), end)
}

#[tokio::test]
async fn a_script_is_followed_and_its_last_reply_repeats() {
    let receiver = Receiver::start().await;
    receiver.on(
        "/flaky",
        [
            Reply::status(503).header("Retry-After", "7"),
            Reply::ok().body("fine"),
        ],
    );
    let (first, _) = post(&receiver, "/flaky").await;
    assert!(
        first.starts_with("HTTP/1.1 503") && first.contains("retry-after: 7"),
        "{first}"
    );
    for _ in 0..2 {
        let (answer, _) = post(&receiver, "/flaky?x=1").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"),
            "{answer}"
        );
    }
    let requests = receiver.wait("/flaky", 3).await;
    assert_eq!(requests[2].path, "/flaky?x=1");
    assert_eq!(&requests[0].body[..], b"hi");
    assert_ne!(requests[0].connection, requests[1].connection);
}

#[tokio::test]
async fn misbehaviour_is_what_it_says() {
    let receiver = Receiver::start().await;
    receiver.on("/hang", [Reply::hang()]);
    receiver.on("/reset", [Reply::reset()]);
    receiver.on("/drip", [Reply::drip(Duration::from_millis(20))]);
    receiver.on("/huge", [Reply::huge(3_000_000)]);
    receiver.on("/slow", [Reply::ok().after(Duration::from_millis(50))]);
    let (answer, end) = post(&receiver, "/hang").await;
    assert_eq!(
        (answer.as_str(), end.unwrap_err().kind()),
        ("", std::io::ErrorKind::TimedOut)
    );
    assert_eq!(
        post(&receiver, "/reset").await.1.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let (answer, end) = post(&receiver, "/drip").await;
    assert!(answer.contains("200 OK") && end.is_err(), "{answer}");
    assert!(post(&receiver, "/huge").await.1.unwrap() > 3_000_000);
    assert!(post(&receiver, "/slow").await.0.starts_with("HTTP/1.1 200"));
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test]
async fn records_come_back_as_they_were_written() {
    let cluster = cluster().await;
    let topic = cluster.topic("testkit", 3).await;
    let (partition, offset) = cluster
        .produce(&topic, "k", b"v", headers(&[("a", "1")]))
        .await;
    cluster.produce(&topic, "other", b"w", headers(&[])).await;
    let records = cluster.read(&topic, 2).await;
    let found = records
        .iter()
        .find(|record| record.key.as_deref() == Some(b"k"))
        .unwrap();
    assert_eq!((found.partition, found.offset), (partition, offset));
    assert_eq!(
        (found.value.as_deref(), found.header("a")),
        (Some(b"v".as_slice()), Some("1"))
    );
    assert_eq!(cluster.read_all(&topic).await.len(), 2);
}

#[tokio::test]
async fn a_private_cluster_survives_a_kill() {
    let mut cluster = Cluster::private().await;
    let topic = cluster.topic("testkit", 1).await;
    cluster.produce(&topic, "k", b"v", headers(&[])).await;
    cluster.kafka().kill().await;
    cluster.kafka().restart().await.unwrap();
    assert_eq!(cluster.read(&topic, 1).await.len(), 1);
}

#[tokio::test]
async fn databases_are_empty_and_do_not_see_each_other() {
    let (first, second) = tokio::join!(database(), database());
    assert_ne!(first, second);
    let mut one = PgConnection::connect(&first).await.unwrap();
    let mut two = PgConnection::connect(&second).await.unwrap();
    let create = sqlx::query("CREATE TABLE a (b int)");
    create.execute(&mut one).await.unwrap();
    for (connection, wanted) in [(&mut one, 1), (&mut two, 0)] {
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        let found: i64 = sqlx::query_scalar(tables)
            .fetch_one(connection)
            .await
            .unwrap();
        assert_eq!(found, wanted);
    }
}
