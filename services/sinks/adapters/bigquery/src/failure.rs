//! How a call can go wrong, and the table of everything that a customer may read about it.

use pushrail_google::Failure as Google;
use pushrail_sink_core::{Class, FailureClass};

/// Why a call, or a row, came to nothing. Says nothing secret, and nothing of a row but what BigQuery's own message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What any service of Google's can say, or not say.
    Google(Box<Google>),
    /// The table is not there, and is not to be made.
    TableMissing {
        said: Box<str>,
        /// What makes it.
        statement: Box<str>,
    },
    DatasetMissing(Box<str>),
    /// The table's columns are not those that are written.
    TableUnfit(Box<str>),
    /// It was made or mended just now, and BigQuery does not know it yet.
    TableNotReady,
    /// Streams ended as soon as they began.
    StreamLost,
    /// BigQuery refuses this row.
    Row(Box<str>),
    /// More bytes than an append takes.
    TooLarge(usize),
    /// A payload that is not text.
    NotText,
}

impl From<Google> for Failure {
    fn from(failure: Google) -> Self {
        Failure::Google(Box::new(failure))
    }
}

/// Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.
pub const FAILURES: &[FailureClass] = &FailureClass::concat::<
    { OWN.len() + pushrail_google::FAILURES.len() },
>(&[OWN, &pushrail_google::FAILURES]);

#[rustfmt::skip]
pub(crate) const OWN: &[FailureClass] = {
    use Class::{Permanent, Suspended, Transient};
    const fn entry(code: &'static str, class: Class, meaning: &'static str, advice: &'static str) -> FailureClass {
        FailureClass::new(code, class, meaning, advice)
    }
    &[
        entry("dataset_missing", Suspended, "The dataset does not exist in this project.", "Correct `project` and `dataset` or create it, then resume the destination."),
        entry("table_missing", Permanent, "The table does not exist, and tables are not to be created.", "Run the statement in the message, then replay."),
        entry("table_unfit", Suspended, "The table has not the columns that are written, or not with their types.", "Run the statement in the message, compare the table with the one in the guide, or name another one; then resume the destination."),
        entry("table_not_ready", Transient, "The table was created or got a column a moment ago, and BigQuery does not take rows for it yet.", "Nothing to do: it is retried."),
        entry("stream_lost", Transient, "BigQuery ended the stream that rows were appended to.", "Nothing to do, unless it repeats: then look for what deletes and creates the table."),
        entry("invalid_row", Permanent, "BigQuery refuses a value of this event, such as a number that its JSON cannot hold exactly.", "See the message; mend the event at its source or the table's columns, or drop the field with a transform, then replay."),
        entry("row_too_large", Permanent, "The row has more bytes than BigQuery takes at once (10 MB).", "Drop a field with a transform, then replay."),
    ]
};
