//! `pushrail dev` as a person meets it: the program, its folder, Ctrl-C, a crash, and what it says when it cannot start.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::consumer::{BaseConsumer, Consumer as _};
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::message::Message as _;
use pushrail_kafka::rdkafka::{Offset, TopicPartitionList};
use pushrail_payload_keys::PayloadKeys;
use pushrail_schemas::Event;
use pushrail_shred::Lookup;
use pushrail_testkit::{wait_for, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pushrail");

/// A running `pushrail dev`, killed when it is dropped.
struct Dev {
    child: Child,
    folder: PathBuf,
    env: HashMap<String, String>,
}

impl Dev {
    /// Starts it on free ports, and returns when `dev.env` is there. One that a crash left behind must go first.
    async fn start(folder: &Path) -> Dev {
        let stale = folder.join("dev.env").exists();
        let log = std::fs::File::create(folder.with_extension("log")).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["dev", "--port", "0", "--data-dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        if stale {
            wait_until("the stale dev.env to go", || {
                !folder.join("dev.env").exists()
            })
            .await;
        }
        wait_for("dev.env", async || {
            let ended = child.try_wait().unwrap();
            let log = || std::fs::read_to_string(folder.with_extension("log")).unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            folder.join("dev.env").exists().then_some(())
        })
        .await;
        let env = variables(&folder.join("dev.env"));
        Dev {
            child,
            folder: folder.to_owned(),
            env,
        }
    }

    fn var(&self, name: &str) -> &str {
        &self.env[name]
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .envs(&self.env)
            .output()
            .unwrap()
    }

    /// Returns when the router knows it: what is decided in the database is told to it a moment later.
    async fn add_destination(&self, customer: &str, path: &str) {
        let before = self.destinations().await;
        let url = format!("{}{path}", self.var("PUSHRAIL_ECHO_URL"));
        let added = self.command(&[
            "admin",
            "destination",
            "add",
            "--customer",
            customer,
            "--url",
            &url,
            "--initial-delay",
            "2s",
        ]);
        assert!(
            added.status.success(),
            "{}",
            String::from_utf8_lossy(&added.stderr)
        );
        wait_for("the router to know it", async || {
            (self.destinations().await > before).then_some(())
        })
        .await;
    }

    /// Destinations that router and ingest know.
    async fn destinations(&self) -> u64 {
        let url = format!("{}/metrics", self.var("PUSHRAIL_OPS_URL"));
        let page = reqwest::get(url).await.unwrap().text().await.unwrap();
        let lines = page.lines();
        let mut values = lines.filter_map(|l| l.strip_prefix("pushrail_directory_destinations "));
        values.next().unwrap().parse().unwrap()
    }

    async fn post(&self, customer: &str) -> String {
        let event = serde_json::json!({ "eventType": "a.b", "customerExternalId": customer, "payload": {} });
        let request =
            reqwest::Client::new().post(format!("{}/v1/events", self.var("PUSHRAIL_URL")));
        let answer = request
            .bearer_auth(self.var("PUSHRAIL_API_KEY"))
            .json(&event)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
        let answer: serde_json::Value = answer.json().await.unwrap();
        answer["eventId"].as_str().unwrap().to_owned()
    }

    /// Waits until the echo receiver has answered `event` with `status`.
    async fn received(&self, event: &str, status: u16) {
        wait_for(&format!("event {event} with {status}"), async || {
            let answer = reqwest::get(self.var("PUSHRAIL_ECHO_URL")).await.ok()?;
            let shown: serde_json::Value = answer.json().await.ok()?;
            let mut requests = shown["last"].as_array()?.iter();
            requests
                .find(|r| r["headers"]["webhook-id"] == event && r["status"] == status)
                .map(|_| ())
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    async fn ended(mut self) -> Option<i32> {
        wait_for("the process to end", async || {
            self.child.try_wait().unwrap()
        })
        .await
        .code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn variables(file: &Path) -> HashMap<String, String> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    lines
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn dev(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["dev", "--port", &port.to_string(), "--data-dir"])
        .arg(folder);
    command
}

/// Host and port of a URL.
fn address(url: &str) -> String {
    let (_, behind) = url.split_once('@').unwrap();
    behind.split('/').next().unwrap().to_owned()
}

fn listens(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn a_crash_loses_nothing_and_a_stop_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let dev = Dev::start(&folder).await;
    let mode = std::fs::metadata(folder.join("dev.env"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for private in ["api-key", "admin-key", "key-ring"] {
        let mode = std::fs::metadata(folder.join(private)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{private}");
    }
    dev.add_destination("c1", "/ok").await;
    dev.add_destination("c2", "/fail/503").await;
    let tenant = dev.command(&["admin", "tenant", "show", "dev", "--json"]);
    assert!(
        String::from_utf8_lossy(&tenant.stdout).contains("\"tenantId\":\"dev\""),
        "{tenant:?}"
    );
    dev.received(&dev.post("c1").await, 200).await;
    let owed = dev.post("c2").await;
    dev.received(&owed, 503).await;
    let second = refused(&mut self::dev(&folder, 0));
    assert!(
        second.contains("another pushrail runs") && second.contains(&dev.child.id().to_string()),
        "{second}"
    );
    assert!(
        dev.folder.join("dev.env").exists(),
        "the second one must not take the first one's file away"
    );
    let (first, kafka) = (dev.env.clone(), dev.var("PUSHRAIL_KAFKA").to_owned());
    let database = address(dev.var("PUSHRAIL_DATABASE_URL"));
    assert!(listens(&database));
    assert!(listens(dev.var("PUSHRAIL_KAFKA_SASL")));
    dev.signal(Signal::SIGKILL);
    dev.ended().await;
    wait_until("Kafka to die with us", || !listens(&kafka)).await;
    wait_until("PostgreSQL to die with us", || !listens(&database)).await;

    let dev = Dev::start(&folder).await;
    assert_eq!(dev.env, first, "same ports and keys as before");
    assert_eq!(dev.destinations().await, 2);
    dev.received(&owed, 503).await;
    dev.received(&dev.post("c1").await, 200).await;
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.ended().await, Some(0));
    assert!(!folder.join("dev.env").exists());
    assert!(!listens(&kafka) && !listens(&database));
    let log = std::fs::read_to_string(folder.with_extension("log")).unwrap();
    let password = first["PUSHRAIL_DATABASE_URL"].split([':', '@']).nth(2);
    assert!(
        log.contains("PostgreSQL") && !log.contains(password.unwrap()),
        "{log}"
    );
}

#[tokio::test]
async fn a_database_or_a_kafka_that_was_replaced_is_told_what_the_other_knows() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let dev = Dev::start(&folder).await;
    let printed = std::fs::read_to_string(folder.with_extension("log")).unwrap();
    assert!(printed.contains(dev.var("PUSHRAIL_API_KEY")), "{printed}");
    dev.add_destination("c1", "/ok").await;
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.ended().await, Some(0));

    std::fs::remove_dir_all(folder.join("kafka")).unwrap();
    std::fs::remove_dir_all(folder.join("registry")).unwrap();
    let dev = Dev::start(&folder).await;
    wait_for("the destination to be told again", async || {
        (dev.destinations().await == 1).then_some(())
    })
    .await;
    dev.received(&dev.post("c1").await, 200).await;
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.ended().await, Some(0));

    std::fs::remove_dir_all(folder.join("postgres")).unwrap();
    let dev = Dev::start(&folder).await;
    dev.add_destination("c2", "/ok").await;
    dev.received(&dev.post("c2").await, 200).await;
}

impl Dev {
    async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.var("PUSHRAIL_URL"));
        let mut request = reqwest::Client::new()
            .request(method.parse().unwrap(), url)
            .bearer_auth(self.var("PUSHRAIL_API_KEY"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
        answer.json().await.unwrap()
    }

    async fn post_about(&self, customer: &str, name: &str) -> Uuid {
        let event = json!({
            "eventType": "a.b", "customerExternalId": customer, "subject": "user/1",
            "payload": {"name": name}, "metadata": {"name": name},
        });
        let accepted = self.api("POST", "/v1/events", Some(event)).await;
        accepted["eventId"].as_str().unwrap().parse().unwrap()
    }

    /// Everything that Kafka has: topic, headers and value.
    fn records(&self) -> Vec<(String, String, Vec<u8>)> {
        let connection = Connection::new(self.var("PUSHRAIL_KAFKA"));
        let consumer: BaseConsumer = connection.reader("pushrail-test").create().unwrap();
        let within = std::time::Duration::from_secs(10);
        let metadata = consumer.fetch_metadata(None, within).unwrap();
        let (mut partitions, mut left) = (TopicPartitionList::new(), 0);
        for topic in metadata
            .topics()
            .iter()
            .filter(|t| !t.name().starts_with("__"))
        {
            for partition in topic.partitions() {
                let (name, id) = (topic.name(), partition.id());
                let (low, high) = consumer.fetch_watermarks(name, id, within).unwrap();
                if low < high {
                    let begin = Offset::Beginning;
                    partitions.add_partition_offset(name, id, begin).unwrap();
                    left += 1;
                }
            }
        }
        consumer.assign(&partitions).unwrap();
        let mut records = Vec::new();
        while left > 0 {
            match consumer.poll(within).expect("all of it arrives") {
                Ok(record) => {
                    let headers = format!("{:?}", record.headers().map(|h| h.detach()));
                    let value = record.payload().unwrap_or_default().to_vec();
                    records.push((record.topic().to_owned(), headers, value));
                }
                Err(KafkaError::PartitionEOF(_)) => left -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        records
    }
}

/// Of three events with a name in them one is erased while it waits for its next attempt.
#[tokio::test]
async fn what_was_erased_can_be_read_on_no_topic_and_everything_else_goes_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let dev = Dev::start(&folder).await;
    let on = json!({"encryption": "on"});
    dev.api("PATCH", "/v1/tenant", Some(on)).await;
    dev.add_destination("c1", "/fail/503").await;
    dev.add_destination("c2", "/ok").await;
    let url = format!("{}/ok", dev.var("PUSHRAIL_ECHO_URL"));
    let picky = json!({
        "kind": "webhook", "config": {"url": url},
        "filter": {"path": "payload.name", "op": "prefix", "value": "Bob"},
        "transform": [{"set": {"path": "payload.greeting", "value": "Hello"}}],
    });
    let path = "/v1/customers/c3/destinations";
    let picky = dev.api("POST", path, Some(picky)).await;
    let picky = picky["destinationId"].as_str().unwrap();
    let events = |records: Vec<(String, String, Vec<u8>)>| {
        let events = records.into_iter().filter(|(topic, ..)| {
            let carries = ["deliver.", "retry.", "dlq."];
            topic == "events" || carries.iter().any(|start| topic.starts_with(start))
        });
        let events = events.map(|(topic, _, value)| (topic, Event::parse(value.into()).unwrap()));
        events.collect::<Vec<_>>()
    };
    wait_for("ingest to seal", async || {
        let probe = dev.post_about("probe", "nobody").await;
        let all = events(dev.records());
        let (_, event) = all.iter().find(|(_, event)| event.event_id() == probe)?;
        event.sealing().map(|_| ())
    })
    .await;
    let doomed = dev.post_about("c1", "Jane Doe").await;
    let kept = dev.post_about("c1", "John Roe").await;
    let done = dev.post_about("c2", "Ann Poe").await;
    let passes = dev.post_about("c3", "Bob Coe").await;
    let filtered = dev.post_about("c3", "Max Foe").await;
    dev.received(&doomed.to_string(), 503).await;
    dev.received(&kept.to_string(), 503).await;
    dev.received(&done.to_string(), 200).await;
    dev.received(&passes.to_string(), 200).await;
    let what = json!({"eventId": doomed});
    let erasure = dev.api("POST", "/v1/erasures", Some(what)).await;
    let path = format!("/v1/erasures/{}", erasure["erasureId"].as_str().unwrap());
    wait_for("the erasure", async || {
        let shown = dev.api("GET", &path, None).await;
        (shown["state"] == "finished").then_some(())
    })
    .await;
    // What was owed is not tried for ever, and not lost without a word.
    let path = format!("/v1/deliveries?eventId={doomed}");
    let ended = wait_for("the erased delivery to end", async || {
        let page = dev.api("GET", &path, None).await;
        let newest = page["items"][0].clone();
        (newest["state"] == "dead").then_some(newest)
    })
    .await;
    assert_eq!(
        (&ended["class"], &ended["code"]),
        (&json!("erased"), &json!("erased"))
    );
    let destination = ended["destinationId"].as_str().unwrap();
    let path = format!("/v1/customers/c1/destinations/{destination}/dead-letters?state=erased");
    let letter = wait_for("its dead letter", async || {
        let page = dev.api("GET", &path, None).await;
        page["items"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&letter["reason"], &letter["eventId"]),
        (&json!("erased"), &json!(doomed))
    );
    // The other is shown to whoever may see it, and is tried on.
    let path = format!("/v1/deliveries?eventId={kept}");
    let page = dev.api("GET", &path, None).await;
    let path = format!(
        "/v1/deliveries/{}",
        page["items"][0]["deliveryId"].as_str().unwrap()
    );
    let shown = dev.api("GET", &path, None).await;
    assert_eq!(shown["payload"]["json"], json!({"name": "John Roe"}));
    wait_for("the next attempt at the other", async || {
        let shown = dev.api("GET", &path, None).await;
        (shown["attempts"].as_array().unwrap().len() > 1).then_some(())
    })
    .await;
    // Filter and transform saw into it; so does a replay of what was accepted, of all but what is gone.
    let path = format!("/v1/deliveries?eventId={passes}");
    let page = dev.api("GET", &path, None).await;
    let path = format!(
        "/v1/deliveries/{}",
        page["items"][0]["deliveryId"].as_str().unwrap()
    );
    let shown = dev.api("GET", &path, None).await;
    let changed = json!({"name": "Bob Coe", "greeting": "Hello"});
    assert_eq!(shown["payload"]["json"], changed);
    let page = dev
        .api("GET", &format!("/v1/deliveries?eventId={filtered}"), None)
        .await;
    assert_eq!(page["items"][0]["class"], "filtered");
    for (customer, destination, sent, skipped) in [
        ("c1", destination, 1, json!({"erased": 1})),
        ("c3", picky, 1, json!({"filtered": 1})),
    ] {
        let replays = format!("/v1/customers/{customer}/destinations/{destination}/replays");
        let all =
            json!({"source": "events", "filter": {"since": "2026-01-01T00:00:00Z"}, "start": true});
        let replay = dev.api("POST", &replays, Some(all)).await;
        let path = format!("{replays}/{}", replay["replayId"].as_str().unwrap());
        let ended = wait_for("the replay", async || {
            let shown = dev.api("GET", &path, None).await;
            (shown["state"] == "finished").then_some(shown)
        })
        .await;
        assert_eq!(
            (&ended["sent"], &ended["skipped"]),
            (&json!(sent), &skipped)
        );
    }
    let records = dev.records();
    assert!(records.iter().any(|(topic, ..)| topic == "dlq.webhook"));
    for (topic, headers, value) in &records {
        for name in [
            "Jane Doe", "John Roe", "Ann Poe", "Bob Coe", "Max Foe", "user/1",
        ] {
            let shows = value
                .windows(name.len())
                .any(|bytes| bytes == name.as_bytes());
            assert!(!shows && !headers.contains(name), "{topic} shows {name}");
        }
    }
    // With the keys that are left, all but the erased one open.
    let ring = std::fs::read_to_string(folder.join("key-ring")).unwrap();
    let connection = Connection::new(dev.var("PUSHRAIL_KAFKA"));
    let directory = Directory::start(&connection, Interest::payload_keys()).unwrap();
    directory.ready().await;
    let keys = PayloadKeys::new(directory, Some(Arc::new(ring.trim().parse().unwrap())));
    let mut seen = HashMap::new();
    for (topic, event) in events(records) {
        let customer = event.customer_external_id();
        let customer_id = pushrail_schemas::identity::customer_id("dev", customer);
        let owner = pushrail_payload_keys::owner(&event, customer_id);
        let Some(sealing) = event.sealing() else {
            assert_eq!(customer, "probe", "{topic}");
            continue;
        };
        let opened = match keys.key("dev", &owner, sealing) {
            Lookup::Key(key) => {
                let opened = pushrail_payload_keys::opened(&event, &key).unwrap();
                Some(String::from_utf8(opened.payload().to_vec()).unwrap())
            }
            Lookup::Erased => None,
            Lookup::Unknown => panic!("{topic}: the key is known"),
        };
        seen.entry(event.event_id())
            .or_insert_with(Vec::new)
            .push((topic, opened));
    }
    let gone = &seen[&doomed];
    assert!(gone.iter().all(|(_, opened)| opened.is_none()), "{gone:?}");
    assert!(
        gone.iter().any(|(topic, _)| topic.starts_with("retry.")),
        "{gone:?}"
    );
    for (event, name) in [(kept, "John Roe"), (done, "Ann Poe")] {
        let all = &seen[&event];
        let expected = json!({ "name": name }).to_string();
        assert!(
            all.iter()
                .all(|(_, opened)| opened.as_deref() == Some(&*expected)),
            "{all:?}"
        );
    }
}

#[test]
fn the_url_of_a_database_is_a_secret() {
    let parent = tempfile::tempdir().unwrap();
    let run = |url: &str| {
        let mut command = dev(&parent.path().join("data"), 0);
        let output = command.args(["--print-config", "--database", url]).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let shown = run("postgres://u:hunter2@127.0.0.1/d");
    assert!(
        shown.contains("database ") && !shown.contains("hunter2"),
        "{shown}"
    );
    let refused = run("mysql://u:hunter2@127.0.0.1/d");
    assert!(
        refused.contains("--database")
            && refused.contains("postgres://")
            && !refused.contains("hunter2"),
        "{refused}"
    );
}

#[test]
fn a_missing_java_is_said_before_anything_is_started() {
    let parent = tempfile::tempdir().unwrap();
    let error = refused(dev(&parent.path().join("data"), 0).env("JAVA_HOME", "/nowhere"));
    assert!(
        error.contains("JAVA_HOME") && error.contains("openjdk-17") && error.contains("--database"),
        "{error}"
    );
}

#[test]
fn a_taken_port_is_named_with_the_flag() {
    let parent = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().min(65_529);
    let error = refused(&mut dev(&parent.path().join("data"), port));
    assert!(
        error.contains(&port.to_string()) && error.contains("--port 0"),
        "{error}"
    );
}
