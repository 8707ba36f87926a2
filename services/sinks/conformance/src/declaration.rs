//! What an adapter declares is a promise: the portal, the API and customers' automation are built on it.

use std::path::Path;

use pushrail_sink_core::{Class, ErasedAdapter};
use serde_json::{Value, json};

/// Set to write the files instead of comparing with them.
const UPDATE: &str = "UPDATE_GOLDEN";

pub(crate) fn judge(adapter: &dyn ErasedAdapter, golden: &Path) -> Result<String, String> {
    sound(adapter)?;
    let text = serde_json::to_string_pretty(&of(adapter)).map_err(|e| e.to_string())? + "\n";
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(golden, &text).map_err(|e| format!("{}: {e}", golden.display()))?;
    }
    let kept = std::fs::read_to_string(golden).unwrap_or_default();
    let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
    if kept != of(adapter) {
        return Err(format!(
            "{} differs from the declaration; {UPDATE}=1 writes it anew, for a change on purpose",
            golden.display()
        ));
    }
    Ok("configuration, secrets, limits and failures are as declared".to_owned())
}

fn of(adapter: &dyn ErasedAdapter) -> Value {
    let (config, secrets) = adapter.schemas();
    let info = adapter.info();
    let batch = |batch: &pushrail_sink_core::BatchLimits| match batch.is_single() {
        true => json!("single"),
        false => json!({
            "records": batch.records,
            "bytes": batch.bytes,
            "ageMs": batch.age.as_millis() as u64,
        }),
    };
    json!({
        "kind": info.kind,
        "label": info.label,
        "category": info.category,
        "batch": batch(&info.batch),
        "batchMax": batch(&info.batch_max),
        "timeoutDefaultMs": info.timeout_default.as_millis() as u64,
        "timeoutMaxMs": info.timeout_max.as_millis() as u64,
        "failures": info.failures,
        "config": config,
        "secrets": secrets,
    })
}

/// What holds for every declaration.
fn sound(adapter: &dyn ErasedAdapter) -> Result<(), String> {
    const CATEGORIES: [&str; 7] = [
        "webhook",
        "object_storage",
        "warehouse",
        "stream",
        "queue",
        "database",
        "analytics",
    ];
    let info = adapter.info();
    let must = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    must(
        CATEGORIES.contains(&info.category),
        format!("{} is no category", info.category),
    )?;
    must(info.guide.len() > 500, "the guide says too little".into())?;
    must(
        info.timeout_default <= info.timeout_max,
        "the default timeout is beyond its ceiling".into(),
    )?;
    let (batch, max) = (&info.batch, &info.batch_max);
    must(
        batch.records <= max.records && batch.bytes <= max.bytes && batch.age <= max.age,
        "the default batch is beyond its limits".into(),
    )?;
    let mut codes = std::collections::HashSet::new();
    for failure in info.failures {
        let code = failure.code;
        must(codes.insert(code), format!("{code} is declared twice"))?;
        must(
            failure.class != Class::Delivered,
            format!("{code} is no failure"),
        )?;
        must(
            failure.meaning.ends_with('.') && failure.advice.ends_with('.'),
            format!("{code}: meaning and advice must be sentences"),
        )?;
    }
    Ok(())
}
