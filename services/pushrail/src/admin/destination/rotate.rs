//! `pushrail destination rotate-secret`.

use anyhow::{Context as _, bail};
use clap::Args;
use pushrail_directory::Record;
use uuid::Uuid;

use super::super::AdminArgs;
use super::super::session::Session;
use super::add;
use crate::args::{EgressArgs, VaultArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  pushrail destination rotate-secret ID            prints the new secret once; both sign
  pushrail destination rotate-secret ID --finish   when the receiver knows the new one";

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// As `destination list` shows it.
    #[arg(value_name = "DESTINATION_ID")]
    id: Uuid,
    /// Drop the secrets that were replaced.
    #[arg(long)]
    finish: bool,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    egress: EgressArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) async fn run(args: Rotate) -> anyhow::Result<()> {
    let ring = args.vault.key_ring()?;
    let context = args.egress.context();
    let session = Session::open(&args.admin).await?;
    let Some(destination) = session.directory.destination(args.id) else {
        bail!("no destination {}; nothing was changed", args.id);
    };
    let adapter = add::adapter(&destination.kind, &context)?;
    let built = match args.finish {
        false => pushrail_admin::rotate_signing_secret(&destination, &*adapter, &context, &ring),
        true => pushrail_admin::finish_rotation(&destination, &*adapter, &context, &ring),
    };
    let built = built.context("nothing was changed")?;
    session.put(Record::Destination(&built.destination)).await?;
    add::show(
        if args.finish { "Finished" } else { "Rotated" },
        &built,
        session.json,
    );
    Ok(())
}
