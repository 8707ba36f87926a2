//! From flags and documents to drafts: every flag is a field of the document, written over what the document says.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use pushrail_settings::{Hidden, parse_duration};
use serde_json::{Map, Value, json};

use crate::args::parse_json;

/// What a destination is made of.
#[derive(Args, Debug)]
pub(crate) struct DraftArgs {
    /// For people.
    #[arg(long, value_name = "TEXT")]
    pub(super) name: Option<String>,
    /// Address to deliver to: the same as --config '{"url": "…"}'.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// The type's own configuration, a JSON object, or @FILE; it replaces what was there.
    #[arg(long, value_name = "JSON")]
    pub(super) config: Option<String>,
    /// The type's secrets, a JSON object, or @FILE. Stored sealed.
    #[arg(long, value_name = "JSON")]
    pub(super) secrets: Option<Hidden>,
    /// Event types to deliver: exact names, order.*, or *. Repeat it, or separate by commas.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub(super) events: Vec<String>,
    /// Which of these to deliver: a filter in JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(super) filter: Option<String>,
    /// How to change them: a list of steps in JSON, or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(super) transform: Option<String>,
    /// Attempts in all, the first included; 1 never retries.
    #[arg(long, value_name = "COUNT", help_heading = "Retry")]
    pub(super) max_attempts: Option<u32>,
    /// Delay before the second attempt; it doubles from attempt to attempt, and each is drawn at random below it.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Retry")]
    pub(super) initial_delay: Option<Duration>,
    /// Longest delay.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Retry")]
    pub(super) max_delay: Option<Duration>,
    /// Age after which no further attempt is made, 24h at most.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Retry")]
    pub(super) max_age: Option<Duration>,
    /// Records in one call, for types that deliver in batches.
    #[arg(long, value_name = "COUNT", help_heading = "Batches")]
    pub(super) batch_records: Option<u32>,
    /// Bytes in one call; a record that is larger goes alone.
    #[arg(long, value_name = "BYTES", help_heading = "Batches")]
    pub(super) batch_bytes: Option<u32>,
    /// How long the first record of a batch may wait for others.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Batches")]
    pub(super) batch_age: Option<Duration>,
    /// Attempts a second, with a burst if wanted: 10 or 10:50.
    #[arg(long, value_name = "RATE[:BURST]")]
    pub(super) rate_limit: Option<String>,
    /// Longest time of one attempt.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// What the audit shows of payloads: full, off, or {"mode": "redact", "paths": ["payload.card"]} or {"mode": "seal", "publicKey": "age1..."}; the customer's when it is not given.
    #[arg(long, value_name = "MODE")]
    pub(super) payload_mode: Option<String>,
}

pub(super) type Object = Map<String, Value>;

impl DraftArgs {
    /// Writes what the flags say over `document`.
    pub(super) fn write(&self, document: &mut Object) -> anyhow::Result<()> {
        set(document, "name", self.name.as_ref());
        if let Some(config) = &self.config {
            document.insert("config".to_owned(), parse_json("--config", config)?);
        }
        if let Some(url) = &self.url {
            member(document, "config", "--url")?.insert("url".to_owned(), json!(url));
        }
        if let Some(secrets) = &self.secrets {
            document.insert(
                "secrets".to_owned(),
                parse_json("--secrets", secrets.expose())?,
            );
        }
        let events = (!self.events.is_empty()).then_some(&self.events);
        set(document, "eventTypes", events);
        for (flag, field, text) in [
            ("--filter", "filter", &self.filter),
            ("--transform", "transform", &self.transform),
        ] {
            if let Some(text) = text {
                document.insert(field.to_owned(), parse_json(flag, text)?);
            }
        }
        self.write_parts(document)?;
        self.write_rate_limit(document)?;
        set(document, "timeoutMs", self.timeout.map(milliseconds));
        match &self.payload_mode {
            Some(text) if text.starts_with('{') => {
                let mode = parse_json("--payload-mode", text)?;
                document.insert("payloadMode".to_owned(), mode);
            }
            name => set(document, "payloadMode", name.as_ref()),
        }
        Ok(())
    }

    /// What is a member of an object.
    fn write_parts(&self, document: &mut Object) -> anyhow::Result<()> {
        let count = |value: Option<u32>| value.map(u64::from);
        let time = |value: Option<Duration>| value.map(milliseconds);
        #[rustfmt::skip]
        let parts = [
            ("--max-attempts", "retry", "maxAttempts", count(self.max_attempts)),
            ("--initial-delay", "retry", "initialDelayMs", time(self.initial_delay)),
            ("--max-delay", "retry", "maxDelayMs", time(self.max_delay)),
            ("--max-age", "retry", "maxAgeMs", time(self.max_age)),
            ("--batch-records", "batch", "records", count(self.batch_records)),
            ("--batch-bytes", "batch", "bytes", count(self.batch_bytes)),
            ("--batch-age", "batch", "ageMs", time(self.batch_age)),
        ];
        for (flag, object, field, value) in parts {
            if let Some(value) = value {
                member(document, object, flag)?.insert(field.to_owned(), json!(value));
            }
        }
        Ok(())
    }

    fn write_rate_limit(&self, document: &mut Object) -> anyhow::Result<()> {
        let Some(limit) = &self.rate_limit else {
            return Ok(());
        };
        let (rate, burst) = match limit.split_once(':') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (limit.as_str(), None),
        };
        let wrong = || format!("--rate-limit: must be a rate such as 10 or 10:50, not \"{limit}\"");
        let rate: f64 = rate.parse().with_context(wrong)?;
        let mut object = json!({ "perSecond": rate });
        if let Some(burst) = burst {
            object["burst"] = json!(burst.parse::<u32>().with_context(wrong)?);
        }
        document.insert("rateLimit".to_owned(), object);
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

pub(super) fn set<T: serde::Serialize>(object: &mut Object, field: &str, value: Option<T>) {
    if let Some(value) = value {
        object.insert(field.to_owned(), json!(value));
    }
}

/// The object under `field`, made where it is missing.
fn member<'a>(document: &'a mut Object, field: &str, flag: &str) -> anyhow::Result<&'a mut Object> {
    let value = document.entry(field).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value
        .as_object_mut()
        .with_context(|| format!("{field}: must be a JSON object, for {flag} to be written into"))
}

/// The documents in a file, or on standard input for `-`: one object, a list of them, or one a line.
pub(super) fn documents(path: &str) -> anyhow::Result<Vec<Object>> {
    let mut text = String::new();
    match path {
        "-" => std::io::stdin()
            .read_to_string(&mut text)
            .context("--from -")?,
        path => std::fs::File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .with_context(|| format!("--from {path}"))?,
    };
    let mut documents = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter() {
        let value: Value = value.with_context(|| format!("--from {path}: not valid JSON"))?;
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            match value {
                Value::Object(object) => documents.push(object),
                _ => bail!("--from {path}: must hold JSON objects, each a destination"),
            }
        }
    }
    if documents.is_empty() {
        bail!("--from {path}: is empty");
    }
    Ok(documents)
}
