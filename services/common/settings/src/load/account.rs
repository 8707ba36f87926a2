//! What took effect, and where it came from.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::tree::Place;
use super::{Defaults, Setting, Source};
use crate::Property;

const MASK: &str = "***";

/// The settings of the command that was called, in order of declaration.
pub(super) fn of(command: &Command, matches: &ArgMatches, defaults: &Defaults) -> Vec<Setting> {
    let (mut command, mut matches, mut path) = (command, matches, Vec::new());
    while let Some((name, below)) = matches.subcommand() {
        let Some(subcommand) = command.find_subcommand(name) else {
            break;
        };
        path.push(name.to_owned());
        (command, matches) = (subcommand, below);
    }
    let shown = command
        .get_arguments()
        .filter(|arg| arg.get_id() != "print_config");
    let setting = |arg| setting(arg, matches, &path, defaults);
    shown.filter_map(setting).collect()
}

fn setting(
    arg: &Arg,
    matches: &ArgMatches,
    path: &[String],
    defaults: &Defaults,
) -> Option<Setting> {
    let name = arg.get_long()?.to_owned();
    let source = match matches.value_source(arg.get_id().as_str()) {
        None => Source::Unset,
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(_) => {
            let origin = defaults.origins.get(&Place::of(path, arg));
            origin.map_or(Source::Default, |origin| origin.source)
        }
    };
    let raw = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let values: Vec<_> = raw
        .map(|value| shown(arg, &value.to_string_lossy()))
        .collect();
    Some(Setting {
        name,
        value: values.join(","),
        source,
    })
}

fn shown(arg: &Arg, value: &str) -> String {
    if arg.is_hide_env_values_set() {
        return MASK.to_owned();
    }
    if arg.get_id() == super::PROPERTIES_ID {
        // One that does not parse has been refused before.
        return value
            .parse::<Property>()
            .map_or_else(|_| MASK.to_owned(), |p| p.to_string());
    }
    value.to_owned()
}
