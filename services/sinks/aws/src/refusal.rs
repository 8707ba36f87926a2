//! What a service in AWS says when it says no.
//!
//! Services name the same troubles in a dozen ways, by protocol and age; this is where they become one. What a service alone
//! says (`NoSuchBucket`, `QueueDoesNotExist`) is its adapter's to know.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use pushrail_egress::bounded;

/// Longest wait that a service can ask for. The retry policy may cut it further.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// An error that a service answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Such as `AccessDenied`; empty when the answer has none.
    pub code: Box<str>,
    /// Bounded, and without a credential of ours.
    pub message: Box<str>,
    /// What AWS's support asks for.
    pub request_id: Option<Box<str>>,
    pub retry_after: Option<Duration>,
}

/// What every service can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Throttled,
    /// It failed, or was not there.
    Unavailable,
    /// Our clock and theirs differ.
    ClockSkew,
    /// A temporary credential has ended, or is not known.
    Expired,
    /// The credentials are not who they say.
    Credentials,
    /// We are known, and may not.
    Denied,
    /// Something that only the service's adapter knows.
    Particular,
}

impl Refusal {
    pub(crate) fn new(response: &HttpResponse, code: Option<&str>, message: String) -> Self {
        let header = |name| response.headers().get(name).map(str::trim);
        let seconds = header("retry-after").and_then(|text| text.parse().ok());
        let request_id = header("x-amz-request-id").or(header("x-amzn-requestid"));
        Refusal {
            status: response.status().as_u16(),
            code: bounded(code.unwrap_or_default().to_owned()),
            message: bounded(message),
            request_id: request_id.map(|id| bounded(id.to_owned())),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
        }
    }

    pub fn meaning(&self) -> Meaning {
        // `com.amazonaws.sqs#X`, `AWS.SimpleQueueService.X` and `X` are the same.
        let code = self.code.rsplit(['#', '.']).next().unwrap_or_default();
        match code {
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "TransactionInProgressException"
            | "PriorRequestNotComplete"
            | "OverLimit"
            | "KmsThrottled" => Meaning::Throttled,
            "InternalError"
            | "InternalFailure"
            | "InternalServerError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "ServiceFailure"
            | "RequestTimeout"
            | "RequestTimeoutException" => Meaning::Unavailable,
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Meaning::ClockSkew,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "ExpiredTokenId" => Meaning::Expired,
            "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "InvalidSecurity"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "AuthFailure"
            | "NotSignedUp"
            | "OptInRequired" => Meaning::Credentials,
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "UnauthorizedAccess"
            | "AllAccessDisabled"
            | "AccountProblem"
            | "Forbidden" => Meaning::Denied,
            // An answer without a name, such as that of a proxy in between.
            "" => match self.status {
                429 | 503 => Meaning::Throttled,
                408 | 425 | 500..=599 => Meaning::Unavailable,
                401 | 403 => Meaning::Denied,
                _ => Meaning::Particular,
            },
            _ if self.status == 429 => Meaning::Throttled,
            _ => Meaning::Particular,
        }
    }

    /// The code as the particular service knows it, without what protocols put before it.
    pub fn name(&self) -> &str {
        self.code.rsplit(['#', '.']).next().unwrap_or_default()
    }

    /// One sentence about it.
    pub fn said(&self) -> String {
        let (status, code, message) = (self.status, &self.code, &self.message);
        match (code.is_empty(), message.is_empty()) {
            (true, true) => format!("the service answered {status}"),
            (true, false) => format!("the service answered {status}: {message}"),
            (false, true) => format!("the service answered {status} {code}"),
            (false, false) => format!("the service answered {status} {code}: {message}"),
        }
    }
}
