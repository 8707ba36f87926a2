//! `pushrail topology`.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use pushrail_directory::{Directory, Interest};
use pushrail_schemas::registry::Registry;
use pushrail_settings::RegistryArgs;
use pushrail_topology::{Cluster, Plan};

use super::AdminArgs;
use crate::args::{ReplicationArgs, registry};

/// How long reading the tenants may take.
const TENANTS_WITHIN: Duration = Duration::from_secs(15);

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show what apply would do, and what differs in ways that it leaves alone. Changes nothing.
    #[command(after_help = EXAMPLES)]
    Plan(TopologyArgs),
    /// Create missing topics, add missing partitions, register schemas. Never shrinks, never deletes.
    #[command(after_help = EXAMPLES)]
    Apply(TopologyArgs),
}

const EXAMPLES: &str = "\
Examples:
  pushrail topology plan
  pushrail topology apply --replication-factor 3 --min-insync-replicas 2
  pushrail topology apply --partitions events=48,'deliver.<kind>=48'";

#[derive(Args, Debug)]
pub(crate) struct TopologyArgs {
    /// Leave the schema registry alone.
    #[arg(long)]
    no_registry: bool,
    #[command(flatten)]
    replication: ReplicationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (args, apply) = match &command {
        Command::Plan(args) => (args, false),
        Command::Apply(args) => (args, true),
    };
    let _observation = args.admin.observe()?;
    let connection = args.admin.kafka.connection();
    let cluster = Cluster::connect(&connection.admin("pushrail-topology"))?;
    let registry = match args.no_registry {
        true => None,
        false => Some(registry(&args.registry)?),
    };
    let common = plan(args, &cluster, registry.as_ref(), &[]).await?;
    // Tenants are configuration: their topics can be known only when there is a topic to read it from.
    let has_config = !common
        .create
        .iter()
        .any(|c| c.topic == pushrail_topology::topics::CONFIG);
    let tenants = match has_config {
        true => tenants(args).await?,
        false => Vec::new(),
    };
    let tenants: Vec<&str> = tenants.iter().map(|tenant| &**tenant).collect();
    let plan = plan(args, &cluster, registry.as_ref(), &tenants).await?;
    out!(
        "{}",
        if args.admin.json {
            plan.to_json()
        } else {
            plan.to_string()
        }
    );
    if apply && !plan.is_empty() {
        let applied = plan.apply(&cluster, registry.as_ref()).await?;
        if !args.admin.json {
            out!(
                "Created {} topics, grew {}, registered {} schemas.",
                applied.created,
                applied.grown,
                applied.subjects
            );
        }
    }
    Ok(())
}

async fn plan(
    args: &TopologyArgs,
    cluster: &Cluster,
    registry: Option<&Registry>,
    tenants: &[&str],
) -> anyhow::Result<Plan> {
    let settings = args.replication.settings();
    let plan =
        pushrail_topology::plan(cluster, registry, &settings, pushrail_sinks::KINDS, tenants);
    Ok(plan.await?)
}

async fn tenants(args: &TopologyArgs) -> anyhow::Result<Vec<Box<str>>> {
    let directory = Directory::start(&args.admin.kafka.connection(), Interest::keys())?;
    if tokio::time::timeout(TENANTS_WITHIN, directory.ready())
        .await
        .is_err()
    {
        bail!(
            "the tenants could not be read from the topic config within {} s",
            TENANTS_WITHIN.as_secs()
        );
    }
    Ok(directory
        .tenants()
        .iter()
        .map(|tenant| tenant.tenant_id.clone())
        .collect())
}
