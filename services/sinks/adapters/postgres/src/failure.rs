//! How a call can go wrong, and the table of everything that a customer may read about it.

use pushrail_egress::bounded;
use pushrail_sink_core::{Class, FailureClass};
use tokio_postgres::error::SqlState;

/// Why a call, or a row, came to nothing. Says nothing secret, and nothing of a row but what PostgreSQL's own message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline came first, ours or the server's.
    Timeout,
    /// No connection, or none any more.
    Network(pushrail_egress::Failure),
    /// The server offers no TLS.
    NoTls,
    /// The server answered with an error.
    Server(Box<Answer>),
    /// What the server answered is not PostgreSQL, or more than a call may bring.
    Protocol,
    /// Time ran out before it was clear which rows the server refuses.
    Undecided,
    /// A payload that is not text.
    NotText,
    /// There is nothing to sign a token of AWS IAM with.
    Access(Box<pushrail_aws::Failure>),
}

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SQLSTATE.
    pub state: Box<str>,
    pub message: Box<str>,
    /// What would mend it, as a statement to paste.
    pub remedy: Option<Box<str>>,
}

/// Whom an error of the server is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Something in a row: the others may pass.
    Row,
    /// The table, or our right to it.
    Table,
    /// The call, at this time.
    Call,
}

impl Failure {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(error) = error.as_db_error() {
            return Failure::Server(Box::new(Answer {
                state: error.code().code().into(),
                message: bounded(error.message().to_owned()),
                remedy: None,
            }));
        }
        if error.is_closed() {
            return Failure::Network(pushrail_egress::Failure::ConnectionLost);
        }
        let source = std::error::Error::source(error);
        match source.and_then(|inner| inner.downcast_ref::<std::io::Error>()) {
            Some(error) if error.kind() == std::io::ErrorKind::InvalidData => Failure::Protocol,
            Some(error) => Failure::Network(pushrail_egress::Failure::from_io(error)),
            None => Failure::Protocol,
        }
    }

    /// The connection can be used again.
    pub(crate) fn leaves_connection(&self) -> bool {
        matches!(
            self,
            Failure::Server(_) | Failure::Undecided | Failure::NotText
        )
    }
}

impl Answer {
    pub(crate) fn is(&self, state: &SqlState) -> bool {
        *self.state == *state.code()
    }

    pub(crate) fn about(&self) -> About {
        match &self.state[..2] {
            // Data exceptions, broken constraints, cardinality, what a trigger or a policy raised, a row too large.
            "22" | "23" | "21" | "44" | "54" | "P0" => About::Row,
            "42" | "3F" => About::Table,
            _ => About::Call,
        }
    }
}

/// Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.
pub const FAILURES: &[FailureClass] = &FailureClass::concat::<
    { OWN.len() + pushrail_egress::FAILURES.len() },
>(&[OWN, &pushrail_egress::FAILURES]);

#[rustfmt::skip]
const OWN: &[FailureClass] = {
    use Class::{Permanent, Suspended, Transient};
    const fn entry(code: &'static str, class: Class, meaning: &'static str, advice: &'static str) -> FailureClass {
        FailureClass::new(code, class, meaning, advice)
    }
    &[
        entry("timeout", Transient, "The transaction was not committed before the deadline.", "Look for locks and load on the database, or raise the timeout."),
        entry("tls_not_offered", Suspended, "The server does not offer TLS.", "Turn on `ssl` on the server."),
        entry("authentication_rejected", Suspended, "The server refuses this user or password.", "Correct `user` and `password`, or what pg_hba.conf says, then resume the destination."),
        entry("role_refused", Suspended, "The role that signs tokens of AWS IAM could not be assumed.", "Check the role's ARN, and that its trust policy names Pushrail's principal and this customer's id as `sts:ExternalId`; then resume the destination."),
        entry("sts_unavailable", Transient, "AWS's token service failed or asked for fewer requests.", "Nothing to do: it is retried."),
        entry("operator_credentials", Transient, "This Pushrail installation has no valid AWS credentials of its own to assume roles with.", "Tell the operator of Pushrail, or use a pair of access keys."),
        entry("clock_skew", Transient, "Pushrail's clock and AWS's differ too much.", "Nothing to do: the operator of Pushrail has to correct its clock."),
        entry("database_missing", Suspended, "The database does not exist.", "Correct `database` or create it, then resume the destination."),
        entry("schema_missing", Suspended, "The schema does not exist.", "Run the statement in the message, then resume the destination."),
        entry("permission_denied", Suspended, "The user lacks a privilege.", "Run the GRANT in the message, then resume the destination."),
        entry("table_unfit", Suspended, "The table has not the columns that are written, or no primary key on event_id.", "Compare it with the table in the guide, or name another one."),
        entry("table_missing", Permanent, "The table does not exist, and tables are not to be created.", "Run the statement in the message, then replay."),
        entry("invalid_data", Permanent, "PostgreSQL cannot store a value of this event, such as the character U+0000.", "See the message; mend the event at its source, or drop the field with a transform, then replay."),
        entry("constraint_violated", Permanent, "A constraint of the table refuses this row.", "See the message; mend the constraint, then replay."),
        entry("refused_by_database", Permanent, "A trigger or a policy of the database refuses this row.", "See the message; mend the trigger, then replay."),
        entry("row_too_large", Permanent, "The row is beyond one of PostgreSQL's limits.", "See the message; drop an index on large values, or a field with a transform, then replay."),
        entry("conflict", Transient, "The transaction lost against another one (deadlock or serialization).", "Nothing to do, unless it repeats."),
        entry("too_many_connections", Transient, "The server or the user has no connection left.", "Raise the limit, or close what holds connections."),
        entry("server_unavailable", Transient, "The server is starting, stopping or out of a resource.", "See the server's log."),
        entry("read_only", Transient, "The server is a replica that takes no writes; perhaps it is about to take over.", "Let `host` name the primary."),
        entry("server_error", Transient, "The server answered with another error.", "See the message and the server's log."),
        entry("undecided", Transient, "Time ran out while rows that the server refuses were looked for; this one is tried again.", "Mend what the rejected events have in common."),
        entry("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
    ]
};
