//! Apache Kafka in KRaft mode: one node, or several for tests of replication and broker loss.
//!
//! Each broker has two listeners on loopback: the internal one, on which everybody may do everything, and one with SASL
//! (SCRAM-SHA-512), on which a user may do what an ACL grants.

mod configuration;
mod probe;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::process::Process;
use crate::{Artifacts, Error, Java, ports};
use configuration::{Node, Shape};

const SERVER: &str = "Kafka";
/// A cold disk and a busy machine have been seen to need 20 s.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A broker that hands over and closes its logs needs 1 to 2 s.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Several brokers that stop together take the quorum from under each other, and the last would wait for it in vain.
const STOP_CLUSTER_WITHIN: Duration = Duration::from_secs(4);
/// How often free ports are drawn again when somebody else took one in between.
const PORT_TRIES: u32 = 3;

/// How a Kafka is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: PathBuf,
    port: u16,
    sasl_port: u16,
    brokers: u16,
    heap_mib: u32,
    properties: Vec<(String, String)>,
    listeners: Vec<Listener>,
}

/// A further listener of the first broker. What its protocol needs (mechanisms, logins, key stores) are properties that begin
/// with `listener.name.<name>.`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// In capitals.
    pub name: String,
    /// `SSL`, `SASL_SSL`, `PLAINTEXT` or `SASL_PLAINTEXT`.
    pub protocol: &'static str,
    /// Where it listens, on loopback.
    pub port: u16,
    /// Where clients are told to go, as `host:port`: to a proxy in front of it, or astray.
    pub advertised: String,
}

impl Builder {
    /// Port of the first broker; 0, the default, finds a free one. Further brokers always get free ones.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Port of the first broker's SASL listener; 0, the default, finds a free one. Further brokers always get free ones.
    pub fn sasl_port(mut self, port: u16) -> Self {
        self.sasl_port = port;
        self
    }

    /// Number of brokers, 1 by default. With 3 or more, internal topics are replicated and the first three are the quorum.
    pub fn brokers(mut self, brokers: u16) -> Self {
        self.brokers = brokers.max(1);
        self
    }

    /// Largest heap of each broker in MiB; 384 by default.
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }

    /// A further listener.
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Any broker property; wins over those that are set here.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Formats the folder when it is new, starts the brokers, and returns when all of them serve.
    pub async fn start(self) -> Result<Kafka, Error> {
        let (java, artifacts) = (Java::find()?, Artifacts::find_or_fetch()?);
        std::fs::create_dir_all(&self.folder)
            .map_err(Error::io("create the folder", &self.folder))?;
        let mut tries = PORT_TRIES;
        loop {
            tries -= 1;
            let nodes = self.nodes()?;
            let mut kafka = Kafka {
                java: java.clone(),
                artifacts: artifacts.clone(),
                shape: self.shape(),
                running: nodes.iter().map(|_| None).collect(),
                nodes,
            };
            kafka.prepare().await?;
            match kafka.run().await {
                Err(error) if error.lost_its_port() && tries > 0 => continue,
                Err(error) => return Err(error),
                Ok(()) => return Ok(kafka),
            }
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            folder: self.folder.clone(),
            heap_mib: self.heap_mib,
            properties: self.properties.clone(),
            listeners: self.listeners.clone(),
        }
    }

    fn nodes(&self) -> Result<Vec<Node>, Error> {
        let controllers = if self.brokers < 3 { 1 } else { 3 };
        (1..=self.brokers)
            .map(|id| {
                Ok(Node {
                    id,
                    port: ports::claim(SERVER, if id == 1 { self.port } else { 0 })?,
                    sasl_port: ports::claim(SERVER, if id == 1 { self.sasl_port } else { 0 })?,
                    controller_port: if id <= controllers {
                        Some(ports::claim(SERVER, 0)?)
                    } else {
                        None
                    },
                })
            })
            .collect()
    }
}

/// A running Kafka. Dropping it kills the brokers; [`Kafka::stop`] lets them close their logs.
#[derive(Debug)]
pub struct Kafka {
    java: Java,
    artifacts: Artifacts,
    shape: Shape,
    nodes: Vec<Node>,
    /// By node; `None` is one that was stopped.
    running: Vec<Option<Process>>,
}

impl Kafka {
    /// A Kafka that keeps everything in `folder`.
    pub fn builder(folder: impl Into<PathBuf>) -> Builder {
        Builder {
            folder: folder.into(),
            port: 0,
            sasl_port: 0,
            brokers: 1,
            heap_mib: 384,
            properties: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Addresses of all brokers, as `bootstrap.servers` takes them. They stay the same over a restart.
    pub fn bootstrap(&self) -> String {
        self.addresses(|node| node.port)
    }

    /// As [`Kafka::bootstrap`], of the listeners that want SASL.
    pub fn sasl_bootstrap(&self) -> String {
        self.addresses(|node| node.sasl_port)
    }

    fn addresses(&self, port: impl Fn(&Node) -> u16) -> String {
        let addresses: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", port(node)))
            .collect();
        addresses.join(",")
    }

    /// Port of the first broker.
    pub fn port(&self) -> u16 {
        self.nodes[0].port
    }

    /// Process ids of the brokers that run.
    pub fn pids(&self) -> Vec<u32> {
        self.running.iter().flatten().map(Process::pid).collect()
    }

    /// An error when a broker has ended by itself.
    pub fn alive(&self) -> Result<(), Error> {
        self.running.iter().flatten().try_for_each(Process::alive)
    }

    /// Stops all brokers in order: they close their logs, so that the next start need not recover them.
    pub async fn stop(&mut self) {
        let within = if self.nodes.len() > 1 {
            STOP_CLUSTER_WITHIN
        } else {
            STOP_WITHIN
        };
        futures::future::join_all(
            self.running
                .iter_mut()
                .flatten()
                .map(|process| process.stop(within)),
        )
        .await;
        self.running.iter_mut().for_each(|process| *process = None);
    }

    /// Kills all brokers, as a power cut would (what the kernel holds is not lost).
    pub async fn kill(&mut self) {
        futures::future::join_all(self.running.iter_mut().flatten().map(Process::kill)).await;
        self.running.iter_mut().for_each(|process| *process = None);
    }

    /// Starts what does not run, on the same ports and the same data; returns when all brokers serve.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.run().await
    }

    /// Kills one broker of several, counted from 0.
    pub async fn kill_broker(&mut self, index: usize) {
        if let Some(mut process) = self.running[index].take() {
            process.kill().await;
        }
    }

    async fn prepare(&self) -> Result<(), Error> {
        let cluster_id = self.cluster_id()?;
        for node in &self.nodes {
            self.shape.write(node, &self.nodes)?;
            if !self.shape.meta_properties(node).exists() {
                self.format(node, &cluster_id).await?;
            }
        }
        Ok(())
    }

    /// The id of the cluster that the folder belongs to, drawn once.
    fn cluster_id(&self) -> Result<String, Error> {
        let path = self.shape.folder.join("cluster.id");
        match std::fs::read_to_string(&path) {
            Ok(id) => Ok(id.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
                // Kafka's tools take a leading dash for an option.
                let id = id.replacen('-', "A", usize::from(id.starts_with('-')));
                std::fs::write(&path, &id).map_err(Error::io("write", &path))?;
                Ok(id)
            }
            Err(source) => Err(Error::Io {
                what: "read",
                path,
                source,
            }),
        }
    }

    async fn format(&self, node: &Node, cluster_id: &str) -> Result<(), Error> {
        let mut command = self.command(128);
        command.arg("kafka.tools.StorageTool").args([
            "format",
            "--ignore-formatted",
            "-t",
            cluster_id,
            "-c",
        ]);
        command.arg(self.shape.properties_file(node));
        let log = self.shape.folder.join("format.log");
        let mut process = Process::spawn("Kafka's format tool", command, &log).await?;
        match tokio::time::timeout(READY_WITHIN, process.finished()).await {
            Ok(true) => Ok(()),
            Ok(false) => process.alive(),
            Err(_) => Err(Error::NotReady {
                server: SERVER,
                waited_s: READY_WITHIN.as_secs(),
                log,
            }),
        }
    }

    /// Starts every node that does not run and waits until all of them serve.
    async fn run(&mut self) -> Result<(), Error> {
        for (index, node) in self.nodes.iter().enumerate() {
            if self.running[index].is_none() {
                let mut command = self.command(self.shape.heap_mib);
                command
                    .arg("kafka.Kafka")
                    .arg(self.shape.properties_file(node));
                self.running[index] =
                    Some(Process::spawn(SERVER, command, &self.shape.log(node)).await?);
            }
        }
        self.ready().await
    }

    /// Ready is: every node answers a metadata request, and lists all of them as brokers.
    async fn ready(&self) -> Result<(), Error> {
        let until = Instant::now() + READY_WITHIN;
        for node in &self.nodes {
            while probe::brokers(node.port).await.unwrap_or(0) < self.nodes.len() {
                self.alive()?;
                if Instant::now() > until {
                    let log = self.shape.log(node);
                    return Err(Error::NotReady {
                        server: SERVER,
                        waited_s: READY_WITHIN.as_secs(),
                        log,
                    });
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        Ok(())
    }

    fn command(&self, heap_mib: u32) -> Command {
        let mut command = self.java.command();
        command
            // As Kafka's own script has it, the heap does not start small and grow by full collections of 80 ms each.
            // Pages are taken only as they are touched.
            .args([format!("-Xmx{heap_mib}m"), format!("-Xms{heap_mib}m")])
            // A request is garbage when it is answered. Each collection of the young stops the broker for as long as it takes to
            // copy those that live, however large they are: the larger, the rarer. What has lived through one lives for
            // ever: copied fifteen times over, as is usual, it made each stop last 70 to 200 ms.
            .arg(format!("-Xmn{}m", heap_mib / 2))
            .arg("-XX:MaxTenuringThreshold=1")
            // The cheapest collector: a development broker shares two cores with everything else.
            .args([
                "-XX:+UseSerialGC",
                "-XX:-UsePerfData",
                "-Djava.awt.headless=true",
            ])
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                absolute(&self.shape.log4j_file()).display()
            ))
            .args(["-cp", &self.artifacts.kafka_class_path()]);
        command
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
