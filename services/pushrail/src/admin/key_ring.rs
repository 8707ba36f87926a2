//! `pushrail key-ring`.

use clap::{Args, Subcommand};
use pushrail_schemas::config::{self, Destination};
use pushrail_settings::ConfigFileArgs;
use pushrail_store::destinations::{self, Aside};
use pushrail_store::{Scope, Store, outbox};
use pushrail_topology::topics;
use pushrail_vault::{Aad, KeyRing};
use serde_json::json;

use crate::args::{DatabaseArgs, VaultArgs};

/// Destinations that are read at once.
const ROUND: u32 = 1_000;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print a new key ring. It is a secret: keep it in a file that only Pushrail reads.
    #[command(after_help = "\
Rotate the key:
  1. Put a new key in front of the ring:  echo \"$(pushrail key-ring new),$(cat ring)\" > ring.new
  2. Give the new ring to every process that has one, and restart them. Control planes seal anew what payloads are
     sealed with, within ten minutes.
  3. pushrail key-ring reseal
  4. A day later, when no session and no remembered answer needs the old key, take it off the ring.")]
    New,
    /// Seal anew what an older key of the ring has sealed.
    Reseal(Reseal),
}

#[derive(Args, Debug)]
pub(crate) struct Reseal {
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print JSON.
    #[arg(long, help_heading = "Operation")]
    json: bool,
    #[command(flatten)]
    file: ConfigFileArgs,
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
    let store = args.database.store().await?;
    let (mut resealed, mut failed, mut after) = (0, 0, None);
    loop {
        let mut tx = store.begin(Scope::System).await?;
        let round = destinations::documents(&mut tx, after, ROUND).await?;
        drop(tx);
        let Some(last) = round.last() else { break };
        after = Some(last.destination_id);
        for destination in &round {
            match one(&store, &ring, destination).await? {
                Sealed::Current => {}
                Sealed::Anew => resealed += 1,
                Sealed::Not(error) => {
                    eprintln!("destination {}: {error}", destination.destination_id);
                    failed += 1;
                }
            }
        }
    }
    store.close().await;
    if args.json {
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

/// What became of a seal.
enum Sealed {
    Current,
    Anew,
    Not(String),
}

/// Seals one destination's secrets anew, and has Kafka told.
async fn one(store: &Store, ring: &KeyRing, seen: &Destination) -> anyhow::Result<Sealed> {
    let is_current = |destination: &Destination| {
        let sealed = destination.secrets.as_ref();
        sealed.is_none_or(|sealed| ring.is_current(sealed))
    };
    if is_current(seen) {
        return Ok(Sealed::Current);
    }
    let mut tx = store.begin(Scope::System).await?;
    let (tenant, customer, id) = (&seen.tenant_id, seen.customer_id, seen.destination_id);
    // As it is now: somebody may have changed or removed it since.
    let now = destinations::lock(&mut tx, tenant, customer, id).await?;
    let Some(now) = now.filter(|now| !is_current(&now.document)) else {
        return Ok(Sealed::Current);
    };
    let mut document = now.document;
    let aad = Aad::of(&document);
    if let Some(sealed) = &document.secrets {
        match ring.open(&aad, sealed) {
            Ok(plain) => document.secrets = Some(ring.seal(&aad, &plain)?),
            Err(error) => return Ok(Sealed::Not(error.to_string())),
        }
    }
    let aside = Aside {
        state_reason: now.state_reason.as_deref(),
        keep_rotation: true,
        ..Aside::default()
    };
    destinations::update(&mut tx, &document, aside).await?;
    let (key, value) = (config::key::destination(id), serde_json::to_vec(&document)?);
    outbox::put(&mut tx, topics::CONFIG, &key, Some(&value)).await?;
    tx.commit().await?;
    Ok(Sealed::Anew)
}
