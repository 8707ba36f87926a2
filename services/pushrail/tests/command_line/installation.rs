//! A cluster with the fixed topics, a control plane with a tenant, a key ring, and the program run against them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

use pushrail_store::{Scope, Store, outbox};
use pushrail_testkit::{Cluster, database, wait_for};
use serde_json::Value;
use tokio::sync::{OnceCell, RwLock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pushrail");
const ADMIN_KEY: &str = "the-operators-key-of-these-tests";

/// Held to write by the test that says that nothing is written, and by the one that seals what is there anew.
pub(crate) static QUIET: RwLock<()> = RwLock::const_new(());

/// A cluster for the tests of this file, with the fixed topics, a control plane with a tenant, and a key ring.
pub(crate) struct Installation {
    pub(crate) cluster: Cluster,
    pub(crate) env: BTreeMap<&'static str, String>,
    _control: Child,
}

pub(crate) async fn installation() -> &'static Installation {
    static SHARED: OnceCell<Installation> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let (cluster, database_url) = tokio::join!(Cluster::private(), database());
            let ring = text(&run(Command::new(PROGRAM).args(["key-ring", "new"])));
            let control = free_address();
            let mut env = BTreeMap::from([
                ("PUSHRAIL_KAFKA", cluster.bootstrap.clone()),
                ("PUSHRAIL_REGISTRY", cluster.registry_url.clone()),
                ("PUSHRAIL_KEY_RING", ring.trim().to_owned()),
                ("PUSHRAIL_DATABASE_URL", database_url),
                ("PUSHRAIL_ADMIN_KEY", ADMIN_KEY.to_owned()),
                ("PUSHRAIL_CONTROL_URL", format!("http://{control}")),
                ("PUSHRAIL_REPLICATION_FACTOR", "1".to_owned()),
                ("PUSHRAIL_MIN_INSYNC_REPLICAS", "1".to_owned()),
                ("PUSHRAIL_ALLOW_NETWORKS", "127.0.0.0/8".to_owned()),
                ("PUSHRAIL_ALLOW_PLAINTEXT", "true".to_owned()),
            ]);
            let applied = Command::new(PROGRAM)
                .args(["topology", "apply"])
                .envs(&env)
                .output();
            assert!(applied.unwrap().status.success());
            let started = start_control(control, &env).await;
            let mut added = Command::new(PROGRAM);
            added.args(["admin", "tenant", "add", "acme", "--json"]);
            let added = text(&run(added.envs(&env)));
            let added: Value = serde_json::from_str(&added).unwrap();
            let key = added["apiKey"].as_str().unwrap().to_owned();
            env.insert("PUSHRAIL_API_KEY", key);
            Installation {
                cluster,
                env,
                _control: started,
            }
        })
        .await
}

/// A control plane that ends with this process, however that ends: its shell reads from a pipe of ours until then.
async fn start_control(listen: SocketAddr, env: &BTreeMap<&'static str, String>) -> Child {
    let ops = free_address();
    let child = Command::new("sh")
        .args(["-c", "\"$0\" \"$@\" & read -r _; kill $!", PROGRAM])
        .args(["control", "--log", "warn", "--listen", &listen.to_string()])
        .args(["--ops-listen", &ops.to_string()])
        // One after the other, hundreds of requests within a second are no flood here.
        .args(["--requests-per-second", "1000"])
        .envs(env)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the control plane to be ready", async || {
        let answer = reqwest::get(format!("http://{ops}/readyz")).await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    child
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

impl Installation {
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(line.split(' '))
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// What a command prints, which must end well.
    pub(crate) fn ok(&self, line: &str) -> String {
        text(&run(&mut self.command(line)))
    }

    /// What a command says when it refuses.
    pub(crate) fn refused(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(!output.status.success(), "{line} passed");
        assert!(output.stdout.is_empty(), "{line}: {}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        let printed = self.ok(&format!("{line} --json"));
        serde_json::from_str(printed.trim())
            .unwrap_or_else(|error| panic!("{line}: {error}: {printed}"))
    }

    /// Waits until Kafka was told all that the database has decided.
    pub(crate) async fn told(&self) {
        let store = Store::new(&self.env["PUSHRAIL_DATABASE_URL"], 1).unwrap();
        wait_for("the outbox to be empty", async || {
            let mut tx = store.begin(Scope::System).await.unwrap();
            let (waiting, _) = outbox::waiting(&mut tx).await.unwrap();
            (waiting == 0).then_some(())
        })
        .await;
        store.close().await;
    }

    /// Where the `config` topic ends, once everything is told.
    pub(crate) async fn config_end(&self) -> i64 {
        self.told().await;
        let records = self.cluster.read_all("config").await;
        records
            .iter()
            .map(|record| record.offset)
            .max()
            .unwrap_or(-1)
    }
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
