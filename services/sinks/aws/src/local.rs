//! What all destinations of a worker share: connections, and the client of STS.
//!
//! Connections are driven by the runtime that opened them, so each runtime (each worker) has a set of its own; it goes with
//! the last of its clients. A destination on top of it is its configuration and nothing else.

use std::fmt;
use std::sync::Arc;

use pushrail_egress::{Dialer, PerRuntime, Resolvers, Rules, TLS};
use pushrail_sink_core::Context;

use crate::http::Http;
use crate::operator::Operator;
use crate::sts::Sts;

/// What all destinations of a process share.
pub struct Aws {
    rules: Arc<Rules>,
    /// For calls of the operator's own, which may go to the machine's metadata service.
    unguarded: Arc<Rules>,
    resolvers: Resolvers,
    operator: Operator,
    made: PerRuntime<Local>,
}

/// What all destinations of a worker share.
pub struct Local {
    pub http: Http,
    pub(crate) sts: Sts,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Local")
    }
}

impl Aws {
    pub fn new(context: &Context, operator: Operator) -> Self {
        let everything = Context {
            allowed_networks: vec!["0.0.0.0/0".into(), "::/0".into()],
            allow_plaintext: true,
        };
        Aws {
            rules: Arc::new(Rules::new(context)),
            unguarded: Arc::new(Rules::new(&everything)),
            resolvers: Resolvers::default(),
            operator,
            made: PerRuntime::default(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The current runtime's.
    pub fn local(&self) -> Arc<Local> {
        self.made.current(|| {
            let operator = Http::new(self.dialer(&self.unguarded));
            Local {
                http: Http::new(self.dialer(&self.rules)),
                sts: Sts::new(self.operator.clone(), operator),
            }
        })
    }

    fn dialer(&self, rules: &Arc<Rules>) -> Dialer {
        Dialer {
            rules: Arc::clone(rules),
            names: self.resolvers.current(),
            tls: TLS.shared(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn destinations_of_a_worker_share_what_they_connect_with() {
        let aws = Aws::new(&Context::default(), Operator::Chain);
        let (one, two) = (aws.local(), aws.local());
        assert!(Arc::ptr_eq(&one, &two));
        let shared = Arc::downgrade(&one);
        drop((one, two));
        assert!(shared.upgrade().is_none(), "it goes with the last of them");
    }
}
