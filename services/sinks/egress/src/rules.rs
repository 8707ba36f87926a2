//! What the operator allows, ready to be asked.

use pushrail_http::Guard;
use pushrail_sink_core::Context;

/// Which addresses may be called, and whether without TLS.
pub struct Rules {
    pub guard: Guard,
    pub allow_plaintext: bool,
}

impl Rules {
    /// An allowed network that cannot be read allows nothing: settings refuse it long before, and this side fails shut.
    pub fn new(context: &Context) -> Self {
        let readable = context.allowed_networks.iter().filter(|network| {
            let result = Guard::new([network.as_ref()]);
            if let Err(error) = &result {
                tracing::warn!(%error, "egress.network_ignored");
            }
            result.is_ok()
        });
        Rules {
            guard: Guard::new(readable).unwrap_or_default(),
            allow_plaintext: context.allow_plaintext,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_allowed_network_allows_nothing() {
        let context = Context {
            allowed_networks: vec!["everything".into(), "10.0.0.0/8".into()],
            allow_plaintext: false,
        };
        let rules = Rules::new(&context);
        assert!(rules.guard.check([10, 0, 0, 1].into()).is_ok());
        assert!(rules.guard.check([127, 0, 0, 1].into()).is_err());
    }
}
