//! The settings file.
//!
//! One file can serve every service: `[ingest]`, `[sink]` … hold the flags of that command, all other tables hold what
//! commands share. A key that nothing declares is an error, because a misspelt setting that is silently ignored is
//! found in production.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

use super::Error;
use super::tree::{self, Place};

/// A table of free keys: they are librdkafka's, not ours.
const PROPERTIES: &str = "kafka.properties";

/// What a file says about one setting.
pub(super) struct Entry {
    /// As it is in the file: `ingest.listen`.
    pub(super) key: String,
    pub(super) places: Vec<Place>,
    pub(super) values: Vec<String>,
}

/// The keys that may be in a file, and where they go.
pub(super) struct Known(BTreeMap<String, Vec<Place>>);

impl Known {
    /// Services are the commands that can print their settings; what they declare can be in a file. Other commands take
    /// from it what they share with a service.
    pub(super) fn of(command: &Command) -> Self {
        let mut known: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        let services = command.get_subcommands().filter(|c| has(c, "print_config"));
        for service in services {
            for arg in service.get_arguments().filter(|arg| is_setting(arg)) {
                let id = arg.get_id().as_str();
                let place = Place::of(&[service.get_name().to_owned()], arg);
                let key = format!("{}.{}", service.get_name(), long_key(arg));
                known.entry(key).or_default().push(place);
                if let Some((table, name)) = id.split_once('_') {
                    known.entry(format!("{table}.{name}")).or_default();
                }
            }
        }
        tree::visit(command, &mut |path, arg| {
            let Some((table, name)) = arg.get_id().as_str().split_once('_') else {
                return;
            };
            if let Some(places) = known.get_mut(&format!("{table}.{name}")) {
                let place = Place::of(path, arg);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        });
        Known(known)
    }

    fn places(&self, key: &str) -> Option<&[Place]> {
        self.0.get(&key.replace('-', "_")).map(Vec::as_slice)
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let likeness = |known: &String| strsim::jaro_winkler(known, key);
        let best = self
            .0
            .keys()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(best) > 0.8).then(|| best.clone())
    }
}

fn has(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == id)
}

fn is_setting(arg: &Arg) -> bool {
    let action = matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue
    );
    let id = arg.get_id().as_str();
    action && arg.get_long().is_some() && !["config_file", "print_config"].contains(&id)
}

fn long_key(arg: &Arg) -> String {
    arg.get_long().unwrap_or_default().replace('-', "_")
}

/// Reads and checks a file.
pub(super) fn read(path: &Path, known: &Known) -> Result<Vec<Entry>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::Syntax {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
    let mut entries = Vec::new();
    collect(path, known, "", &table, &mut entries)?;
    // A command's own table wins over what commands share.
    entries.sort_by_key(|entry| {
        entry
            .places
            .iter()
            .all(|p| entry.key.starts_with(&p.path[0]))
    });
    Ok(entries)
}

fn collect(
    path: &Path,
    known: &Known,
    prefix: &str,
    table: &toml::Table,
    entries: &mut Vec<Entry>,
) -> Result<(), Error> {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        match (value, known.places(&key)) {
            (toml::Value::Table(table), Some(places)) if key == PROPERTIES => {
                let pair = |(name, value)| Ok(format!("{name}={}", scalar(path, &key, value)?));
                let values = table.iter().map(pair).collect::<Result<Vec<_>, Error>>()?;
                if !values.is_empty() {
                    entries.push(Entry {
                        key,
                        places: places.to_vec(),
                        values,
                    });
                }
            }
            (toml::Value::Table(table), _) => collect(path, known, &key, table, entries)?,
            (value, Some(places)) => {
                let values = match value {
                    toml::Value::Array(items) => {
                        let items = items.iter().map(|item| scalar(path, &key, item));
                        items.collect::<Result<_, _>>()?
                    }
                    value => vec![scalar(path, &key, value)?],
                };
                entries.push(Entry {
                    key,
                    places: places.to_vec(),
                    values,
                });
            }
            (_, None) => {
                return Err(Error::UnknownKey {
                    path: path.to_owned(),
                    nearest: known.nearest(&key),
                    key,
                });
            }
        }
    }
    Ok(())
}

fn scalar(path: &Path, key: &str, value: &toml::Value) -> Result<String, Error> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Error::BadValue {
            path: path.to_owned(),
            key: key.to_owned(),
            problem: "must be a string, a number, true or false, or a list of them".to_owned(),
        }),
    }
}
