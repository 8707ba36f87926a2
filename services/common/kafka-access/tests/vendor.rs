//! A vendor with its own clients, over SASL, against a real Kafka: what it may do, and that Kafka refuses everything else.

mod bed;

use std::io::Write;
use std::process::Stdio;

use bed::{Bed, Vendor, refused};
use pushrail_kafka_access::{Access, Error, User};
use pushrail_servers::{Artifacts, Java};
use pushrail_testkit::{Cluster, wait_for};
use pushrail_topology::topics;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_writes_to_its_direct_topic_and_reads_its_audit() {
    let bed = Bed::start().await;
    let vendor = bed.vendor(true, true).await;
    let producer = vendor.producer(&[("enable.idempotence", "false")]);
    producer.send(&bed.direct()).await.unwrap();
    let idempotent = vendor.producer(&[("enable.idempotence", "true")]);
    idempotent.send(&bed.direct()).await.unwrap();
    assert_eq!(bed.cluster.read(&bed.direct(), 2).await.len(), 2);

    bed.publish_audit().await;
    for protocol in ["classic", "consumer"] {
        let group = format!("psh-{}.{protocol}", bed.tenant);
        let consumer = vendor.consumer(&group, &[("group.protocol", protocol)]);
        consumer.subscribe(&bed.audit());
        consumer.record().await.unwrap();
        consumer.commit().await.unwrap();
    }
}

/// Kafka's own console producer, with the file as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_java_client_takes_the_properties_as_they_are() {
    let bed = Bed::start().await;
    let vendor = bed.vendor(true, false).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties");
    std::fs::write(&file, &vendor.java).unwrap();
    let class_path = Artifacts::find_or_fetch().unwrap().kafka_class_path();
    let mut java = Java::find().unwrap().command();
    java.args(["-cp", &class_path, "org.apache.kafka.tools.ConsoleProducer"])
        .args(["--bootstrap-server", &bed.cluster.sasl_bootstrap])
        .args(["--topic", &bed.direct(), "--command-config"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let produced = tokio::task::spawn_blocking(move || {
        let mut child = java.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"hello\n").unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    });
    let output = produced.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let records = bed.cluster.read(&bed.direct(), 1).await;
    assert_eq!(records[0].value.as_deref(), Some(&b"hello"[..]), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_is_refused_everywhere_else() {
    let bed = Bed::start().await;
    let vendor = bed.vendor(true, true).await;
    let neighbour = format!("{}-x", bed.tenant);
    bed.cluster
        .create(&topics::direct(&neighbour), 1, &[])
        .await;
    bed.cluster.create(&topics::audit(&neighbour), 1, &[]).await;
    let elsewhere = bed.cluster.topic("elsewhere", 1).await;

    let producer = vendor.producer(&[]);
    for topic in [
        topics::direct(&neighbour),
        elsewhere.clone(),
        bed.cluster.unique("there-is-no-such-topic"),
        bed.audit(),
    ] {
        let sent = producer.send(&topic).await;
        assert_eq!(sent, Err(Code::TopicAuthorizationFailed), "writing {topic}");
    }
    // The vendor may write to its direct topic, and not read it.
    for topic in [
        bed.direct(),
        topics::direct(&neighbour),
        topics::audit(&neighbour),
        elsewhere,
    ] {
        let consumer = vendor.consumer(&vendor.group(), &[]);
        match topic == bed.direct() {
            true => consumer.assign(&topic),
            // The client knows from the start that there is nothing to ask for, and says so of subscriptions only.
            false => consumer.subscribe(&topic),
        }
        let read = consumer.record().await;
        assert_eq!(read, Err(Code::TopicAuthorizationFailed), "reading {topic}");
    }
    for group in [
        "pushrail-router".to_owned(),
        format!("psh-{}", bed.tenant),
        format!("psh-{neighbour}.g"),
        vendor.user.name().to_owned(),
    ] {
        let consumer = vendor.consumer(&group, &[]);
        consumer.subscribe(&bed.audit());
        let read = consumer.record().await;
        assert_eq!(read, Err(Code::GroupAuthorizationFailed), "group {group}");
    }
    let created = vendor.create_topic(&bed.cluster.unique("mine")).await;
    assert_eq!(created, Err(Code::TopicAuthorizationFailed));
    let created = vendor.create_topic(&topics::direct(&vendor.group())).await;
    assert_eq!(created, Err(Code::TopicAuthorizationFailed));
    let begun = vendor.begin_transaction(&vendor.group()).await;
    assert_eq!(begun, Err(Code::TransactionalIdAuthorizationFailed));
    assert_eq!(vendor.topics().await, [bed.audit(), bed.direct()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_not_asked_for_is_not_there() {
    let bed = Bed::start().await;
    let writes = bed.vendor(true, false).await;
    let consumer = writes.consumer(&writes.group(), &[]);
    consumer.subscribe(&bed.audit());
    let read = consumer.record().await.unwrap_err();
    assert!(
        [
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed
        ]
        .contains(&read),
        "{read}"
    );
    let reads = bed.vendor(false, true).await;
    let sent = reads.producer(&[]).send(&bed.direct()).await;
    assert_eq!(sent, Err(Code::TopicAuthorizationFailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_refused_at_once_on_open_connections_too() {
    let bed = Bed::start().await;
    let vendor = bed.vendor(true, true).await;
    bed.publish_audit().await;
    let producer = vendor.producer(&[]);
    producer.send(&bed.direct()).await.unwrap();
    let consumer = vendor.consumer(&vendor.group(), &[]);
    consumer.subscribe(&bed.audit());
    consumer.record().await.unwrap();

    bed.access.revoke(&vendor.user).await.unwrap();
    let revoked = Instant::now();
    assert!(refused(producer.send(&bed.direct()).await));
    assert!(refused(consumer.error().await));
    assert!(
        revoked.elapsed().as_millis() < 1_000,
        "refused after {:?}",
        revoked.elapsed()
    );
    // The broker itself asks nobody: the credential goes a moment later.
    wait_for("new connections to fail", async || {
        (!vendor.logs_in().await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_password_is_refused_and_the_new_one_works() {
    let bed = Bed::start().await;
    let old = bed.vendor(true, false).await;
    assert!(old.logs_in().await);
    let rotated = bed.access.rotate(&old.user).await.unwrap();
    let new = Vendor::new(bed.cluster, &old.user, &rotated);
    wait_for("the new password", async || {
        new.logs_in().await.then_some(())
    })
    .await;
    assert!(!old.logs_in().await, "the old password is gone");
    new.producer(&[]).send(&bed.direct()).await.unwrap();
}

/// The brokers make clients show their credential again, here after 2 s and not after a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_does_not_outlive_its_password() {
    let cluster =
        Cluster::private_with(|kafka| kafka.property("connections.max.reauth.ms", "2000")).await;
    let access = Access::connect(&cluster.connection()).unwrap();
    let user = User::draw("acme").unwrap();
    let password = access.grant(&bed::grant(&user, true, false)).await.unwrap();
    let vendor = Vendor::new(&cluster, &user, &password);
    cluster.create(&topics::direct("acme"), 1, &[]).await;
    let producer = vendor.producer(&[]);
    producer.send(&topics::direct("acme")).await.unwrap();
    access.rotate(&user).await.unwrap();
    wait_for("the old password to be refused", async || {
        producer
            .complaints()
            .contains(&Code::Authentication)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_shows_a_password() {
    let bed = Bed::start().await;
    let vendor = bed.vendor(true, true).await;
    let password = vendor.password.clone();
    // As a vendor that calls us with its own credential.
    let mut connection = vendor.connection();
    let as_vendor = Access::connect(&connection).unwrap();
    assert!(!as_vendor.limits_are_set(), "over SASL");
    let mut errors = vec![
        as_vendor.rotate(&vendor.user).await.unwrap_err(),
        as_vendor.revoke(&vendor.user).await.unwrap_err(),
        as_vendor.list(&bed.tenant).await.unwrap_err(),
        as_vendor
            .grant(&bed::grant(&vendor.user, true, true))
            .await
            .unwrap_err(),
    ];
    for error in &errors {
        assert!(
            matches!(error, Error::Refused { code, .. } if code == "CLUSTER_AUTHORIZATION_FAILED"),
            "{error}"
        );
    }
    // As somebody who does not know the password: said at once, and not after a timeout.
    let wrong = format!("{password}x");
    connection
        .properties
        .insert("sasl.password".into(), wrong.clone());
    let stranger = Access::connect(&connection).unwrap();
    let error = stranger.list(&bed.tenant).await.unwrap_err();
    assert!(error.to_string().contains("uthentication"), "{error}");
    errors.push(error);
    connection
        .properties
        .insert("sasl.mechanism".into(), "nonsense".into());
    errors.extend(Access::connect(&connection).err());
    let shown = format!("{errors:?} {:?} {:?}", vendor.grant, vendor.drawn);
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for text in [shown, said.join(" ")] {
        assert!(!text.contains(&*password), "{text}");
    }
    assert!(vendor.logs_in().await, "nobody could change it");
}
