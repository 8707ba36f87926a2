//! How a call can end short of success, and what that means for its records. Pure.

use bytes::Bytes;
use pushrail_egress as egress;
use pushrail_sink_core::{Class, Evidence, FailureClass, Fault, Verdict};

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
    /// It says that the token is none, and the token was new.
    Unknown(Box<Refusal>),
    /// There is no access token.
    Token(Step, Box<Refusal>),
    /// The head of the answer had this status, and the rest made no sense.
    Unreadable { status: u16 },
    /// The installation's own identity does not serve.
    Operator(&'static str),
    /// A request that could not even be made.
    Internal(&'static str),
}

/// Who was asked for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The token endpoint, with a key.
    Key,
    /// The Security Token Service, with a token of ours.
    Federation,
    /// The service account's, with the federated token.
    Impersonation,
}

impl Failure {
    /// What it means for each record of the call. `particular` is what one service alone says. `needs` is what must be granted,
    /// in words and to be pasted.
    pub fn verdict(
        &self,
        particular: impl Fn(&Refusal) -> Option<Verdict>,
        needs: &str,
    ) -> Verdict {
        if let Failure::Refused(refusal) = self
            && let Some(verdict) = particular(refusal)
        {
            return verdict;
        }
        let retry = |fault| Verdict::Retry { fault, after: None };
        match self {
            Failure::Timeout => retry(Fault::destination(
                "timeout",
                "the deadline passed before the answer was complete",
            )),
            Failure::Connection(failure) => failure.verdict(),
            Failure::Unreadable { .. } => egress::Failure::InvalidResponse.verdict(),
            Failure::Internal(detail) => retry(Fault::us("internal", *detail)),
            Failure::Operator(detail) => retry(Fault::us("operator_identity", *detail)),
            Failure::Token(step, refusal) => token(*step, refusal),
            Failure::Unknown(refusal) => Verdict::Suspend {
                fault: Fault::destination("credentials_rejected", refusal.said()),
            },
            Failure::Refused(refusal) => refused(refusal, needs),
        }
    }

    /// What is kept of the answer.
    pub fn evidence(&self) -> Evidence {
        match self {
            Failure::Refused(refusal) | Failure::Unknown(refusal) | Failure::Token(_, refusal) => {
                let mut excerpt = refusal.said();
                excerpt.truncate(excerpt.floor_char_boundary(Evidence::EXCERPT_LEN_MAX));
                Evidence {
                    status_code: refusal.status,
                    excerpt: Bytes::from(excerpt),
                    ..Evidence::default()
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

fn refused(refusal: &Refusal, needs: &str) -> Verdict {
    let said = refusal.said();
    let retry = |code| Verdict::Retry {
        fault: Fault::destination(code, refusal.said()),
        after: refusal.retry_after,
    };
    match refusal.meaning() {
        Meaning::Throttled => retry("throttled"),
        Meaning::Unavailable => retry("unavailable"),
        Meaning::Credentials => retry("token_rejected"),
        Meaning::Denied => Verdict::Suspend {
            fault: Fault::destination("permission_denied", format!("{said}; {needs}")),
        },
        Meaning::Missing | Meaning::Particular => Verdict::Reject {
            fault: Fault::destination("refused", said),
        },
    }
}

/// No token: whose trouble that is.
fn token(step: Step, refusal: &Refusal) -> Verdict {
    let said = refusal.said();
    match refusal.meaning() {
        Meaning::Throttled | Meaning::Unavailable => {
            return Verdict::Retry {
                fault: Fault::destination("token_unavailable", said),
                after: refusal.retry_after,
            };
        }
        _ => {}
    }
    let ours = |code, detail: String| Verdict::Retry {
        fault: Fault::us(code, detail),
        after: None,
    };
    let message = refusal.message.to_ascii_lowercase();
    if message.contains("reasonable timeframe") || message.contains("is stale") {
        return ours("clock_skew", said);
    }
    // Google could not read our keys, which no customer can do anything about.
    if step == Step::Federation && message.contains("connecting to the given credential's issuer") {
        return ours("operator_identity", said);
    }
    let (code, detail) = match step {
        Step::Key => ("credentials_rejected", said),
        Step::Federation => (
            "federation_refused",
            format!(
                "{said}; the provider must name Pushrail's issuer and accept its audience, and the pool's condition this customer's \
                 id as google.subject"
            ),
        ),
        Step::Impersonation => (
            "impersonation_refused",
            format!(
                "{said}; the service account must grant roles/iam.workloadIdentityUser to the pool's principal with this customer's \
                 id as its subject"
            ),
        ),
    };
    Verdict::Suspend {
        fault: Fault::destination(code, detail),
    }
}

/// What every destination in Google Cloud declares.
#[rustfmt::skip]
pub const FAILURES: [FailureClass; 23] = FailureClass::concat(&[&egress::FAILURES, &{
    use Class::{Permanent, Suspended, Transient};
    [
        FailureClass::new("timeout", Transient, "No complete answer came before the deadline; it covers connecting, tokens, sending and the whole answer.", "Nothing to do, unless it repeats: then raise the timeout or make batches smaller."),
        FailureClass::new("throttled", Transient, "The service asked for fewer requests, or a quota of the project is used up.", "Set a rate limit on this destination, or larger batches, or raise the project's quota."),
        FailureClass::new("unavailable", Transient, "The service failed or was not available.", "Nothing to do, unless it repeats: then see Google Cloud's service health."),
        FailureClass::new("clock_skew", Transient, "Pushrail's clock and Google's differ too much.", "Nothing to do: the operator of Pushrail has to correct its clock."),
        FailureClass::new("token_unavailable", Transient, "Google's token service failed or asked for fewer requests.", "Nothing to do: it is retried."),
        FailureClass::new("token_rejected", Transient, "The service did not accept an access token that had been good; the next attempt gets a new one.", "Nothing to do, unless it repeats: then check that the service account still exists."),
        FailureClass::new("credentials_rejected", Suspended, "Google does not accept the service account's key, or what it was exchanged for.", "Check that the service account and its key exist and are enabled, or better use Workload Identity Federation; then resume the destination."),
        FailureClass::new("federation_refused", Suspended, "The workload identity pool does not accept Pushrail's token.", "Check the provider's name, issuer, audience and condition; then resume the destination."),
        FailureClass::new("impersonation_refused", Suspended, "The federated identity may not act as the service account.", "Grant roles/iam.workloadIdentityUser on the service account as the guide shows; then resume the destination."),
        FailureClass::new("operator_identity", Transient, "This Pushrail installation has no identity of its own that Google can verify.", "Tell the operator of Pushrail, or use a service account's key."),
        FailureClass::new("permission_denied", Suspended, "The credentials are valid, and may not do this.", "Run the command that the message shows, then resume the destination."),
        FailureClass::new("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
        FailureClass::new("refused", Permanent, "The service refused the request for a reason that is not known to pass.", "See the message, mend what it names, then replay."),
    ]
}]);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Box<Refusal> {
        let body = serde_json::json!({"error": code, "error_description": message});
        let after = (status == 429).then(|| Duration::from_secs(7));
        let refusal = Refusal::from_json(status, body.to_string().as_bytes(), after, &[]);
        Box::new(refusal)
    }

    #[test]
    fn each_failure_has_its_class_and_is_declared() {
        use Step::{Federation, Impersonation, Key};
        let grpc = |number| Failure::Refused(Box::new(Refusal::from_grpc(number, "m", None, &[])));
        let of = |step, status, code: &str, message: &str| {
            Failure::Token(step, refusal(status, code, message))
        };
        let table = [
            (Failure::Timeout, "timeout"),
            (
                Failure::Connection(egress::Failure::ConnectionRefused),
                "connection_refused",
            ),
            (Failure::Unreadable { status: 200 }, "invalid_response"),
            (Failure::Operator("x"), "operator_identity"),
            (Failure::Internal("x"), "internal"),
            (grpc(8), "throttled"),
            (grpc(14), "unavailable"),
            (grpc(13), "unavailable"),
            (grpc(10), "unavailable"),
            (grpc(16), "token_rejected"),
            (
                Failure::Unknown(refusal(401, "UNAUTHENTICATED", "")),
                "credentials_rejected",
            ),
            (grpc(7), "permission_denied"),
            (grpc(3), "refused"),
            (
                of(Key, 400, "invalid_grant", "Invalid JWT Signature."),
                "credentials_rejected",
            ),
            (of(Key, 401, "invalid_client", ""), "credentials_rejected"),
            (
                of(
                    Key,
                    400,
                    "invalid_grant",
                    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
                ),
                "clock_skew",
            ),
            (of(Key, 429, "", ""), "token_unavailable"),
            (of(Key, 503, "", ""), "token_unavailable"),
            (
                of(
                    Federation,
                    400,
                    "invalid_target",
                    "The target service is disabled.",
                ),
                "federation_refused",
            ),
            (
                of(
                    Federation,
                    403,
                    "unauthorized_client",
                    "rejected by the attribute condition.",
                ),
                "federation_refused",
            ),
            (
                of(
                    Federation,
                    400,
                    "invalid_grant",
                    "Error connecting to the given credential's issuer.",
                ),
                "operator_identity",
            ),
            (
                of(Impersonation, 403, "PERMISSION_DENIED", ""),
                "impersonation_refused",
            ),
            (
                of(Impersonation, 404, "NOT_FOUND", ""),
                "impersonation_refused",
            ),
            (of(Impersonation, 500, "INTERNAL", ""), "token_unavailable"),
        ];
        for (failure, code) in table {
            let verdict = failure.verdict(|_| None, "run: x");
            let fault = verdict.fault().unwrap();
            assert_eq!(fault.code, code, "{failure:?}");
            let declared = FAILURES.iter().find(|declared| declared.code == code);
            assert_eq!(declared.map(|d| d.class), Some(verdict.class()), "{code}");
            assert!(failure.evidence().excerpt.len() <= Evidence::EXCERPT_LEN_MAX);
        }
    }

    #[test]
    fn what_google_asks_to_wait_is_handed_on() {
        let failure = Failure::Refused(refusal(429, "", ""));
        let verdict = failure.verdict(|_| None, "");
        assert!(
            matches!(verdict, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 7)
        );
    }
}
