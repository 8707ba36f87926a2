//! What all destinations of a worker share: connections, and where tokens come from.
//!
//! Connections are driven by the runtime that opened them, so each runtime (each worker) has a set of its own; it goes with
//! the last of its clients. A destination on top of it is its configuration and nothing else.

use std::sync::{Arc, OnceLock};

use pushrail_egress::{Dialer, Http, PerRuntime, Resolvers, Rules, TLS};
use pushrail_sink_core::Context;

use crate::identity::Identity;
use crate::rest::Rest;

/// Who this installation is to Google, and where Google's token services are.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// `None`: what `PUSHRAIL_IDENTITY_ISSUER` and `PUSHRAIL_IDENTITY_KEY_FILE` name.
    pub identity: Option<Identity>,
    /// Instead of `https://sts.googleapis.com`.
    pub sts: Option<Box<str>>,
    /// Instead of `https://iamcredentials.googleapis.com`.
    pub iam: Option<Box<str>>,
}

/// What all destinations of a process share.
pub struct Google {
    rules: Arc<Rules>,
    resolvers: Resolvers,
    operator: Arc<Known>,
    made: PerRuntime<Local>,
}

/// What all destinations of a worker share.
pub struct Local {
    pub rest: Rest,
    pub(crate) operator: Arc<Known>,
}

/// The operator's side, read from the environment when it is first needed.
pub(crate) struct Known {
    operator: Operator,
    identity: OnceLock<Option<Identity>>,
}

impl Google {
    pub fn new(context: &Context, operator: Operator) -> Self {
        Google {
            rules: Arc::new(Rules::new(context)),
            resolvers: Resolvers::default(),
            operator: Arc::new(Known {
                operator,
                identity: OnceLock::new(),
            }),
            made: PerRuntime::default(),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The current runtime's.
    pub fn local(&self) -> Arc<Local> {
        self.made.current(|| Local {
            rest: Rest::new(Http::new(self.dialer())),
            operator: Arc::clone(&self.operator),
        })
    }

    /// Opens connections on the current runtime.
    pub fn dialer(&self) -> Dialer {
        Dialer {
            rules: Arc::clone(&self.rules),
            names: self.resolvers.current(),
            tls: TLS.shared(),
        }
    }
}

impl Known {
    pub(crate) fn identity(&self) -> Option<&Identity> {
        let read = || match &self.operator.identity {
            Some(identity) => Some(identity.clone()),
            None => Identity::from_environment()
                // What exactly is for the operator; the customer can do nothing about it.
                .inspect_err(|error| tracing::error!(%error, "operator_identity.unavailable"))
                .ok(),
        };
        self.identity.get_or_init(read).as_ref()
    }

    pub(crate) fn sts(&self) -> &str {
        let given = self.operator.sts.as_deref();
        given.unwrap_or("https://sts.googleapis.com")
    }

    pub(crate) fn iam(&self) -> &str {
        let given = self.operator.iam.as_deref();
        given.unwrap_or("https://iamcredentials.googleapis.com")
    }
}
