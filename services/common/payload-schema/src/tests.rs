use serde_json::json;

use super::*;

fn schema(value: Value) -> Schema {
    Schema::compile(&value.to_string()).unwrap()
}

fn refused(value: Value) -> Unusable {
    let text = value.to_string();
    Schema::compile(&text).expect_err(&text[..text.len().min(300)])
}

fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://acme.example/order.json",
        "type": "object",
        "required": ["total", "currency"],
        "additionalProperties": false,
        "properties": {
            "total": {"type": "number", "minimum": 0},
            "currency": {"enum": ["EUR", "USD"]},
            "email": {"type": "string", "pattern": "^[^@]+@[^@]+$", "format": "email"},
            "note": {"type": ["string", "null"], "maxLength": 10},
            "address": {"$ref": "#/$defs/address"},
            "lines": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["sku"],
                "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}, "pack": {"multipleOf": 2}},
            }},
            "payment": {"oneOf": [
                {"properties": {"kind": {"const": "card"}}, "required": ["kind"]},
                {"properties": {"kind": {"const": "bank"}}, "required": ["kind"]},
            ]},
        },
        "$defs": {"address": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}},
    })
}

#[test]
fn what_is_broken_is_named_by_its_place_and_what_was_expected() {
    let schema = schema(order());
    let good = json!({"total": 1.5, "currency": "EUR", "email": "a@b", "note": null,
        "lines": [{"sku": "a", "count": 4}], "address": {"street": 1}, "payment": {"kind": "card"}});
    assert_eq!(schema.problems(&good), []);
    let with = |field: &str, value: Value| {
        let mut all = good.clone();
        all[field] = value;
        let broken = schema.problems(&all);
        assert_eq!(broken.len(), 1, "{broken:?}");
        format!("{} {}", broken[0].pointer, broken[0].problem)
    };
    for (field, value, told) in [
        ("total", json!("1"), "/total must be a number"),
        ("total", json!(-1), "/total must be at least 0"),
        (
            "currency",
            json!("GBP"),
            "/currency must be one of \"EUR\", \"USD\"",
        ),
        ("email", json!("x"), "/email must match `^[^@]+@[^@]+$`"),
        ("note", json!(1), "/note must be null or a string"),
        (
            "note",
            json!("elevenchars"),
            "/note must have at most 10 characters",
        ),
        ("lines", json!([]), "/lines must have at least 1 items"),
        (
            "lines",
            json!([{"sku": "a"}, {}]),
            "/lines/1/sku is required",
        ),
        (
            "lines",
            json!([{"sku": "a", "count": 1.5}]),
            "/lines/0/count must be a whole number",
        ),
        (
            "lines",
            json!([{"sku": "a", "pack": 3}]),
            "/lines/0/pack must be a multiple of 2",
        ),
        (
            "a/b~",
            json!(1),
            "/a~1b~0 is not among the properties that are allowed",
        ),
        (
            "address",
            json!({"A": 1}),
            "/address has a property whose name must match `^[a-z]+$`",
        ),
        (
            "payment",
            json!({}),
            "/payment must be as one of the 2 alternatives of `oneOf` says",
        ),
    ] {
        assert_eq!(with(field, value), told);
    }
}

#[test]
fn no_value_of_a_payload_is_shown_and_what_is_told_stays_short() {
    let schema = schema(order());
    let secret = "hunter2".repeat(1_000);
    let mut payload = json!({"total": secret, "currency": secret, "email": secret, "note": secret,
        "address": secret, "lines": secret, "payment": secret});
    let told = format!("{:?}", schema.problems(&payload));
    assert!(!told.contains("hunter2"), "{told}");
    for number in 0..1_000 {
        payload[format!("{}{number}", "k".repeat(1_000))] = json!(1);
    }
    let broken = schema.problems(&payload);
    assert_eq!(broken.len(), PROBLEMS_MAX);
    assert!(
        broken
            .iter()
            .all(|one| one.pointer.len() < 300 && one.problem.len() < 200)
    );
}

/// Each would be a way to make ingest look things up, run for ever, or fill its memory.
#[test]
fn a_schema_that_could_hurt_is_refused_and_says_where() {
    let doubled: serde_json::Map<_, _> = (0..30)
        .map(|n| {
            let next = format!("#/$defs/d{}", n + 1);
            (
                format!("d{n}"),
                json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
            )
        })
        .chain([("d30".to_owned(), json!({"type": "string"}))])
        .collect();
    let nested = (0..100).fold(json!({}), |inner, _| json!({"not": inner}));
    let chain: serde_json::Map<_, _> = (0..200)
        .map(|n| {
            (
                format!("d{n}"),
                json!({"items": {"$ref": format!("#/$defs/d{}", n + 1)}}),
            )
        })
        .chain([("d200".to_owned(), json!({}))])
        .collect();
    let many = |n: usize| -> Value {
        let rules: Vec<_> = (0..n).map(|n| json!({"minimum": n})).collect();
        json!(rules)
    };
    let names: Vec<_> = (0..3_000).map(|n| n.to_string()).collect();
    for (pointer, schema) in [
        ("", json!(true)),
        ("", json!({"description": "x".repeat(LEN_MAX)})),
        ("/type", json!({"type": "nonsense"})),
        (
            "/$schema",
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
        ),
        ("/$schema", json!({"$schema": "https://acme.example/meta"})),
        ("/$ref", json!({"$ref": "https://acme.example/a.json"})),
        ("/$ref", json!({"$ref": "file:///etc/passwd"})),
        (
            "/properties/a/$ref",
            json!({"properties": {"a": {"$ref": "other.json"}}}),
        ),
        ("/$ref", json!({"$ref": "#/$defs/nowhere"})),
        (
            "/$ref",
            json!({"$ref": "#/enum/0", "enum": [{"type": "string"}]}),
        ),
        // The one that is meant is `ab`.
        (
            "/$ref",
            json!({"$ref": "#/$defs/a%62", "$defs": {"a%62": {}, "ab": {"$ref": "#"}}}),
        ),
        ("", json!({"$ref": "#"})),
        (
            "",
            json!({"properties": {"children": {"items": {"$ref": "#"}}}}),
        ),
        ("", json!({"$ref": "#/$defs/d0", "$defs": doubled})),
        ("", json!({"$ref": "#/$defs/d0", "$defs": chain})),
        ("", json!({"items": {"allOf": many(200)}})),
        ("", json!({"additionalProperties": {"required": names}})),
        ("/$dynamicRef", json!({"$dynamicRef": "#a"})),
        (
            "/unevaluatedProperties",
            json!({"unevaluatedProperties": false}),
        ),
        (
            "/properties/a/$id",
            json!({"properties": {"a": {"$id": "b"}}}),
        ),
        ("/pattern", json!({"pattern": "(?=a)b"})),
        ("/pattern", json!({"pattern": "("})),
        ("/pattern", json!({"pattern": "[01]*1[01]{500}"})),
        ("/pattern", json!({"pattern": "(a{1000}){1000}"})),
        (
            "/patternProperties",
            json!({"patternProperties": {"(a+)+\\1": {}}}),
        ),
    ] {
        let error = refused(schema.clone());
        assert_eq!(
            error.pointer,
            pointer,
            "{error} for {:.200}",
            schema.to_string()
        );
        assert!(error.problem.len() < 300, "{error}");
    }
    assert!(refused(nested).problem.contains("nested deeper"));
    assert!(Schema::compile("{").is_err());
}

/// Otherwise its references would lead into the document whose name it took.
#[test]
fn a_schema_that_takes_the_name_of_another_is_still_itself() {
    let schema = schema(json!({
        "$id": "http://json-schema.org/draft-07/schema#",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"$ref": "#/definitions/schemaArray"}},
        "definitions": {"schemaArray": {"type": "string"}},
    }));
    assert_eq!(schema.problems(&json!({"a": "text"})), []);
    assert_eq!(
        schema.problems(&json!({"a": [{}]}))[0].problem,
        "must be a string"
    );
}

#[test]
fn what_vendors_write_is_taken() {
    let countries: Vec<_> = (0..3_000).map(|n| format!("country-{n}")).collect();
    let wide: serde_json::Map<_, _> = (0..500)
        .map(|n| {
            (
                format!("property_{n}"),
                json!({"type": ["string", "null"], "maxLength": 100}),
            )
        })
        .collect();
    let kinds: Vec<_> = (0..20)
        .map(|n| json!({"properties": {"kind": {"const": n}, "value": {"type": "string"}}, "required": ["kind"]}))
        .collect();
    for value in [
        json!({}),
        json!({"properties": wide, "required": ["property_1"]}),
        json!({"properties": {"items": {"type": "array", "items": {"oneOf": kinds}}}}),
        json!({"properties": {"id": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
            "at": {"pattern": "^\\d{4}-\\d{2}-\\d{2}T.*Z$"}, "text": {"pattern": "^.{1,255}$"}, "word": {"pattern": "^\\w+$"}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"type": "string"}},
            "properties": {"$id": {"$ref": "#/definitions/a"}, "unevaluatedItems": {"type": "string"}}}),
        json!({"items": {"properties": {"country": {"enum": countries}}}, "additionalProperties": false}),
        json!({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": false}),
    ] {
        schema(value);
    }
}

#[test]
fn a_large_payload_with_a_thousand_mistakes_is_refused_in_little_memory() {
    let plain = schema(json!({"properties": {"list": {"items": {"type": "string"}}}}));
    let items: Vec<_> = (0..100_000).collect();
    let payload = json!({"list": items});
    let broken = plain.problems(&payload);
    assert_eq!((broken.len(), &*broken[0].pointer), (1, "/list/0"));
    let either = schema(
        json!({"anyOf": [{"properties": {"list": {"items": {"type": "string"}}}}, {"required": ["a"]}]}),
    );
    let broken = either.problems(&payload);
    assert_eq!((broken.len(), &*broken[0].pointer), (1, ""));
    assert!(broken[0].problem.contains("too large to say where"));
}

/// `cargo test --release -p pushrail-payload-schema -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn what_an_event_costs() {
    let properties: serde_json::Map<_, _> = (0..10)
        .map(|n| match n % 3 {
            0 => (
                format!("text_{n}"),
                json!({"type": "string", "maxLength": 200}),
            ),
            1 => (
                format!("number_{n}"),
                json!({"type": "number", "minimum": 0}),
            ),
            _ => (format!("kind_{n}"), json!({"enum": ["a", "b", "c"]})),
        })
        .collect();
    let required: Vec<_> = properties.keys().cloned().collect();
    let text =
        json!({"type": "object", "required": required, "properties": properties}).to_string();
    let payload: serde_json::Map<_, _> = required
        .iter()
        .map(|name| match &name[..1] {
            "t" => (name.clone(), json!("x".repeat(200))),
            "n" => (name.clone(), json!(12.5)),
            _ => (name.clone(), json!("b")),
        })
        .collect();
    let payload = Value::Object(payload).to_string();
    let schema = Schema::compile(&text).unwrap();
    let parsed: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(schema.problems(&parsed), []);
    println!(
        "payload of {} bytes, schema of {} bytes",
        payload.len(),
        text.len()
    );
    measure("compile", 1_000, || drop(Schema::compile(&text).unwrap()));
    measure("parse", 100_000, || {
        drop(serde_json::from_str::<Value>(&payload).unwrap())
    });
    measure("validate", 100_000, || {
        assert!(schema.problems(&parsed).is_empty())
    });
    let wrong = payload.replace("12.5", "true");
    let wrong: Value = serde_json::from_str(&wrong).unwrap();
    measure("explain", 10_000, || {
        assert!(!schema.problems(&wrong).is_empty())
    });
    // The worst that is accepted.
    let rules: Vec<_> = (0..REPEATED).map(|n| json!({"minimum": -n})).collect();
    let slow =
        Schema::compile(&json!({"properties": {"a": {"items": {"allOf": rules}}}}).to_string())
            .unwrap();
    let long = json!({"a": vec![0; 131_000]});
    measure("validate the longest list by the most rules", 10, || {
        assert!(slow.problems(&long).is_empty())
    });
    let digits = json!({"a": "01".repeat(131_000)});
    let pattern = json!({"properties": {"a": {"pattern": "^[01]*1[01]{8}$"}}});
    let pattern = Schema::compile(&pattern.to_string()).unwrap();
    measure("match the longest text", 10, || {
        drop(pattern.problems(&digits))
    });
    let patterns: serde_json::Map<_, _> = (0..5)
        .map(|n| {
            (
                n.to_string(),
                json!({"pattern": format!("^.{{1,{}}}$", 250 + n)}),
            )
        })
        .collect();
    let text = json!({"properties": patterns}).to_string();
    measure("compile large patterns", 10, || {
        drop(Schema::compile(&text))
    });
    let wide: serde_json::Map<_, _> = (0..1_100)
        .map(|n| (n.to_string(), json!({"type": "string", "maxLength": 1})))
        .collect();
    let text = json!({"properties": wide}).to_string();
    println!("{} bytes", text.len());
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        4 * pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = resident();
    let kept: Vec<_> = (0..200).map(|_| Schema::compile(&text).unwrap()).collect();
    println!("{} KiB compiled", (resident() - before) / kept.len());
    measure("compile a wide schema", 10, || {
        drop(Schema::compile(&text).unwrap())
    });
}

const REPEATED: i32 = 98;

#[expect(clippy::disallowed_types, reason = "it measures")]
fn measure(what: &str, times: u32, mut work: impl FnMut()) {
    let started = std::time::Instant::now();
    (0..times).for_each(|_| work());
    println!(
        "{what}: {} ns",
        started.elapsed().as_nanos() / u128::from(times)
    );
}
