//! A cluster with the fixed topics, a tenant and a key ring, and the program run against it.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use pushrail_testkit::Cluster;
use serde_json::Value;
use tokio::sync::{OnceCell, RwLock};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pushrail");

/// Held to write by the test that says that nothing is written, and by the one that seals what is there anew.
pub(crate) static QUIET: RwLock<()> = RwLock::const_new(());

/// A cluster for the tests of this file, with the fixed topics, a tenant and a key ring.
pub(crate) struct Installation {
    pub(crate) cluster: Cluster,
    pub(crate) env: BTreeMap<&'static str, String>,
}

pub(crate) async fn installation() -> &'static Installation {
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

    /// Where the `config` topic ends.
    pub(crate) async fn config_end(&self) -> i64 {
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
