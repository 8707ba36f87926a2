//! `pushrail tenant`.

use clap::{Args, Subcommand};
use pushrail_directory::Record;
use pushrail_settings::RegistryArgs;
use pushrail_topology::Cluster;

use super::AdminArgs;
use super::session::Session;
use crate::args::{ReplicationArgs, registry};

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add a tenant, and the topics on which it may publish directly and read its own audit.
    #[command(after_help = "\
Examples:
  pushrail tenant add acme --name 'Acme, Inc.'
  pushrail api-key add --tenant acme")]
    Add(Add),
    /// List tenants.
    List(AdminArgs),
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Short id, part of topic names: a-z, 0-9 and inner -.
    tenant: String,
    /// For people.
    #[arg(long)]
    name: Option<String>,
    /// Make no topics events.direct.TENANT and audit.attempts.TENANT.
    #[arg(long)]
    no_topic: bool,
    #[command(flatten)]
    replication: ReplicationArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(args).await,
        Command::List(args) => list(&args).await,
    }
}

async fn add(args: Add) -> anyhow::Result<()> {
    let tenant = pushrail_admin::tenant(&args.tenant, args.name.as_deref())?;
    let session = Session::open(&args.admin).await?;
    if !args.no_topic {
        let cluster = Cluster::connect(&args.admin.kafka.connection().admin("pushrail-admin"))?;
        let registry = registry(&args.registry)?;
        let settings = args.replication.settings();
        let wanted = [&*args.tenant];
        let plan = pushrail_topology::plan(&cluster, Some(&registry), &settings, &[], &wanted);
        plan.await?.apply(&cluster, Some(&registry)).await?;
    }
    session.put(Record::Tenant(&tenant)).await?;
    if session.json {
        out!("{}", serde_json::to_string(&tenant)?);
    } else {
        out!("Added tenant {} ({})", tenant.tenant_id, tenant.name);
    }
    Ok(())
}

async fn list(args: &AdminArgs) -> anyhow::Result<()> {
    let session = Session::open(args).await?;
    let mut tenants = session.directory.tenants();
    tenants.sort_by(|a, b| a.tenant_id.cmp(&b.tenant_id));
    for tenant in tenants {
        if session.json {
            out!("{}", serde_json::to_string(&*tenant)?);
        } else {
            out!("{}  {}", tenant.tenant_id, tenant.name);
        }
    }
    Ok(())
}
