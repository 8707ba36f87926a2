//! The tree of commands, leaf by leaf.

use std::collections::BTreeMap;

use clap::{Arg, Command};

/// One argument of one command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Subcommands from the root, such as `["destination", "add"]`.
    pub(super) path: Vec<String>,
    pub(super) id: String,
    /// As it is typed: `--listen`. Empty for an argument without one.
    pub(super) flag: String,
}

impl Place {
    pub(super) fn of(path: &[String], arg: &Arg) -> Self {
        Place {
            path: path.to_vec(),
            id: arg.get_id().to_string(),
            flag: arg
                .get_long()
                .map(|long| format!("--{long}"))
                .unwrap_or_default(),
        }
    }
}

/// Calls `visit` with every argument below `command`.
pub(super) fn visit<'a>(command: &'a Command, visit: &mut impl FnMut(&[String], &'a Arg)) {
    fn walk<'a>(
        command: &'a Command,
        path: &mut Vec<String>,
        visit: &mut impl FnMut(&[String], &'a Arg),
    ) {
        command.get_arguments().for_each(|arg| visit(path, arg));
        for subcommand in command.get_subcommands() {
            path.push(subcommand.get_name().to_owned());
            walk(subcommand, path, visit);
            path.pop();
        }
    }
    walk(command, &mut Vec::new(), visit);
}

/// Every argument that has a variable, with its name.
pub(super) fn variables(command: &Command) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    visit(command, &mut |path, arg| {
        if let Some(variable) = arg.get_env().and_then(|name| name.to_str()) {
            found.push((Place::of(path, arg), variable.to_owned()));
        }
    });
    found
}

/// Gives arguments the defaults in `values`, and takes the variables off, which have been read: the help text says what
/// they are.
pub(super) fn with_defaults(command: Command, values: &BTreeMap<Place, Vec<String>>) -> Command {
    fn walk(command: Command, path: &[String], values: &BTreeMap<Place, Vec<String>>) -> Command {
        let command = command.mut_args(|arg| {
            let given = values.get(&Place::of(path, &arg)).cloned();
            let arg = without_variable(arg);
            let takes_value = arg.get_action().takes_values();
            match given {
                Some(values) => arg
                    .required(false)
                    .hide_default_value(takes_value)
                    .default_values(values),
                None => arg,
            }
        });
        command.mut_subcommands(|subcommand| {
            let mut path = path.to_vec();
            path.push(subcommand.get_name().to_owned());
            walk(subcommand, &path, values)
        })
    }
    walk(command, &[], values)
}

fn without_variable(arg: Arg) -> Arg {
    let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else {
        return arg;
    };
    let note = format!(" [env: {variable}]");
    let short = arg.get_help().map(|help| format!("{help}{note}"));
    let long = arg.get_long_help().map(|help| format!("{help}{note}"));
    let arg = arg.env(None::<&'static str>);
    let arg = match short {
        Some(help) => arg.help(help),
        None => arg,
    };
    match long {
        Some(help) => arg.long_help(help),
        None => arg,
    }
}
