//! Calls by hand, for tests of what is particular to a type: no proxy, no case, no table.

use std::sync::Arc;
use std::time::Duration;

use pushrail_sink_core::{Adapter, Client, Outcome, Record, Verdict};
use serde_json::Value;
use tokio::time::Instant;

/// A client of what was entered, which must be valid.
pub async fn connect<A: Adapter>(adapter: &A, config: Value, secrets: Value) -> A::Client {
    let config = serde_json::from_value(config).expect("a configuration of this type");
    let secrets = serde_json::from_value(secrets).expect("secrets of this type");
    let client = adapter.connect(config, secrets).await;
    client.unwrap_or_else(|fault| panic!("{fault}"))
}

/// What becomes of a batch. There is a verdict for each record.
pub async fn send_within<C: Client>(client: &C, batch: &[Arc<Record>], limit: Duration) -> Outcome {
    let reply = client.send(batch, Instant::now() + limit).await;
    let outcome = C::classify(reply, batch.len());
    assert_eq!(outcome.verdicts.len(), batch.len());
    outcome
}

/// Each record's verdict: `delivered`, or what it is and its code: `retry timeout`.
pub fn verdicts(outcome: &Outcome) -> Vec<String> {
    outcome.verdicts.iter().map(said).collect()
}

/// The verdict that all records have.
pub fn verdict(outcome: &Outcome) -> String {
    let first = &outcome.verdicts[0];
    assert!(
        outcome.verdicts.iter().all(|verdict| verdict == first),
        "{outcome:?}"
    );
    said(first)
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered => "delivered".to_owned(),
        Verdict::Retry { fault, .. } => format!("retry {}", fault.code),
        Verdict::Reject { fault } => format!("reject {}", fault.code),
        Verdict::Suspend { fault } => format!("suspend {}", fault.code),
    }
}
