//! What a customer says about a queue. One declaration: parsing, form, docs.

use pushrail_aws::Authentication;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where messages go.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// URL of the queue, such as `https://sqs.eu-central-1.amazonaws.com/123456789012/events`. One that ends in `.fifo` gets
    /// its messages in order, customer by customer.
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub queue_url: Box<str>,
    /// Region of the queue, where its URL does not name it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 32))]
    pub region: Option<Box<str>>,
    /// How Pushrail is let in.
    pub authentication: Authentication,
    /// What a FIFO queue knows a repeat by.
    #[serde(default)]
    pub deduplication: Deduplication,
    /// Address of another service that speaks SQS's API, or of an endpoint in your network. By default AWS's own in the region.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2048), extend("format" = "uri"))]
    pub endpoint: Option<Box<str>>,
}

/// What a FIFO queue knows a repeat by, within its five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deduplication {
    /// The event's id, which is made of its type and its idempotency key where it has one: the same event has the same id.
    #[default]
    EventId,
    /// The idempotency key as it was sent, and the event's id where there is none. Events of different types must then not
    /// share a key: the queue would drop the second.
    IdempotencyKey,
}
