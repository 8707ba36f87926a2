//! The servers as dev and tests use them: durable, restartable, and gone when stopped.

use pushrail_servers::{Kafka, Registry};

async fn register(registry: &Registry, subject: &str) -> reqwest::StatusCode {
    let schema =
        serde_json::json!({ "schema": "{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}" });
    let url = format!("{}/subjects/{subject}/versions", registry.url());
    reqwest::Client::new()
        .post(url)
        .json(&schema)
        .send()
        .await
        .unwrap()
        .status()
}

async fn subjects(registry: &Registry) -> Vec<String> {
    reqwest::get(format!("{}/subjects", registry.url()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_killed_registry_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::builder(folder.path()).start().await.unwrap();
    assert!(register(&registry, "a-value").await.is_success());
    registry.kill().await;
    registry.restart().await.unwrap();
    assert_eq!(subjects(&registry).await, ["a-value"]);
    registry.stop().await;
}

#[tokio::test]
async fn kafka_comes_back_on_its_port_and_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::builder(folder.path()).start().await.unwrap();
    let (bootstrap, pids) = (kafka.bootstrap(), kafka.pids());
    kafka.kill().await;
    kafka.restart().await.unwrap();
    assert_eq!(kafka.bootstrap(), bootstrap);
    assert_ne!(kafka.pids(), pids);
    let port = kafka.port();
    let error = Kafka::builder(folder.path().join("second"))
        .port(port)
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    kafka.stop().await;
    let id = std::fs::read_to_string(folder.path().join("cluster.id")).unwrap();
    let mut again = Kafka::builder(folder.path())
        .port(port)
        .start()
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(folder.path().join("cluster.id")).unwrap(),
        id
    );
    again.stop().await;
}

#[tokio::test]
async fn three_brokers_survive_the_loss_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::builder(folder.path())
        .brokers(3)
        .heap_mib(256)
        .start()
        .await
        .unwrap();
    assert_eq!(kafka.pids().len(), 3);
    kafka.kill_broker(2).await;
    kafka.alive().unwrap();
    kafka.restart().await.unwrap();
    assert_eq!(kafka.pids().len(), 3);
    kafka.stop().await;
}
