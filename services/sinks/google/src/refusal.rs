//! What a service of Google's says when it says no, over REST and over gRPC.
//!
//! Both name their troubles by the same codes (`PERMISSION_DENIED`); BigQuery's REST API has older ones beside them
//! (`quotaExceeded`), and the token endpoints speak OAuth (`invalid_grant`). This is where they become one.

use std::time::Duration;

use pushrail_egress::bounded;
use serde_json::Value;

/// Longest wait that a service can ask for. The retry policy may cut it further.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// What stands in the place of a credential.
const BLOT: &str = "***";

/// An error that a service answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP; `None` over gRPC.
    pub status: Option<u16>,
    /// Such as `PERMISSION_DENIED`; empty when the answer has none.
    pub code: Box<str>,
    /// An older and narrower name, such as `quotaExceeded`; often empty.
    pub reason: Box<str>,
    /// Bounded, and without a credential of ours.
    pub message: Box<str>,
    pub retry_after: Option<Duration>,
}

/// What every service can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Throttled,
    /// It failed, or was not there.
    Unavailable,
    /// The token is none, or none any more.
    Credentials,
    /// We are known, and may not.
    Denied,
    /// What was named is not there.
    Missing,
    /// Something that only the service's adapter knows.
    Particular,
}

/// The codes of gRPC, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Refusal {
    /// From a gRPC status. `secrets` must not be in what is kept.
    pub fn from_grpc(
        number: i32,
        message: &str,
        retry_after: Option<Duration>,
        secrets: &[&str],
    ) -> Self {
        let code = usize::try_from(number).ok().and_then(|at| CODES.get(at));
        Refusal {
            status: None,
            code: (*code.unwrap_or(&"UNKNOWN")).into(),
            reason: "".into(),
            message: bounded(blotted(message, secrets)),
            retry_after: retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
        }
    }

    pub(crate) fn from_json(
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
        secrets: &[&str],
    ) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (code, reason, message) = match error {
            // As OAuth has it.
            Value::String(code) => (
                code.clone(),
                String::new(),
                text(&body["error_description"]),
            ),
            error => (
                text(&error["status"]),
                text(&error["errors"][0]["reason"]),
                text(&error["message"]),
            ),
        };
        Refusal {
            status: Some(status),
            code: bounded(blotted(&code, secrets)),
            reason: bounded(blotted(&reason, secrets)),
            message: bounded(blotted(&message, secrets)),
            retry_after: retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
        }
    }

    pub fn meaning(&self) -> Meaning {
        match &*self.reason {
            "quotaExceeded" | "rateLimitExceeded" | "jobRateLimitExceeded" => {
                return Meaning::Throttled;
            }
            "backendError" | "internalError" => return Meaning::Unavailable,
            _ => {}
        }
        match &*self.code {
            "RESOURCE_EXHAUSTED" => Meaning::Throttled,
            "UNAVAILABLE" | "INTERNAL" | "ABORTED" | "UNKNOWN" | "DEADLINE_EXCEEDED"
            | "CANCELLED" | "DATA_LOSS" => Meaning::Unavailable,
            "UNAUTHENTICATED" => Meaning::Credentials,
            "PERMISSION_DENIED" => Meaning::Denied,
            "NOT_FOUND" => Meaning::Missing,
            _ => match self.status {
                Some(429) => Meaning::Throttled,
                Some(408 | 425 | 500..=599) => Meaning::Unavailable,
                Some(401) => Meaning::Credentials,
                Some(403) => Meaning::Denied,
                Some(404) => Meaning::Missing,
                _ => Meaning::Particular,
            },
        }
    }

    /// Whether it may have done what was asked all the same.
    pub fn is_ambiguous(&self) -> bool {
        self.meaning() == Meaning::Unavailable
    }

    /// One sentence about it.
    pub fn said(&self) -> String {
        let mut said = "Google answered".to_owned();
        let status = self.status.map(|status| status.to_string());
        let code = (!self.code.is_empty()).then(|| self.code.to_string());
        let reason = (!self.reason.is_empty()).then(|| format!("({})", self.reason));
        for part in [status, code, reason].into_iter().flatten() {
            said.push(' ');
            said.push_str(&part);
        }
        if !self.message.is_empty() {
            said.push_str(": ");
            said.push_str(&self.message);
        }
        said
    }
}

fn blotted(text: &str, secrets: &[&str]) -> String {
    let secrets = secrets.iter().filter(|secret| secret.len() >= 6);
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, BLOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_has_one_meaning_however_it_is_said() {
        use Meaning::{Credentials, Denied, Missing, Particular, Throttled, Unavailable};
        let table = [
            (
                403,
                r#"{"error":{"status":"PERMISSION_DENIED","message":"m"}}"#,
                Denied,
            ),
            (
                403,
                r#"{"error":{"code":403,"errors":[{"reason":"accessDenied"}]}}"#,
                Denied,
            ),
            (
                403,
                r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#,
                Throttled,
            ),
            (
                403,
                r#"{"error":{"status":"PERMISSION_DENIED","errors":[{"reason":"quotaExceeded"}]}}"#,
                Throttled,
            ),
            (
                401,
                r#"{"error":{"status":"UNAUTHENTICATED"}}"#,
                Credentials,
            ),
            (
                404,
                r#"{"error":{"errors":[{"reason":"notFound"}]}}"#,
                Missing,
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"d"}"#,
                Particular,
            ),
            (429, "", Throttled),
            (503, "<html>", Unavailable),
            (401, "[]", Credentials),
            (
                400,
                r#"{"error":{"status":"INVALID_ARGUMENT"}}"#,
                Particular,
            ),
        ];
        for (status, body, meaning) in table {
            let refusal = Refusal::from_json(status, body.as_bytes(), None, &[]);
            assert_eq!(refusal.meaning(), meaning, "{status} {body}");
        }
        let table = [
            (1, Unavailable),
            (2, Unavailable),
            (3, Particular),
            (4, Unavailable),
            (5, Missing),
            (6, Particular),
            (7, Denied),
            (8, Throttled),
            (9, Particular),
            (10, Unavailable),
            (11, Particular),
            (12, Particular),
            (13, Unavailable),
            (14, Unavailable),
            (16, Credentials),
            (99, Unavailable),
        ];
        for (number, meaning) in table {
            let refusal = Refusal::from_grpc(number, "m", None, &[]);
            assert_eq!(refusal.meaning(), meaning, "{number}");
        }
    }

    #[test]
    fn nothing_of_a_credential_is_kept() {
        let body = br#"{"error":{"status":"s3cret-token","message":"you sent s3cret-token"}}"#;
        let refusal = Refusal::from_json(401, body, None, &["s3cret-token"]);
        assert!(!format!("{refusal:?} {}", refusal.said()).contains("s3cret"));
        let refusal = Refusal::from_grpc(16, "s3cret-token it was", None, &["s3cret-token"]);
        assert_eq!(&*refusal.message, "*** it was");
    }
}
