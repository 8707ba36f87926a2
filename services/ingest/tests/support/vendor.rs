//! A vendor that publishes directly.
#![allow(unreachable_pub, reason = "it is included where it is used")]

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, writer::datum::GenericDatumWriter};
use pushrail_schemas::registry::Registry;
use pushrail_schemas::wire;
use pushrail_testkit::Cluster;

/// What a vendor's stock Avro serialiser writes, with a schema of the vendor's own.
pub struct Vendor {
    schema: Schema,
    id: u32,
}

impl Vendor {
    pub async fn register(cluster: &Cluster, topic: &str, schema: &str) -> Self {
        let registry = Registry::new(&cluster.registry_url, None).unwrap();
        let id = registry
            .register(&format!("{topic}-value"), schema)
            .await
            .unwrap();
        Vendor {
            schema: Schema::parse_str(schema).unwrap(),
            id,
        }
    }

    pub fn write(&self, fields: Vec<(&str, Avro)>) -> Vec<u8> {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut value = Vec::new();
        wire::start(self.id, &mut value);
        let writer = GenericDatumWriter::builder(&self.schema).build().unwrap();
        writer
            .write_value(&mut value, Avro::Record(fields))
            .unwrap();
        value
    }
}

pub const VENDOR: &str = r#"{"type":"record","name":"Shop","namespace":"com.acme","fields":[
    {"name":"customer_external_id","type":"string"},
    {"name":"store","type":["null","int"],"default":null},
    {"name":"event_type","type":"string"},
    {"name":"idempotency_key","type":["null","string"],"default":null},
    {"name":"payload","type":"string"}]}"#;

pub fn shop(customer: &str, key: Option<&str>, payload: &str) -> Vec<(&'static str, Avro)> {
    let key = match key {
        None => Avro::Union(0, Box::new(Avro::Null)),
        Some(key) => Avro::Union(1, Box::new(Avro::String(key.into()))),
    };
    vec![
        ("customer_external_id", Avro::String(customer.into())),
        ("store", Avro::Union(1, Box::new(Avro::Int(7)))),
        ("event_type", Avro::String("order.completed".into())),
        ("idempotency_key", key),
        ("payload", Avro::String(payload.into())),
    ]
}
