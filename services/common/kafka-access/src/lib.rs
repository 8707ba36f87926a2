//! Who may use Kafka directly, and for what: a vendor's own user, its rights, its limits and its password.
//!
//! [`Access`] gives a tenant a user that may write to `events.direct.<tenant>` and, where it is asked for, read
//! `audit.attempts.<tenant>` with groups of its own. Kafka refuses everything else by itself: nothing of ours stands between a
//! vendor and its brokers. This crate makes and takes away users; it makes no topics (`pushrail-topology` does), keeps no
//! record of what it gave (the caller does) and stores no password.
//!
//! # What a cluster needs
//!
//! - A listener with SASL for vendors, of which `SCRAM-SHA-512` is an enabled mechanism, with TLS wherever it is more than
//!   loopback. Vendors must reach no other listener.
//! - `authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer` and
//!   `allow.everyone.if.no.acl.found=false`. Pushrail's own principal needs `ALTER` on the cluster to use this crate.
//! - `connections.max.reauth.ms`: a connection that was opened with a password that is gone lives that long at most. Taking
//!   rights away does not wait for it.
//! - Limits. Kafka has them by user and broker, and librdkafka cannot set them. This crate does it by itself where its
//!   connection to the cluster is plaintext; else it leaves them to the cluster ([`Access::limits_are_set`]), whose operator
//!   sets a default for all users once, and more for Pushrail's own user:
//!   `kafka-configs.sh --alter --entity-type users --entity-default --add-config producer_byte_rate=...,consumer_byte_rate=...`.
//!
//! # Names
//!
//! A user is `psh-<tenant>-<16 hexadecimal digits>`, its groups begin with `psh-<tenant>.`; see [`User`].

mod access;
mod acl;
mod client;
mod error;
mod native;
mod password;
mod quota;
mod user;

pub use access::{Access, Grant, Granted, ITERATIONS, ITERATIONS_DEFAULT};
pub use client::{Listener, java_properties, librdkafka_properties};
pub use error::Error;
pub use password::Password;
pub use quota::Limits;
pub use user::User;
