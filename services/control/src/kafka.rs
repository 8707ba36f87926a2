//! Kafka's administration on behalf of vendors.

use std::sync::Arc;

use pushrail_kafka::Connection;
use pushrail_kafka_access::Access;
use pushrail_schemas::registry::Registry;
use pushrail_topology::Cluster;

use crate::KafkaAccess;

pub(crate) struct Kafka {
    pub(crate) access: Access,
    /// What vendors are told to connect to.
    pub(crate) bootstrap: String,
    pub(crate) tls: bool,
    pub(crate) producer_bytes_per_s: u64,
    pub(crate) consumer_bytes_per_s: u64,
    connection: Connection,
    registry: Arc<Registry>,
    topology: pushrail_topology::Settings,
}

impl Kafka {
    pub(crate) fn new(
        connection: &Connection,
        given: &KafkaAccess,
    ) -> Result<Self, pushrail_kafka_access::Error> {
        Ok(Kafka {
            access: Access::connect(connection)?,
            bootstrap: given.bootstrap.clone(),
            tls: given.tls,
            producer_bytes_per_s: given.producer_bytes_per_s,
            consumer_bytes_per_s: given.consumer_bytes_per_s,
            connection: connection.clone(),
            registry: Arc::clone(&given.registry),
            topology: given.topology.clone(),
        })
    }

    /// Makes a tenant's own topics where they are not there.
    pub(crate) async fn topics_of(&self, tenant_id: &str) -> Result<(), pushrail_topology::Error> {
        let cluster = Cluster::connect(&self.connection.admin("pushrail-control"))?;
        let registry = Some(&*self.registry);
        let tenants = [tenant_id];
        let plan = pushrail_topology::plan(&cluster, registry, &self.topology, &[], &tenants);
        plan.await?.apply(&cluster, registry).await?;
        Ok(())
    }
}
