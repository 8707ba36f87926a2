//! The broker's configuration: what a development broker needs, and why it differs from Kafka's defaults.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Listener, absolute};
use crate::Error;

/// What all nodes share.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) folder: PathBuf,
    pub(super) heap_mib: u32,
    pub(super) properties: Vec<(String, String)>,
    /// Of the first node.
    pub(super) listeners: Vec<Listener>,
}

/// One node: a broker, and a controller where it has a controller's port.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: u16,
    pub(super) port: u16,
    pub(super) sasl_port: u16,
    pub(super) controller_port: Option<u16>,
}

impl Shape {
    pub(super) fn properties_file(&self, node: &Node) -> PathBuf {
        self.folder.join(format!("server-{}.properties", node.id))
    }

    pub(super) fn log4j_file(&self) -> PathBuf {
        self.folder.join("log4j.properties")
    }

    pub(super) fn log(&self, node: &Node) -> PathBuf {
        self.folder.join(format!("kafka-{}.log", node.id))
    }

    pub(super) fn meta_properties(&self, node: &Node) -> PathBuf {
        self.data(node).join("meta.properties")
    }

    fn data(&self, node: &Node) -> PathBuf {
        self.folder.join(format!("data-{}", node.id))
    }

    /// Writes the files that `node` starts from. They are ours: an edit is lost at the next start.
    pub(super) fn write(&self, node: &Node, nodes: &[Node]) -> Result<(), Error> {
        let path = self.properties_file(node);
        std::fs::write(&path, self.properties(node, nodes)).map_err(Error::io("write", &path))?;
        let path = self.log4j_file();
        std::fs::write(&path, LOG4J).map_err(Error::io("write", &path))
    }

    fn properties(&self, node: &Node, nodes: &[Node]) -> String {
        let voters: Vec<String> = nodes
            .iter()
            .filter_map(|node| Some(format!("{}@127.0.0.1:{}", node.id, node.controller_port?)))
            .collect();
        let replicas = nodes.len().min(3);
        let mut advertised = format!(
            "PLAINTEXT://127.0.0.1:{},SASL://127.0.0.1:{}",
            node.port, node.sasl_port
        );
        let mut listeners = advertised.clone();
        let mut protocols =
            "PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for further in self.listeners.iter().filter(|_| node.id == 1) {
            let (name, port) = (&further.name, further.port);
            let _ = write!(listeners, ",{name}://127.0.0.1:{port}");
            let _ = write!(advertised, ",{name}://{}", further.advertised);
            let _ = write!(protocols, ",{name}:{}", further.protocol);
        }
        if let Some(port) = node.controller_port {
            let _ = write!(listeners, ",CONTROLLER://127.0.0.1:{port}");
        }
        let mut text = String::from("# Written by Pushrail at every start.\n");
        let mut put = |name: &str, value: &str| {
            // The last of two lines for one name counts, so what is passed through comes last.
            let _ = writeln!(text, "{name}={}", value.replace('\\', "\\\\"));
        };
        put(
            "process.roles",
            if node.controller_port.is_some() {
                "broker,controller"
            } else {
                "broker"
            },
        );
        put("node.id", &node.id.to_string());
        put("controller.quorum.voters", &voters.join(","));
        put("listeners", &listeners);
        put("advertised.listeners", &advertised);
        put("inter.broker.listener.name", "PLAINTEXT");
        put("controller.listener.names", "CONTROLLER");
        put("listener.security.protocol.map", &protocols);
        put("log.dirs", &absolute(&self.data(node)).to_string_lossy());
        for name in [
            "default.replication.factor",
            "offsets.topic.replication.factor",
            "transaction.state.log.replication.factor",
            "share.coordinator.state.topic.replication.factor",
        ] {
            put(name, &replicas.to_string());
        }
        for name in [
            "transaction.state.log.min.isr",
            "share.coordinator.state.topic.min.isr",
        ] {
            put(name, if replicas == 3 { "2" } else { "1" });
        }
        for (name, value) in FIXED.iter().copied() {
            put(name, value);
        }
        for (name, value) in &self.properties {
            put(name, value);
        }
        text
    }
}

const FIXED: &[(&str, &str)] = &[
    // Topics are declared in topology/ and made by `topology apply`; a typing mistake must not make one.
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.num.partitions", "12"),
    ("transaction.state.log.num.partitions", "4"),
    // The ledger keeps finished offsets in the commit's metadata; this is the most that the protocol can carry.
    ("offset.metadata.max.bytes", "32767"),
    // Whoever comes in by the SASL listener may do what an ACL grants, and nothing else.
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "false"),
    // Nobody has a name on the plaintext listeners. Those are ours alone: they are internal and listen on loopback, so whoever
    // reaches them is on this machine, where the data could be read from the disk. A listener that is reachable from elsewhere
    // must never leave its clients anonymous.
    ("super.users", "User:ANONYMOUS"),
    (
        "listener.name.sasl.sasl.enabled.mechanisms",
        "SCRAM-SHA-512",
    ),
    // A listener has a login module of its own or does not start.
    (
        "listener.name.sasl.scram-sha-512.sasl.jaas.config",
        "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    ),
    // A connection shows its credential again before it is this old, or ends: one that was opened with a credential that is
    // gone, or with a password that was replaced, lives no longer than that. (Taking the ACLs away refuses it at once.)
    ("connections.max.reauth.ms", "60000"),
    // A killed member is noticed within 6 s instead of 45.
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "2000"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.initial.rebalance.delay.ms", "0"),
    // A killed broker may come back under its id only when its old session has ended: 9 s by default.
    ("broker.session.timeout.ms", "6000"),
    ("broker.heartbeat.interval.ms", "1000"),
    // 128 MiB by default, a third of the heap.
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    // Sized for two cores that also run everything else.
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("background.threads", "4"),
    ("num.recovery.threads.per.data.dir", "2"),
    // Deleting a topic frees its space at once instead of a minute later.
    ("log.segment.delete.delay.ms", "1000"),
];

const LOG4J: &str = "log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
log4j.logger.org.apache.kafka.common.config.AbstractConfig=WARN
log4j.logger.org.apache.kafka.controller=WARN
";
