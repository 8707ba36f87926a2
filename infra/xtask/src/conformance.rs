//! One table of what every destination type was put through, from what their tests left in `target/conformance`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

/// A Markdown table: cases down, types across, and what does not apply below it.
pub(crate) fn table() -> anyhow::Result<String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = Path::new(&target).join("conformance");
    let mut reports = Vec::new();
    let found = std::fs::read_dir(&folder).with_context(|| {
        format!(
            "{}: run the adapters' tests first (infra/test conforms)",
            folder.display()
        )
    })?;
    for entry in found {
        let path = entry?.path();
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        reports.push(serde_json::from_slice::<Value>(&text)?);
    }
    reports.sort_by_key(|report| text(report, "kind").to_owned());
    let Some(first) = reports.first() else {
        bail!("{} is empty", folder.display());
    };
    Ok(markdown(first, &reports))
}

fn markdown(first: &Value, reports: &[Value]) -> String {
    let mut out = String::from("| case |");
    let mut row = |cells: &mut dyn Iterator<Item = String>| {
        cells.for_each(|cell| _ = write!(out, " {cell} |"));
        out.push_str("\n|");
    };
    row(&mut reports.iter().map(|report| text(report, "kind").to_owned()));
    row(&mut std::iter::repeat_n(
        "---".to_owned(),
        reports.len() + 1,
    ));
    let (mut notes, cases) = (Vec::new(), rows(first));
    for name in cases.iter().map(|case| text(case, "case")) {
        let of = |report: &Value| {
            let found = rows(report).iter().find(|row| text(row, "case") == name);
            let Some(found) = found else {
                return "not run".to_owned();
            };
            if text(found, "result") != "not_applicable" {
                return text(found, "result").to_owned();
            }
            let (kind, detail) = (text(report, "kind"), text(found, "detail"));
            notes.push(format!("{}. `{kind}`, {name}: {detail}.", notes.len() + 1));
            format!("n/a ({})", notes.len())
        };
        row(&mut std::iter::once(name.to_owned()).chain(reports.iter().map(of)));
    }
    let against = reports
        .iter()
        .map(|report| text(report, "against").to_owned());
    row(&mut std::iter::once("against".to_owned()).chain(against));
    out.truncate(out.len() - 1);
    out + "\n" + &notes.join("\n")
}

fn rows(report: &Value) -> &[Value] {
    report["cases"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_apply_says_why() {
        let report = |kind: &str, result: &str| {
            json!({"kind": kind, "against": "a server", "cases": [
                {"case": "delivers", "result": "passed", "detail": "x"},
                {"case": "partial", "result": result, "detail": "one a call"},
            ]})
        };
        let reports = [report("a", "passed"), report("b", "not_applicable")];
        let expected = "| case | a | b |\n| --- | --- | --- |\n| delivers | passed | passed |\n\
                        | partial | passed | n/a (1) |\n| against | a server | a server |\n\n\
                        1. `b`, partial: one a call.";
        assert_eq!(markdown(&reports[0], &reports), expected);
    }
}
