use proptest::prelude::*;

use super::*;

fn flaw(text: &str) -> Option<Flaw> {
    Value::of(text).unwrap().flaw
}

#[test]
fn what_readers_disagree_about_is_a_flaw_and_not_a_syntax_error() {
    assert_eq!(flaw(r#"{"a":1,"b":{"a":2}}"#), None);
    assert_eq!(
        flaw(r#"{"a":1,"a":2}"#),
        Some(Flaw::RepeatedKey("a".into()))
    );
    assert_eq!(
        flaw(r#"{"x":{"a":1,"\u0061":2}}"#),
        Some(Flaw::RepeatedKey("a".into()))
    );
    assert_eq!(flaw(r#"{"a":"\ud800"}"#), Some(Flaw::Surrogate));
    assert_eq!(flaw(r#"{"\udc00":1}"#), Some(Flaw::Surrogate));
    assert_eq!(flaw(r#"{"a":"\ud83d\ude00"}"#), None);
    assert_eq!(flaw("[1e308,-1.5E-400,0]"), None);
    assert_eq!(flaw("[1e309]"), Some(Flaw::Range("1e309".into())));
    assert_eq!(
        flaw(&"9".repeat(400)),
        Some(Flaw::Range("9".repeat(40))),
        "digits alone can exceed a double too"
    );
}

#[test]
fn many_keys_are_compared_as_strictly_as_few() {
    let object = |repeat: &str| {
        let keys: Vec<String> = (0..1_000).map(|i| format!("\"k{i}\":{i}")).collect();
        format!("{{{},{repeat}:0}}", keys.join(","))
    };
    assert_eq!(flaw(&object("\"k1000\"")), None);
    assert_eq!(
        flaw(&object("\"k500\"")),
        Some(Flaw::RepeatedKey("k500".into()))
    );
    assert_eq!(
        flaw(&object("\"\\u006b500\"")),
        Some(Flaw::RepeatedKey("k500".into()))
    );
}

#[test]
fn depth_is_bounded_without_recursion_and_the_neighbour_is_still_found() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(flaw(&nested(DEPTH_MAX)), None);
    assert_eq!(flaw(&nested(DEPTH_MAX + 1)), Some(Flaw::Depth));
    assert_eq!(flaw(&nested(1_000_000)), Some(Flaw::Depth));
    let text = format!("[{},7]", nested(200).replace("[]", "[\"]\"]"));
    let mut seen = Vec::new();
    let mut scanner = Scanner::new(&text);
    scanner
        .elements::<SyntaxError>(|scanner| {
            seen.push(scanner.value()?.raw.len());
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [403, 1]);
}

#[test]
fn syntax_errors_say_where_and_what() {
    for (text, at, problem) in [
        ("", 0, "the document ends where a value was expected"),
        ("{", 1, "the document ends too early"),
        (
            "{\"a\":NaN}",
            5,
            "NaN and Infinity are not JSON: expected a value",
        ),
        ("{'a':1}", 1, "expected a key in double quotes"),
        ("{\"a\":1,}", 7, "expected a key in double quotes"),
        ("[1,]", 3, "expected a value"),
        ("[1 2]", 3, "expected `,` or `]`"),
        ("01", 1, "unexpected text after the end of the JSON value"),
        ("1.", 2, "the document ends too early"),
        ("\"a", 2, "the document ends inside a string"),
        ("\"\\x\"", 1, "JSON has no such escape"),
        (
            "{} {}",
            3,
            "unexpected text after the end of the JSON value",
        ),
    ] {
        assert_eq!(
            Value::of(text).unwrap_err(),
            SyntaxError { at, problem },
            "{text}"
        );
    }
}

/// JSON-like text: mostly well-formed, with enough noise to be wrong in many ways.
fn texts() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        4 => Just("{".to_owned()),
        4 => Just("}".to_owned()),
        2 => Just("[".to_owned()),
        2 => Just("]".to_owned()),
        4 => Just(",".to_owned()),
        4 => Just(":".to_owned()),
        4 => "\"[a-c\\\\u00e9 ]{0,9}\"",
        1 => "\"(\\\\u[dD][89ab]3d\\\\ude0[0-9]|\\\\n|\\\\u00e9|é)\"",
        2 => "-?[0-9]{1,3}(\\.[0-9]{1,2})?([eE][+-]?[0-9]{1,3})?",
        1 => Just("true".to_owned()),
        1 => Just("null".to_owned()),
        1 => "[ \n\t]",
        1 => "[^a-z]",
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// Well-formed values, so that the agreement is not only about refusals.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::hash_map(any::<String>(), inner, 0..12)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_refused_is_what_serde_refuses(text in texts()) {
        let ours = Value::of(&text);
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match (&ours, &theirs) {
            (Ok(Value { flaw: None | Some(Flaw::RepeatedKey(_)), .. }), Ok(_)) => {}
            (Ok(Value { flaw: Some(Flaw::Surrogate | Flaw::Range(_)), .. }) | Err(_), Err(_)) => {}
            _ => prop_assert!(false, "{text:?}: {ours:?} but {theirs:?}"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_well_formed_passes_whole(value in values(), pretty in any::<bool>()) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value).unwrap(),
            false => value.to_string(),
        };
        let padded = format!(" {text}\n");
        let scanned = Value::of(&padded).unwrap();
        prop_assert_eq!(scanned.flaw.clone(), None);
        prop_assert_eq!(scanned.raw, &text);
        if let serde_json::Value::String(said) = &value {
            prop_assert_eq!(scanned.text().unwrap(), said.as_str());
        }
    }
}
