//! One call.

use std::sync::Arc;

use pushrail_egress::{Names, Rules};
use pushrail_sink_core::{Outcome, Record};
use tokio::time::Instant;

use crate::check::Plan;
use crate::classify::{Failure, Reply, classify};

/// TODO Connects when it is needed, by `pushrail_egress::Dialer` or `pushrail_egress::Http`, and costs nothing while it is idle.
pub struct Client {
    _plan: Plan,
    _rules: Arc<Rules>,
    _names: Arc<Names>,
}

impl Client {
    pub(crate) fn new(plan: Plan, rules: &Arc<Rules>, names: Arc<Names>) -> Self {
        // TODO This is where the token goes into what authenticates a call.
        debug_assert!(!plan.token.expose().is_empty() && plan.target.port > 0);
        Client {
            _plan: plan,
            _rules: Arc::clone(rules),
            _names: names,
        }
    }
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], _deadline: Instant) -> Reply {
        // TODO One call with all of the batch, ended by the deadline: no retry, no sleep.
        Reply(vec![Some(Failure::NotWritten); batch.len()])
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(reply, sent)
    }
}
