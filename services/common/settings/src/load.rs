//! From arguments, environment and file to a parsed struct, and an account of where each setting came from.
//!
//! clap already lets a flag win over its variable and both over its default. The file is fitted in as what it is, a
//! source of defaults: its keys are matched to declared arguments and become their default values before clap parses.
//! So validation, types and help exist once.

mod account;
mod file;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Command, Parser};

use crate::values::{self, read_secret};

/// Why settings could not be read. The message names the place and the fix.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or a variable; also `--help` and `--version`, which clap treats alike.
    #[error(transparent)]
    Usage(clap::Error),
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {problem}", path = path.display())]
    Syntax { path: PathBuf, problem: String },
    #[error("{path}: unknown setting {key}{}", suggest(nearest), path = path.display())]
    UnknownKey {
        path: PathBuf,
        key: String,
        /// The known setting that is written most alike.
        nearest: Option<String>,
    },
    #[error("{path}: {key} {problem}", path = path.display())]
    BadValue {
        path: PathBuf,
        key: String,
        problem: String,
    },
    #[error("{variable}: {problem}")]
    Variable { variable: String, problem: String },
}

fn suggest(nearest: &Option<String>) -> String {
    let suggest = |nearest| format!("; did you mean {nearest}?");
    nearest.as_ref().map(suggest).unwrap_or_default()
}

/// Where a setting came from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Environment,
    /// A file that `NAME_FILE` points to.
    SecretFile,
    File,
    Default,
    /// Given nowhere, and without a default.
    Unset,
}

/// One setting as it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag, without dashes.
    pub name: String,
    /// Secrets are masked.
    pub value: String,
    pub source: Source,
}

/// What the process finds around it; tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The command line, beginning with the program's name.
    pub args: Vec<OsString>,
    pub env: BTreeMap<String, String>,
}

impl Surroundings {
    /// The process' own. Variables that are not UTF-8 are passed over.
    pub fn of_process() -> Self {
        let env = std::env::vars_os();
        Surroundings {
            args: std::env::args_os().collect(),
            env: env
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }
    }
}

impl Surroundings {
    /// Takes `--env FILE` off the command line and adds the variables in that file, as a shell would `source` it. What
    /// is set in the environment already wins.
    pub fn with_env_file(mut self) -> Result<Self, Error> {
        let is_flag = |arg: &OsString| {
            arg == "--env" || arg.to_str().is_some_and(|a| a.starts_with("--env="))
        };
        while let Some(index) = self.args.iter().position(is_flag) {
            let flag = self.args.remove(index);
            let inline = flag.to_str().and_then(|flag| flag.strip_prefix("--env="));
            let path = match inline {
                Some(path) => PathBuf::from(path),
                None if index < self.args.len() => PathBuf::from(self.args.remove(index)),
                None => {
                    let problem = "needs the path of a file such as .pushrail/dev.env".to_owned();
                    return Err(Error::Variable {
                        variable: "--env".to_owned(),
                        problem,
                    });
                }
            };
            let text = std::fs::read_to_string(&path).map_err(|source| Error::Unreadable {
                path: path.clone(),
                source,
            })?;
            for (number, line) in text.lines().enumerate() {
                let problem = || format!("line {}: must be NAME=VALUE", number + 1);
                if let Some((name, value)) =
                    values::assignment(line).map_err(|()| Error::Syntax {
                        path: path.clone(),
                        problem: problem(),
                    })?
                {
                    self.env.entry(name).or_insert(value);
                }
            }
        }
        Ok(self)
    }
}

/// Parsed settings and their account.
#[derive(Debug)]
pub struct Loaded<T> {
    pub settings: T,
    /// Of the subcommand that was called, in order of declaration.
    pub effective: Vec<Setting>,
}

impl<T> Loaded<T> {
    /// The account as a table, for `--print-config`.
    pub fn print(&self) -> String {
        let width = self
            .effective
            .iter()
            .map(|s| s.name.len())
            .max()
            .unwrap_or(0);
        let line = |s: &Setting| format!("{:width$} = {}  # {}\n", s.name, s.value, s.source);
        self.effective.iter().map(line).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Flag => "flag",
            Source::Environment => "environment",
            Source::SecretFile => "environment, file",
            Source::File => "file",
            Source::Default => "default",
            Source::Unset => "not set",
        })
    }
}

/// Reads everything for the command `T`, each of whose subcommands has [`crate::FileArgs`] or its like.
pub fn load<T: Parser>(surroundings: &Surroundings) -> Result<Loaded<T>, Error> {
    let declared = T::command();
    let mut defaults = Defaults::default();
    if let Some(path) = config_path(surroundings, &declared) {
        for entry in file::read(&path, &file::Known::of(&declared))? {
            for place in entry.places {
                let origin = Origin {
                    source: Source::File,
                    name: entry.key.clone(),
                };
                defaults.set(place, origin, entry.values.clone());
            }
        }
        defaults.path = Some(path);
    }
    for (place, variable) in tree::variables(&declared) {
        if let Some((source, value)) = variable_value(surroundings, &variable)? {
            let origin = Origin {
                source,
                name: variable,
            };
            defaults.set(place, origin, vec![value]);
        }
    }
    let args = with_properties(&surroundings.args, &defaults);
    let command = tree::with_defaults(declared, &defaults.values);
    let matches = command
        .clone()
        .try_get_matches_from(args)
        .map_err(|error| defaults.explain(error, &command))?;
    let effective = account::of(&command, &matches, &defaults);
    let settings = T::from_arg_matches(&matches).map_err(Error::Usage)?;
    Ok(Loaded {
        settings,
        effective,
    })
}

/// The argument that holds librdkafka's properties.
const PROPERTIES_ID: &str = "kafka_properties";

/// What file and environment say, as default values of arguments.
#[derive(Debug, Default)]
struct Defaults {
    path: Option<PathBuf>,
    values: BTreeMap<tree::Place, Vec<String>>,
    origins: BTreeMap<tree::Place, Origin>,
}

#[derive(Clone, Debug)]
struct Origin {
    source: Source,
    /// The file's key or the variable's name.
    name: String,
}

impl Defaults {
    /// The newer source replaces what was there, but for librdkafka's properties, which are many settings in one
    /// argument: those are joined, and the last of a name counts.
    fn set(&mut self, place: tree::Place, origin: Origin, values: Vec<String>) {
        self.origins.insert(place.clone(), origin);
        if place.id == PROPERTIES_ID {
            self.values.entry(place).or_default().extend(values);
        } else {
            self.values.insert(place, values);
        }
    }

    /// Says where a refused value came from, when that was neither a flag nor our own default.
    fn explain(&self, error: clap::Error, command: &Command) -> Error {
        let argument = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => argument.clone(),
            _ => return Error::Usage(error),
        };
        let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
            return Error::Usage(error);
        };
        let flag = argument.split([' ', '=']).next().unwrap_or_default();
        let from = |(place, origin): (&tree::Place, &Origin)| {
            (place.flag == flag && self.values[place].contains(value)).then(|| origin.clone())
        };
        let Some(origin) = self.origins.iter().find_map(from) else {
            return Error::Usage(masked(error, is_secret(command, flag)));
        };
        let problem = match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => "has a value that is not allowed".to_owned(),
        };
        match (origin.source, &self.path) {
            (Source::File, Some(path)) => Error::BadValue {
                path: path.clone(),
                key: origin.name,
                problem,
            },
            _ => Error::Variable {
                variable: origin.name,
                problem,
            },
        }
    }
}

/// Whether the argument of any command that is typed like this is a secret.
fn is_secret(command: &Command, flag: &str) -> bool {
    let mut secret = false;
    tree::visit(command, &mut |path, arg| {
        secret |= arg.is_hide_env_values_set() && tree::Place::of(path, arg).flag == flag;
    });
    secret
}

/// Takes a secret out of what clap says, and the value of a librdkafka property: a misspelt name does not tell whether it is
/// a credential.
fn masked(mut error: clap::Error, is_secret: bool) -> clap::Error {
    if is_secret {
        let shown = ContextValue::String("***".to_owned());
        error.insert(ContextKind::InvalidValue, shown);
        return error;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let is_property = |argument: String| argument.starts_with("--kafka-property");
    if text(ContextKind::InvalidArg).is_some_and(is_property)
        && let Some((name, _)) = text(ContextKind::InvalidValue)
            .as_deref()
            .and_then(|given| given.split_once('='))
    {
        let shown = ContextValue::String(format!("{name}=***"));
        error.insert(ContextKind::InvalidValue, shown);
    }
    error
}

/// Puts the properties of file and environment in front of those that flags give, so that a flag replaces one property
/// and not all of them.
fn with_properties(args: &[OsString], defaults: &Defaults) -> Vec<OsString> {
    let mut args = args.to_vec();
    let mut places = defaults.values.iter();
    let below = places.find(|(place, _)| place.id == PROPERTIES_ID);
    let Some((place, below)) = below else {
        return args;
    };
    let is_flag = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text.split('=').next() == Some(place.flag.as_str())
    };
    if let Some(first) = args.iter().position(is_flag) {
        let below = below
            .iter()
            .map(|text| format!("{}={text}", place.flag).into());
        args.splice(first..first, below);
    }
    args
}

/// The file's path, which must be known before anything is parsed.
fn config_path(surroundings: &Surroundings, command: &Command) -> Option<PathBuf> {
    let mut args = surroundings
        .args
        .iter()
        .skip(1)
        .filter_map(|arg| arg.to_str());
    let called = args.clone().find(|arg| !arg.starts_with('-'))?;
    let called = command.find_subcommand(called)?;
    let is_short =
        |arg: &clap::Arg| arg.get_id() == "config_file" && arg.get_long() == Some("config");
    let names: &[&str] = match called.get_arguments().any(is_short) {
        true => &["--config", "--config-file"],
        false => &["--config-file"],
    };
    while let Some(arg) = args.next() {
        let (name, value) = arg.split_once('=').unzip();
        if names.contains(&name.unwrap_or(arg)) {
            return value.or_else(|| args.next()).map(PathBuf::from);
        }
    }
    surroundings.env.get("PUSHRAIL_CONFIG").map(PathBuf::from)
}

fn variable_value(
    surroundings: &Surroundings,
    variable: &str,
) -> Result<Option<(Source, String)>, Error> {
    let file_variable = format!("{variable}_FILE");
    let plain = surroundings.env.get(variable);
    let Some(path) = surroundings.env.get(&file_variable) else {
        return Ok(plain.map(|value| (Source::Environment, value.clone())));
    };
    let error = |problem| Error::Variable {
        variable: file_variable.clone(),
        problem,
    };
    if plain.is_some() {
        return Err(error(format!("{variable} is set as well; set one of them")));
    }
    let value = read_secret(Path::new(path)).map_err(error)?;
    Ok(Some((Source::SecretFile, value)))
}

#[cfg(test)]
mod tests;
