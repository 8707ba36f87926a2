//! What a reply means. Pure: tested as a table.

use std::sync::Arc;

use pushrail_google::Failure as Google;
use pushrail_sink_core::{Evidence, Fault, Outcome, Verdict, Verdicts};

use crate::failure::Failure;

/// What one call came to.
#[derive(Clone, Debug)]
pub struct Reply {
    /// For each record nothing, or why it is not there.
    pub(crate) records: Vec<Option<Failure>>,
    /// What must be granted, in words and to be pasted.
    pub(crate) needs: Arc<str>,
}

pub(crate) fn classify(reply: &Reply, sent: usize) -> Outcome {
    let verdict = |failure: &Failure| verdict(failure, &reply.needs);
    let of = |failure: &Option<Failure>| failure.as_ref().map_or(Verdict::Delivered, verdict);
    let mut verdicts: Verdicts = reply.records.iter().map(of).collect();
    // A record without a result would be a defect of this crate.
    verdicts.resize_with(sent, || verdict(&Failure::StreamLost));
    Outcome {
        verdicts,
        evidence: evidence(&reply.records),
    }
}

/// The first thing that Google said.
fn evidence(records: &[Option<Failure>]) -> Evidence {
    let said = records.iter().flatten().find_map(|failure| {
        let text: &str = match failure {
            Failure::Google(failure) => return Some(failure.evidence()),
            Failure::TableMissing { said, .. } | Failure::DatasetMissing(said) => said,
            Failure::TableUnfit(said) | Failure::Row(said) => said,
            _ => return None,
        };
        let text = &text[..text.floor_char_boundary(Evidence::EXCERPT_LEN_MAX)];
        Some(Evidence {
            excerpt: text.to_owned().into(),
            ..Evidence::default()
        })
    });
    said.unwrap_or_default()
}

fn verdict(failure: &Failure, needs: &str) -> Verdict {
    let retry = |code, detail: &'static str| Verdict::Retry {
        fault: Fault::destination(code, detail),
        after: None,
    };
    let suspend = |code, detail: &str| Verdict::Suspend {
        fault: Fault::destination(code, detail.to_owned()),
    };
    match failure {
        Failure::Google(failure) => google(failure, needs),
        Failure::TableMissing { said, statement } => Verdict::Reject {
            fault: Fault::destination("table_missing", format!("{said}; run: {statement}")),
        },
        Failure::DatasetMissing(said) => suspend("dataset_missing", said),
        Failure::TableUnfit(said) => suspend("table_unfit", said),
        Failure::TableNotReady => retry(
            "table_not_ready",
            "the table was created or changed a moment ago, and takes no rows yet",
        ),
        Failure::StreamLost => retry("stream_lost", "BigQuery ended the stream of this table"),
        Failure::Row(said) => Verdict::Reject {
            fault: Fault::record("invalid_row", format!("BigQuery refuses this row: {said}")),
        },
        Failure::TooLarge(len) => Verdict::Reject {
            fault: Fault::record(
                "row_too_large",
                format!("the row has {len} bytes, and BigQuery takes 10 MB at once"),
            ),
        },
        Failure::NotText => Verdict::Reject {
            fault: Fault::record("invalid_row", "the payload or the metadata is not text"),
        },
    }
}

fn google(failure: &Google, needs: &str) -> Verdict {
    failure.verdict(|_| None, needs)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use pushrail_google::Refusal;
    use pushrail_sink_core::Class;

    use super::*;
    use crate::failure::{FAILURES, OWN};

    fn refused(number: i32) -> Failure {
        let after = (number == 8).then(|| Duration::from_secs(9));
        Google::Refused(Box::new(Refusal::from_grpc(
            number,
            "it says so",
            after,
            &[],
        )))
        .into()
    }

    #[test]
    fn each_failure_has_its_class_and_is_declared() {
        use Class::{Permanent, Suspended, Transient};
        let missing = Failure::TableMissing {
            said: "not found".into(),
            statement: "CREATE TABLE".into(),
        };
        let table = [
            (Google::Timeout.into(), Transient, "timeout"),
            (refused(8), Transient, "throttled"),
            (refused(14), Transient, "unavailable"),
            (refused(13), Transient, "unavailable"),
            (refused(10), Transient, "unavailable"),
            (refused(7), Suspended, "permission_denied"),
            (missing, Permanent, "table_missing"),
            (
                Failure::DatasetMissing("x".into()),
                Suspended,
                "dataset_missing",
            ),
            (Failure::TableUnfit("x".into()), Suspended, "table_unfit"),
            (Failure::TableNotReady, Transient, "table_not_ready"),
            (Failure::StreamLost, Transient, "stream_lost"),
            (Failure::Row("x".into()), Permanent, "invalid_row"),
            (Failure::TooLarge(1), Permanent, "row_too_large"),
            (Failure::NotText, Permanent, "invalid_row"),
        ];
        let mut seen = HashSet::new();
        for (failure, class, code) in table {
            let reply = Reply {
                records: vec![None, Some(failure)],
                needs: "run: GRANT".into(),
            };
            let outcome = classify(&reply, 2);
            assert_eq!(outcome.verdicts[0], Verdict::Delivered, "its neighbour");
            let fault = outcome.verdicts[1].fault().unwrap();
            assert_eq!((outcome.verdicts[1].class(), &*fault.code), (class, code));
            let declared = FAILURES.iter().find(|declared| declared.code == code);
            assert_eq!(
                declared.map(|declared| declared.class),
                Some(class),
                "{code}"
            );
            seen.insert(code);
        }
        let unseen: Vec<_> = OWN
            .iter()
            .map(|own| own.code)
            .filter(|c| !seen.contains(c))
            .collect();
        assert!(unseen.is_empty(), "{unseen:?}");
    }

    #[test]
    fn what_bigquery_asks_to_wait_is_handed_on_and_what_is_lacking_named() {
        let reply = Reply {
            records: vec![Some(refused(8)), Some(refused(7))],
            needs: "run: GRANT `x`".into(),
        };
        let outcome = classify(&reply, 3);
        let waits = |verdict: &Verdict| matches!(verdict, Verdict::Retry { after: Some(after), .. } if after.as_secs() == 9);
        assert!(waits(&outcome.verdicts[0]));
        assert!(
            outcome.verdicts[1]
                .fault()
                .unwrap()
                .detail
                .ends_with("run: GRANT `x`")
        );
        assert_eq!(
            outcome.verdicts[2].class(),
            Class::Transient,
            "one that is missing is owed"
        );
    }
}
