//! `pushrail admin destination add`.

use anyhow::Context as _;
use clap::Args;
use futures::stream::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::api::{Api, ApiArgs, text};
use super::draft::{DraftArgs, Object, documents, set};
use super::{flag_of, show_secret};

pub(super) const EXAMPLES: &str = "\
Examples:
  pushrail admin destination add --customer c1 --url https://example.com/hooks
  pushrail admin destination add --customer c1 --url https://example.com/hooks --events 'order.*,invoice.paid' \\
    --filter '{\"path\":\"payload.total\",\"op\":\"gte\",\"value\":100}' \\
    --transform '[{\"drop\":[\"payload.card\"]}]' --max-attempts 5 --initial-delay 2s --rate-limit 10:50
  pushrail admin destination add --from destination.json
  pushrail admin destination add --customer c1 --kind s3 --config @bucket.json --secrets @key.json --batch-records 5000 --batch-age 1m
  generate | pushrail admin destination add --from -

A document for --from holds one destination, a list of them, or one a line, in these names:
  {\"customerExternalId\": \"c1\", \"kind\": \"webhook\", \"name\": \"Orders\",
   \"config\": {\"url\": \"https://example.com/hooks\"}, \"secrets\": {\"signingSecret\": \"whsec_…\"},
   \"eventTypes\": [\"order.*\"], \"filter\": {…}, \"transform\": […], \"retry\": {\"maxAttempts\": 5, \"initialDelayMs\": 2000,
   \"maxDelayMs\": 3600000, \"maxAgeMs\": 86400000}, \"rateLimit\": {\"perSecond\": 10, \"burst\": 50},
   \"batch\": {\"records\": 500, \"bytes\": 1048576, \"ageMs\": 1000},
   \"timeoutMs\": 10000, \"payloadMode\": \"full\", \"state\": \"active\"}
Flags win over it. It ends at the first that is refused; run again when that is mended, within 24 hours, it adds the rest, and
shows again what it has added.";

/// Destinations that are made at the same time.
const REQUESTS_MAX: usize = 8;

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Documents to read destinations from; - is standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// What a destination is for ever, and the rest.
#[derive(Args, Debug)]
pub(super) struct WhatArgs {
    /// The vendor's own id of the customer whose events are delivered.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Destination type; webhook when nothing says otherwise.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Add it paused: events are kept and owed until it is resumed.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    draft: DraftArgs,
}

impl WhatArgs {
    /// Writes what the flags say over `document`.
    pub(super) fn write(&self, document: &mut Object) -> anyhow::Result<()> {
        set(document, "customerExternalId", self.customer.as_ref());
        set(document, "kind", self.kind.as_ref());
        document.entry("kind").or_insert_with(|| json!("webhook"));
        set(document, "state", self.paused.then_some("paused"));
        self.draft.write(document)
    }
}

/// A destination as it is asked for.
struct Wanted {
    customer: String,
    body: Value,
    /// Of a document among several: the same one asked for again is made once.
    idempotency_key: Option<String>,
}

pub(super) async fn run(args: Add) -> anyhow::Result<()> {
    let documents = match &args.from {
        Some(path) => documents(path)?,
        None => vec![Object::new()],
    };
    let many = args.from.is_some();
    let mut wanted = Vec::with_capacity(documents.len());
    for (index, mut document) in documents.into_iter().enumerate() {
        args.what.write(&mut document)?;
        let this = Wanted::of(document, many.then_some(index));
        wanted.push(placed(this, many, index)?);
    }
    let api = &args.api.tenant()?.flags(flag_of);
    // Shown in their order, and each as soon as it is there: what it shows is not shown again.
    let made = futures::stream::iter(wanted.into_iter().enumerate())
        .map(async |(index, wanted)| placed(wanted.make(api).await, many, index))
        .buffered(REQUESTS_MAX);
    made.try_for_each(async |made| {
        show(api, &made);
        Ok(())
    })
    .await
}

/// Says which of the documents an error is about.
fn placed<T>(result: anyhow::Result<T>, many: bool, index: usize) -> anyhow::Result<T> {
    match many {
        true => result.with_context(|| format!("destination {} of the document", index + 1)),
        false => result,
    }
}

impl Wanted {
    fn of(mut document: Object, index: Option<usize>) -> anyhow::Result<Wanted> {
        let customer = match document.remove("customerExternalId") {
            Some(Value::String(customer)) if !customer.is_empty() => customer,
            None => anyhow::bail!("customerExternalId (--customer): is missing"),
            Some(_) => {
                anyhow::bail!("customerExternalId (--customer): must be text that is not empty")
            }
        };
        let body = Value::Object(document);
        let idempotency_key = index.map(|index| {
            let name = format!("{index} {customer} {body}");
            Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
        });
        Ok(Wanted {
            customer,
            body,
            idempotency_key,
        })
    }

    async fn make(&self, api: &Api) -> anyhow::Result<Value> {
        let request = api.request(Method::POST, &["customers", &self.customer, "destinations"])?;
        let request = match &self.idempotency_key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        Ok(api.answer(request.json(&self.body)).await?.body)
    }
}

fn show(api: &Api, made: &Value) {
    if api.json {
        return out!("{made}");
    }
    let events = made["eventTypes"].as_array().into_iter().flatten();
    let events: Vec<_> = events.filter_map(Value::as_str).collect();
    out!(
        "Added destination {}: {} for {}, events {}",
        text(made, "destinationId"),
        text(made, "kind"),
        text(made, "customerExternalId"),
        events.join(", "),
    );
    show_secret(made);
}

#[cfg(test)]
#[path = "add_tests.rs"]
mod tests;
