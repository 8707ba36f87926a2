//! Settings: declared once, as a clap `Args` struct, and given in any of three places.
//!
//! One precedence everywhere: flag, then environment, then file, then default. A declaration's doc comment is its help,
//! its type is its validation, `env = "PUSHRAIL_…"` names its variable, and its place in the file follows from its
//! name: `[ingest] listen` is `pushrail ingest --listen`, `[kafka] bootstrap` is the argument `kafka_bootstrap` of every
//! command that has it. Any variable may be given as `NAME_FILE=path` instead, so that secrets stay in mounted files.
//! An argument with `hide_env_values` is a secret: it is masked wherever settings are shown.
//!
//! It owns where settings come from, and the groups that services share. What they mean is each service's.

mod groups;
mod load;
mod values;

pub use groups::{ConfigFileArgs, FileArgs, KafkaArgs, OpsArgs, RegistryArgs};
pub use load::{Error, Loaded, Setting, Source, Surroundings, load};
pub use values::{Hidden, Property, parse_bytes, parse_duration};
