//! What the adapter says of itself is a promise: the portal, the API and customers' code are built on it.

use pushrail_sink_core::{Adapter, BatchLimits, Class, ErasedAdapter};
use pushrail_webhook::{Config, Secrets, Webhook};
use serde_json::{Value, json};

const GOLDEN: &str = include_str!("declaration.json");

#[test]
fn the_declaration_changes_only_on_purpose() {
    let webhook = Webhook::new(Default::default());
    let (config, secrets) = webhook.schemas();
    let info = webhook.info();
    let declared = json!({
        "kind": info.kind,
        "label": info.label,
        "category": info.category,
        "timeoutDefaultMs": info.timeout_default.as_millis() as u64,
        "timeoutMaxMs": info.timeout_max.as_millis() as u64,
        "failures": info.failures.iter().map(|f| json!([f.code, f.class])).collect::<Vec<_>>(),
        "config": config,
        "secrets": secrets,
    });
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let text = serde_json::to_string_pretty(&declared).unwrap();
    assert!(
        declared == golden,
        "tests/webhook/declaration.json would now be:\n{text}"
    );
    assert_eq!(info.batch, BatchLimits::SINGLE);
    assert!(info.timeout_default <= info.timeout_max);
}

#[test]
fn every_failure_tells_what_to_do() {
    for failure in Webhook::INFO.failures {
        assert_ne!(failure.class, Class::Delivered);
        assert!(
            failure.meaning.ends_with('.') && failure.advice.ends_with('.'),
            "{failure:?}"
        );
    }
    let mut codes: Vec<_> = Webhook::INFO.failures.iter().map(|f| f.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Webhook::INFO.failures.len());
}

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
