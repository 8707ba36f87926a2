//! How a call can end short of success, and what that means for its records. Pure but for reading the SDK's errors.

use std::borrow::Cow;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use pushrail_egress::{self as egress, why};
use pushrail_sink_core::{Class, Evidence, FailureClass, Fault, Verdict};

use crate::credentials::Source;
use crate::refusal::{Meaning, Refusal};

/// Why a call did not succeed. Says nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline came first.
    Timeout,
    /// There was no connection, or not any more, or what came over it makes no sense.
    Connection(egress::Failure),
    /// The service says no.
    Refused(Box<Refusal>),
    /// The head of the answer had this status, and the rest was not to be had.
    Unreadable { status: u16 },
    /// STS says no to this role.
    Role(Box<Refusal>),
    /// The installation's own credentials do not serve.
    Operator(Cow<'static, str>),
    /// A request that could not even be made.
    Internal(&'static str),
}

impl Failure {
    /// What an SDK's error comes to; `source` knows what must not be in a message.
    pub fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, source: &Source) -> Self {
        match error {
            SdkError::ServiceError(context) => {
                let (error, response) = (context.err(), context.raw());
                let message = source.blotted(error.message().unwrap_or_default());
                Failure::Refused(Box::new(Refusal::new(response, error.code(), message)))
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => Failure::Connection(why(error)),
                None => Failure::Connection(egress::Failure::ConnectionLost),
            },
            SdkError::ResponseError(context) => Failure::Unreadable {
                status: context.raw().status().as_u16(),
            },
            SdkError::TimeoutError(_) => Failure::Timeout,
            _ => Failure::Internal("the request could not be made"),
        }
    }

    /// What it means for each record of the call. `particular` is what one service alone says. `temporary`: the credentials are
    /// a role's. `needs` is what a policy must allow, in words and to be pasted.
    pub fn verdict(
        &self,
        particular: impl Fn(&Refusal) -> Option<Verdict>,
        temporary: bool,
        needs: &str,
    ) -> Verdict {
        if let Failure::Refused(refusal) = self
            && let Some(verdict) = particular(refusal)
        {
            return verdict;
        }
        let retry = |fault| Verdict::Retry { fault, after: None };
        let suspend = |fault| Verdict::Suspend { fault };
        match self {
            Failure::Timeout => retry(Fault::destination(
                "timeout",
                "the deadline passed before the answer was complete",
            )),
            Failure::Connection(failure) => failure.verdict(),
            Failure::Unreadable { .. } => egress::Failure::InvalidResponse.verdict(),
            Failure::Internal(detail) => retry(Fault::us("internal", *detail)),
            Failure::Operator(detail) => retry(Fault::us("operator_credentials", detail.clone())),
            Failure::Role(refusal) => role(refusal),
            Failure::Refused(refusal) => {
                let said = refusal.said();
                match refusal.meaning() {
                    Meaning::Throttled => Verdict::Retry {
                        fault: Fault::destination("throttled", said),
                        after: refusal.retry_after,
                    },
                    Meaning::Unavailable => unavailable(refusal),
                    Meaning::ClockSkew => retry(Fault::us("clock_skew", said)),
                    Meaning::Expired | Meaning::Credentials if temporary => {
                        retry(Fault::destination("session_rejected", said))
                    }
                    Meaning::Expired | Meaning::Credentials => {
                        suspend(Fault::destination("credentials_rejected", said))
                    }
                    Meaning::Denied => suspend(Fault::destination(
                        "access_denied",
                        format!("{said}; {needs}"),
                    )),
                    Meaning::Particular if refusal.status >= 500 => unavailable(refusal),
                    Meaning::Particular => Verdict::Reject {
                        fault: Fault::destination("refused", said),
                    },
                }
            }
        }
    }

    /// Whether the credentials that were used are worth keeping.
    pub fn spoils_credentials(&self) -> bool {
        let Failure::Refused(refusal) = self else {
            return false;
        };
        matches!(refusal.meaning(), Meaning::Expired | Meaning::Credentials)
    }

    /// What is kept of the answer.
    pub fn evidence(&self) -> Evidence {
        match self {
            Failure::Refused(refusal) | Failure::Role(refusal) => {
                let mut excerpt = format!("{}: {}", refusal.code, refusal.message);
                excerpt.truncate(excerpt.floor_char_boundary(Evidence::EXCERPT_LEN_MAX));
                let id = refusal.request_id.as_ref();
                Evidence {
                    status_code: Some(refusal.status),
                    headers: id.map(|id| format!("x-amz-request-id: {id}").into()),
                    excerpt: Bytes::from(excerpt),
                }
            }
            Failure::Unreadable { status } => Evidence {
                status_code: Some(*status),
                ..Evidence::default()
            },
            _ => Evidence::default(),
        }
    }
}

fn unavailable(refusal: &Refusal) -> Verdict {
    Verdict::Retry {
        fault: Fault::destination("unavailable", refusal.said()),
        after: refusal.retry_after,
    }
}

fn role(refusal: &Refusal) -> Verdict {
    let retry = |fault| Verdict::Retry {
        fault,
        after: refusal.retry_after,
    };
    let said = refusal.said();
    match refusal.meaning() {
        Meaning::Throttled | Meaning::Unavailable => {
            retry(Fault::destination("sts_unavailable", said))
        }
        Meaning::ClockSkew => retry(Fault::us("clock_skew", said)),
        // Ours, which the customer can do nothing about.
        Meaning::Expired | Meaning::Credentials => retry(Fault::us(
            "operator_credentials",
            "AWS does not accept the credentials of this Pushrail installation",
        )),
        Meaning::Denied if refusal.message.contains("no identity-based policy allows") => {
            retry(Fault::us(
                "operator_credentials",
                "the principal of this Pushrail installation may not assume roles",
            ))
        }
        Meaning::Particular if refusal.status >= 500 => {
            retry(Fault::destination("sts_unavailable", said))
        }
        Meaning::Denied | Meaning::Particular => Verdict::Suspend {
            fault: Fault::destination(
                "role_refused",
                format!(
                    "the role could not be assumed ({said}); its trust policy must allow sts:AssumeRole to Pushrail's \
                     principal with this customer's id as sts:ExternalId"
                ),
            ),
        },
    }
}

/// What every destination in AWS declares.
#[rustfmt::skip]
pub const FAILURES: [FailureClass; 22] = FailureClass::concat(&[&egress::FAILURES, &{
    use Class::{Permanent, Suspended, Transient};
    [
        FailureClass::new("timeout", Transient, "No complete answer came before the deadline; it covers connecting, credentials, sending and the whole answer.", "Nothing to do, unless it repeats: then raise the timeout or make batches smaller."),
        FailureClass::new("throttled", Transient, "The service asked for fewer requests.", "Set a rate limit on this destination, or larger batches, or raise the service's quota."),
        FailureClass::new("unavailable", Transient, "The service failed or was not available.", "Nothing to do, unless it repeats: then see the service's health dashboard."),
        FailureClass::new("clock_skew", Transient, "Pushrail's clock and the service's differ too much.", "Nothing to do: the operator of Pushrail has to correct its clock."),
        FailureClass::new("session_rejected", Transient, "The service did not accept the role's session; the next attempt assumes the role again.", "Nothing to do, unless it repeats: then check that the role still exists."),
        FailureClass::new("credentials_rejected", Suspended, "The service does not accept the access key.", "Enter a valid pair of access keys, or better a role, then resume the destination."),
        FailureClass::new("access_denied", Suspended, "The credentials are valid, and may not do this.", "Add the statement that the message shows to the policy of the role or user, then resume the destination."),
        FailureClass::new("role_refused", Suspended, "The role could not be assumed.", "Check the role's ARN, and that its trust policy names Pushrail's principal and this customer's id as `sts:ExternalId`; then resume the destination."),
        FailureClass::new("sts_unavailable", Transient, "AWS's token service failed or asked for fewer requests.", "Nothing to do: it is retried."),
        FailureClass::new("operator_credentials", Transient, "This Pushrail installation has no valid AWS credentials of its own to assume roles with.", "Tell the operator of Pushrail, or use a pair of access keys."),
        FailureClass::new("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
        FailureClass::new("refused", Permanent, "The service refused the request for a reason that is not known to pass.", "See the message, mend what it names, then replay."),
    ]
}]);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pushrail_sink_core::Blame;

    use super::*;

    fn refusal(status: u16, code: &str) -> Box<Refusal> {
        Box::new(Refusal {
            status,
            code: code.into(),
            message: "because".into(),
            request_id: Some("r-1".into()),
            retry_after: Some(Duration::from_secs(7)),
        })
    }

    fn told(failure: &Failure, temporary: bool) -> (Class, String, Blame) {
        let verdict = failure.verdict(|_| None, temporary, "allow it");
        let fault = verdict.fault().expect("a failure");
        let class = verdict.class();
        let declared = FAILURES.iter().find(|known| known.code == fault.code);
        let declared = declared.unwrap_or_else(|| panic!("{} is not declared", fault.code));
        assert_eq!(declared.class, class, "{}", fault.code);
        (class, fault.code.to_string(), fault.blame)
    }

    #[test]
    fn what_services_say_becomes_what_it_means() {
        use Class::{Permanent, Suspended, Transient};
        let table = [
            (503, "SlowDown", Transient, "throttled"),
            (400, "ThrottlingException", Transient, "throttled"),
            (
                400,
                "AWS.SimpleQueueService.RequestThrottled",
                Transient,
                "throttled",
            ),
            (
                400,
                "com.amazonaws.sqs#RequestThrottled",
                Transient,
                "throttled",
            ),
            (429, "Whatever", Transient, "throttled"),
            (503, "", Transient, "throttled"),
            (500, "InternalError", Transient, "unavailable"),
            (400, "RequestTimeout", Transient, "unavailable"),
            (502, "", Transient, "unavailable"),
            (599, "Whatever", Transient, "unavailable"),
            (403, "RequestTimeTooSkewed", Transient, "clock_skew"),
            (403, "InvalidAccessKeyId", Suspended, "credentials_rejected"),
            (
                403,
                "SignatureDoesNotMatch",
                Suspended,
                "credentials_rejected",
            ),
            (400, "ExpiredToken", Suspended, "credentials_rejected"),
            (403, "AccessDenied", Suspended, "access_denied"),
            (403, "", Suspended, "access_denied"),
            (400, "SomethingNew", Permanent, "refused"),
            (302, "", Permanent, "refused"),
        ];
        for (status, code, class, expected) in table {
            let (found, name, _) = told(&Failure::Refused(refusal(status, code)), false);
            assert_eq!((found, &*name), (class, expected), "{status} {code}");
        }
    }

    #[test]
    fn a_session_that_ended_is_renewed_and_a_key_that_did_is_told() {
        let ended = Failure::Refused(refusal(400, "ExpiredToken"));
        assert_eq!(told(&ended, true).1, "session_rejected");
        assert_eq!(told(&ended, false).1, "credentials_rejected");
        assert!(ended.spoils_credentials());
    }

    #[test]
    fn the_installations_own_trouble_suspends_nobody() {
        for (status, code) in [
            (403, "InvalidClientTokenId"),
            (403, "ExpiredToken"),
            (500, "X"),
        ] {
            let (class, ..) = told(&Failure::Role(refusal(status, code)), true);
            assert_eq!(class, Class::Transient, "{code}");
        }
        let mut ours = refusal(403, "AccessDenied");
        assert_eq!(told(&Failure::Role(ours.clone()), true).1, "role_refused");
        ours.message = "not authorized because no identity-based policy allows the action".into();
        let (class, _, blame) = told(&Failure::Role(ours), true);
        assert_eq!((class, blame), (Class::Transient, Blame::Us));
        let (class, _, blame) = told(&Failure::Operator("none".into()), true);
        assert_eq!((class, blame), (Class::Transient, Blame::Us));
    }

    #[test]
    fn retry_after_and_the_policy_to_paste_reach_the_verdict() {
        let slow = Failure::Refused(refusal(503, "SlowDown")).verdict(|_| None, true, "");
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(slow, Verdict::Retry { after, .. } if after == seven));
        let denied = Failure::Refused(refusal(403, "AccessDenied"));
        let verdict = denied.verdict(|_| None, true, "allow s3:PutObject");
        assert!(
            verdict
                .fault()
                .unwrap()
                .detail
                .ends_with("allow s3:PutObject")
        );
        assert_eq!(denied.evidence().status_code, Some(403));
        assert_eq!(
            denied.evidence().headers.as_deref(),
            Some("x-amz-request-id: r-1")
        );
    }

    #[test]
    fn the_rest_is_declared_too() {
        for failure in [
            Failure::Timeout,
            Failure::Connection(egress::Failure::ConnectionLost),
            Failure::Unreadable { status: 200 },
            Failure::Internal("x"),
            Failure::Role(refusal(429, "")),
        ] {
            assert_eq!(told(&failure, false).0, Class::Transient, "{failure:?}");
        }
    }
}
