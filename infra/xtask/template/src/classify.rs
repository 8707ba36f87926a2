//! How a call can go wrong, and what a reply means. Pure: test it as a table.

use pushrail_sink_core::{Class, Evidence, FailureClass, Fault, Outcome, Verdict};

/// Why a record is not there. Says nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// TODO Nothing is sent yet.
    NotWritten,
}

/// What one call came to: for each record nothing, or why it is not there.
#[derive(Clone, Debug)]
pub struct Reply(pub(crate) Vec<Option<Failure>>);

/// Everything that can be wrong with a delivery, as the portal explains it.
pub const FAILURES: &[FailureClass] =
    &FailureClass::concat::<{ OWN.len() + pushrail_egress::FAILURES.len() }>(&[
        OWN,
        &pushrail_egress::FAILURES,
    ]);

#[rustfmt::skip]
const OWN: &[FailureClass] = &[
    FailureClass::new("not_written", Class::Transient, "This destination type sends nothing yet.", "Write `send`."),
    FailureClass::new("invalid_configuration", Class::Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
];

pub(crate) fn classify(Reply(records): Reply, sent: usize) -> Outcome {
    let verdict = |failure: Option<Failure>| match failure {
        None => Verdict::Delivered,
        Some(Failure::NotWritten) => Verdict::Retry {
            fault: Fault::us("not_written", "`send` of this destination type is not written yet"),
            after: None,
        },
    };
    debug_assert_eq!(records.len(), sent);
    Outcome {
        verdicts: records.into_iter().map(verdict).collect(),
        evidence: Evidence::default(),
    }
}
