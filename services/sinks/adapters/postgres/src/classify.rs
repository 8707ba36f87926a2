//! What a reply means. Pure: tested as a table.

use bytes::Bytes;
use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict};

use crate::failure::{Answer, Failure};

/// What one call came to: for each record nothing, or why it is not there.
#[derive(Clone, Debug)]
pub struct Reply(pub(crate) Vec<Option<Failure>>);

impl Reply {
    pub(crate) fn all(failure: Failure, sent: usize) -> Self {
        Reply(vec![Some(failure); sent])
    }
}

pub(crate) fn classify(Reply(rows): Reply, sent: usize) -> Outcome {
    let evidence = evidence(rows.iter().flatten());
    let mut verdicts: smallvec::SmallVec<[Verdict; 1]> = rows
        .iter()
        .map(|failure| failure.as_ref().map_or(Verdict::Delivered, verdict))
        .collect();
    // A row without a result would be a defect of this crate.
    verdicts.resize_with(sent, || verdict(&Failure::Undecided));
    Outcome { verdicts, evidence }
}

/// The first error of the server.
fn evidence<'a>(mut failures: impl Iterator<Item = &'a Failure>) -> Evidence {
    let answer = failures.find_map(|failure| match failure {
        Failure::Server(answer) => Some(answer),
        _ => None,
    });
    let text = answer.map(|answer| format!("{}: {}", answer.state, answer.message));
    let mut text = text.unwrap_or_default();
    text.truncate(text.floor_char_boundary(Evidence::EXCERPT_LEN_MAX));
    Evidence {
        excerpt: Bytes::from(text),
        ..Evidence::default()
    }
}

fn verdict(failure: &Failure) -> Verdict {
    let retry = |fault| Verdict::Retry { fault, after: None };
    match failure {
        Failure::Timeout => retry(Fault::destination(
            "timeout",
            "the transaction was not committed before the deadline",
        )),
        Failure::Network(failure) => failure.verdict(),
        Failure::Protocol => pushrail_egress::Failure::InvalidResponse.verdict(),
        Failure::NoTls => Verdict::Suspend {
            fault: Fault::destination("tls_not_offered", "the server does not offer TLS"),
        },
        Failure::Undecided => retry(Fault::record(
            "undecided",
            "time ran out while rows that the server refuses were looked for",
        )),
        // Only of assuming a role: what is signed is sent to the database.
        Failure::Access(failure) => failure.verdict(|_| None, true, "the role must exist"),
        Failure::NotText => Verdict::Reject {
            fault: Fault::record("invalid_data", "the payload is not UTF-8"),
        },
        Failure::Server(answer) => answered(answer),
    }
}

fn answered(answer: &Answer) -> Verdict {
    let Answer {
        state,
        message,
        remedy,
    } = answer;
    let detail = match remedy {
        Some(remedy) => format!("{message} ({state}); run: {remedy}"),
        None => format!("{message} ({state})"),
    };
    let retry = |code, detail| Verdict::Retry {
        fault: Fault::destination(code, detail),
        after: None,
    };
    let reject = |code, detail| Verdict::Reject {
        fault: Fault::record(code, detail),
    };
    let suspend = |code, detail| Verdict::Suspend {
        fault: Fault::destination(code, detail),
    };
    match &**state {
        "28P01" | "28000" => suspend("authentication_rejected", detail),
        "3D000" => suspend("database_missing", detail),
        "3F000" => suspend("schema_missing", detail),
        "42501" => suspend("permission_denied", detail),
        // Rejected like a bad row, but its neighbours would be as well.
        "42P01" => Verdict::Reject {
            fault: Fault::destination("table_missing", detail),
        },
        "57014" => retry("timeout", detail),
        "40001" | "40P01" | "55P03" => retry("conflict", detail),
        "53300" => retry("too_many_connections", detail),
        "25006" => retry("read_only", detail),
        state => match &state[..2] {
            "22" => reject("invalid_data", detail),
            "23" | "21" => reject("constraint_violated", detail),
            "44" | "P0" => reject("refused_by_database", detail),
            "54" => reject("row_too_large", detail),
            "42" => suspend("table_unfit", detail),
            "53" | "57" => retry("server_unavailable", detail),
            _ => retry("server_error", detail),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pushrail_sink_core::Class;

    use super::*;
    use crate::FAILURES;

    fn answer(state: &str) -> Failure {
        Failure::Server(Box::new(Answer {
            state: state.into(),
            message: "it says so".into(),
            remedy: None,
        }))
    }

    #[test]
    fn every_answer_has_its_class() {
        let table = [
            ("28P01", Class::Suspended, "authentication_rejected"),
            ("28000", Class::Suspended, "authentication_rejected"),
            ("3D000", Class::Suspended, "database_missing"),
            ("3F000", Class::Suspended, "schema_missing"),
            ("42501", Class::Suspended, "permission_denied"),
            ("42703", Class::Suspended, "table_unfit"),
            ("42P10", Class::Suspended, "table_unfit"),
            ("42P01", Class::Permanent, "table_missing"),
            ("22P05", Class::Permanent, "invalid_data"),
            ("22021", Class::Permanent, "invalid_data"),
            ("23514", Class::Permanent, "constraint_violated"),
            ("P0001", Class::Permanent, "refused_by_database"),
            ("44000", Class::Permanent, "refused_by_database"),
            ("54000", Class::Permanent, "row_too_large"),
            ("40P01", Class::Transient, "conflict"),
            ("40001", Class::Transient, "conflict"),
            ("53300", Class::Transient, "too_many_connections"),
            ("53100", Class::Transient, "server_unavailable"),
            ("57P01", Class::Transient, "server_unavailable"),
            ("57P03", Class::Transient, "server_unavailable"),
            ("57014", Class::Transient, "timeout"),
            ("25006", Class::Transient, "read_only"),
            ("XX000", Class::Transient, "server_error"),
        ];
        let mut seen = HashSet::new();
        for (state, class, code) in table {
            let outcome = classify(Reply(vec![None, Some(answer(state))]), 2);
            assert_eq!(outcome.verdicts[0], Verdict::Delivered, "its neighbour");
            let found = outcome.verdicts[1].class();
            let fault = outcome.verdicts[1].fault().unwrap();
            assert_eq!((found, &*fault.code), (class, code), "{state}");
            let declared = FAILURES.iter().find(|failure| failure.code == code);
            assert_eq!(declared.map(|failure| failure.class), Some(class), "{code}");
            assert_eq!(outcome.evidence.excerpt, format!("{state}: it says so"));
            seen.insert(code);
        }
        for failure in [
            Failure::Timeout,
            Failure::NoTls,
            Failure::Undecided,
            Failure::NotText,
        ] {
            let verdict = verdict(&failure);
            seen.insert(match &*verdict.fault().unwrap().code {
                "timeout" => "timeout",
                "tls_not_offered" => "tls_not_offered",
                "undecided" => "undecided",
                "invalid_data" => "invalid_data",
                other => panic!("{other}"),
            });
        }
        let network: HashSet<_> = pushrail_egress::FAILURES.iter().map(|f| f.code).collect();
        let unseen: Vec<_> = FAILURES
            .iter()
            .map(|failure| failure.code)
            .filter(|code| !seen.contains(code) && !network.contains(code))
            .collect();
        // Those of AWS have a table of their own there.
        let expected = [
            "role_refused",
            "sts_unavailable",
            "operator_credentials",
            "clock_skew",
            "invalid_configuration",
        ];
        assert_eq!(unseen, expected);
    }

    #[test]
    fn a_reply_that_is_too_short_owes_the_rest() {
        let outcome = classify(Reply(Vec::new()), 2);
        assert!(
            outcome
                .verdicts
                .iter()
                .all(|v| matches!(v, Verdict::Retry { .. }))
        );
    }
}
