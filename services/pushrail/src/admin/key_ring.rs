//! `pushrail key-ring`.

use clap::{Args, Subcommand};
use pushrail_directory::Record;
use pushrail_vault::{Aad, KeyRing};
use serde_json::json;

use super::AdminArgs;
use super::session::Session;
use crate::args::VaultArgs;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print a new key ring. It is a secret: keep it in a file that only Pushrail reads.
    #[command(after_help = "\
Rotate the key:
  1. Put a new key in front of the ring:  echo \"$(pushrail key-ring new),$(cat ring)\" > ring.new
  2. Give the new ring to every sink and to whoever adds destinations, and restart them.
  3. pushrail key-ring reseal
  4. Take the old key off the ring.")]
    New,
    /// Seal anew what an older key of the ring has sealed.
    Reseal(Reseal),
}

#[derive(Args, Debug)]
pub(crate) struct Reseal {
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::New => {
            out!("{}", *KeyRing::generate()?.to_text());
            Ok(())
        }
        Command::Reseal(args) => reseal(&args).await,
    }
}

async fn reseal(args: &Reseal) -> anyhow::Result<()> {
    let ring = args.vault.key_ring()?;
    let session = Session::open(&args.admin).await?;
    let (mut resealed, mut failed) = (0, 0);
    for id in session.directory.destination_ids() {
        let Some(destination) = session.directory.destination(id) else {
            continue;
        };
        let Some(sealed) = destination
            .secrets
            .as_ref()
            .filter(|sealed| !ring.is_current(sealed))
        else {
            continue;
        };
        let aad = Aad::of(&destination);
        match ring.open(&aad, sealed) {
            Ok(plain) => {
                let mut changed = (*destination).clone();
                changed.secrets = Some(ring.seal(&aad, &plain)?);
                session.put_unseen(Record::Destination(&changed)).await?;
                resealed += 1;
            }
            Err(error) => {
                eprintln!("destination {id}: {error}");
                failed += 1;
            }
        }
    }
    if args.admin.json {
        out!("{}", json!({"resealed": resealed, "failed": failed}));
    } else {
        out!(
            "Sealed the secrets of {resealed} destinations anew with key {}.",
            ring.current_id()
        );
    }
    anyhow::ensure!(failed == 0, "{failed} destinations keep their old seal");
    Ok(())
}
