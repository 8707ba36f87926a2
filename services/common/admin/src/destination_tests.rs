use std::time::Duration;

use pushrail_sink_core::{Adapter, BatchLimits, Client, Fault, Info, Outcome, Record, Secret};
use serde_json::json;
use tokio::time::Instant;

use super::*;

/// A destination type with one setting and one secret.
struct Probe;
struct ProbeClient;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    url: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "only parsed")]
struct Secrets {
    signing_secret: Secret,
    #[serde(default)]
    previous_signing_secrets: Vec<Secret>,
    #[serde(default)]
    password: Option<Secret>,
}

impl Adapter for Probe {
    type Config = Config;
    type Secrets = Secrets;
    type Client = ProbeClient;
    const INFO: Info = Info {
        kind: "probe",
        label: "Probe",
        category: "webhook",
        guide: "",
        batch: BatchLimits::SINGLE,
        batch_max: BatchLimits::SINGLE,
        timeout_default: Duration::from_secs(10),
        timeout_max: Duration::from_secs(60),
        failures: &[],
    };

    fn check(config: &Config, _: &Secrets, _: &Context) -> Result<(), Vec<FieldError>> {
        match config.url.starts_with("https://") {
            true => Ok(()),
            false => Err(vec![FieldError::new(
                "config.url",
                "must begin with https://",
            )]),
        }
    }

    async fn connect(&self, _: Config, _: Secrets) -> Result<ProbeClient, Fault> {
        Ok(ProbeClient)
    }
}

impl Client for ProbeClient {
    type Reply = ();
    async fn send(&self, _: &[std::sync::Arc<Record>], _: Instant) {}
    fn classify(_: (), _: usize) -> Outcome {
        unreachable!("nothing is sent")
    }
}

fn good() -> Value {
    json!({
        "tenantId": "acme", "customerExternalId": "cust-1", "kind": "probe",
        "config": {"url": "https://example.com"},
    })
}

fn build(change: impl FnOnce(&mut Value)) -> Result<Built, Vec<(String, String)>> {
    let mut draft = good();
    change(&mut draft);
    let Value::Object(draft) = draft else {
        panic!("not an object")
    };
    let ring = KeyRing::generate().unwrap();
    let id = Uuid::from_u128(7);
    Draft::parse(draft)
        .and_then(|draft| {
            destination(draft, &Probe, &Context::default(), &ring, id, |_| {
                Vec::new()
            })
        })
        .map_err(|error| match error {
            Error::Invalid(errors) => errors.into_iter().map(|e| (e.field, e.message)).collect(),
            Error::Crypto(error) => panic!("{error}"),
        })
}

#[test]
fn defaults_make_a_destination_of_a_url() {
    let built = build(|_| {}).unwrap_or_else(|e| panic!("{e:?}"));
    let destination = built.destination;
    assert_eq!(destination.version, 1);
    assert_eq!(&*destination.name, "probe for cust-1");
    assert_eq!(destination.event_types, ["*".into()]);
    assert_eq!(destination.config.get(), r#"{"url":"https://example.com"}"#);
    assert_eq!(
        destination.customer_id,
        identity::customer_id("acme", "cust-1")
    );
    assert!(destination.problems().is_empty());
}

#[test]
fn the_signing_secret_is_made_once_and_nothing_plain_is_kept() {
    let ring = KeyRing::generate().unwrap();
    let Value::Object(mut draft) = good() else {
        panic!()
    };
    draft.insert("secrets".into(), json!({"password": "hunter2"}));
    let draft = Draft::parse(draft).unwrap_or_else(|e| panic!("{e}"));
    let context = Context::default();
    let built = destination(draft, &Probe, &context, &ring, Uuid::from_u128(7), |_| {
        Vec::new()
    })
    .ok()
    .unwrap();
    let secret = built.signing_secret.unwrap();
    let written = serde_json::to_string(&built.destination).unwrap();
    assert!(
        !written.contains("hunter2") && !written.contains(secret.as_str()),
        "{written}"
    );
    let sealed = built.destination.secrets.as_ref().unwrap();
    let opened = ring.open(&Aad::of(&built.destination), sealed).unwrap();
    let opened: Value = serde_json::from_slice(&opened).unwrap();
    assert_eq!(
        opened,
        json!({"password": "hunter2", "signingSecret": *secret})
    );
}

#[test]
fn a_secret_that_was_brought_along_is_not_shown_again() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let built = build(|d| d["secrets"] = json!({"signingSecret": secret}));
    assert!(built.ok().unwrap().signing_secret.is_none());
}

#[test]
fn every_mistake_names_its_field_and_makes_nothing() {
    type Change = fn(&mut Value);
    let table: &[(&str, Change)] = &[
        ("tenantId", |d| d["tenantId"] = json!("ACME")),
        ("tenantId", |d| {
            drop(d.as_object_mut().unwrap().remove("tenantId"))
        }),
        ("customerExternalId", |d| {
            d["customerExternalId"] = json!("")
        }),
        ("kind", |d| drop(d.as_object_mut().unwrap().remove("kind"))),
        ("name", |d| d["name"] = json!("")),
        ("state", |d| d["state"] = json!("sleeping")),
        ("config", |d| d["config"] = json!("https://example.com")),
        ("config", |d| d["config"] = json!({})),
        ("config.url", |d| {
            d["config"]["url"] = json!("http://example.com")
        }),
        ("config.url", |d| d["config"]["url"] = json!(5)),
        ("config.uri", |d| d["config"]["uri"] = json!("x")),
        ("secrets", |d| d["secrets"] = json!("hunter2")),
        ("secrets.signingSecret", |d| {
            d["secrets"] = json!({"signingSecret": {"a": "hunter2"}})
        }),
        ("secrets.pasword", |d| {
            d["secrets"] = json!({"pasword": "hunter2"})
        }),
        ("eventTypes", |d| d["eventTypes"] = json!([])),
        ("eventTypes[0]", |d| d["eventTypes"] = json!(["*.order"])),
        (
            "filter",
            |d| d["filter"] = json!({"all": [{"path": "payload.a", "op": "like", "value": 1}]}),
        ),
        ("transform", |d| {
            d["transform"] = json!([{"shout": "payload.a"}])
        }),
        ("retry.maxAttempts", |d| {
            d["retry"] = json!({"maxAttempts": 0})
        }),
        ("retry.initialDelayMs", |d| {
            d["retry"] = json!({"initialDelayMs": 5000, "maxDelayMs": 10})
        }),
        ("retry.attempts", |d| d["retry"] = json!({"attempts": 3})),
        ("rateLimit.perSecond", |d| {
            d["rateLimit"] = json!({"perSecond": -1})
        }),
        ("batch", |d| d["batch"] = json!({"records": 10})),
        ("batch.bytes", |d| d["batch"] = json!({"bytes": 1})),
        ("payloadMode", |d| d["payloadMode"] = json!("some")),
        (
            "payloadMode",
            |d| d["payloadMode"] = json!({"mode": "seal", "publicKey": "age1", "x": "hunter2"}),
        ),
        ("payloadMode.publicKey", |d| {
            d["payloadMode"] = json!({"mode": "seal", "publicKey": "hunter2"})
        }),
        (
            "payloadMode.paths[1]",
            |d| d["payloadMode"] = json!({"mode": "redact", "paths": ["payload.a", "hunter"]}),
        ),
        ("payloadModeInherited", |d| {
            d["payloadModeInherited"] = json!(true)
        }),
        ("timeoutMs", |d| d["timeoutMs"] = json!(0)),
        ("timeoutMs", |d| d["timeoutMs"] = json!(61_000)),
        ("url", |d| d["url"] = json!("https://example.com")),
    ];
    for (field, change) in table {
        let errors = build(change)
            .err()
            .unwrap_or_else(|| panic!("{field} passed"));
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
        let named = |(name, message): &(String, String)| {
            name.starts_with(field) || message.contains(&format!("`{field}`"))
        };
        assert!(errors.iter().any(named), "{field}: {errors:?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let errors = build(|d| {
        d["config"]["url"] = json!("ftp://example.com");
        d["retry"] = json!({"maxAttempts": 0});
        d["eventTypes"] = json!(["a b"]);
    });
    assert_eq!(errors.err().unwrap().len(), 3);
}

#[test]
fn a_rotation_keeps_the_old_secret_until_it_is_finished() {
    let ring = KeyRing::generate().unwrap();
    let context = Context::default();
    let Value::Object(draft) = good() else {
        panic!()
    };
    let draft = Draft::parse(draft).unwrap_or_else(|e| panic!("{e}"));
    let id = Uuid::from_u128(7);
    let first = destination(draft, &Probe, &context, &ring, id, |_| Vec::new())
        .ok()
        .unwrap();
    let old = first.signing_secret.unwrap();
    let opened = |destination: &Destination| -> Value {
        let sealed = destination.secrets.as_ref().unwrap();
        serde_json::from_slice(&ring.open(&Aad::of(destination), sealed).unwrap()).unwrap()
    };
    let second = crate::rotate_signing_secret(&first.destination, &Probe, &context, &ring)
        .ok()
        .unwrap();
    let new = second.signing_secret.unwrap();
    assert_eq!(second.destination.version, 2);
    let expected = json!({"signingSecret": *new, "previousSigningSecrets": [*old]});
    assert_eq!(opened(&second.destination), expected);
    let third = crate::finish_rotation(&second.destination, &Probe, &context, &ring)
        .ok()
        .unwrap();
    assert_eq!(third.destination.version, 3);
    assert_eq!(opened(&third.destination), json!({"signingSecret": *new}));
    let stranger = KeyRing::generate().unwrap();
    let error = crate::rotate_signing_secret(&third.destination, &Probe, &context, &stranger)
        .err()
        .unwrap();
    assert!(error.to_string().contains("not on the key ring"), "{error}");
}
