//! PostHog can't be run here. What stands for it answers as its documentation says, and is called a double; what it is sent is
//! compared with what PostHog's own library sends (`sdk.json`, recorded from posthog-python 7.91.1).

mod conformance;
mod double;
