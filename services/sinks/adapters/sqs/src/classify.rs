//! What a reply means. Pure: tested as a table.

use std::sync::Arc;

use bytes::Bytes;
use pushrail_aws::{Failure, Refusal};
use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict, Verdicts};

/// What one batch came to.
#[derive(Debug)]
pub struct Reply {
    /// One a record.
    pub results: Vec<Result>,
    /// Why those that are [`Result::NotSent`] were not.
    pub failed: Option<Failure>,
    /// Whether the credentials are a role's.
    pub temporary: bool,
    /// What a policy must allow.
    pub needs: Arc<str>,
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// The queue has it.
    Sent { message_id: Box<str> },
    /// The queue does not take this one.
    Refused {
        code: Box<str>,
        message: Box<str>,
        /// Whether SQS says that it is the sender's fault.
        ours: bool,
    },
    /// It is larger than a message may be, and was not sent.
    TooLarge { len: usize },
    /// Its call failed as a whole, or was not made after one that did.
    NotSent,
    /// The answer does not name it.
    Unanswered,
}

pub(crate) fn classify(reply: &Reply, sent: usize) -> Outcome {
    let whole = reply.failed.as_ref().map(|failure| verdict(failure, reply));
    let of = |result: &Result| match result {
        Result::Sent { .. } => Verdict::Delivered,
        Result::Refused {
            code,
            message,
            ours,
        } => entry(code, message, *ours),
        Result::TooLarge { len } => Verdict::Reject {
            fault: Fault::record(
                "too_large",
                format!("the message has {len} bytes with its attributes; SQS takes 262144"),
            ),
        },
        Result::NotSent => whole.clone().unwrap_or_else(unanswered),
        Result::Unanswered => unanswered(),
    };
    let verdicts = reply
        .results
        .iter()
        .map(of)
        .chain(std::iter::repeat_with(unanswered));
    Outcome {
        verdicts: verdicts.take(sent).collect::<Verdicts>(),
        evidence: evidence(reply),
    }
}

fn unanswered() -> Verdict {
    Verdict::Retry {
        fault: Fault::destination("unanswered", "SQS did not say what became of this message"),
        after: None,
    }
}

/// What SQS says of one message of a batch.
fn entry(code: &str, message: &str, ours: bool) -> Verdict {
    let said = format!("SQS answered {code}: {message}");
    let refusal = Refusal {
        code: code.into(),
        ..Refusal::default()
    };
    use pushrail_aws::Meaning;
    match (refusal.meaning(), ours) {
        (Meaning::Throttled, _) => Verdict::Retry {
            fault: Fault::destination("throttled", said),
            after: None,
        },
        (_, true) => Verdict::Reject {
            fault: Fault::record("message_refused", said),
        },
        (_, false) => Verdict::Retry {
            fault: Fault::destination("unavailable", said),
            after: None,
        },
    }
}

fn verdict(failure: &Failure, reply: &Reply) -> Verdict {
    failure.verdict(particular, reply.temporary, &reply.needs)
}

/// What SQS alone says, of a call as a whole.
fn particular(refusal: &Refusal) -> Option<Verdict> {
    let suspend = |code| Verdict::Suspend {
        fault: Fault::destination(code, refusal.said()),
    };
    Some(match refusal.name() {
        "QueueDoesNotExist" | "NonExistentQueue" => suspend("no_such_queue"),
        "QueueDeletedRecently" => Verdict::Retry {
            fault: Fault::destination("unavailable", refusal.said()),
            after: refusal.retry_after,
        },
        "KmsAccessDenied" | "KmsDisabled" | "KmsInvalidKeyUsage" | "KmsInvalidState"
        | "KmsNotFound" | "KmsOptInRequired" => suspend("key_refused"),
        "InvalidAddress"
        | "UnsupportedOperation"
        | "MissingParameter"
        | "InvalidParameterValue" => suspend("not_a_queue"),
        // A batch that the adapter cut wrongly, or a limit of the queue's own.
        "BatchRequestTooLong" => Verdict::Reject {
            fault: Fault::destination("too_large", refusal.said()),
        },
        _ if refusal.code.is_empty() && refusal.status == 404 => suspend("no_such_queue"),
        _ => return None,
    })
}

/// The messages' ids in the queue, or what SQS said.
fn evidence(reply: &Reply) -> Evidence {
    if let Some(failure) = &reply.failed {
        return failure.evidence();
    }
    let mut text = String::new();
    for result in &reply.results {
        let line = match result {
            Result::Sent { message_id } => format!("message {message_id}\n"),
            Result::Refused { code, message, .. } => format!("{code}: {message}\n"),
            _ => continue,
        };
        if text.len() + line.len() <= Evidence::EXCERPT_LEN_MAX {
            text.push_str(&line);
        }
    }
    let answered = reply
        .results
        .iter()
        .any(|r| matches!(r, Result::Sent { .. } | Result::Refused { .. }));
    Evidence {
        status_code: answered.then_some(200),
        headers: None,
        excerpt: Bytes::from(text.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::{Blame, Class};

    use super::*;
    use crate::FAILURES;

    fn reply(results: Vec<Result>, failed: Option<Failure>) -> Reply {
        Reply {
            results,
            failed,
            temporary: false,
            needs: "allow it".into(),
        }
    }

    fn told(verdict: &Verdict) -> (Class, String) {
        let fault = verdict.fault().expect("a failure");
        let class = verdict.class();
        let declared = FAILURES.iter().find(|known| known.code == fault.code);
        let declared = declared.unwrap_or_else(|| panic!("{} is not declared", fault.code));
        assert_eq!(declared.class, class, "{}", fault.code);
        (class, fault.code.to_string())
    }

    #[test]
    fn what_sqs_says_of_a_call_becomes_of_all_its_messages() {
        use Class::{Permanent, Suspended, Transient};
        let table = [
            (
                400,
                "AWS.SimpleQueueService.NonExistentQueue",
                Suspended,
                "no_such_queue",
            ),
            (
                400,
                "com.amazonaws.sqs#QueueDoesNotExist",
                Suspended,
                "no_such_queue",
            ),
            (400, "QueueDoesNotExist", Suspended, "no_such_queue"),
            (404, "", Suspended, "no_such_queue"),
            (
                400,
                "AWS.SimpleQueueService.QueueDeletedRecently",
                Transient,
                "unavailable",
            ),
            (403, "AccessDenied", Suspended, "access_denied"),
            (403, "AccessDeniedException", Suspended, "access_denied"),
            (400, "KMS.AccessDeniedException", Suspended, "access_denied"),
            (400, "KmsAccessDenied", Suspended, "key_refused"),
            (400, "KmsDisabled", Suspended, "key_refused"),
            (400, "KmsThrottled", Transient, "throttled"),
            (400, "RequestThrottled", Transient, "throttled"),
            (400, "ThrottlingException", Transient, "throttled"),
            (
                403,
                "InvalidClientTokenId",
                Suspended,
                "credentials_rejected",
            ),
            (403, "InvalidSecurity", Suspended, "credentials_rejected"),
            (400, "ExpiredToken", Suspended, "credentials_rejected"),
            (400, "UnsupportedOperation", Suspended, "not_a_queue"),
            (400, "MissingParameter", Suspended, "not_a_queue"),
            (
                400,
                "AWS.SimpleQueueService.BatchRequestTooLong",
                Permanent,
                "too_large",
            ),
            (500, "InternalFailure", Transient, "unavailable"),
            (400, "SomethingNew", Permanent, "refused"),
        ];
        for (status, code, class, expected) in table {
            let failure = Failure::Refused(Box::new(Refusal {
                status,
                code: code.into(),
                ..Refusal::default()
            }));
            let outcome = classify(&reply(vec![Result::NotSent; 3], Some(failure)), 3);
            for verdict in &outcome.verdicts {
                assert_eq!(told(verdict), (class, expected.to_owned()), "{code}");
            }
            assert_eq!(outcome.evidence.status_code, Some(status));
        }
    }

    #[test]
    fn each_message_has_the_verdict_that_its_entry_says() {
        use Class::{Permanent, Transient};
        let refused = |code: &str, ours| Result::Refused {
            code: code.into(),
            message: "because".into(),
            ours,
        };
        let table = [
            (
                refused("InvalidMessageContents", true),
                Permanent,
                "message_refused",
            ),
            (refused("InternalError", false), Transient, "unavailable"),
            (refused("RequestThrottled", true), Transient, "throttled"),
            (Result::TooLarge { len: 300_000 }, Permanent, "too_large"),
            (Result::Unanswered, Transient, "unanswered"),
        ];
        for (result, class, code) in table {
            let sent = Result::Sent {
                message_id: "m-1".into(),
            };
            let outcome = classify(&reply(vec![sent, result], None), 2);
            assert_eq!(outcome.verdicts[0], Verdict::Delivered);
            assert_eq!(told(&outcome.verdicts[1]), (class, code.to_owned()));
            assert!(outcome.evidence.excerpt.starts_with(b"message m-1"));
        }
        let poison = classify(
            &reply(vec![refused("InvalidMessageContents", true)], None),
            1,
        );
        assert_eq!(poison.verdicts[0].fault().unwrap().blame, Blame::Record);
    }

    #[test]
    fn a_part_that_fails_takes_nothing_from_one_that_did_not() {
        let sent = Result::Sent {
            message_id: "m-1".into(),
        };
        let outcome = classify(
            &reply(vec![sent, Result::NotSent], Some(Failure::Timeout)),
            3,
        );
        assert_eq!(outcome.verdicts[0], Verdict::Delivered);
        assert_eq!(told(&outcome.verdicts[1]).1, "timeout");
        assert_eq!(
            told(&outcome.verdicts[2]).1,
            "unanswered",
            "every record has a verdict"
        );
    }
}
