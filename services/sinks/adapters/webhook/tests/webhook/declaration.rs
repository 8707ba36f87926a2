//! What the adapter says of itself, beside what the conformance suite asks of every declaration.

use pushrail_sink_core::Adapter;
use pushrail_webhook::{Config, Secrets, Webhook};
use serde_json::json;

#[test]
fn the_guide_covers_what_a_receiver_must_know() {
    let guide = Webhook::INFO.guide;
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let own = [
        "X-Pushrail-Signature",
        "X-Pushrail-Timestamp",
        "Retry-After",
        "whsec_",
    ];
    for part in headers.iter().chain(&own) {
        assert!(guide.contains(part), "{part}");
    }
}

#[test]
fn an_unknown_or_mistyped_field_is_an_error() {
    let secrets = || json!({ "signingSecret": "whsec_x" });
    let bad = [
        json!({ "url": "https://example.com", "uri": "x" }),
        json!({ "url": 7 }),
        json!({}),
        json!({ "url": "https://example.com", "headers": ["a"] }),
        json!({ "url": "https://example.com", "authentication": { "type": "kerberos" } }),
        json!({ "url": "https://example.com", "authentication": { "type": "bearer", "x": 1 } }),
        json!({ "url": "https://example.com", "authentication": { "type": "oauth2", "tokenUrl": "x", "clientId": "c", "scopes": "a" } }),
    ];
    for config in bad {
        assert!(
            serde_json::from_value::<Config>(config.clone()).is_err(),
            "{config}"
        );
    }
    assert!(serde_json::from_value::<Secrets>(secrets()).is_ok());
    assert!(serde_json::from_value::<Secrets>(json!({})).is_err());
    assert!(
        serde_json::from_value::<Secrets>(json!({ "signingSecret": "x", "pasword": "y" })).is_err()
    );
}
