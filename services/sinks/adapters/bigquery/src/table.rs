//! Tables: which one an event goes to, what it has for columns, and how it is made.

use serde_json::{Value, json};

use crate::config::{Config, Tables};

/// Well below BigQuery's own 1,024 bytes.
pub(crate) const TABLE_LEN_MAX: usize = 256;

/// A column that every table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In a table that is made here. One that is appended later has no value in older rows.
    pub(crate) required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Timestamp,
    Json,
}

const fn column(name: &'static str, kind: Kind, required: bool) -> Column {
    Column {
        name,
        kind,
        required,
    }
}

/// The canonical event, in the order of the catalogue. What is added goes to the end: tables that are there get it appended.
pub(crate) const COLUMNS: [Column; 8] = [
    column("event_id", Kind::String, true),
    column("event_type", Kind::String, true),
    column("occurred_at", Kind::Timestamp, true),
    column("customer_external_id", Kind::String, true),
    column("source", Kind::String, false),
    column("payload", Kind::Json, true),
    column("metadata", Kind::Json, true),
    column("received_at", Kind::Timestamp, true),
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::String => "STRING",
            Kind::Timestamp => "TIMESTAMP",
            Kind::Json => "JSON",
        }
    }
}

/// Where the rows of one destination go.
pub(crate) struct Layout {
    pub(crate) project: Box<str>,
    pub(crate) dataset: Box<str>,
    tables: Tables,
    pub(crate) create: bool,
    /// Who needs the roles, as IAM names it.
    member: Box<str>,
}

impl Layout {
    pub(crate) fn of(config: &Config, member: String) -> Self {
        Layout {
            project: config.project.clone(),
            dataset: config.dataset.clone(),
            tables: config.tables.clone(),
            create: config.create_tables,
            member: member.into(),
        }
    }

    /// The table of an event type.
    pub(crate) fn table(&self, event_type: &str) -> Box<str> {
        match &self.tables {
            Tables::Single { table } => table.clone(),
            Tables::PerType { prefix } => name(prefix, event_type).into(),
        }
    }

    /// As the Storage Write API names it.
    pub(crate) fn resource(&self, table: &str) -> String {
        let (project, dataset) = (&self.project, &self.dataset);
        format!("projects/{project}/datasets/{dataset}/tables/{table}")
    }

    /// As the REST API has it.
    pub(crate) fn definition(&self, table: &str) -> Value {
        json!({
            "tableReference": {
                "projectId": &*self.project,
                "datasetId": &*self.dataset,
                "tableId": table,
            },
            "schema": {"fields": COLUMNS.iter().map(|column| column.field(column.required)).collect::<Vec<_>>()},
            "timePartitioning": {"type": "DAY", "field": "received_at"},
            "clustering": {"fields": self.clustering()},
        })
    }

    fn clustering(&self) -> &'static [&'static str] {
        match self.tables {
            Tables::Single { .. } => &["event_type", "customer_external_id"],
            Tables::PerType { .. } => &["customer_external_id"],
        }
    }

    /// The statement that makes it, to be pasted.
    pub(crate) fn create_statement(&self, table: &str) -> String {
        let columns = COLUMNS.map(|column| {
            let (name, kind) = (column.name, column.kind.name());
            match column.required {
                true => format!("{name} {kind} NOT NULL"),
                false => format!("{name} {kind}"),
            }
        });
        format!(
            "CREATE TABLE `{}.{}.{table}` ({}) PARTITION BY DATE(received_at) CLUSTER BY {};",
            self.project,
            self.dataset,
            columns.join(", "),
            self.clustering().join(", ")
        )
    }

    /// The statement that appends what it lacks, to be pasted.
    pub(crate) fn alter_statement(&self, table: &str, missing: &[Column]) -> String {
        let added = missing
            .iter()
            .map(|column| format!("ADD COLUMN {} {}", column.name, column.kind.name()));
        format!(
            "ALTER TABLE `{}.{}.{table}` {};",
            self.project,
            self.dataset,
            added.collect::<Vec<_>>().join(", ")
        )
    }

    /// What we lack, as a statement to be pasted.
    pub(crate) fn grants(&self) -> String {
        format!(
            "run: GRANT `roles/bigquery.dataEditor` ON SCHEMA `{}.{}` TO \"{}\";",
            self.project, self.dataset, self.member
        )
    }
}

impl Column {
    /// As the REST API has it.
    pub(crate) fn field(self, required: bool) -> Value {
        let mode = if required { "REQUIRED" } else { "NULLABLE" };
        json!({"name": self.name, "type": self.kind.name(), "mode": mode})
    }
}

/// A name from an event type: lower case, `_` for what names do not have. One that would be too long ends in a hash.
fn name(prefix: &str, event_type: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_') => c,
        _ => '_',
    };
    let mut name: String = prefix
        .chars()
        .chain(event_type.chars().map(plain))
        .collect();
    if name.len() > TABLE_LEN_MAX {
        let hash = fnv(event_type.as_bytes());
        name.truncate(TABLE_LEN_MAX - 9);
        name.push_str(&format!("_{hash:08x}"));
    }
    name
}

/// FNV-1a folded to 32 bits: the same for ever, because it is in names of customers' tables.
fn fnv(bytes: &[u8]) -> u32 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash >> 32) as u32 ^ hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_stay_as_they_were() {
        let long = "a".repeat(300);
        let table = [
            ("order.completed", "ev_order_completed"),
            ("Order-Line.Added`; DROP", "ev_order_line_added___drop"),
            ("größe", "ev_gr__e"),
        ];
        for (event_type, expected) in table {
            assert_eq!(name("ev_", event_type), expected);
        }
        let named = name("ev_", &long);
        assert_eq!(named.len(), TABLE_LEN_MAX);
        assert_ne!(named, name("ev_", &format!("{}b", &long[1..])));
    }

    #[test]
    fn columns_are_those_of_the_catalogue_in_its_order() {
        let names = COLUMNS.map(|column| column.name);
        let catalogue = "event_id, event_type, occurred_at, customer_external_id, source, payload, metadata, received_at";
        assert_eq!(names.join(", "), catalogue);
    }
}
