//! Whether database, audit trail and topics tell the same story, and whether it is the one that the clients were told.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use pushrail_schemas::config::{self, Destination};
use pushrail_topology::topics;
use pushrail_vault::{Aad, KeyRing};
use rdkafka::message::Message as _;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::clients::{Change, Kind};
use crate::kafka;
use crate::sample::TENANT;

/// Of each kind of mistake so many are described.
const EXAMPLES: usize = 5;

/// A row of the trail that is about a destination.
struct Entry {
    action: String,
    after: Value,
}

/// Everything that was written, wherever it was.
pub(super) struct Truth {
    /// Destinations of the database, and their revisions.
    rows: BTreeMap<Uuid, (String, i64)>,
    /// The trail of each destination, in order.
    trail: BTreeMap<Uuid, Vec<Entry>>,
    /// Hash of each row of the trail, by its number.
    hashes: BTreeMap<i64, String>,
    /// The newest value of each destination on `config`; `None` after a tombstone.
    told: HashMap<Uuid, Option<Vec<u8>>>,
    /// The same rows of the trail as `audit.changes` has them.
    changes: BTreeMap<i64, String>,
}

/// What does not fit, by kind of mistake.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    /// Answered 2xx, and somewhere missing.
    pub(super) missing: Mistakes,
    /// State, trail and topic contradict each other: something was half written.
    pub(super) half: Mistakes,
    /// Done more than once.
    pub(super) repeated: Mistakes,
    pub(super) destinations: usize,
    pub(super) trail_rows: usize,
    /// Changes that were answered 5xx, and of those the ones that had been done.
    pub(super) unknown: usize,
    pub(super) unknown_done: usize,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Mistakes {
    pub(super) count: usize,
    pub(super) examples: Vec<String>,
}

impl Mistakes {
    fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }

    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.note(what);
        }
    }
}

impl Truth {
    pub(super) async fn read(database: &mut PgConnection, bootstrap: &str) -> anyhow::Result<Self> {
        let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
            "SELECT destination_id, document::text, revision FROM destinations WHERE tenant_id = $1",
        )
        .bind(TENANT)
        .fetch_all(&mut *database)
        .await?;
        let rows = rows.into_iter();
        let rows = rows.map(|(id, document, revision)| (id, (document, revision)));
        let entries: Vec<(i64, String, String, String, Option<String>, String)> = sqlx::query_as(
            "SELECT seq, action, target_kind, target_id, after::text, encode(hash, 'hex') FROM audit_trail
             WHERE chain = $1 ORDER BY seq",
        )
        .bind(TENANT)
        .fetch_all(&mut *database)
        .await?;
        let mut truth = Truth {
            rows: rows.collect(),
            trail: BTreeMap::new(),
            hashes: BTreeMap::new(),
            told: HashMap::new(),
            changes: BTreeMap::new(),
        };
        for (seq, action, kind, id, after, hash) in entries {
            truth.hashes.insert(seq, hash);
            if kind == "destination" {
                let after = after.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;
                let trail = truth.trail.entry(id.parse()?).or_default();
                trail.push(Entry { action, after });
            }
        }
        kafka::read_all(bootstrap, topics::CONFIG, |message| {
            let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
            let id = key.and_then(|key| key.strip_prefix(config::DESTINATION_PREFIX));
            if let Some(id) = id.and_then(|id| id.parse().ok()) {
                truth.told.insert(id, message.payload().map(<[u8]>::to_vec));
            }
        })?;
        kafka::read_all(bootstrap, topics::AUDIT_CHANGES, |message| {
            let value = message.payload().unwrap_or_default();
            let value: Value = serde_json::from_slice(value).unwrap_or_default();
            if value["tenantId"] == TENANT
                && let (Some(seq), Some(hash)) = (value["seq"].as_i64(), value["hash"].as_str())
            {
                truth.changes.insert(seq, hash.to_owned());
            }
        })?;
        Ok(truth)
    }

    pub(super) fn judge(&self, changes: &[Change], ring: &KeyRing) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict {
            destinations: self.rows.len(),
            trail_rows: self.hashes.len(),
            ..Verdict::default()
        };
        let told = self.changes == self.hashes;
        verdict.half.unless(told, || {
            format!(
                "audit.changes has {} rows, the trail {}, or their hashes differ",
                self.changes.len(),
                self.hashes.len()
            )
        });
        let ids: BTreeSet<Uuid> = self
            .rows
            .keys()
            .chain(self.trail.keys())
            .chain(self.told.keys())
            .copied()
            .collect();
        for id in ids {
            if let Some(problem) = self.contradiction(id)? {
                verdict.half.note(|| format!("{id}: {problem}"));
            }
        }
        self.answered(changes, &mut verdict);
        self.secrets(changes, ring, &mut verdict)?;
        Ok(verdict)
    }

    /// What state, trail and topic say differently of one destination.
    fn contradiction(&self, id: Uuid) -> anyhow::Result<Option<String>> {
        let trail = self.trail.get(&id).map_or(&[][..], Vec::as_slice);
        let row = self.rows.get(&id);
        let told = self.told.get(&id).and_then(Option::as_deref);
        let is_deleted = trail
            .iter()
            .any(|entry| entry.action == "destination.delete");
        let is_made = trail
            .first()
            .is_some_and(|entry| entry.action == "destination.create");
        let Some((document, revision)) = row else {
            let problem = match (is_deleted, told) {
                (true, None) => None,
                (true, Some(_)) => Some("is gone, and Kafka has not been told"),
                (false, _) => Some("is gone, and the trail does not say why"),
            };
            return Ok(problem.map(str::to_owned));
        };
        if !is_made || is_deleted {
            return Ok(Some("is there, and not by the trail".to_owned()));
        }
        let document: Value = serde_json::from_str(document)?;
        let newest = told.map(serde_json::from_slice::<Value>).transpose()?;
        if newest.as_ref() != Some(&document) {
            return Ok(Some(format!(
                "the topic has version {:?}, the database {}",
                newest.map(|told| told["version"].clone()),
                document["version"]
            )));
        }
        if *revision != trail.len() as i64 {
            return Ok(Some(format!(
                "revision {revision} and {} rows of the trail",
                trail.len()
            )));
        }
        let (mut name, mut version) = (&Value::Null, 0);
        for entry in trail {
            // The service notes the end of a rotation without saying what it was before and after.
            match entry.after["version"].as_u64() {
                Some(now) => version = now,
                None => version += 1,
            }
            if entry.after.get("name").is_some() {
                name = &entry.after["name"];
            }
        }
        let agrees = document["name"] == *name && document["version"].as_u64() == Some(version);
        Ok((!agrees).then(|| {
            format!(
                "the trail ends with {name} and version {version}, the database has {} and {}",
                document["name"], document["version"]
            )
        }))
    }

    /// Whether each change that was answered 2xx is on the trail, once, and each other one at most once.
    fn answered(&self, changes: &[Change], verdict: &mut Verdict) {
        let mut names: HashMap<(&str, &str), Vec<Uuid>> = HashMap::new();
        for (id, trail) in &self.trail {
            for entry in trail {
                if let Some(name) = entry.after["name"].as_str() {
                    names.entry((&entry.action, name)).or_default().push(*id);
                }
            }
        }
        let named = |action, change: &Change| {
            let ids = names.get(&(action, change.name.as_str()));
            ids.cloned().unwrap_or_default()
        };
        let mut rotations: HashMap<Uuid, (usize, usize)> = HashMap::new();
        for change in changes {
            verdict.unknown += usize::from(!change.is_done);
            let ids = match change.kind {
                Kind::Create => named("destination.create", change),
                Kind::Rename => named("destination.update", change),
                Kind::Delete => {
                    let id = change.destination.unwrap_or_default();
                    let trail = self.trail.get(&id).map_or(&[][..], Vec::as_slice);
                    let deleted = |entry: &&Entry| entry.action == "destination.delete";
                    trail.iter().filter(deleted).map(|_| id).collect()
                }
                Kind::Rotate => {
                    let count = rotations.entry(change.destination.unwrap_or_default());
                    let (done, unknown) = count.or_default();
                    *done += usize::from(change.is_done);
                    *unknown += usize::from(!change.is_done);
                    continue;
                }
            };
            verdict.unknown_done += usize::from(!change.is_done && !ids.is_empty());
            let is_known = !change.is_done || ids.first().copied() == change.destination;
            verdict
                .missing
                .unless(is_known, || format!("{change:?}: on the trail {ids:?}"));
            let once = ids.len() <= 1 && (!change.is_insisted || change.is_done);
            verdict
                .repeated
                .unless(once, || format!("{change:?}: on the trail {ids:?}"));
        }
        for (id, (done, unknown)) in rotations {
            let trail = self.trail.get(&id).map_or(&[][..], Vec::as_slice);
            let rotated = |entry: &&Entry| entry.action == "destination.secret.rotate";
            let count = trail.iter().filter(rotated).count();
            verdict.unknown_done += count.saturating_sub(done);
            let story = || format!("{id}: {done} rotations answered, {unknown} not, {count} done");
            verdict.missing.unless(count >= done, story);
            verdict.repeated.unless(count <= done + unknown, story);
        }
    }

    /// Whether the signing secret that was answered last is the one that signs.
    fn secrets(
        &self,
        changes: &[Change],
        ring: &KeyRing,
        verdict: &mut Verdict,
    ) -> anyhow::Result<()> {
        let mut newest: HashMap<Uuid, Option<&str>> = HashMap::new();
        for change in changes {
            if let (Kind::Create | Kind::Rotate, Some(id)) = (change.kind, change.destination) {
                // One that was not answered may have made another.
                newest.insert(id, change.secret.as_deref());
            }
        }
        for (id, secret) in newest {
            let (Some(secret), Some((document, _))) = (secret, self.rows.get(&id)) else {
                continue;
            };
            let document: Destination = serde_json::from_str(document)?;
            let opened = document
                .secrets
                .as_ref()
                .map(|sealed| ring.open(&Aad::of(&document), sealed))
                .transpose()?;
            let secrets = opened.map(|opened| serde_json::from_slice::<Value>(&opened));
            let signs = secrets.transpose()?.unwrap_or_default();
            verdict
                .missing
                .unless(signs["signingSecret"] == *secret, || {
                    format!("{id}: the secret that was answered last does not sign")
                });
        }
        Ok(())
    }
}
