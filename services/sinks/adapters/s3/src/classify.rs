//! What a reply means. Pure: tested as a table.

use std::sync::Arc;

use bytes::Bytes;
use pushrail_aws::{Failure, Refusal};
use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict, Verdicts};

/// What one call came to.
#[derive(Debug)]
pub struct Reply {
    pub parts: Vec<Part>,
    pub bucket: Box<str>,
    /// Whether the credentials are a role's.
    pub temporary: bool,
    /// What a policy must allow.
    pub needs: Arc<str>,
}

/// What became of one object.
#[derive(Debug)]
pub struct Part {
    /// Places in the batch of the records that are in it.
    pub records: Vec<usize>,
    /// The key under which it is there now.
    pub result: Result<String, Failure>,
}

pub(crate) fn classify(reply: &Reply, sent: usize) -> Outcome {
    let forgotten = Verdict::Retry {
        fault: Fault::us("internal", "the record was in no object"),
        after: None,
    };
    let mut verdicts = Verdicts::from_elem(forgotten, sent);
    for part in &reply.parts {
        let verdict = match &part.result {
            Ok(_) => Verdict::Delivered,
            Err(failure) => verdict(failure, reply),
        };
        for at in &part.records {
            if let Some(of) = verdicts.get_mut(*at) {
                *of = verdict.clone();
            }
        }
    }
    Outcome {
        verdicts,
        evidence: evidence(reply),
    }
}

fn verdict(failure: &Failure, reply: &Reply) -> Verdict {
    failure.verdict(particular, reply.temporary, &reply.needs)
}

/// What S3 alone says.
fn particular(refusal: &Refusal) -> Option<Verdict> {
    let said = || refusal.said();
    let suspend = |code| Verdict::Suspend {
        fault: Fault::destination(code, said()),
    };
    Some(match refusal.name() {
        "NoSuchBucket" => suspend("no_such_bucket"),
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException" => suspend("wrong_region"),
        "InvalidBucketName" | "InvalidBucketState" | "MethodNotAllowed" => suspend("not_a_bucket"),
        name if name.starts_with("KMS.") || name.starts_with("Kms") || is_kms(refusal) => {
            suspend("key_refused")
        }
        "EntityTooLarge" | "KeyTooLongError" | "MetadataTooLarge" => Verdict::Reject {
            fault: Fault::record("too_large", said()),
        },
        "NotImplemented" => suspend("not_implemented"),
        // Another call writes the same object at this moment.
        "ConditionalRequestConflict" | "OperationAborted" => Verdict::Retry {
            fault: Fault::destination("conflict", said()),
            after: refusal.retry_after,
        },
        // What was sent is not what arrived.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody"
        | "XAmzContentChecksumMismatch" => Verdict::Retry {
            fault: Fault::destination("corrupted", said()),
            after: None,
        },
        _ if refusal.status == 301 || refusal.status == 307 => suspend("wrong_region"),
        _ if refusal.status == 404 => suspend("no_such_bucket"),
        _ if refusal.status == 409 => Verdict::Retry {
            fault: Fault::destination("conflict", said()),
            after: refusal.retry_after,
        },
        _ if refusal.status == 413 => Verdict::Reject {
            fault: Fault::record("too_large", said()),
        },
        _ => return None,
    })
}

/// Codes of KMS come as `KMS.DisabledException`, of which a name is only what follows the dot.
fn is_kms(refusal: &Refusal) -> bool {
    refusal.code.starts_with("KMS.") && refusal.name() != "ThrottlingException"
}

/// What was written where, or what the service said of the first object that was not.
fn evidence(reply: &Reply) -> Evidence {
    let failures = reply
        .parts
        .iter()
        .filter_map(|part| part.result.as_ref().err());
    if let Some(failure) = failures.into_iter().next() {
        return failure.evidence();
    }
    let mut written = String::new();
    for key in reply
        .parts
        .iter()
        .filter_map(|part| part.result.as_ref().ok())
    {
        let line = format!("s3://{}/{key}\n", reply.bucket);
        if written.len() + line.len() <= Evidence::EXCERPT_LEN_MAX {
            written.push_str(&line);
        }
    }
    Evidence {
        status_code: Some(200),
        headers: None,
        excerpt: Bytes::from(written.trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pushrail_sink_core::{Blame, Class};

    use super::*;
    use crate::FAILURES;

    fn refused(status: u16, code: &str) -> Failure {
        Failure::Refused(Box::new(Refusal {
            status,
            code: code.into(),
            message: "because".into(),
            ..Refusal::default()
        }))
    }

    fn reply(results: Vec<Result<String, Failure>>) -> Reply {
        let part = |(at, result)| Part {
            records: vec![at],
            result,
        };
        Reply {
            parts: results.into_iter().enumerate().map(part).collect(),
            bucket: "acme".into(),
            temporary: false,
            needs: "allow it".into(),
        }
    }

    fn told(failure: Failure) -> (Class, String, Blame) {
        let outcome = classify(&reply(vec![Err(failure)]), 1);
        let verdict = &outcome.verdicts[0];
        let fault = verdict.fault().expect("a failure");
        let class = verdict.class();
        let declared = FAILURES.iter().find(|known| known.code == fault.code);
        let declared = declared.unwrap_or_else(|| panic!("{} is not declared", fault.code));
        assert_eq!(declared.class, class, "{}", fault.code);
        (class, fault.code.to_string(), fault.blame)
    }

    #[test]
    fn what_s3_says_is_what_becomes_of_the_batch() {
        use Class::{Permanent, Suspended, Transient};
        let table = [
            (503, "SlowDown", Transient, "throttled"),
            (500, "InternalError", Transient, "unavailable"),
            (503, "ServiceUnavailable", Transient, "unavailable"),
            (403, "AccessDenied", Suspended, "access_denied"),
            (403, "InvalidAccessKeyId", Suspended, "credentials_rejected"),
            (
                403,
                "SignatureDoesNotMatch",
                Suspended,
                "credentials_rejected",
            ),
            (400, "ExpiredToken", Suspended, "credentials_rejected"),
            (404, "NoSuchBucket", Suspended, "no_such_bucket"),
            (404, "", Suspended, "no_such_bucket"),
            (301, "PermanentRedirect", Suspended, "wrong_region"),
            (301, "", Suspended, "wrong_region"),
            (
                400,
                "AuthorizationHeaderMalformed",
                Suspended,
                "wrong_region",
            ),
            (400, "InvalidBucketName", Suspended, "not_a_bucket"),
            (400, "KMS.DisabledException", Suspended, "key_refused"),
            (400, "KMS.NotFoundException", Suspended, "key_refused"),
            (400, "KMS.ThrottlingException", Transient, "throttled"),
            (400, "EntityTooLarge", Permanent, "too_large"),
            (413, "", Permanent, "too_large"),
            (400, "KeyTooLongError", Permanent, "too_large"),
            (501, "NotImplemented", Suspended, "not_implemented"),
            (409, "ConditionalRequestConflict", Transient, "conflict"),
            (400, "BadDigest", Transient, "corrupted"),
            (400, "RequestTimeout", Transient, "unavailable"),
            (400, "InvalidRequest", Permanent, "refused"),
        ];
        for (status, code, class, expected) in table {
            let (found, name, _) = told(refused(status, code));
            assert_eq!((found, &*name), (class, expected), "{status} {code}");
        }
        assert_eq!(told(refused(400, "EntityTooLarge")).2, Blame::Record);
    }

    #[test]
    fn every_declared_code_is_produced_by_something() {
        let mut produced: Vec<_> = pushrail_aws::FAILURES.iter().map(|f| f.code).collect();
        let own = [
            "no_such_bucket",
            "wrong_region",
            "not_a_bucket",
            "key_refused",
            "too_large",
            "not_implemented",
            "conflict",
            "corrupted",
        ];
        produced.extend(own);
        for declared in FAILURES {
            assert!(produced.contains(&declared.code), "{}", declared.code);
        }
    }

    #[test]
    fn each_object_has_its_own_verdict_and_every_record_one() {
        let mut reply = reply(vec![Ok("a".into()), Err(refused(503, "SlowDown"))]);
        reply.parts[0].records = vec![0, 2];
        reply.parts[1].records = vec![1];
        let outcome = classify(&reply, 4);
        let delivered = |at: usize| outcome.verdicts[at] == Verdict::Delivered;
        assert!(delivered(0) && !delivered(1) && delivered(2) && !delivered(3));
        assert_eq!(outcome.evidence.status_code, Some(503));
    }

    #[test]
    fn evidence_says_where_the_events_are_and_stays_short() {
        let key = "x".repeat(700);
        let outcome = classify(&reply(vec![Ok(key.clone()), Ok(key)]), 2);
        assert_eq!(outcome.evidence.status_code, Some(200));
        assert!(outcome.evidence.excerpt.starts_with(b"s3://acme/xxx"));
        assert!(outcome.evidence.excerpt.len() <= Evidence::EXCERPT_LEN_MAX);
        let slow = Refusal {
            status: 503,
            code: "SlowDown".into(),
            retry_after: Some(Duration::from_secs(9)),
            ..Refusal::default()
        };
        let slow = classify(&self::reply(vec![Err(Failure::Refused(slow.into()))]), 1);
        let nine = Some(Duration::from_secs(9));
        assert!(matches!(&slow.verdicts[0], Verdict::Retry { after, .. } if *after == nine));
    }
}
