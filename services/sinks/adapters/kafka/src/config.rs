//! What a customer says about a Kafka topic. One declaration: parsing, form, docs.

use std::collections::BTreeMap;

use pushrail_sink_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which topic of which cluster, as whom, and by which key.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Brokers to begin with, separated by commas: `broker-1.example.com:9093,broker-2.example.com:9093`. They name the others,
    /// which must be reachable from Pushrail as well.
    #[schemars(length(min = 1, max = 2048))]
    pub bootstrap_servers: Box<str>,
    /// The topic. It must be there: Pushrail makes none.
    #[schemars(length(min = 1, max = 249))]
    pub topic: Box<str>,
    /// How Pushrail names itself to the brokers.
    #[serde(default)]
    pub authentication: Authentication,
    /// What becomes the key of a record. Records with one key stay in one partition, in order.
    #[serde(default)]
    pub key: Key,
    /// How batches are compressed. Consumers unpack each of them by themselves; Azure Event Hubs takes `none` and `gzip` only.
    #[serde(default)]
    pub compression: Compression,
    #[serde(default)]
    pub tls: Tls,
    /// Certificate authorities (PEM) that are trusted for this destination beside the public ones.
    #[serde(default)]
    pub ca_certificates: Option<Box<str>>,
    /// Certificate (PEM) that Pushrail shows to the brokers, with its chain; the private key is the secret `clientKey`.
    #[serde(default)]
    pub client_certificate: Option<Box<str>>,
}

/// How Pushrail names itself to the brokers.
// `None` has braces because serde overlooks unknown fields beside a variant without them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Authentication {
    /// Not by SASL: by its certificate, where one is given.
    None {},
    /// User name and the secret `password` (SASL `PLAIN`): Confluent Cloud, Azure Event Hubs.
    Plain { username: Box<str> },
    /// User name and the secret `password` (SASL `SCRAM-SHA-256`).
    #[serde(rename = "scram_sha_256")]
    ScramSha256 { username: Box<str> },
    /// User name and the secret `password` (SASL `SCRAM-SHA-512`): Amazon MSK, most clusters of one's own.
    #[serde(rename = "scram_sha_512")]
    ScramSha512 { username: Box<str> },
    /// An access token of OAuth 2.0 client credentials (SASL `OAUTHBEARER`); the client's secret is the secret `clientSecret`.
    Oauthbearer(OAuth2),
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication::None {}
    }
}

/// Where an access token comes from.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OAuth2 {
    /// The authorization server's token endpoint.
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub token_url: Box<str>,
    #[schemars(length(min = 1))]
    pub client_id: Box<str>,
    /// Scopes to ask for, separated by spaces.
    #[serde(default)]
    pub scope: Option<Box<str>>,
    /// The API that the token is for, where the authorization server wants to know.
    #[serde(default)]
    pub audience: Option<Box<str>>,
    /// How the client proves itself to the token endpoint.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// What is sent to the brokers beside the token (RFC 7628), such as `logicalCluster` and `identityPoolId` of Confluent Cloud.
    #[serde(default)]
    pub extensions: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// `Authorization: Basic` (what every authorization server must support).
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
}

/// What becomes the key of a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Key {
    /// The customer: all its events in order.
    CustomerExternalId {},
    /// The event's id, for topics that are compacted.
    EventId {},
    /// The event's idempotency key; its id where it has none.
    IdempotencyKey {},
    /// A value of the payload, such as the order that an event is about. An event without it gets the customer as its key.
    Payload {
        /// JSON pointer (RFC 6901) to a string, a number or a boolean: `/order/id`.
        #[schemars(length(min = 1, max = 255))]
        path: Box<str>,
    },
    /// No key: records are spread over all partitions, in no order.
    None {},
}

impl Default for Key {
    fn default() -> Self {
        Key::CustomerExternalId {}
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Always, and each broker's certificate must be valid for the name under which the cluster knows it.
    #[default]
    Required,
    /// Never. Only where the operator allows plaintext.
    Off,
}

/// What nobody may read back.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Client secret of OAuth 2.0.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// Private key (PEM: PKCS #8, PKCS #1 or SEC 1) of the client certificate.
    #[serde(default)]
    pub client_key: Option<Secret>,
}
