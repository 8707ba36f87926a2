//! A page for each destination type, for the customer who sets one up: its guide, and what it declares.
//!
//! It is made of `src/guide.md` and the golden declaration in the type's folder, which the conformance suite holds true, and
//! stands as `README.md` in that folder. A test says which pages are out of date.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Writes every page, and says which have changed.
pub(crate) fn write() -> anyhow::Result<()> {
    for (path, page) in all()? {
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&page) {
            std::fs::write(&path, page).with_context(|| path.display().to_string())?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

/// Every page with its place.
fn all() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let adapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/sinks/adapters");
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(&adapters)? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        let kind = folder.file_name().unwrap_or_default().to_string_lossy();
        let read = |path: String| {
            let path = folder.join(path);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let declaration = read(format!("tests/{kind}/declaration.json"))?;
        let page = page(
            &serde_json::from_str(&declaration)?,
            &read("src/guide.md".into())?,
        );
        pages.push((folder.join("README.md"), page));
    }
    pages.sort();
    Ok(pages)
}

fn page(declared: &Value, guide: &str) -> String {
    let text = |name: &str| declared[name].as_str().unwrap_or_default();
    let mut out = format!(
        "# {}\n\n`\"kind\": \"{}\"`, {}. This page is generated from the type's guide and declaration: `cargo run -p xtask -- pages`.\n\n",
        text("label"),
        text("kind"),
        text("category").replace('_', " "),
    );
    out.push_str(guide.trim());
    out.push_str("\n\n## Configuration\n\n");
    fields(&declared["config"], "config", &mut out);
    out.push_str("\n## Secrets\n\nWrite-only: they are never shown again.\n\n");
    fields(&declared["secrets"], "secrets", &mut out);
    out.push_str("\n## A call\n\n");
    calls(declared, &mut out);
    out.push_str("\n## What can go wrong\n\n");
    out.push_str("Transient failures are tried again; permanent ones go to the dead letters at once; a suspended destination is left alone until it is changed.\n\n");
    out.push_str("| code | class | what it means | what to do |\n| --- | --- | --- | --- |\n");
    for failure in declared["failures"].as_array().into_iter().flatten() {
        let cell = |name: &str| cell(failure[name].as_str().unwrap_or_default());
        let (code, class) = (cell("code"), cell("class"));
        let _ = writeln!(
            out,
            "| `{code}` | {class} | {} | {} |",
            cell("meaning"),
            cell("advice")
        );
    }
    out
}

/// What a call carries, and how long it may take.
fn calls(declared: &Value, out: &mut String) {
    let of = |limits: &Value, name: &str| limits[name].as_u64();
    let (usual, most) = (&declared["batch"], &declared["batchMax"]);
    if of(most, "records").is_none_or(|records| records <= 1) {
        out.push_str("One event a call.\n\n");
    } else {
        out.push_str("| | by default | at most |\n| --- | --- | --- |\n");
        for (name, unit) in [("records", "events"), ("bytes", "bytes"), ("ageMs", "ms")] {
            if let (Some(usual), Some(most)) = (of(usual, name), of(most, name)) {
                let _ = writeln!(out, "| {unit} | {usual} | {most} |");
            }
        }
        out.push_str("\nWhichever comes first; `batch` on the destination changes it.\n\n");
    }
    let seconds = |name: &str| declared[name].as_u64().unwrap_or_default() as f64 / 1e3;
    let (usual, most) = (seconds("timeoutDefaultMs"), seconds("timeoutMaxMs"));
    let _ = writeln!(
        out,
        "A call may take {usual} s, or what `timeoutMs` says, {most} s at most."
    );
}

/// A table of an object's fields; tables of the objects that it refers to follow it.
fn fields(schema: &Value, path: &str, out: &mut String) {
    let nothing = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&nothing);
    if properties.is_empty() {
        out.push_str("None.\n");
        return;
    }
    out.push_str("| field | type | |\n| --- | --- | --- |\n");
    let mut rows = Vec::new();
    rows_of(schema, schema, path, &mut rows);
    rows.iter().for_each(|row| out.push_str(row));
}

fn rows_of(root: &Value, object: &Value, path: &str, rows: &mut Vec<String>) {
    let required = object["required"].as_array();
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        let is_required =
            required.is_some_and(|names| names.iter().any(|known| known == name.as_str()));
        let path = format!("{path}.{name}");
        let target = followed(root, field);
        let mut says = field["description"]
            .as_str()
            .or(target["description"].as_str())
            .unwrap_or_default()
            .to_owned();
        if is_required && field["const"].is_null() {
            says.insert_str(0, "**Required.** ");
        }
        if let Some(default) = field.get("default").filter(|default| !default.is_null()) {
            let _ = write!(says, " Default: `{default}`.");
        }
        if let Some(value) = field["const"].as_str() {
            says = format!("`{value}`");
        }
        let kind = type_of(target);
        rows.push(format!("| `{path}` | {kind} | {} |\n", cell(says.trim())));
        let variants = target["oneOf"].as_array().into_iter().flatten();
        for variant in variants.filter(|variant| variant["properties"].is_object()) {
            let tag = &variant["properties"]["type"]["const"];
            let tag = tag.as_str().unwrap_or_default();
            let says = variant["description"].as_str().unwrap_or_default();
            rows.push(format!("| `{path}.type` | `{tag}` | {} |\n", cell(says)));
            let mut inner = variant.clone();
            if let Some(properties) = inner["properties"].as_object_mut() {
                properties.remove("type");
            }
            rows_of(root, &inner, &path, rows);
        }
        if target["properties"].is_object() {
            rows_of(root, target, &path, rows);
        }
    }
}

/// What a reference stands for.
fn followed<'a>(root: &'a Value, field: &'a Value) -> &'a Value {
    let candidates = field["anyOf"].as_array().into_iter().flatten();
    let mut references = std::iter::once(field)
        .chain(candidates)
        .filter_map(|one| one["$ref"].as_str());
    let named = references.find_map(|text| root["$defs"].get(text.strip_prefix("#/$defs/")?));
    named.unwrap_or(field)
}

fn type_of(field: &Value) -> String {
    let values = field["enum"].as_array().into_iter().flatten();
    let consts = field["oneOf"].as_array().into_iter().flatten();
    let consts = consts.filter_map(|one| one.get("const"));
    let choices: Vec<String> = values.chain(consts).map(|v| format!("`{v}`")).collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    match &field["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            let names: Vec<&str> = names.filter(|name| *name != "null").collect();
            names.join(" or ")
        }
        _ => "object".to_owned(),
    }
}

/// Text in a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_page_says_what_its_type_declares() {
        for (path, page) in all().unwrap() {
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == page,
                "{} is out of date: cargo run -p xtask -- pages",
                path.display()
            );
        }
    }

    #[test]
    fn a_field_is_told_with_all_that_its_schema_says() {
        let schema = json!({
            "properties": {
                "url": {"type": "string", "description": "Where\nto."},
                "mode": {"$ref": "#/$defs/Mode"},
                "tls": {"type": ["boolean", "null"], "default": true},
                "auth": {"$ref": "#/$defs/Auth", "description": "Who."},
            },
            "required": ["url"],
            "$defs": {
                "Mode": {"enum": ["a", "b"], "description": "How."},
                "Auth": {"oneOf": [
                    {"description": "By name.", "properties": {
                        "type": {"const": "basic"}, "user": {"type": "string"},
                    }, "required": ["type", "user"]},
                ]},
            },
        });
        let mut out = String::new();
        fields(&schema, "config", &mut out);
        for row in [
            "| `config.url` | string | **Required.** Where to. |",
            "| `config.mode` | `\"a\"` or `\"b\"` | How. |",
            "| `config.tls` | boolean | Default: `true`. |",
            "| `config.auth` | object | Who. |",
            "| `config.auth.type` | `basic` | By name. |",
            "| `config.auth.user` | string | **Required.** |",
        ] {
            assert!(out.contains(row), "{row} is not in\n{out}");
        }
    }
}
