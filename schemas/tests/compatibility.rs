//! A published schema never breaks a reader of an older or newer one.
//!
//! `avro/published/v<n>/` holds every version that was ever released; they are never edited. The current files must be
//! compatible with all of them in both directions (FULL_TRANSITIVE, as the registry demands), and beyond that may only
//! append fields: services read events by hand, and one that is not upgraded yet passes over what follows the last field
//! that it knows. To release a change: add the field with a default at the end, and copy the files to `v<n+1>/`.

use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::Value;

const NAMES: [&str; 3] = ["Event", "Attempt", "EventInput"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("avro")
}

/// Everything that is wrong with going from `published` to `current`, or back.
fn breaks(published: &str, current: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (old, new) = (Schema::parse_str(published), Schema::parse_str(current));
    let (Ok(old), Ok(new)) = (old, new) else {
        return vec!["it is no Avro schema".into()];
    };
    for (direction, writer, reader) in [("an older", &old, &new), ("a newer", &new, &old)] {
        match SchemaCompatibility::can_read(writer, reader) {
            Ok(Compatibility::Full) => {}
            Ok(Compatibility::Partial) => problems.push(format!(
                "some records of {direction} version cannot be read"
            )),
            Err(error) => problems.push(format!(
                "records of {direction} version cannot be read: {error}"
            )),
        }
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("an Avro schema is JSON");
    problems.extend(layout_breaks(&read(published), &read(current)));
    problems
}

/// What the library's check passes, and our readers and the registry's FULL mode do not.
fn layout_breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for name in ["name", "namespace", "type"] {
        if old[name] != new[name] {
            problems.push(format!("{name} was {} and is {}", old[name], new[name]));
        }
    }
    let fields = |schema: &Value| schema["fields"].as_array().cloned().unwrap_or_default();
    let (old, new) = (fields(old), fields(new));
    for (at, field) in old.iter().enumerate() {
        let Some(now) = new.get(at).filter(|now| now["name"] == field["name"]) else {
            problems.push(format!(
                "field {} was number {at} and is not any more",
                field["name"]
            ));
            continue;
        };
        // Types are compared as they are written: a promotion works in one direction only, and a logical type is what
        // readers take a value for.
        for part in ["type", "default"] {
            if field.get(part) != now.get(part) {
                problems.push(format!(
                    "field {}: {part} was {:?} and is {:?}",
                    field["name"],
                    field.get(part),
                    now.get(part)
                ));
            }
        }
    }
    for field in new
        .iter()
        .skip(old.len())
        .filter(|field| field.get("default").is_none())
    {
        problems.push(format!("new field {} has no default", field["name"]));
    }
    problems
}

#[test]
fn the_current_schemas_break_no_reader_of_any_published_version() {
    let mut versions: Vec<PathBuf> = std::fs::read_dir(folder().join("published"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    versions.sort();
    assert!(!versions.is_empty());
    for version in versions {
        for name in NAMES {
            let file = version.join(format!("{name}.avsc"));
            // A schema that came later is not in the first versions.
            let Ok(published) = std::fs::read_to_string(&file) else {
                continue;
            };
            let current = std::fs::read_to_string(folder().join(format!("{name}.avsc"))).unwrap();
            assert_eq!(
                breaks(&published, &current),
                Vec::<String>::new(),
                "against {}",
                file.display()
            );
        }
    }
}

fn edited(edit: impl Fn(&mut Vec<Value>)) -> Vec<String> {
    let published = std::fs::read_to_string(folder().join("published/v1/Attempt.avsc")).unwrap();
    let mut schema: Value = serde_json::from_str(&published).unwrap();
    edit(schema["fields"].as_array_mut().unwrap());
    breaks(&published, &schema.to_string())
}

fn field<'a>(fields: &'a mut [Value], name: &str) -> &'a mut Value {
    fields
        .iter_mut()
        .find(|field| field["name"] == name)
        .unwrap()
}

#[test]
fn every_breaking_edit_is_found() {
    type Edit = fn(&mut Vec<Value>);
    let edits: [(&str, Edit); 12] = [
        ("a field without a default is removed", |fields| {
            fields.retain(|field| field["name"] != "outcome")
        }),
        (
            "a field with a default is removed from the middle",
            |fields| fields.retain(|field| field["name"] != "code"),
        ),
        ("the last field is removed", |fields| drop(fields.pop())),
        ("a type changes", |fields| {
            field(fields, "outcome")["type"] = "bytes".into()
        }),
        ("a number grows", |fields| {
            field(fields, "attempt")["type"] = "long".into()
        }),
        ("a field becomes optional", |fields| {
            field(fields, "class")["type"] = serde_json::json!(["null", "string"])
        }),
        ("a field is renamed", |fields| {
            field(fields, "outcome")["name"] = "result".into()
        }),
        ("a field with a default is renamed", |fields| {
            field(fields, "code")["name"] = "failure_code".into()
        }),
        ("a field is added without a default", |fields| {
            fields.push(serde_json::json!({"name": "x", "type": "string"}))
        }),
        ("a field is inserted", |fields| {
            fields.insert(
                0,
                serde_json::json!({"name": "x", "type": ["null", "string"], "default": null}),
            )
        }),
        ("a default changes", |fields| {
            field(fields, "origin")["default"] = "test".into()
        }),
        ("a time gets another unit", |fields| {
            field(fields, "started_at")["type"]["logicalType"] = "timestamp-millis".into()
        }),
    ];
    for (what, edit) in edits {
        assert!(!edited(edit).is_empty(), "{what}, and nobody noticed");
    }
    let renamed = breaks(
        &std::fs::read_to_string(folder().join("Event.avsc")).unwrap(),
        &std::fs::read_to_string(folder().join("Event.avsc"))
            .unwrap()
            .replace("com.pushrail.v1", "com.pushrail.v2"),
    );
    assert!(
        !renamed.is_empty(),
        "the namespace changes, and nobody noticed"
    );
}

#[test]
fn a_field_may_be_appended_with_a_default_and_documentation_may_change() {
    let appended = edited(|fields| {
        field(fields, "outcome")["doc"] = "Other words.".into();
        fields.push(
            serde_json::json!({"name": "region", "type": ["null", "string"], "default": null}),
        );
    });
    assert_eq!(appended, Vec::<String>::new());
}
