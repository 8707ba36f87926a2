use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::*;
use crate::avro;

fn parse(schema: &str) -> Schema {
    Schema::parse_str(schema).unwrap()
}

/// `fields` as the library writes them with `schema`.
fn written(schema: &Schema, fields: Vec<(&str, Value)>) -> Vec<u8> {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let writer = GenericDatumWriter::builder(schema).build().unwrap();
    let mut value = vec![0, 0, 0, 0, 7];
    value.extend(writer.write_value_to_vec(Value::Record(fields)).unwrap());
    value
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

/// A schema with `fields` beside the required ones, as JSON.
fn schema(payload: &str, fields: &str) -> Schema {
    parse(&format!(
        r#"{{"type": "record", "name": "Mine", "namespace": "shop", "fields": [
            {{"name": "event_type", "type": "string"}},
            {{"name": "customer_external_id", "type": "string"}},
            {{"name": "payload", "type": {payload}}}{fields}]}}"#
    ))
}

fn required(payload: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("event_type", string("a.b")),
        ("customer_external_id", string("c")),
        ("payload", payload),
    ]
}

fn with(
    mut fields: Vec<(&'static str, Value)>,
    name: &'static str,
    value: Value,
) -> Vec<(&'static str, Value)> {
    fields.push((name, value));
    fields
}

#[test]
fn text_serves_for_bytes_and_fields_may_be_absent() {
    let schema = schema("\"string\"", "");
    let value = written(&schema, required(string(r#"{"a":1}"#)));
    let input = Writer::new(&schema).unwrap().decode(&value).unwrap();
    assert_eq!(
        (&*input.payload, &*input.metadata),
        (br#"{"a":1}"#.as_slice(), b"{}".as_slice())
    );
    assert!(
        matches!(input.payload, Cow::Borrowed(_)),
        "nothing is copied"
    );
    assert_eq!(
        (input.occurred_at_us, input.idempotency_key, input.source),
        (None, None, None)
    );
}

#[test]
fn a_publisher_may_use_the_schema_of_accepted_events() {
    let event = crate::event::Parts {
        event_id: uuid::Uuid::from_u128(1),
        event_type: "order.completed",
        occurred_at_us: 5,
        customer_external_id: "c-1",
        idempotency_key: Some("k"),
        source: None,
        payload: b"{}",
        metadata: br#"{"a":"b"}"#,
        received_at_us: 9,
        subject_id: None,
        sealing: None,
    };
    let mut value = Vec::new();
    event.encode(7, &mut value);
    let input = Writer::new(&parse(avro::EVENT)).unwrap();
    let input = input.decode(&value).unwrap();
    assert_eq!(
        (&*input.event_type, input.occurred_at_us),
        ("order.completed", Some(5))
    );
    assert_eq!(
        (input.idempotency_key.as_deref(), &*input.metadata),
        (Some("k"), br#"{"a":"b"}"#.as_slice())
    );
}

#[test]
fn times_are_read_in_the_unit_they_were_written_in() {
    let table = [
        (
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
            Value::TimestampMillis(5),
            Ok(Some(5_000)),
        ),
        (
            r#"{"type": "long", "logicalType": "timestamp-micros"}"#,
            Value::TimestampMicros(5),
            Ok(Some(5)),
        ),
        (
            r#"{"type": "long", "logicalType": "timestamp-nanos"}"#,
            Value::TimestampNanos(5_999),
            Ok(Some(5)),
        ),
        (r#""long""#, Value::Long(5), Ok(Some(5))),
        (r#"["null", "long"]"#, none(), Ok(None)),
        (
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#,
            Value::TimestampMillis(i64::MAX),
            Err("occurred_at is out of range"),
        ),
        (
            r#"{"type": "int", "logicalType": "date"}"#,
            Value::Date(5),
            Err("occurred_at must be a timestamp or a long of microseconds, and is a date or time"),
        ),
        (
            r#""string""#,
            string("2026"),
            Err("occurred_at must be a timestamp or a long of microseconds, and is bytes"),
        ),
    ];
    for (kind, time, expected) in table {
        let schema = schema(
            "\"bytes\"",
            &format!(r#", {{"name": "occurred_at", "type": {kind}}}"#),
        );
        let value = written(
            &schema,
            with(required(Value::Bytes(b"{}".to_vec())), "occurred_at", time),
        );
        let read = Writer::new(&schema)
            .unwrap()
            .decode(&value)
            .map(|input| input.occurred_at_us);
        assert_eq!(
            read.map_err(|error| error.to_string()),
            expected.map_err(str::to_owned),
            "{kind}"
        );
    }
}

#[test]
fn metadata_may_be_a_map_and_fields_may_have_aliases() {
    let fields = r#", {"name": "tags", "aliases": ["metadata"], "type": {"type": "map", "values": ["null", "string"]}}"#;
    let schema = schema("\"bytes\"", fields);
    let payload = required(Value::Bytes(b"{}".to_vec()));
    let map = |value: Value| {
        Value::Map(
            [
                ("z".to_owned(), value),
                ("a".to_owned(), some(string("\"1"))),
            ]
            .into(),
        )
    };
    let value = written(
        &schema,
        with(payload.clone(), "tags", map(some(string("2")))),
    );
    let writer = Writer::new(&schema).unwrap();
    assert_eq!(
        &*writer.decode(&value).unwrap().metadata,
        br#"{"a":"\"1","z":"2"}"#
    );
    let value = written(&schema, with(payload, "tags", map(none())));
    assert_eq!(
        writer.decode(&value).unwrap_err().to_string(),
        "metadata must be a string, and is null"
    );
}

#[test]
fn a_schema_without_an_event_in_it_is_refused_as_a_whole() {
    assert_eq!(
        Writer::new(&Schema::String).unwrap_err(),
        SchemaError::NotRecord
    );
    let partial = parse(
        r#"{"type": "record", "name": "R", "fields": [{"name": "event_type", "type": "string"}]}"#,
    );
    assert_eq!(
        Writer::new(&partial).unwrap_err(),
        SchemaError::Missing("customer_external_id")
    );
    let nullable = schema(r#"["null", "bytes"]"#, "");
    let value = written(&nullable, required(none()));
    let writer = Writer::new(&nullable).unwrap();
    assert_eq!(
        writer.decode(&value).unwrap_err().to_string(),
        "payload is null"
    );
    let numbers = schema(r#"{"type": "array", "items": "int"}"#, "");
    let value = written(&numbers, required(Value::Array(vec![Value::Int(1)])));
    let error = Writer::new(&numbers)
        .unwrap()
        .decode(&value)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "payload must be JSON text as bytes or string, and is an array"
    );
}

#[test]
fn what_nobody_asked_for_is_passed_over_whatever_it_is() {
    let fields = r#",
        {"name": "list", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
        {"name": "tree", "type": {"type": "record", "name": "Tree", "fields": [
            {"name": "id", "type": {"type": "fixed", "name": "Id", "size": 3}},
            {"name": "left", "type": ["null", "Tree"]}, {"name": "flag", "type": "boolean"}]}},
        {"name": "again", "type": "Tree"},
        {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}},
        {"name": "source", "type": "Color"}"#;
    let schema = schema("\"bytes\"", fields);
    let tree = |left: Value| {
        let id = Value::Fixed(3, vec![1, 2, 3]);
        Value::Record(vec![
            ("id".into(), id),
            ("left".into(), left),
            ("flag".into(), Value::Boolean(true)),
        ])
    };
    let map = Value::Map([("x".to_owned(), Value::Double(1.0))].into());
    let mut fields = required(Value::Bytes(b"{}".to_vec()));
    fields.extend([
        ("list", Value::Array(vec![map.clone(), map])),
        ("tree", tree(some(tree(none())))),
        ("again", tree(none())),
        ("color", Value::Enum(0, "RED".into())),
        ("source", Value::Enum(1, "BLUE".into())),
    ]);
    let value = written(&schema, fields);
    let writer = Writer::new(&schema).unwrap();
    assert_eq!(
        writer.decode(&value).unwrap().source.as_deref(),
        Some("BLUE")
    );
    for len in 0..value.len() {
        assert!(
            writer.decode(&value[..len]).is_err(),
            "cut after {len} bytes"
        );
    }
    let long = [value.as_slice(), &[0]].concat();
    assert_eq!(
        writer.decode(&long),
        Err(InputError::Wire(DecodeError::Trailing(1)))
    );
}

#[test]
fn a_hostile_schema_costs_no_stack_memory_or_time() {
    let start = |schema: &Schema| {
        let value = written(schema, required(Value::Bytes(b"{}".to_vec())));
        (Writer::new(schema).unwrap(), value)
    };
    let base = schema("\"bytes\"", "");
    let (_, prefix) = start(&base);
    let attacks: [(&str, Vec<u8>); 4] = [
        // A list of a million cells, each inside the other.
        (
            r#"{"type": "record", "name": "Cell", "fields": [{"name": "next", "type": ["null", "Cell"]}]}"#,
            vec![2; 1_000_000],
        ),
        // 2^62 nulls in ten bytes, over and over.
        (
            r#"{"type": "array", "items": "null"}"#,
            [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].repeat(100),
        ),
        // One text that says it has 2^40 bytes.
        (r#""string""#, vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 1]),
        // A negative count and a length that lies.
        (
            r#"{"type": "map", "values": "null"}"#,
            vec![0x7f, 0xff, 0xff, 0x03, 0x00],
        ),
    ];
    for (kind, bytes) in attacks {
        let hostile = schema(
            "\"bytes\"",
            &format!(r#", {{"name": "extra", "type": {kind}}}"#),
        );
        let value = [prefix.as_slice(), &bytes].concat();
        assert!(
            Writer::new(&hostile).unwrap().decode(&value).is_err(),
            "{kind}"
        );
    }
    // Each level holds the one below it twice, and the lowest has no bytes: 2^40 values in none.
    let mut level = r#"{"type": "record", "name": "L0", "fields": []}"#.to_owned();
    for depth in 1..=40 {
        let below = depth - 1;
        level = format!(
            r#"{{"type": "record", "name": "L{depth}", "fields": [{{"name": "a", "type": {level}}}, {{"name": "b", "type": "L{below}"}}]}}"#
        );
    }
    let hostile = schema(
        "\"bytes\"",
        &format!(r#", {{"name": "extra", "type": {level}}}"#),
    );
    assert!(Writer::new(&hostile).unwrap().decode(&prefix).is_err());
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

proptest! {
    #[test]
    fn it_reads_what_the_library_writes_with_our_schema(
        event_type in text(), customer in text(), payload in prop::collection::vec(any::<u8>(), 0..64),
        occurred_at in prop::option::of(any::<i64>()), key in prop::option::of(text()), source in prop::option::of(text()),
        metadata in prop::collection::vec(any::<u8>(), 0..16),
    ) {
        let ours = parse(avro::EVENT_INPUT);
        let optional = |text: &Option<String>| text.as_ref().map_or(none(), |text| some(string(text)));
        let value = written(&ours, vec![
            ("event_type", string(&event_type)),
            ("customer_external_id", string(&customer)),
            ("payload", Value::Bytes(payload.clone())),
            ("occurred_at", occurred_at.map_or(none(), |us| some(Value::TimestampMicros(us)))),
            ("idempotency_key", optional(&key)),
            ("source", optional(&source)),
            ("metadata", Value::Bytes(metadata.clone())),
            ("subject", optional(&source)),
        ]);
        let writer = Writer::new(&ours).unwrap();
        let expected = EventInput {
            event_type: event_type.into(),
            customer_external_id: customer.into(),
            payload: payload.into(),
            occurred_at_us: occurred_at,
            idempotency_key: key.map(Cow::Owned),
            source: source.clone().map(Cow::Owned),
            metadata: metadata.into(),
            subject: source.map(Cow::Owned),
        };
        prop_assert_eq!(writer.decode(&value).unwrap(), expected);
        for len in 0..value.len() {
            prop_assert!(writer.decode(&value[..len]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let fields = r#", {"name": "occurred_at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
            {"name": "metadata", "type": {"type": "map", "values": "string"}},
            {"name": "more", "type": {"type": "array", "items": ["null", "double", {"type": "array", "items": "null"}]}}"#;
        for schema in [parse(avro::EVENT_INPUT), parse(avro::EVENT), schema("\"string\"", fields)] {
            let value = [&[0, 0, 0, 0, 7], bytes.as_slice()].concat();
            let _ = Writer::new(&schema).unwrap().decode(&value);
            let _ = Writer::new(&schema).unwrap().decode(&bytes);
        }
    }
}
