//! What a reply means. Pure: tested as a table.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict, Verdicts};

use crate::failure::{Failure, Phase};

/// What one call came to: an answer, a failure, or an answer's head and then a failure.
#[derive(Debug, Default)]
pub struct Reply {
    pub answer: Option<Box<Answer>>,
    pub failure: Option<Failure>,
}

/// What a receiver answered.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// Lines of `name: value` without credentials.
    pub headers: Box<str>,
    /// The start of the body.
    pub excerpt: Bytes,
    /// From `Retry-After`, already bounded.
    pub retry_after: Option<Duration>,
    /// The request carried an OAuth 2.0 token that an earlier call had got.
    pub token_reused: bool,
}

pub(crate) fn classify(reply: Reply, sent: usize) -> Outcome {
    let verdict = match (&reply.answer, &reply.failure) {
        // The head said 2xx and the body never ended in time: the deadline covers the body.
        (_, Some(failure @ Failure::Timeout(_))) => failed(failure),
        // The receiver has decided; that it then broke off its own body changes nothing.
        (Some(answer), _) => answered(answer),
        (None, Some(failure)) => failed(failure),
        (None, None) => failed(&Failure::ConnectionLost),
    };
    let evidence = reply
        .answer
        .map_or_else(Evidence::default, |answer| Evidence {
            status_code: Some(answer.status),
            headers: Some(answer.headers),
            excerpt: answer.excerpt,
        });
    Outcome {
        verdicts: Verdicts::from_elem(verdict, sent),
        evidence,
    }
}

#[expect(
    clippy::match_overlapping_arm,
    reason = "the statuses with a code of their own come before the rest of their hundred"
)]
fn answered(answer: &Answer) -> Verdict {
    let status = answer.status;
    let after = answer.retry_after;
    let retry = |code| Verdict::Retry {
        fault: Fault::destination(code, says(status)),
        after,
    };
    let reject = |code| Verdict::Reject {
        fault: Fault::record(code, says(status)),
    };
    // Rejected like the others, but its neighbours would be as well.
    let refuse = |code| Verdict::Reject {
        fault: Fault::destination(code, says(status)),
    };
    match status {
        200..=299 => Verdict::Delivered,
        300..=399 => Verdict::Reject {
            fault: Fault::destination(
                "redirect",
                format!("the receiver answered {status}; redirects are not followed"),
            ),
        },
        401 if answer.token_reused => retry("oauth2_token_rejected"),
        408 => retry("http_408"),
        425 => retry("http_425"),
        429 => retry("http_429"),
        410 => Verdict::Suspend {
            fault: Fault::destination("http_410", says(status)),
        },
        400 => reject("http_400"),
        401 => refuse("http_401"),
        403 => refuse("http_403"),
        404 => refuse("http_404"),
        405 => refuse("http_405"),
        409 => reject("http_409"),
        413 => reject("http_413"),
        415 => refuse("http_415"),
        422 => reject("http_422"),
        400..=499 => reject("http_4xx"),
        500 => retry("http_500"),
        502 => retry("http_502"),
        503 => retry("http_503"),
        504 => retry("http_504"),
        500..=599 => retry("http_5xx"),
        _ => refuse("http_other"),
    }
}

fn says(status: u16) -> Cow<'static, str> {
    format!("the receiver answered {status}").into()
}

fn failed(failure: &Failure) -> Verdict {
    let retry = |code, detail: Cow<'static, str>| Verdict::Retry {
        fault: Fault::destination(code, detail),
        after: None,
    };
    let ours = |detail| Verdict::Retry {
        fault: Fault::us("internal", detail),
        after: None,
    };
    match failure {
        Failure::Timeout(phase) => retry("timeout", waited_for(*phase).into()),
        Failure::Dns(detail) => retry("dns_failed", (*detail).into()),
        Failure::AddressBlocked => Verdict::Suspend {
            fault: Fault::destination(
                "address_blocked",
                "the host has only addresses that must not be called",
            ),
        },
        Failure::ConnectionRefused => retry(
            "connection_refused",
            "the host refused the connection".into(),
        ),
        Failure::ConnectionFailed(detail) => retry("connection_failed", (*detail).into()),
        Failure::Certificate(detail) => retry("tls_certificate", detail.to_string().into()),
        Failure::ClientCertificate(detail) => {
            retry("tls_client_certificate", detail.to_string().into())
        }
        Failure::Tls(detail) => retry("tls_failed", detail.to_string().into()),
        Failure::ConnectionLost => retry(
            "connection_lost",
            "the connection broke before the answer was complete".into(),
        ),
        Failure::InvalidResponse => retry(
            "invalid_response",
            "the response is not valid HTTP/1.1".into(),
        ),
        Failure::Local(detail) => ours(*detail),
        Failure::TokenUnavailable { detail, after } => Verdict::Retry {
            fault: Fault::destination("oauth2_unavailable", detail.to_string()),
            after: *after,
        },
        Failure::TokenInvalid(detail) => retry("oauth2_invalid_response", (*detail).into()),
        Failure::TokenRefused(detail) => Verdict::Suspend {
            fault: Fault::destination("oauth2_refused", detail.to_string()),
        },
        Failure::NotSingle => ours("a webhook call carries exactly one event"),
    }
}

fn waited_for(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "the deadline passed while connecting",
        Phase::Authorizing => "the deadline passed while getting an access token",
        Phase::Waiting => "the deadline passed before the receiver answered",
        Phase::Reading => "the deadline passed before the response body was complete",
    }
}

/// The failure of a call to the token endpoint, told as such.
pub(crate) fn about_token(failure: &Failure) -> Failure {
    match failed(failure) {
        Verdict::Retry { fault, after } if fault.code != "internal" => Failure::TokenUnavailable {
            detail: format!("token endpoint: {}", fault.detail).into(),
            after,
        },
        _ => failure.clone(),
    }
}

#[cfg(test)]
mod tests {
    use pushrail_sink_core::{Blame, Class};

    use super::*;
    use crate::FAILURES;

    fn answer(status: u16) -> Reply {
        let answer = Answer {
            status,
            ..Answer::default()
        };
        Reply {
            answer: Some(Box::new(answer)),
            failure: None,
        }
    }

    fn verdict(reply: Reply) -> Verdict {
        let outcome = classify(reply, 1);
        assert_eq!(outcome.verdicts.len(), 1);
        outcome.verdicts[0].clone()
    }

    fn failures() -> Vec<Failure> {
        vec![
            Failure::Timeout(Phase::Connecting),
            Failure::Timeout(Phase::Authorizing),
            Failure::Timeout(Phase::Waiting),
            Failure::Timeout(Phase::Reading),
            Failure::Dns("x"),
            Failure::AddressBlocked,
            Failure::ConnectionRefused,
            Failure::ConnectionFailed("x"),
            Failure::Certificate("x".into()),
            Failure::ClientCertificate("x".into()),
            Failure::Tls("x".into()),
            Failure::ConnectionLost,
            Failure::InvalidResponse,
            Failure::Local("x"),
            Failure::TokenUnavailable {
                detail: "x".into(),
                after: None,
            },
            Failure::TokenInvalid("x"),
            Failure::TokenRefused("x".into()),
            Failure::NotSingle,
        ]
    }

    #[test]
    fn only_2xx_is_delivered_and_the_rest_has_its_class() {
        for status in 100..1000 {
            let expected = match status {
                200..=299 => Class::Delivered,
                408 | 425 | 429 | 500..=599 => Class::Transient,
                410 => Class::Suspended,
                _ => Class::Permanent,
            };
            assert_eq!(verdict(answer(status)).class(), expected, "{status}");
        }
    }

    #[test]
    fn every_code_is_declared_with_its_class() {
        let token_rejected = Answer {
            status: 401,
            token_reused: true,
            ..Answer::default()
        };
        let replies = (100..1000).map(answer).chain([
            Reply::default(),
            Reply {
                answer: Some(Box::new(token_rejected)),
                failure: None,
            },
        ]);
        let replies = replies.chain(failures().into_iter().map(|f| Reply {
            answer: None,
            failure: Some(f),
        }));
        let mut produced = vec!["invalid_configuration".to_owned()];
        for reply in replies {
            let verdict = verdict(reply);
            let Some(fault) = verdict.fault() else {
                continue;
            };
            let declared = FAILURES.iter().find(|known| known.code == fault.code);
            let declared = declared.unwrap_or_else(|| panic!("{} is not declared", fault.code));
            assert_eq!(declared.class, verdict.class(), "{}", fault.code);
            produced.push(fault.code.to_string());
        }
        for declared in FAILURES {
            assert!(
                produced.iter().any(|p| p == declared.code),
                "{} is never produced",
                declared.code
            );
        }
    }

    #[test]
    fn a_deadline_in_the_body_outweighs_a_2xx_and_a_broken_body_does_not() {
        let with = |failure| Reply {
            failure: Some(failure),
            ..answer(200)
        };
        let dripped = verdict(with(Failure::Timeout(Phase::Reading)));
        assert_eq!(dripped.fault().unwrap().code, "timeout");
        assert_eq!(verdict(with(Failure::ConnectionLost)), Verdict::Delivered);
        let outcome = classify(with(Failure::Timeout(Phase::Reading)), 1);
        assert_eq!(outcome.evidence.status_code, Some(200));
    }

    #[test]
    fn retry_after_reaches_the_verdict() {
        let after = Some(Duration::from_secs(7));
        let busy = Answer {
            status: 429,
            retry_after: after,
            ..Answer::default()
        };
        let busy = verdict(Reply {
            answer: Some(Box::new(busy)),
            failure: None,
        });
        assert!(matches!(busy, Verdict::Retry { after: found, .. } if found == after));
    }

    #[test]
    fn a_poison_record_is_not_blamed_on_its_destination_nor_our_trouble_on_anyone() {
        let blame = |reply| verdict(reply).fault().unwrap().blame;
        assert_eq!(blame(answer(422)), Blame::Record);
        assert_eq!(blame(answer(401)), Blame::Destination);
        assert_eq!(blame(answer(503)), Blame::Destination);
        let local = Failure::Local("no file descriptor was free");
        assert_eq!(
            blame(Reply {
                answer: None,
                failure: Some(local)
            }),
            Blame::Us
        );
    }

    #[test]
    fn every_record_of_a_call_gets_a_verdict() {
        let refused = Reply {
            answer: None,
            failure: Some(Failure::NotSingle),
        };
        assert_eq!(classify(refused, 3).verdicts.len(), 3);
    }
}
