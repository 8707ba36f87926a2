use std::io::Read as _;

use age::x25519::Identity;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn redacting(paths: &[&str]) -> Privacy {
    let paths: Vec<Box<str>> = paths.iter().map(|path| (*path).into()).collect();
    Privacy::of(&PayloadMode::Redact(paths.into()), "/payloadMode").unwrap()
}

fn sealing(identity: &Identity) -> Privacy {
    let key = identity.to_public().to_string();
    Privacy::of(&PayloadMode::Seal(key.into()), "/payloadMode").unwrap()
}

fn redacted(paths: &[&str], payload: &str) -> String {
    let privacy = redacting(paths);
    let shown = privacy.payload(payload.as_bytes());
    assert_eq!(shown.form, "redacted", "{payload}");
    String::from_utf8(shown.payload.unwrap().into_owned()).unwrap()
}

fn opened(identity: &Identity, sealed: &[u8]) -> Vec<u8> {
    let armored = age::armor::ArmoredReader::new(sealed);
    let decryptor = age::Decryptor::new_buffered(armored).unwrap();
    let mut opened = Vec::new();
    let identity = std::iter::once(identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identity).unwrap();
    reader.read_to_end(&mut opened).unwrap();
    opened
}

#[test]
fn what_paths_lead_to_is_replaced_and_the_rest_keeps_its_bytes() {
    let table: &[(&[&str], &str, &str)] = &[
        (
            &["payload.card.number"],
            r#"{ "card": {"number": "4111", "brand" : "v"}, "total": 12345678901234567890.50 }"#,
            r#"{"card":{"number":"[redacted]","brand":"v"},"total":12345678901234567890.50}"#,
        ),
        (
            &["payload.card"],
            r#"{"card":{"number":"4111"},"x":[1, 2]}"#,
            r#"{"card":"[redacted]","x":[1, 2]}"#,
        ),
        (
            &["payload.a", "payload.b.0"],
            r#"{"a":null,"b":[1,2],"c":true}"#,
            r#"{"a":"[redacted]","b":["[redacted]",2],"c":true}"#,
        ),
        // A name means every element; so does a star.
        (
            &["payload.items.sku"],
            r#"{"items":[{"sku":1,"n":1},[{"sku":2}],"x"]}"#,
            r#"{"items":[{"sku":"[redacted]","n":1},[{"sku":"[redacted]"}],"x"]}"#,
        ),
        (
            &["payload.*.sku"],
            r#"{"a":{"sku":1},"b":[{"sku":2}],"sku":3}"#,
            r#"{"a":{"sku":"[redacted]"},"b":[{"sku":"[redacted]"}],"sku":3}"#,
        ),
        (
            &["payload.*"],
            r#"{"a":1,"b":[2]}"#,
            r#"{"a":"[redacted]","b":"[redacted]"}"#,
        ),
        // Under whatever name it hides, and however often.
        (
            &["payload.card"],
            "{\"c\\u0061rd\":1,\"card\":2,\"cards\":3}",
            r#"{"card":"[redacted]","card":"[redacted]","cards":3}"#,
        ),
        (
            &[r"payload.a\.b"],
            r#"{"a.b":1,"a":{"b":2}}"#,
            r#"{"a.b":"[redacted]","a":{"b":2}}"#,
        ),
        (&["payload.absent.x"], r#"{"a":1}"#, r#"{"a":1}"#),
    ];
    for (paths, payload, expected) in table {
        assert_eq!(redacted(paths, payload), *expected, "{paths:?}");
    }
}

#[test]
fn what_cannot_be_read_is_omitted_and_never_shown() {
    let privacy = redacting(&["payload.a"]);
    let garbage: [&[u8]; 9] = [
        b"",
        b"4111",
        b"\"4111\"",
        b"[{\"b\":1}]",
        b"{\"b\":4111",
        b"{\"b\":4111}x",
        b"{\"b\":01}",
        b"{\"b\":\"\xff\"}",
        b"{\"\\ud800\":1}",
    ];
    for payload in garbage {
        assert_eq!(privacy.payload(payload), Shown::OMITTED, "{payload:?}");
    }
    // Sealed, whatever it is.
    let identity = Identity::generate();
    let sealed = sealing(&identity).payload(b"{\"b\":4111").payload.unwrap();
    assert_eq!(opened(&identity, &sealed), b"{\"b\":4111");
}

#[test]
fn depth_costs_no_stack_and_hides_what_lies_below() {
    let deep = format!(
        "{{\"a\":{}{{\"s\":4111}}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let shown = redacted(&["payload.a.s"], &deep);
    assert!(
        !shown.contains("4111") && shown.contains("[redacted]"),
        "{shown}"
    );
}

#[test]
fn every_bad_rule_is_named() {
    let table = [
        (
            json!({"mode": "redact", "paths": []}),
            "/payloadMode/paths: must list 1 to 100 paths, not 0",
        ),
        (
            json!({"mode": "redact", "paths": vec!["payload.a"; 101]}),
            "/payloadMode/paths: must list 1 to 100 paths, not 101",
        ),
        (
            json!({"mode": "redact", "paths": ["payload.a", "/card"]}),
            "/payloadMode/paths/1: must start with payload or metadata",
        ),
        (
            json!({"mode": "redact", "paths": ["payload"]}),
            "/payloadMode/paths/0: must name something inside payload",
        ),
        (
            json!({"mode": "redact", "paths": ["metadata.a"]}),
            "/payloadMode/paths/0: must start with payload: the audit shows no metadata",
        ),
        (
            json!({"mode": "redact", "paths": ["payload..a"]}),
            "/payloadMode/paths/0: has an empty name",
        ),
        (
            json!({"mode": "redact", "paths": ["payload.a\\"]}),
            "/payloadMode/paths/0: ends in a backslash",
        ),
        (
            json!({"mode": "seal", "publicKey": "age1qqq"}),
            "/payloadMode/publicKey: must be an X25519 recipient of age",
        ),
    ];
    for (mode, says) in table {
        let mode: PayloadMode = serde_json::from_value(mode).unwrap();
        let problems = Privacy::of(&mode, "/payloadMode").unwrap_err();
        let said = pushrail_schemas::problem::join(&problems);
        assert!(said.starts_with(says), "{said}");
        // Where it got that far all the same, nothing is shown.
        assert_eq!(Privacy::or_off(&mode).payload(b"{}"), Shown::OMITTED);
    }
}

#[test]
fn what_may_repeat_the_payload_is_shown_in_full_mode_alone() {
    let identity = Identity::generate();
    let quoting = Cow::Owned("Key (card)=(4111) already exists.".to_owned());
    let fixed = Cow::Borrowed("The destination did not answer in time.");
    for (privacy, shows) in [
        (Privacy(Rule::Full), true),
        (Privacy::OFF, false),
        (redacting(&["payload.a"]), false),
        (sealing(&identity), false),
    ] {
        assert_eq!(privacy.response(Some("4111")).is_some(), shows);
        assert_eq!(privacy.error(&quoting).is_some(), shows);
        assert_eq!(privacy.error(&fixed), Some(&*fixed));
    }
}

#[test]
fn the_limit_is_for_what_is_shown() {
    let identity = Identity::generate();
    let payload = vec![b' '; PAYLOAD_LEN_MAX];
    assert!(Privacy(Rule::Full).payload(&payload).payload.is_some());
    assert_eq!(sealing(&identity).payload(&payload), Shown::OMITTED);
    let fits = &payload[..PAYLOAD_LEN_MAX / 100 * 73];
    let sealed = sealing(&identity).payload(fits).payload.unwrap();
    assert!(sealed.len() <= PAYLOAD_LEN_MAX, "{}", sealed.len());
    let longer = vec![b' '; PAYLOAD_LEN_MAX + 1];
    assert_eq!(Privacy(Rule::Full).payload(&longer), Shown::OMITTED);
}

#[test]
fn a_mode_is_read_once_and_forgotten_some_time() {
    let mut modes = Modes::default();
    let key: PayloadMode = PayloadMode::Seal(Identity::generate().to_public().to_string().into());
    let (Rule::Seal(first), Rule::Seal(again)) = (modes.get(&key).0, modes.get(&key).0) else {
        panic!("sealed");
    };
    assert!(Arc::ptr_eq(&first, &again));
    for n in 0..2 * Modes::LEN_MAX {
        let path = format!("payload.p{n}").into_boxed_str();
        modes.get(&PayloadMode::Redact([path].into()));
    }
    assert!(modes.0.len() <= Modes::LEN_MAX);
    let broken = PayloadMode::Seal("age1".into());
    assert_eq!(modes.get(&broken).payload(b"{}"), Shown::OMITTED);
}

/// A value in which every text and number says where it is and is found nowhere else.
fn value(depth: u32) -> BoxedStrategy<Value> {
    let text = "secret-[a-z0-9]{16}".prop_map(Value::String);
    let number = (10_000_000_000_000u64..99_999_999_999_999).prop_map(Value::from);
    prop_oneof![text, number]
        .prop_recursive(depth, 24, 4, |inner| {
            let members = prop::collection::vec(("[a-c]", inner.clone()), 1..4);
            prop_oneof![
                prop::collection::vec(inner, 1..4).prop_map(Value::Array),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
        .boxed()
}

fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|value| leaves(value, out)),
        Value::Object(members) => members.values().for_each(|value| leaves(value, out)),
        Value::String(text) => out.push(text.clone()),
        other => out.push(other.to_string()),
    }
}

/// Paths to everything in a payload.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        Value::Object(members) => members.iter().map(|(n, v)| (n.clone(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let path = format!("{at}.{name}");
        paths(child, &path, out);
        out.push(path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_value_at_a_path_is_in_what_a_redaction_shows(
        members in prop::collection::vec(("[a-c]", value(4)), 1..4),
        chosen in any::<prop::sample::Index>(),
    ) {
        let payload = Value::Object(members.into_iter().collect::<Map<_, _>>());
        let mut all = Vec::new();
        paths(&payload, "payload", &mut all);
        let path = chosen.get(&all).as_str();
        let pointer = path.trim_start_matches("payload").replace('.', "/");
        let mut hidden = Vec::new();
        leaves(payload.pointer(&pointer).unwrap(), &mut hidden);
        let shown = redacted(&[path], &payload.to_string());
        for value in &hidden {
            prop_assert!(!shown.contains(value.as_str()), "{path}: {shown}");
        }
        // And nothing else is gone.
        let mut expected = payload;
        *expected.pointer_mut(&pointer).unwrap() = json!("[redacted]");
        prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), expected);
    }

    #[test]
    fn no_value_of_a_payload_is_in_what_is_sealed_and_its_owner_opens_it(value in value(4)) {
        let identity = Identity::generate();
        let payload = json!({ "a": value }).to_string();
        let privacy = sealing(&identity);
        let shown = privacy.payload(payload.as_bytes());
        prop_assert_eq!(shown.form, "sealed");
        let sealed = shown.payload.unwrap().into_owned();
        let text = String::from_utf8(sealed.clone()).unwrap();
        prop_assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
        let mut values = Vec::new();
        leaves(&value, &mut values);
        for value in &values {
            prop_assert!(!text.contains(value.as_str()));
        }
        prop_assert_eq!(opened(&identity, &sealed), payload.as_bytes());
    }

    #[test]
    fn no_bytes_make_a_redaction_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        redacting(&["payload.a.b", "payload.*.0"]).payload(&payload);
    }
}

/// What travels sealed is shown sealed, whatever the mode leaves of it.
#[test]
fn what_is_shown_of_a_sealed_payload_is_sealed_too_or_omitted() {
    use pushrail_shred::{Keyset, Owner, SHARDS, Tree, part};
    let mut keyset = Keyset::default();
    for shard in 0..SHARDS {
        keyset.put(shard, Arc::new(Tree::generate().unwrap()));
    }
    let owner = Owner {
        customer_id: uuid::Uuid::from_u128(1),
        event_id: uuid::Uuid::from_u128(2),
        subject_id: None,
    };
    let (_, key) = keyset.fresh(&owner).unwrap();
    let clear = br#"{"card":"4111","total":5}"#;
    let sealed = key.sealed(part::PAYLOAD, clear).unwrap();
    let full = Privacy::of(&PayloadMode::Full, "").unwrap();
    let redact = PayloadMode::Redact(["payload.card".into()].into());
    let redact = Privacy::of(&redact, "").unwrap();
    // As they are, and so for nothing.
    let shown = full.sealed(&sealed, None);
    assert_eq!(
        (shown.payload.as_deref(), shown.form),
        (Some(&sealed[..]), "encrypted")
    );
    let shown = redact.sealed(&sealed, Some(&key));
    assert_eq!(shown.form, "encrypted_redacted");
    let opened = key.open(part::PAYLOAD, &shown.payload.unwrap()).unwrap();
    assert_eq!(opened, br#"{"card":"[redacted]","total":5}"#);
    assert_eq!(redact.sealed(&sealed, None), Shown::OMITTED);
    assert_eq!(Privacy::OFF.sealed(&sealed, Some(&key)), Shown::OMITTED);
    assert_eq!(redact.sealed(b"garbage", Some(&key)), Shown::OMITTED);
}
