//! How a call can go wrong, and the table of everything that a customer may read about it.

use std::time::Duration;

use pushrail_sink_core::{Class, FailureClass};

/// Why a call, or an event, came to nothing. Says nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline came first.
    Timeout,
    /// No connection, or none any more.
    Network(pushrail_egress::Failure),
    /// PostHog answered with something else than 2xx.
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The payload or the metadata is no JSON object.
    Payload,
    /// Time ran out before it was clear which events PostHog refuses.
    Undecided,
}

impl Failure {
    /// It may be about a few events alone: the others may pass.
    pub(crate) fn is_about_events(&self) -> bool {
        matches!(
            self,
            Failure::Status {
                status: 400 | 413 | 422,
                ..
            }
        )
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
        entry("timeout", Transient, "PostHog did not answer before the deadline.", "Look at status.posthog.com or at your instance, or raise the timeout."),
        entry("throttled", Transient, "PostHog wants fewer requests.", "Nothing to do, unless it repeats: then give the destination a rate limit."),
        entry("service_unavailable", Transient, "PostHog answered with a server error.", "Look at status.posthog.com or at your instance."),
        entry("undecided", Transient, "Time ran out while events that PostHog refuses were looked for; this one is tried again.", "Mend what the rejected events have in common."),
        entry("project_key_rejected", Suspended, "PostHog refuses this project API key.", "Copy the project's API key from its settings into `projectApiKey`."),
        entry("not_posthog", Suspended, "There is no PostHog at this address, or it has moved.", "Correct `instanceUrl`: the address of the instance, without a path that ends in /batch/."),
        entry("event_refused", Permanent, "PostHog refuses this event.", "See the response; mend the event at its source or with a transform, then replay."),
        entry("event_too_large", Permanent, "The event is larger than PostHog takes.", "Drop large fields with a transform, then replay."),
        entry("invalid_payload", Permanent, "The payload or the metadata is not a JSON object.", "Mend the event at its source, then replay."),
        entry("refused", Permanent, "PostHog answered with another client error.", "See the response."),
        entry("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
    ]
};
