//! The command line against a real Kafka and registry: what it makes, what it refuses, and services as processes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushrail_testkit::{Cluster, Receiver, wait_for};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pushrail");

/// Held to write by the test that says that nothing is written, and by the one that seals what is there anew.
static QUIET: RwLock<()> = RwLock::const_new(());

/// A cluster for the tests of this file, with the fixed topics, a tenant and a key ring.
struct Installation {
    cluster: Cluster,
    env: BTreeMap<&'static str, String>,
}

async fn installation() -> &'static Installation {
    static SHARED: OnceCell<Installation> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let cluster = Cluster::private().await;
            let ring = text(&run(Command::new(PROGRAM).args(["key-ring", "new"])));
            let env = BTreeMap::from([
                ("PUSHRAIL_KAFKA", cluster.bootstrap.clone()),
                ("PUSHRAIL_REGISTRY", cluster.registry_url.clone()),
                ("PUSHRAIL_KEY_RING", ring.trim().to_owned()),
                ("PUSHRAIL_TENANT", "acme".to_owned()),
                ("PUSHRAIL_REPLICATION_FACTOR", "1".to_owned()),
                ("PUSHRAIL_MIN_INSYNC_REPLICAS", "1".to_owned()),
                ("PUSHRAIL_ALLOW_NETWORKS", "127.0.0.0/8".to_owned()),
                ("PUSHRAIL_ALLOW_PLAINTEXT", "true".to_owned()),
            ]);
            let made = Installation { cluster, env };
            made.ok("topology apply");
            made.ok("tenant add acme");
            made
        })
        .await
}

impl Installation {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(line.split(' '))
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// What a command prints, which must end well.
    fn ok(&self, line: &str) -> String {
        text(&run(&mut self.command(line)))
    }

    /// What a command says when it refuses.
    fn refused(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(!output.status.success(), "{line} passed");
        assert!(output.stdout.is_empty(), "{line}: {}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, line: &str) -> Value {
        let printed = self.ok(&format!("{line} --json"));
        serde_json::from_str(printed.trim())
            .unwrap_or_else(|error| panic!("{line}: {error}: {printed}"))
    }

    /// Where the `config` topic ends.
    async fn config_end(&self) -> i64 {
        let records = self.cluster.read_all("config").await;
        records
            .iter()
            .map(|record| record.offset)
            .max()
            .unwrap_or(-1)
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn what_is_refused_names_the_way_out_and_changes_nothing() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    let before = installation.config_end().await;
    const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
    let table = [
        (
            "destination add --url https://example.com/",
            "customerExternalId (--customer)",
        ),
        ("destination add --customer c1", "config (--config)"),
        (
            "destination add --customer c1 --url ftp://example.com/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://10.0.0.1/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://user:hunter2@example.com/",
            "config.url (--url)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --kind fax",
            "webhook",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --tenant nobody",
            "pushrail tenant add nobody",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --events *.x",
            "eventTypes[0] (--events)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --filter {}",
            "filter (--filter)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --filter {",
            "--filter: not valid JSON",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --transform [{\"shout\":1}]",
            "--transform",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --max-attempts 0",
            "retry.maxAttempts (--max-attempts)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --max-age 48h",
            "retry.maxAgeMs (--max-age)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --rate-limit 0",
            "rateLimit.perSecond (--rate-limit)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --timeout 1h",
            "timeoutMs (--timeout)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --payload-mode some",
            "payloadMode (--payload-mode)",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --config {\"uri\":1}",
            "uri",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --secrets {\"signingSecret\":\"hunter2\"}",
            "secrets.signingSecret",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --key-ring k:hunter2",
            "key ring",
        ),
        (
            "destination add --customer c1 --url https://example.com/ --allow-network 10.0.0.1/8",
            "10.0.0.1/8",
        ),
        ("destination add --from /nowhere.json", "/nowhere.json"),
        (&format!("destination pause {NOBODY}"), NOBODY),
        (&format!("destination remove {NOBODY}"), NOBODY),
        ("destination pause not-an-id", "not-an-id"),
        ("tenant add ACME", "tenantId"),
        ("api-key add --tenant nobody", "pushrail tenant add nobody"),
        ("api-key revoke nobody", "nobody"),
        ("topology apply --replication-factor 3", "3 brokers"),
        ("topology apply --partitions nothing=3", "nothing"),
        ("topology plan --partitions events", "TOPIC=COUNT"),
    ];
    for (line, part) in table {
        let error = installation.refused(line);
        assert!(error.contains(part), "{line}: {error}");
        assert!(
            !error.contains("hunter2") || error.contains("unexpected"),
            "{line}: {error}"
        );
    }
    assert_eq!(
        installation.config_end().await,
        before,
        "something was written"
    );
}

#[tokio::test]
async fn what_was_made_is_listed_changes_state_and_goes() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let added = installation
        .json("destination add --customer listed --url https://example.com/ --events a.*,b");
    let secret = added["signingSecret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let id = added["destination"]["destinationId"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = "destination list --customer listed";
    let listed = installation.json(list);
    assert_eq!(listed["destinationId"], *id);
    assert_eq!(listed["secrets"], "***");
    for record in installation.cluster.read_all("config").await {
        let value =
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        assert!(
            !value.contains(secret),
            "the secret is on the topic in clear"
        );
    }
    for (command, state) in [
        ("pause", "paused"),
        ("resume", "active"),
        ("disable", "disabled"),
    ] {
        let changed = installation.json(&format!("destination {command} {id}"));
        assert_eq!(changed["state"], state);
        let listed = installation.json(list);
        assert_eq!(
            (&listed["state"], &listed["version"]),
            (&json!(state), &json!(1))
        );
    }
    installation.ok(&format!("destination remove {id}"));
    assert_eq!(installation.ok(list), "");

    let key = installation.json("api-key add");
    let (key_id, key) = (key["keyId"].as_str().unwrap(), key["key"].as_str().unwrap());
    let keys = installation.ok("api-key list");
    assert!(keys.contains(key_id) && !keys.contains(key));
    installation.ok(&format!("api-key revoke {key_id}"));
    assert!(!installation.ok("api-key list").contains(key_id));
}

#[tokio::test]
async fn many_destinations_are_added_all_or_none() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.json");
    let document = |customer: usize, url: &str| {
        json!({"customerExternalId": format!("many-{customer}"), "config": {"url": url}})
            .to_string()
    };
    let mut documents: Vec<String> = (0..300)
        .map(|n| document(n, "https://example.com/"))
        .collect();
    documents.push(document(300, "ftp://example.com/"));
    let add = format!("destination add --from {}", file.display());
    let count = || {
        installation
            .ok("destination list")
            .lines()
            .filter(|line| line.contains("/many-"))
            .count()
    };
    std::fs::write(&file, documents.join("\n")).unwrap();
    let error = installation.refused(&add);
    assert!(error.contains("destination 301 of the document"), "{error}");
    assert_eq!(count(), 0);
    documents.pop();
    std::fs::write(&file, documents.join("\n")).unwrap();
    let printed = installation.ok(&add);
    assert_eq!(printed.matches("whsec_").count(), 300);
    assert_eq!(count(), 300);
}

#[tokio::test]
async fn after_a_rotation_nothing_needs_the_old_key() {
    let installation = installation().await;
    let _turn = QUIET.write().await;
    installation.ok("destination add --customer rotated --url https://example.com/");
    let old = &installation.env["PUSHRAIL_KEY_RING"];
    let new = installation.ok("key-ring new");
    let both = format!("{},{old}", new.trim());
    let reseal = |ring: &str| {
        installation
            .command("key-ring reseal --json")
            .env("PUSHRAIL_KEY_RING", ring)
            .output()
            .unwrap()
    };
    let first: Value = serde_json::from_slice(&reseal(&both).stdout).unwrap();
    assert!(first["resealed"].as_u64().unwrap() >= 1, "{first}");
    assert_eq!(first["failed"], 0);
    // Back again, so that the other tests find what they sealed; this also shows that the new key alone opens all.
    let back = format!("{old},{}", new.trim());
    let second: Value = serde_json::from_slice(&reseal(&back).stdout).unwrap();
    assert_eq!(second["failed"], 0);
    let without = reseal(new.trim());
    assert!(!without.status.success(), "the old key is needed again");
}

/// A service as a process, killed when it is dropped.
struct Service {
    name: &'static str,
    child: Child,
    ops: SocketAddr,
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

impl Service {
    fn start(installation: &Installation, name: &'static str, line: &str) -> Service {
        let ops = free_address();
        let line = format!("{line} --workers 1 --ops-listen {ops} --log warn");
        let child = installation.command(&line).spawn().unwrap();
        Service { name, child, ops }
    }

    async fn ready(&mut self) {
        let url = format!("http://{}/readyz", self.ops);
        wait_for(&format!("{} to be ready", self.name), async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            reqwest::get(&url)
                .await
                .ok()
                .filter(|answer| answer.status() == 200)
                .map(drop)
        })
        .await;
    }

    async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("http://{}/metrics", self.ops))
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    async fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = wait_for(&format!("{} to end", self.name), async || {
            self.child.try_wait().unwrap()
        })
        .await;
        assert_eq!(status.code(), Some(0), "{}", self.name);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn services_alone_deliver_an_event_show_it_and_drain_on_sigterm() {
    let installation = installation().await;
    let _turn = QUIET.read().await;
    let receiver = Receiver::start().await;
    installation.ok(&format!(
        "destination add --customer alone --url {}",
        receiver.url("/hook")
    ));
    let key = installation.json("api-key add");
    let listen = free_address();
    let mut services = [
        Service::start(installation, "ingest", &format!("ingest --listen {listen}")),
        Service::start(installation, "router", "router"),
        Service::start(installation, "sink", "sink --kind webhook"),
        Service::start(installation, "retry", "retry"),
    ];
    for service in &mut services {
        service.ready().await;
    }
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = reqwest::Client::new()
        .post(format!("http://{listen}/v1/events"))
        .bearer_auth(key["key"].as_str().unwrap())
        .header("traceparent", traceparent)
        .json(&json!({"eventType": "order.completed", "customerExternalId": "alone", "payload": {"total": 42}}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let event: Value = answer.json().await.unwrap();
    let requests = receiver.wait("/hook", 1).await;
    assert_eq!(requests[0].header("webhook-id"), event["eventId"].as_str());
    // Nothing is traced here, so the publisher's own context goes through untouched.
    assert_eq!(requests[0].header("traceparent"), Some(traceparent));
    for (service, metric) in services.iter().zip([
        "pushrail_ingest_events_accepted_total{origin=\"http\"} 1",
        "pushrail_router_deliveries_total 1",
        "pushrail_sink_records_total 1",
        "pushrail_retry_partitions ",
    ]) {
        let what = format!("{metric} of {}", service.name);
        wait_for(&what, async || {
            service.metrics().await.contains(metric).then_some(())
        })
        .await;
    }
    for service in services {
        service.terminate().await;
    }
}
