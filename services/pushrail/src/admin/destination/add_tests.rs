use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    draft: DraftArgs,
}

fn document(args: &str) -> anyhow::Result<Value> {
    overlay(args, Map::new())
}

fn overlay(args: &str, mut document: Map<String, Value>) -> anyhow::Result<Value> {
    let args = std::iter::once("add").chain(args.split_whitespace());
    let line = Line::try_parse_from(args)?;
    line.draft.write(&mut document)?;
    Ok(Value::Object(document))
}

#[test]
fn every_flag_is_a_field_of_the_document() {
    let written = document(
        "--tenant acme --customer c1 --name n --url https://e/ --events order.*,a.b --events c \
         --filter {\"path\":\"payload.a\",\"op\":\"exists\",\"value\":true} --transform [{\"drop\":[\"payload.b\"]}] \
         --max-attempts 5 --initial-delay 2s --max-delay 1h --max-age 24h --rate-limit 10:50 --timeout 9s \
         --payload-mode off --paused --secrets {\"password\":\"hunter2\"}",
    );
    let expected = json!({
        "tenantId": "acme", "customerExternalId": "c1", "kind": "webhook", "name": "n", "state": "paused",
        "config": {"url": "https://e/"}, "secrets": {"password": "hunter2"},
        "eventTypes": ["order.*", "a.b", "c"],
        "filter": {"path": "payload.a", "op": "exists", "value": true},
        "transform": [{"drop": ["payload.b"]}],
        "retry": {"maxAttempts": 5, "initialDelayMs": 2000, "maxDelayMs": 3_600_000, "maxAgeMs": 86_400_000},
        "rateLimit": {"perSecond": 10.0, "burst": 50}, "timeoutMs": 9000, "payloadMode": "off",
    });
    assert_eq!(written.unwrap(), expected);
}

#[test]
fn flags_win_over_the_document_and_leave_the_rest() {
    let Value::Object(given) = json!({
        "tenantId": "acme", "kind": "probe",
        "config": {"url": "https://old/", "headers": {}}, "retry": {"maxAttempts": 3, "maxAgeMs": 5},
    }) else {
        panic!()
    };
    let written = overlay("--url https://new/ --max-attempts 9", given.clone()).unwrap();
    let expected = json!({
        "tenantId": "acme", "kind": "probe",
        "config": {"url": "https://new/", "headers": {}}, "retry": {"maxAttempts": 9, "maxAgeMs": 5},
    });
    assert_eq!(written, expected);
    let error = overlay("--tenant other", given).unwrap_err().to_string();
    assert!(error.contains("acme") && error.contains("other"), "{error}");
}

#[test]
fn a_bad_flag_is_named_and_no_secret_repeated() {
    for (args, part) in [
        ("--config {", "--config"),
        ("--config @/nowhere", "/nowhere"),
        ("--secrets {\"hunter2", "--secrets"),
        ("--filter nope", "--filter"),
        ("--rate-limit fast", "--rate-limit"),
        ("--rate-limit 1:x", "--rate-limit"),
        ("--initial-delay 5", "--initial-delay"),
        ("--max-attempts x", "--max-attempts"),
        ("--config [] --url https://e/", "config"),
    ] {
        let error = format!("{:#}", document(args).unwrap_err());
        assert!(error.contains(part), "{args}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_refusal_names_the_flag_that_mends_each_field() {
    let Value::Object(document) = json!({
        "tenantId": "acme", "customerExternalId": "c1", "kind": "webhook",
        "config": {"url": "http://10.0.0.1/"}, "retry": {"maxAttempts": 0},
    }) else {
        panic!()
    };
    let ring = KeyRing::generate().unwrap();
    let errors = build(document, &Context::default(), &ring).err().unwrap();
    let text = refusal(&errors, None).to_string();
    assert!(text.contains("config.url (--url): "), "{text}");
    assert!(
        text.contains("retry.maxAttempts (--max-attempts): "),
        "{text}"
    );
    assert!(text.contains("nothing was changed"), "{text}");
    let unknown = json!({"tenantId": "a", "customerExternalId": "c", "kind": "fax"});
    let errors = build(
        unknown.as_object().unwrap().clone(),
        &Context::default(),
        &ring,
    )
    .err()
    .unwrap();
    assert_eq!(errors[0].field, "kind");
    assert!(errors[0].message.contains("webhook"), "{:?}", errors[0]);
}

#[test]
fn nothing_that_is_printed_shows_more_than_the_new_secret() {
    let document = json!({
        "tenantId": "acme", "customerExternalId": "c1", "kind": "webhook",
        "config": {"url": "https://example.com/"},
    });
    let ring = KeyRing::generate().unwrap();
    let built = build(
        document.as_object().unwrap().clone(),
        &Context::default(),
        &ring,
    )
    .ok()
    .unwrap();
    let sealed = built.destination.secrets.as_ref().unwrap();
    let shown = masked(&built.destination).to_string();
    assert!(!shown.contains(&*sealed.ciphertext), "{shown}");
    assert!(built.signing_secret.unwrap().starts_with("whsec_"));
}
