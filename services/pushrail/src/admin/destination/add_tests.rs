use clap::Parser;
use serde_json::Map;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    what: WhatArgs,
}

fn document(args: &str) -> anyhow::Result<Value> {
    overlay(args, Map::new())
}

fn overlay(args: &str, mut document: Map<String, Value>) -> anyhow::Result<Value> {
    let args = std::iter::once("add").chain(args.split_whitespace());
    let line = Line::try_parse_from(args)?;
    line.what.write(&mut document)?;
    Ok(Value::Object(document))
}

#[test]
fn every_flag_is_a_field_of_the_document() {
    let written = document(
        "--customer c1 --name n --url https://e/ --events order.*,a.b --events c \
         --filter {\"path\":\"payload.a\",\"op\":\"exists\",\"value\":true} --transform [{\"drop\":[\"payload.b\"]}] \
         --max-attempts 5 --initial-delay 2s --max-delay 1h --max-age 24h --rate-limit 10:50 --timeout 9s \
         --batch-records 500 --batch-bytes 2048 --batch-age 5s \
         --payload-mode off --paused --secrets {\"password\":\"hunter2\"}",
    );
    let expected = json!({
        "customerExternalId": "c1", "kind": "webhook", "name": "n", "state": "paused",
        "config": {"url": "https://e/"}, "secrets": {"password": "hunter2"},
        "eventTypes": ["order.*", "a.b", "c"],
        "filter": {"path": "payload.a", "op": "exists", "value": true},
        "transform": [{"drop": ["payload.b"]}],
        "retry": {"maxAttempts": 5, "initialDelayMs": 2000, "maxDelayMs": 3_600_000, "maxAgeMs": 86_400_000},
        "batch": {"records": 500, "bytes": 2048, "ageMs": 5000},
        "rateLimit": {"perSecond": 10.0, "burst": 50}, "timeoutMs": 9000, "payloadMode": "off",
    });
    assert_eq!(written.unwrap(), expected);
}

#[test]
fn flags_win_over_the_document_and_leave_the_rest() {
    let Value::Object(given) = json!({
        "customerExternalId": "c0", "kind": "probe",
        "config": {"url": "https://old/", "headers": {}}, "retry": {"maxAttempts": 3, "maxAgeMs": 5},
    }) else {
        panic!()
    };
    let written = overlay("--url https://new/ --max-attempts 9 --customer c1", given).unwrap();
    let expected = json!({
        "customerExternalId": "c1", "kind": "probe",
        "config": {"url": "https://new/", "headers": {}}, "retry": {"maxAttempts": 9, "maxAgeMs": 5},
    });
    assert_eq!(written, expected);
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
fn the_same_document_asks_for_the_same_and_another_place_for_another() {
    let wanted = |customer: &str, index| {
        let object = json!({"customerExternalId": customer, "config": {"url": "https://e/"}});
        let Value::Object(object) = object else {
            panic!()
        };
        Wanted::of(object, Some(index))
            .unwrap()
            .idempotency_key
            .unwrap()
    };
    assert_eq!(wanted("c1", 0), wanted("c1", 0));
    assert_ne!(wanted("c1", 0), wanted("c1", 1));
    assert_ne!(wanted("c1", 0), wanted("c2", 0));
    for nobody in [
        json!({}),
        json!({"customerExternalId": ""}),
        json!({"customerExternalId": 1}),
    ] {
        let error = Wanted::of(nobody.as_object().unwrap().clone(), None)
            .err()
            .unwrap();
        assert!(error.to_string().contains("--customer"), "{error}");
    }
}
