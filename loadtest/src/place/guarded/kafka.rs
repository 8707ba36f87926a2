//! Passwords of users of a cluster.

use std::path::Path;

use anyhow::Context as _;
use pushrail_kafka::Connection;
use pushrail_kafka_access::{Access, Grant, User};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Guarded;
use crate::place::{Found, kafka};

/// How long a connection is good for that was opened with a password that is gone.
const PROVED_EVERY_MS: &str = "3000";

/// Topics, each with a user that may write to it.
pub struct GuardedKafka {
    server: pushrail_servers::Kafka,
    access: Access,
    users: Vec<(User, String)>,
}

fn customer(number: u32) -> String {
    format!("customer-{number}")
}

/// What the user of a customer may write to.
fn topic(number: u32) -> String {
    pushrail_topology::topics::direct(&customer(number))
}

impl GuardedKafka {
    async fn user(access: &Access, number: u32) -> anyhow::Result<(User, String)> {
        let user = User::draw(&customer(number))?;
        let grant = Grant {
            user: user.clone(),
            write_direct: true,
            read_audit: false,
            producer_bytes_per_s: 1 << 30,
            consumer_bytes_per_s: 1 << 30,
        };
        let password = access.grant(&grant).await?;
        Ok((user, password.expose().to_owned()))
    }
}

impl Guarded for GuardedKafka {
    const KIND: &'static str = "kafka";
    const NAME: &'static str = "Kafka, a password";
    const SERVER: &'static str = kafka::SERVER;

    async fn start(folder: &Path, destinations: u32) -> anyhow::Result<Self> {
        let folder = folder.join(format!("kafka-{}", Uuid::new_v4().simple()));
        let server = pushrail_servers::Kafka::builder(folder).property(
            "listener.name.sasl.scram-sha-512.connections.max.reauth.ms",
            PROVED_EVERY_MS,
        );
        let server = server.start().await?;
        let topics: Vec<String> = (0..destinations).map(topic).collect();
        kafka::create(&server.bootstrap(), &topics).await?;
        let access = Access::connect(&Connection::new(server.bootstrap()))?;
        let mut users = Vec::new();
        for number in 0..destinations {
            users.push(GuardedKafka::user(&access, number).await?);
        }
        Ok(GuardedKafka {
            server,
            access,
            users,
        })
    }

    fn destination(&self, number: u32) -> (Value, Value) {
        let (user, password) = &self.users[number as usize];
        let config = json!({
            "bootstrapServers": self.server.sasl_bootstrap(), "topic": topic(number), "tls": "off",
            "authentication": {"type": "scram_sha_512", "username": user.name()},
        });
        (config, json!({ "password": password }))
    }

    /// A user has one password: the one before ends here, for connections that are opened from now on.
    async fn renew(&mut self, number: u32) -> anyhow::Result<Value> {
        let (user, _) = self.users.get(number as usize).context("a user")?;
        let renewed = match self.access.rotate(user).await {
            Ok(password) => (user.clone(), password.expose().to_owned()),
            // It was taken away.
            Err(pushrail_kafka_access::Error::NotGranted(_)) => {
                GuardedKafka::user(&self.access, number).await?
            }
            Err(error) => return Err(error.into()),
        };
        self.users[number as usize] = renewed;
        let (config, secrets) = self.destination(number);
        Ok(json!({"config": config, "secrets": secrets}))
    }

    async fn retire(&mut self, _: u32) -> anyhow::Result<()> {
        Ok(())
    }

    async fn revoke(&mut self, number: u32) -> anyhow::Result<()> {
        let (user, _) = self.users.get(number as usize).context("a user")?;
        Ok(self.access.revoke(user).await?)
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let topics = (0..self.users.len() as u32).map(topic).collect();
        kafka::found_in(self.server.bootstrap(), topics).await
    }
}
