//! `pushrail dev` as a person meets it: the program, its folder, Ctrl-C, a crash, and what it says when it cannot start.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushrail_testkit::{wait_for, wait_until};

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
