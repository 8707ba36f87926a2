//! Without HTTP: the first tenant of a new installation, and the `config` topic made anew.

use pushrail_schemas::config;
use pushrail_store::{
    Error, Scope, Store, api_keys, destinations, event_types, outbox, payload_keys, tenants,
};
use pushrail_topology::topics;
use serde::Serialize;

/// Rows that are read at once.
const ROUND: u32 = 1_000;

/// Makes a tenant with a key that is known already, where either is not there; for `pushrail dev`.
pub async fn ensure_tenant(
    store: &Store,
    tenant: &config::Tenant,
    key: &config::ApiKey,
) -> Result<(), Error> {
    let mut tx = store.begin(Scope::System).await?;
    if tenants::get(&mut tx, &tenant.tenant_id).await?.is_none() {
        let settings = tenants::Settings::named(&*tenant.name);
        tenants::insert(&mut tx, &tenant.tenant_id, &settings).await?;
    }
    let row = match api_keys::get(&mut tx, &key.key_id).await? {
        Some(row) => row,
        None => api_keys::insert(&mut tx, key, "first").await?,
    };
    let told = tenants::document(&mut tx, &tenant.tenant_id).await?;
    let name = config::key::tenant(&tenant.tenant_id);
    tell(&mut tx, &name, &told).await?;
    // One that was revoked stays so.
    if row.revoked_at.is_none() {
        let name = config::key::api_key(&key.key_id);
        tell(&mut tx, &name, key).await?;
    }
    tx.commit().await
}

/// Tells Kafka everything again, for a `config` topic that was lost; says how many records that are.
pub async fn rebuild(store: &Store) -> Result<u64, Error> {
    let mut tx = store.begin(Scope::System).await?;
    let mut told = 0;
    // Before the tenants, of whom some have events sealed with them.
    for key in payload_keys::all(&mut tx).await? {
        let name = config::key::payload_key(&key.tenant_id, key.epoch, key.shard);
        tell(&mut tx, &name, &key).await?;
        told += 1;
    }
    for (tenant_id, customer_id, encryption) in payload_keys::customers(&mut tx).await? {
        let name = config::key::customer(&tenant_id, customer_id);
        let customer = config::Customer {
            tenant_id: tenant_id.into(),
            customer_id,
            encryption: encryption.try_into().unwrap_or_default(),
        };
        tell(&mut tx, &name, &customer).await?;
        told += 1;
    }
    // Before the tenants, of whom some have events refused whose type is not known.
    let mut after = None;
    loop {
        let types = event_types::all(&mut tx, after.as_ref(), ROUND).await?;
        let Some(last) = types.last() else { break };
        after = Some((last.tenant_id.clone(), last.name.clone()));
        for row in &types {
            let key = config::key::event_type(&row.tenant_id, &row.name);
            tell(&mut tx, &key, &row.document()?).await?;
            told += 1;
        }
    }
    let mut after = None;
    loop {
        let page = tenants::list(&mut tx, after.as_ref(), ROUND).await?;
        for row in page.items {
            let id = row.tenant_id;
            let tenant = tenants::document(&mut tx, &id).await?;
            let Some(tenant) = tenant else { continue };
            tell(&mut tx, &config::key::tenant(&id), &tenant).await?;
            told += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for key in api_keys::live(&mut tx).await? {
        let name = config::key::api_key(&key.key_id);
        tell(&mut tx, &name, &key).await?;
        told += 1;
    }
    let mut after = None;
    loop {
        let documents = destinations::documents(&mut tx, after, ROUND).await?;
        let Some(last) = documents.last() else { break };
        after = Some(last.destination_id);
        for document in &documents {
            let key = config::key::destination(document.destination_id);
            tell(&mut tx, &key, document).await?;
            told += 1;
        }
    }
    tx.commit().await?;
    Ok(told)
}

async fn tell(tx: &mut pushrail_store::Tx, key: &str, value: &impl Serialize) -> Result<(), Error> {
    let value = serde_json::to_vec(value)?;
    outbox::put(tx, topics::CONFIG, key, Some(&value)).await?;
    Ok(())
}
