//! `pushrail destination add`.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use futures::stream::{StreamExt, TryStreamExt};
use pushrail_admin::{Built, Draft, Error, FieldError};
use pushrail_directory::Record;
use pushrail_sink_core::{Context, ErasedAdapter};
use pushrail_vault::KeyRing;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::AdminArgs;
use super::super::session::Session;
use super::draft::{DraftArgs, documents};
use super::masked;
use crate::args::{EgressArgs, VaultArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  pushrail destination add --customer c1 --url https://example.com/hooks
  pushrail destination add --customer c1 --url https://example.com/hooks --events 'order.*,invoice.paid' \\
    --filter '{\"path\":\"payload.total\",\"op\":\"gte\",\"value\":100}' \\
    --transform '[{\"drop\":[\"payload.card\"]}]' --max-attempts 5 --initial-delay 2s --rate-limit 10:50
  pushrail destination add --from destination.json
  generate | pushrail destination add --from -

A document for --from holds one destination, a list of them, or one a line, in these names:
  {\"tenantId\": \"acme\", \"customerExternalId\": \"c1\", \"kind\": \"webhook\", \"name\": \"Orders\",
   \"config\": {\"url\": \"https://example.com/hooks\"}, \"secrets\": {\"signingSecret\": \"whsec_…\"},
   \"eventTypes\": [\"order.*\"], \"filter\": {…}, \"transform\": […], \"retry\": {\"maxAttempts\": 5, \"initialDelayMs\": 2000,
   \"maxDelayMs\": 3600000, \"maxAgeMs\": 86400000}, \"rateLimit\": {\"perSecond\": 10, \"burst\": 50},
   \"timeoutMs\": 10000, \"payloadMode\": \"full\", \"state\": \"active\"}
Flags win over it. Everything is checked before anything is written.";

/// Destinations that are written at the same time.
const WRITES_MAX: usize = 512;

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Documents to read destinations from; - is standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    egress: EgressArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) async fn run(args: Add) -> anyhow::Result<()> {
    let documents = match &args.from {
        Some(path) => documents(path)?,
        None => vec![Map::new()],
    };
    let ring = args.vault.key_ring()?;
    let context = args.egress.context();
    let many = documents.len() > 1;
    let mut built = Vec::with_capacity(documents.len());
    for (index, mut document) in documents.into_iter().enumerate() {
        args.draft.write(&mut document)?;
        let made = build(document, &context, &ring);
        built.push(made.map_err(|errors| refusal(&errors, many.then_some(index)))?);
    }
    let session = Session::open(&args.admin).await?;
    for Built { destination, .. } in &built {
        session.require_tenant(&destination.tenant_id)?;
    }
    let writes = built
        .iter()
        .map(|built| session.put_unseen(Record::Destination(&built.destination)));
    let written: Result<Vec<()>, _> = futures::stream::iter(writes)
        .buffer_unordered(WRITES_MAX)
        .try_collect()
        .await;
    written.context(if many {
        "some destinations may have been added"
    } else {
        "nothing was changed"
    })?;
    for built in &built {
        show("Added", built, session.json);
    }
    Ok(())
}

fn build(
    document: Map<String, Value>,
    context: &Context,
    ring: &KeyRing,
) -> Result<Built, Vec<FieldError>> {
    let made = Draft::parse(document).and_then(|draft| {
        let adapter = adapter(&draft.kind, context)?;
        let extra = pushrail_router::check;
        pushrail_admin::destination(draft, &*adapter, context, ring, Uuid::now_v7(), extra)
    });
    made.map_err(|error| match error {
        Error::Invalid(errors) => errors,
        Error::Crypto(error) => vec![FieldError::new("secrets", error.to_string())],
    })
}

pub(super) fn adapter(kind: &str, context: &Context) -> Result<Arc<dyn ErasedAdapter>, Error> {
    pushrail_sinks::adapter(kind, context).ok_or_else(|| {
        let message = format!(
            "\"{kind}\" is not known; there are: {}",
            pushrail_sinks::KINDS.join(", ")
        );
        Error::Invalid(vec![FieldError::new("kind", message)])
    })
}

/// All mistakes, a line each, with the flag that mends it.
fn refusal(errors: &[FieldError], index: Option<usize>) -> anyhow::Error {
    let which = index.map(|index| format!("destination {} of the document", index + 1));
    let mut text = format!(
        "{} is not valid; nothing was changed",
        which.unwrap_or("the destination".to_owned())
    );
    for error in errors {
        let flag = flag_of(&error.field)
            .map(|flag| format!(" ({flag})"))
            .unwrap_or_default();
        text += &format!("\n  {}{flag}: {}", error.field, error.message);
    }
    anyhow::Error::msg(text)
}

fn flag_of(field: &str) -> Option<&'static str> {
    const FLAGS: [(&str, &str); 17] = [
        ("tenantId", "--tenant"),
        ("customerExternalId", "--customer"),
        ("kind", "--kind"),
        ("name", "--name"),
        ("config.url", "--url"),
        ("config", "--config"),
        ("secrets", "--secrets"),
        ("eventTypes", "--events"),
        ("filter", "--filter"),
        ("transform", "--transform"),
        ("retry.maxAttempts", "--max-attempts"),
        ("retry.initialDelayMs", "--initial-delay"),
        ("retry.maxDelayMs", "--max-delay"),
        ("retry.maxAgeMs", "--max-age"),
        ("rateLimit", "--rate-limit"),
        ("timeoutMs", "--timeout"),
        ("payloadMode", "--payload-mode"),
    ];
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let found = FLAGS
        .iter()
        .find(|(name, _)| field.strip_prefix(name).is_some_and(ends));
    found.map(|(_, flag)| *flag)
}

pub(super) fn show(done: &str, built: &Built, as_json: bool) {
    let destination = &built.destination;
    if as_json {
        let mut value = json!({ "destination": masked(destination) });
        if let Some(secret) = &built.signing_secret {
            value["signingSecret"] = json!(**secret);
        }
        out!("{value}");
        return;
    }
    out!(
        "{done} destination {}: {} for {}/{}, events {}",
        destination.destination_id,
        destination.kind,
        destination.tenant_id,
        destination.customer_external_id,
        destination.event_types.join(", "),
    );
    if let Some(secret) = &built.signing_secret {
        out!("\nIts signing secret, shown only now:\n\n  {}\n", **secret);
    }
}

#[cfg(test)]
#[path = "add_tests.rs"]
mod tests;
