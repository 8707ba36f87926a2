//! What can go wrong. No error ever contains a password.

use rdkafka::error::KafkaError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} cannot name a tenant")]
    Tenant(String),
    /// Not made here, so not ours to change.
    #[error("{0:?} is no user that Pushrail made")]
    ForeignUser(String),
    #[error("a user without any right would be of no use")]
    NoRight,
    #[error("a limit must be at least 1 byte/s")]
    Limit,
    #[error("SCRAM takes {min} to {max} iterations, not {0}", min = crate::ITERATIONS.start(), max = crate::ITERATIONS.end())]
    Iterations(u32),
    /// It was revoked, or never granted anything.
    #[error("the user {0} has no access")]
    NotGranted(String),
    /// Kafka answered, and said no.
    #[error("Kafka refused to {doing} {of}: {code}: {reason}")]
    Refused {
        doing: &'static str,
        of: String,
        /// Kafka's name of the error, such as `CLUSTER_AUTHORIZATION_FAILED`.
        code: String,
        reason: String,
    },
    /// Kafka did not answer; what was asked for may have been done all the same, and may be asked for again.
    #[error("could not {doing} {of}: {reason}")]
    NoAnswer {
        doing: &'static str,
        of: String,
        reason: String,
    },
    #[error("Kafka client: {0}")]
    Client(KafkaError),
    #[error("the system gave no random bytes")]
    Random,
}
