//! What a reply means. Pure: tested as a table.

use std::time::Duration;

use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict, Verdicts};

use crate::failure::Failure;

/// What one call came to: for each record nothing, or why PostHog has it not; and what it answered last.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) records: Vec<Option<Failure>>,
    pub(crate) evidence: Evidence,
}

pub(crate) fn classify(reply: Reply, sent: usize) -> Outcome {
    let verdict = |failure: &Option<Failure>| failure.as_ref().map_or(Verdict::Delivered, verdict);
    let mut verdicts: Verdicts = reply.records.iter().map(verdict).collect();
    // A record without a result would be a defect of this crate.
    verdicts.resize_with(sent, || self::verdict(&Failure::Undecided));
    Outcome {
        verdicts,
        evidence: reply.evidence,
    }
}

fn verdict(failure: &Failure) -> Verdict {
    let retry = |code, detail: &'static str| Verdict::Retry {
        fault: Fault::destination(code, detail),
        after: None,
    };
    match failure {
        Failure::Timeout => retry("timeout", "PostHog did not answer before the deadline"),
        Failure::Network(failure) => failure.verdict(),
        Failure::Payload => Verdict::Reject {
            fault: Fault::record(
                "invalid_payload",
                "the payload or the metadata is not a JSON object",
            ),
        },
        Failure::Undecided => Verdict::Retry {
            fault: Fault::record(
                "undecided",
                "time ran out while events that PostHog refuses were looked for",
            ),
            after: None,
        },
        Failure::Status {
            status,
            retry_after,
        } => of_status(*status, *retry_after),
    }
}

fn of_status(status: u16, after: Option<Duration>) -> Verdict {
    let says = || format!("PostHog answered {status}");
    let retry = |code| Verdict::Retry {
        fault: Fault::destination(code, says()),
        after,
    };
    let suspend = |code| Verdict::Suspend {
        fault: Fault::destination(code, says()),
    };
    let reject = |code| Verdict::Reject {
        fault: Fault::record(code, says()),
    };
    match status {
        200..=299 => Verdict::Delivered,
        401 | 403 => suspend("project_key_rejected"),
        // Redirects are not followed: whoever answers with one is somebody else, or has moved.
        300..=399 | 404 | 405 | 410 => suspend("not_posthog"),
        408 | 425 | 429 => retry("throttled"),
        400 | 422 => reject("event_refused"),
        413 => reject("event_too_large"),
        402..=499 => reject("refused"),
        _ => retry("service_unavailable"),
    }
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::Class;

    use super::*;
    use crate::failure::FAILURES;

    #[test]
    fn every_status_has_its_class_and_is_declared() {
        for status in 100..600 {
            let wanted = match status {
                200..=299 => Class::Delivered,
                401 | 403 | 300..=399 | 404 | 405 | 410 => Class::Suspended,
                408 | 425 | 429 | 500.. | ..=199 => Class::Transient,
                400..=499 => Class::Permanent,
            };
            let verdict = of_status(status, None);
            assert_eq!(verdict.class(), wanted, "{status}");
            if let Some(fault) = verdict.fault() {
                let declared = FAILURES.iter().find(|f| f.code == fault.code);
                assert_eq!(declared.map(|f| f.class), Some(wanted), "{status}");
            }
        }
    }

    #[test]
    fn what_posthog_asks_to_wait_is_handed_on() {
        let after = Some(Duration::from_secs(7));
        let verdict = of_status(429, after);
        assert!(matches!(verdict, Verdict::Retry { after: asked, .. } if asked == after));
    }

    #[test]
    fn each_record_has_a_verdict_of_its_own() {
        let reply = Reply {
            records: vec![None, Some(Failure::Payload), Some(Failure::Timeout)],
            evidence: Evidence::default(),
        };
        let verdicts = classify(reply, 4).verdicts;
        let classes: Vec<_> = verdicts.iter().map(Verdict::class).collect();
        use Class::{Delivered, Permanent, Transient};
        assert_eq!(classes, [Delivered, Permanent, Transient, Transient]);
    }
}
