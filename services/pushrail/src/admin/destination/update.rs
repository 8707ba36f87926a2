//! `pushrail admin destination update`.

use anyhow::ensure;
use clap::Args;
use reqwest::{Method, header};
use serde_json::Value;
use uuid::Uuid;

use super::super::api::ApiArgs;
use super::draft::{DraftArgs, Object};
use super::{find, flag_of, line};

pub(super) const EXAMPLES: &str = "\
Examples:
  pushrail admin destination update ID --url https://example.com/new
  pushrail admin destination update ID --customer c1 --events 'order.*' --max-attempts 5";

#[derive(Args, Debug)]
pub(crate) struct Update {
    /// As `destination list` shows it.
    #[arg(value_name = "DESTINATION_ID")]
    id: Uuid,
    /// The vendor's own id of its customer; looked for when it is not given.
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    api: ApiArgs,
}

pub(super) async fn run(args: Update) -> anyhow::Result<()> {
    // What is wrong with a flag alone is said before anybody is asked.
    args.draft.write(&mut Object::new())?;
    let api = args.api.tenant()?.flags(flag_of);
    let found = find(&api, args.customer.as_deref(), &[args.id]).await?;
    for found in found {
        let path = found.path();
        // As it is now, with its revision: a part of `config`, `retry` or `batch` is written into what is there.
        let now = api.answer(api.request(Method::GET, &path)?).await?;
        let mut wanted = Object::new();
        for field in ["config", "retry", "batch"] {
            wanted.insert(field.to_owned(), now.body[field].clone());
        }
        args.draft.write(&mut wanted)?;
        wanted.retain(|field, value| now.body[field.as_str()] != *value);
        ensure!(
            !wanted.is_empty(),
            "nothing was changed: no flag says what should be"
        );
        let mut request = api.request(Method::PATCH, &path)?;
        if let Some(etag) = &now.etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let changed = api.answer(request.json(&Value::Object(wanted))).await?.body;
        match api.json {
            true => out!("{changed}"),
            false => out!("{}", line(&changed)),
        }
    }
    Ok(())
}
