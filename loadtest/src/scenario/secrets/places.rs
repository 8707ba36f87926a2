//! Where secrets could turn up: every record of every topic, every column of every table, every file that a server or
//! service has written, and what they showed while they ran.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};

use super::planted::{Finding, Needles};
use crate::kafka;

/// A place, and how much of it there was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Searched {
    pub(super) place: &'static str,
    pub(super) items: u64,
    pub(super) unit: &'static str,
    pub(super) bytes: u64,
    pub(super) findings: usize,
}

/// Looks, and counts what it has looked at.
pub(super) struct Search<'a> {
    pub(super) needles: &'a Needles,
    pub(super) findings: Vec<Finding>,
    pub(super) searched: Vec<Searched>,
}

impl Search<'_> {
    /// Begins with a place; what is looked at from now on counts for it.
    pub(super) fn place(&mut self, place: &'static str, unit: &'static str) {
        self.searched.push(Searched {
            place,
            items: 0,
            unit,
            bytes: 0,
            findings: 0,
        });
    }

    pub(super) fn look(&mut self, bytes: &[u8], place: &str, shown: &[String]) {
        let before = self.findings.len();
        self.needles.search(bytes, place, shown, &mut self.findings);
        if let Some(searched) = self.searched.last_mut() {
            searched.items += 1;
            searched.bytes += bytes.len() as u64;
            searched.findings += self.findings.len() - before;
        }
    }

    /// Every record of every topic, Kafka's own topics too.
    pub(super) fn kafka(&mut self, bootstrap: &str) -> anyhow::Result<()> {
        self.place("Kafka: records of all topics", "keys, values and headers");
        for topic in topics(bootstrap)? {
            let place = format!("topic {topic}");
            kafka::read_all(bootstrap, &topic, |message| {
                let parts = [message.key(), message.payload()];
                for part in parts.into_iter().flatten() {
                    self.look(part, &place, &[]);
                }
                for header in message.headers().iter().flat_map(|headers| headers.iter()) {
                    let value = header.value.unwrap_or_default();
                    self.look(value, &format!("{place}, header {}", header.key), &[]);
                }
            })?;
        }
        Ok(())
    }

    /// Every column of every table, as text, and what is bytes as bytes too.
    pub(super) async fn database(&mut self, database: &mut PgConnection) -> anyhow::Result<()> {
        self.place("PostgreSQL: columns of all tables", "values");
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'public' ORDER BY 1, ordinal_position",
        )
        .fetch_all(&mut *database)
        .await?;
        anyhow::ensure!(
            columns.len() > 50,
            "there are only {} columns",
            columns.len()
        );
        for (table, column, kind) in columns {
            let place = format!("table {table}, column {column}");
            // The names come from the catalogue.
            let sql =
                format!(r#"SELECT "{column}"::text FROM "{table}" WHERE "{column}" IS NOT NULL"#);
            let values: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(sql))
                .fetch_all(&mut *database)
                .await?;
            for (value,) in values {
                self.look(value.as_bytes(), &place, &[]);
            }
            if kind == "bytea" {
                let sql =
                    format!(r#"SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL"#);
                let values: Vec<(Vec<u8>,)> = sqlx::query_as(AssertSqlSafe(sql))
                    .fetch_all(&mut *database)
                    .await?;
                for (value,) in values {
                    self.look(&value, &place, &[]);
                }
            }
        }
        Ok(())
    }

    /// Every file below `folder` but for those that `skipped` names by their end.
    pub(super) fn files(&mut self, folder: &Path, skipped: &[&str]) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.to_string_lossy().into_owned();
            let kind = std::fs::symlink_metadata(&path)?;
            if kind.is_dir() {
                self.files(&path, skipped)?;
            } else if kind.is_file()
                && kind.blocks() > 0
                && !skipped.iter().any(|end| name.ends_with(end))
            {
                // A server that runs may remove one meanwhile.
                let Ok(bytes) = std::fs::read(&path) else {
                    continue;
                };
                self.look(&bytes, &format!("file {name}"), &[]);
            }
        }
        Ok(())
    }
}

fn topics(bootstrap: &str) -> anyhow::Result<Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "pushrail-loadtest-topics")
        .create()?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(20))?;
    let topics = metadata.topics().iter();
    Ok(topics.map(|topic| topic.name().to_owned()).collect())
}
